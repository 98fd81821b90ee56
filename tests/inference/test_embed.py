import sys
from collections import deque

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE, from_smiles
from molae_pyg.chem import featurize
from molae_pyg.inference import embed

embedding = sys.modules[embed.__module__]  # its name is that of the function


@pytest.fixture(scope="module")
def model() -> MolAE:
    torch.manual_seed(0)
    return MolAE.tiny()


def test_rows_follow_the_input_and_equal_molecules_are_equal(model):
    smiles = ["c1ccccc1CCO", "OCC", "CCCCCCC", "CCO", "C(C)O"]
    found = model.embed(smiles, batch_size=2, precision="32-true")
    assert found.shape == (5, 128)
    assert found.dtype == np.float32
    assert np.array_equal(found[1], found[3])
    assert np.array_equal(found[1], found[4])
    assert not np.allclose(found[1], found[2], atol=1e-3)
    for row, string in enumerate(smiles):
        alone = model.embed([string], precision="32-true")[0]
        assert np.allclose(found[row], alone, atol=1e-5)


def test_mean_over_conformers(model):
    data = from_smiles("CCCCO", num_conformers=3, recipe="fast")
    model.eval()
    with torch.no_grad():
        alone = [model.encode(data.z, pos).molecule[0] for pos in data.conformers.unbind(1)]
    expected = torch.stack(alone).mean(0).numpy()
    found = model.embed(["CCCCO"], num_conformers=3, precision="32-true", readout="cls")
    assert np.allclose(found[0], expected, atol=1e-5)


def test_training_mode_is_kept(model):
    model.train()
    model.embed(["CCO"])
    assert model.encoder.training


def test_no_molecule(model):
    assert model.embed([]).shape == (0, 128)


def test_an_invalid_row_is_named(model):
    with pytest.raises(ValueError, match="row 1: cannot read SMILES 'C1CC'"):
        model.embed(["CCO", "C1CC"])


def test_a_molecule_without_coordinates_is_named_once_the_others_are_done(model, monkeypatch):
    made = embedding.stream

    def lossy(smiles, options):
        for data in made(smiles, options):
            yield ValueError(f"no coordinates for {data.smiles!r}") if "N" in data.smiles else data

    monkeypatch.setattr(embedding, "stream", lossy)
    with pytest.raises(
        ValueError, match=r"row 1: no coordinates for 'CCN' \(and 1 more molecules\)"
    ):
        model.embed(["CCS", "NCC", "CCN", "CCP", "CN"])
    monkeypatch.setattr(embedding, "_encode", None)
    assert model.embed(["SCC", "CCP"]).shape == (2, 128)  # kept


def test_what_is_kept_is_taken(model, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    first = model.embed(["CCCO", "OCCC", "CCCN"])
    encoded = []
    encode = embedding._encode
    monkeypatch.setattr(
        embedding,
        "_encode",
        lambda e, some, *rest: encoded.extend(d.smiles for d in some) or encode(e, some, *rest),
    )
    second = model.embed(["NCCC", "CCCO", "CCC"])
    assert encoded == ["CCC"]
    assert np.array_equal(second[:2], first[[2, 0]])
    model.embed(["CCCO"], num_conformers=2)  # other settings
    model.embed(["CCCO"], recipe="published")
    torch.manual_seed(1)
    other = MolAE.tiny().embed(["CCCO"])  # other weights
    assert encoded == ["CCC", "CCCO", "CCCO", "CCCO"]
    assert not np.allclose(other, first[:1], atol=1e-3)
    # The same batch as at first: in another one the last bits are others.
    assert np.array_equal(model.embed(["CCCO", "OCCC", "CCCN"], cache=False), first)
    assert encoded == ["CCC", "CCCO", "CCCO", "CCCO", "CCCO", "CCCN"]


def test_many_molecules_come_in_parts(model, monkeypatch):
    monkeypatch.setattr(embedding, "_CHUNK", 3)
    smiles = ["C" * n for n in range(1, 9)]
    whole = model.embed(smiles, cache=False, precision="32-true")
    for row, string in enumerate(smiles):
        alone = model.embed([string], cache=False, precision="32-true")[0]
        assert np.allclose(whole[row], alone, atol=1e-5)


def test_a_single_string_is_an_error(model):
    with pytest.raises(TypeError, match="for one molecule give"):
        model.embed("CCO")


ROWS = ["CCO", "CCN", "CCC"]


@pytest.mark.parametrize(
    "given",
    [
        tuple(ROWS), iter(ROWS), (s for s in ROWS), map(str.strip, ROWS), filter(None, ROWS),
        np.array(ROWS), np.array(ROWS, dtype=object), pd.Series(ROWS, index=[7, 7, 1]),
        dict(enumerate(ROWS)).values(), deque(ROWS),
    ],
    ids=lambda given: type(given).__name__,
)  # fmt: skip
def test_all_rows_of_whatever_has_rows(model, given):
    found = model.embed(given, precision="32-true")
    assert np.allclose(found, model.embed(ROWS, precision="32-true"), atol=1e-6)


def test_what_has_no_clear_rows_is_a_type_error(model, tmp_path):
    (tmp_path / "list.smi").write_text("CCO\nCCN\n")
    with open(tmp_path / "list.smi") as file:
        given = [
            file, "CCO", b"CCO", {"CCO": 1}, set(ROWS), frozenset(ROWS), 3, None, tmp_path,
            pd.DataFrame({"smiles": ROWS}), np.array([ROWS]), np.array("CCO"),
        ]  # fmt: skip
        for smiles in given:
            with pytest.raises(TypeError, match="embed takes"):
                model.embed(smiles)


@pytest.mark.parametrize("row", [None, float("nan"), 7, b"CCO", ["CCO"]])
def test_a_row_that_is_no_string_is_named(model, row):
    with pytest.raises(ValueError, match="row 1: expected a SMILES string, got"):
        model.embed(["CCO", row])


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, None])
def test_batch_size_is_checked_first(model, batch_size):
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1"):
        model.embed(["CCO"], batch_size=batch_size)
    with pytest.raises(ValueError, match="precision must be one of"):
        model.embed(["CCO"], precision="bf16-true", cache=False)


def test_molecules_have_the_vectors_of_their_smiles(model):
    smiles = ["c1ccccc1CCO", "CCO", "CCCCCCC"]
    expected = model.embed(smiles, num_conformers=2, precision="32-true", cache=False)
    made, _ = featurize(smiles, 2, recipe="fast", workers=1)
    for given in (made, tuple(made)):
        for of in (model, model.encoder):
            found = embed(of, given, batch_size=2, precision="32-true")
            assert found.dtype == np.float32
            assert np.allclose(found, expected, atol=1e-5)
    assert np.array_equal(embed(model, smiles, 2, precision="32-true", cache=False), expected)
    one = [Data(z=d.z, pos=d.conformers[:, 0]) for d in made]
    first = embed(model, one, precision="32-true")
    assert np.allclose(first, model.embed(smiles, precision="32-true"), atol=1e-5)


def test_molecules_that_cannot_be_embedded_are_named(model):
    made, _ = featurize(["CCO", "CCN"], 2, workers=1)
    with pytest.raises(ValueError, match="molecule 1 of molecules is a str: give PyG Data"):
        embed(model, [made[0], "CCO"])
    with pytest.raises(ValueError, match="row 1: expected a SMILES string"):
        embed(model, ["CCO", made[0]])
    with pytest.raises(ValueError, match="molecules is one Data"):
        embed(model, made[0])
    made[1].conformers = made[1].conformers[:, :1]
    with pytest.raises(ValueError, match=r"molecule 1 of molecules .* has 1 conformers"):
        embed(model, made)


# ------------------------------------------------------------------------ rows with an error


BAD = ["CCO", "C1CC", None, "CCN", "OCC", "C1CC", 7.0, "CCX"]


def test_rows_that_cannot_be_embedded_are_nan(model):
    with pytest.warns(UserWarning, match="5 of 8 molecules cannot be embedded") as warned:
        found = model.embed(BAD, precision="32-true", on_error="nan")
    (warning,) = [w for w in warned if "cannot be embedded" in str(w.message)]
    assert "row 1: cannot read SMILES 'C1CC'" in str(warning.message)
    assert "row 2: expected a SMILES string, got None" in str(warning.message)
    assert np.isnan(found).all(1).tolist() == [i not in (0, 3, 4) for i in range(8)]
    good = model.embed(["CCO", "CCN", "OCC"], precision="32-true")
    assert np.array_equal(found[[0, 3, 4]], good)
    with pytest.warns(UserWarning, match="2 of 2 molecules cannot be embedded"):
        assert np.isnan(model.embed(["?", None], on_error="nan")).all()


def test_molecules_without_coordinates_are_nan(model, monkeypatch):
    made = embedding.stream

    def lossy(smiles, options):
        for data in made(smiles, options):
            yield ValueError(f"no coordinates for {data.smiles!r}") if "N" in data.smiles else data

    monkeypatch.setattr(embedding, "stream", lossy)
    with pytest.warns(UserWarning, match=r"3 of 5 .*row 1: no coordinates for 'CCN'; row 2: "):
        found = model.embed(["CCS", "NCC", "CCN", "CCP", "CN"], cache=False, on_error="nan")
    assert np.isnan(found).any(1).tolist() == [False, True, True, False, True]


def test_no_warning_without_a_lost_row(model, recwarn):
    assert np.isfinite(model.embed(["CCO"], on_error="nan")).all()
    assert model.embed([], on_error="nan").shape == (0, 128)
    assert not [w for w in recwarn if "embedded" in str(w.message)]


def test_molecules_that_cannot_be_used_are_nan(model):
    made, _ = featurize(["CCO", "CCN", "CCC"], 1, workers=1)
    broken = Data(z=made[0].z, pos=made[0].conformers[:-1, 0])
    given = [made[0], broken, "CCO", made[1], Data(z=made[2].z)]
    with pytest.warns(UserWarning, match=r"3 of 5 .*row 1: pos of molecule 1 .*row 2: .* is a str"):
        found = embed(model, given, precision="32-true", on_error="nan")
    assert np.isnan(found).all(1).tolist() == [False, True, True, False, True]
    assert np.allclose(found[[0, 3]], embed(model, made[:2], precision="32-true"), atol=1e-6)
    with pytest.warns(UserWarning, match="1 of 1 molecules"):
        assert np.isnan(embed(model, [broken], on_error="nan")).all()


def test_what_to_do_with_errors_is_checked_first(model):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'nan', not 'skip'"):
        model.embed(["?"], on_error="skip")
