"""Values of atoms by ``molae train`` and ``molae predict``: alignment, folds, intervals, files."""

import csv
import json

import numpy as np
import pytest
from rdkit import Chem
from tiny import RINGS, tiny_model

from molae_pyg.chem.options import InputError
from molae_pyg.cli import main
from molae_pyg.models import AtomPredictor
from molae_pyg.tables.atom_lists import read_atom_table
from molae_pyg.tables.formats import read_cells
from molae_pyg.workflow import AtomModel, FitSettings, FittedModel, fit_atoms
from molae_pyg.workflow.molecules import Molecules

SMILES = [f"{ring}{'C' * length}{end}" for ring in RINGS for length in range(1, 4) for end in "NO"]


def value(atom: Chem.Atom) -> float:
    """A value that depends on the element and on the heavy neighbours."""
    return atom.GetAtomicNum() + sum(a.GetAtomicNum() for a in atom.GetNeighbors()) / 10


def values_of(smiles: str) -> list[float]:
    return [round(value(atom), 4) for atom in Chem.MolFromSmiles(smiles).GetAtoms()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, a table with a missing list, missing values and a bad row, and its model."""
    folder = tmp_path_factory.mktemp("atoms")
    tiny_model().save_pretrained(folder / "w")
    rows = [["smiles", "shell", "batch"]]
    for number, smiles in enumerate(SMILES):
        values = values_of(smiles)
        if number % 5 == 0:
            values[0] = None
        rows.append([smiles, "" if number == 7 else json.dumps(values), "ab"[number % 2]])
    rows.insert(4, ["C1CC", "[1, 2, 3]", "a"])
    with open(folder / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    words = ["train", str(folder / "a.csv"), str(folder / "m"), "--folds", "3"]
    assert main([*words, "--split", "random", "--weights", str(folder / "w")]) == 0
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return FittedModel.load(folder / "m")


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_model_of_atoms_is_loaded_as_one(model):
    assert isinstance(model, AtomModel)
    assert [tuple(target) for target in model.targets] == [("shell", "atom", [])]
    assert len(model.values) == sum(Chem.MolFromSmiles(s).GetNumAtoms() for s in SMILES)


def test_values_are_those_of_their_atoms(model):
    """The atoms of Data are in another order than those of the SMILES."""
    oof = model.oof
    assert (np.diff(oof["atom"]) < 0).sum() > len(SMILES)  # so the order shows
    for _, atom in oof[oof["shell_label"].notna()].iterrows():
        mol = Chem.MolFromSmiles(SMILES[int(atom["row"]) - (atom["row"] > 3)])
        expected = mol.GetAtomWithIdx(int(atom["atom"]))
        assert atom["z"] == expected.GetAtomicNum()
        assert atom["shell_label"] == pytest.approx(value(expected), abs=1e-4)


def test_molecules_are_never_divided_and_held_out_once(model):
    predicted = model._of_molecules(
        model.molecules(Molecules.of(model.smiles), True).molecules
    )  # [F, N, 1]
    for fold in range(3):
        atoms = model.atom_fold == fold
        assert 0 < atoms.sum() < len(atoms)
        np.testing.assert_allclose(
            predicted[fold, atoms], model.predictions["molae"][atoms], atol=1e-3
        )


def test_it_learns_and_says_how_well(folder):
    rows = rows_of(folder / "m" / "metrics.csv")
    whole = {row["model"]: row for row in rows if row["fold"] == "all"}
    assert set(whole) == {"molae", "element-mean", "environment-forest"}
    assert float(whole["molae"]["rmse"]) < 0.5 * float(whole["element-mean"]["rmse"])
    assert 0.8 < float(whole["molae"]["coverage_90"]) <= 1
    assert whole["molae"]["verdict"]
    assert {row["fold"] for row in rows} == {"all", "0", "1", "2"}


def test_every_row_has_lists_in_the_order_of_its_smiles(folder, model):
    given, found = read_cells(folder / "a.csv"), rows_of(folder / "m" / "predictions.csv")
    assert [[row["smiles"], row["shell"], row["batch"]] for row in found] == given.rows
    bad = found.pop(3)
    assert bad["molae_status"] == "invalid"
    assert bad["shell_predicted"] == bad["molae_fold"] == ""
    errors = []
    for smiles, row in zip(SMILES, found, strict=True):
        ends = [json.loads(row[f"shell_{end}"]) for end in ("low", "predicted", "high")]
        assert len(ends[1]) == Chem.MolFromSmiles(smiles).GetNumAtoms()
        assert (np.diff(ends, axis=0) >= 0).all()
        errors += (np.array(ends[1]) - values_of(smiles)).tolist()
    assert np.sqrt(np.square(errors).mean()) < 0.3


def predict(folder, path, *flags, code=0):
    out = path.parent / "out.csv"
    assert main(["predict", str(folder / "m"), str(path), str(out), *flags]) == code
    return rows_of(out)


def test_predictions_of_new_molecules(folder, tmp_path, capsys):
    new = tmp_path / "new.csv"
    values = json.dumps([None, *values_of("OCCc1ccccc1")])
    new.write_text(f'smiles,shell\n[H]OCCc1ccccc1,"{values}"\nC1CC,\nc1ccccc1CCO,\n')
    rows = predict(folder, new, "--strict", code=2)
    written, bad, mirrored = (row["shell_predicted"] for row in rows)
    assert bad == ""
    written, mirrored = json.loads(written), json.loads(mirrored)
    assert written[0] is None  # the hydrogen
    assert len(written) == 10
    np.testing.assert_allclose(mirrored[8], written[1], atol=1e-4)  # the oxygen
    assert rows[0]["molae_similarity"] == "1"
    out = capsys.readouterr()
    assert "Parse Error" not in out.err
    lines = out.out.splitlines()
    assert lines[0].startswith("shell: rmse 0.")
    assert "on 9 atoms; intervals contain" in lines[0]
    assert lines[-1] == "2 of 3 rows predicted, 1 invalid: see molae_reason"


def test_the_order_of_an_sd_file_is_kept(folder, tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("OCCc1ccccc1"))
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    mol = Chem.RenumberAtoms(mol, order)
    with Chem.SDWriter(str(tmp_path / "new.sdf")) as writer:
        writer.write(mol)
    (row,) = predict(folder, tmp_path / "new.sdf")
    found = json.loads(row["shell_predicted"])
    assert len(found) == mol.GetNumAtoms()
    expected = json.loads(predict(folder, _list(tmp_path, "OCCc1ccccc1"))[0]["shell_predicted"])
    for place, source in enumerate(order):
        if source < len(expected):
            assert found[place] == pytest.approx(expected[source], abs=1e-4)
        else:
            assert found[place] is None


def _list(tmp_path, smiles):
    (tmp_path / "new.smi").write_text(f"{smiles}\n")
    return tmp_path / "new.smi"


def test_wider_intervals_hold_more(model):
    narrow, wide = (model.predict(["OCCc1ccccc1"], alpha) for alpha in (0.5, 0.1))
    width = [found["shell_high"][0] - found["shell_low"][0] for found in (narrow, wide)]
    assert (width[0] < width[1]).all()


def test_what_is_for_molecules_says_so(folder, model, tmp_path, capsys):
    with pytest.raises(InputError, match="does not have: use molae predict"):
        model.explain(["CCO"])
    with pytest.raises(InputError, match="whose number differs"):
        model.fold_predict(["CCO"])
    new = str(_list(tmp_path, "CCO"))
    assert main(["explain", str(folder / "m"), new, str(tmp_path / "a.html")]) == 1
    assert "predicts a value of each atom" in capsys.readouterr().err


def train(folder, model, **settings):
    settings = {"folds": 3, "split": "random", "weights": str(folder / "w")} | settings
    table, cells = read_atom_table(folder / "a.csv"), read_cells(folder / "a.csv")
    return fit_atoms(table, model, FitSettings(**settings), cells, "a.csv")


def test_a_killed_run_resumes_with_the_same_predictions(folder, model, tmp_path, monkeypatch):
    from molae_pyg.workflow.atoms import fit as atoms

    whole, calls = atoms.fit_atom_baselines, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(atoms, "fit_atom_baselines", killed)
    with pytest.raises(KeyboardInterrupt):
        train(folder, tmp_path / "m")
    with pytest.raises(InputError, match="has not ended"):
        FittedModel.load(tmp_path / "m")
    train(folder, tmp_path / "m")
    assert len(calls) == 4  # the other folds were kept
    again, first = (place / "m" / "predictions.csv" for place in (tmp_path, folder))
    assert again.read_bytes() == first.read_bytes()
    with pytest.raises(InputError, match="seed"):
        train(folder, tmp_path / "m", seed=1)


def test_one_fold_has_no_intervals(folder, tmp_path):
    found = train(folder, tmp_path / "m", folds=1, features="none").predict(["OCCc1ccccc1"])
    assert np.isnan(found["shell_low"][0]).all()
    assert not np.isnan(found["shell_predicted"][0]).any()


def test_descriptors_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="descriptors are those of molecules"):
        train(folder, tmp_path / "m", features="descriptors")


def test_fine_tuning(folder, tmp_path):
    training = {"epochs": 40, "lr": 5e-3, "patience": 40, "batch_size": 4}
    model = train(folder, tmp_path / "m", frozen=False, training=training)
    saved = AtomPredictor.from_pretrained(tmp_path / "m" / "fold-0" / "finetuned" / "model")
    assert saved.task_names == ["shell"]
    known = ~np.isnan(model.values)
    rmse = {
        name: np.sqrt(np.square(found - model.values)[known].mean())
        for name, found in model.predictions.items()
    }
    assert rmse["molae"] < 0.85 * rmse["element-mean"]  # measured: 0.72
    assert model.predict(["OCCc1ccccc1"])["shell_predicted"][0].shape == (9,)
