"""Vectors of a whole file."""

import gzip
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from sd_files import block, write_sdf
from tiny import tiny_model

from molae_pyg import MolAE, MolAEPredictor, from_smiles
from molae_pyg.chem.graph import mol_graph
from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.rows import Row
from molae_pyg.inference import embed, embed_file, file_rows
from molae_pyg.nn.graph_bias import Graph

module = sys.modules[embed_file.__module__]  # its name is that of the function
SMILES = ["CCO", "C1CC", "c1ccccc1CCO", "", "OCC", "[H]OC", "CCCCCCC", "C"]
BAD = [1, 3]


@pytest.fixture(scope="module")
def model() -> MolAE:
    torch.manual_seed(0)
    return MolAE.tiny().eval()


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", {"molecule": 3, "atom": 3})


@pytest.fixture
def table(tmp_path) -> Path:
    file = tmp_path / "data.csv"
    file.write_text("name,smiles\n" + "".join(f'"a, b",{smiles}\n' for smiles in SMILES))
    return file


def run(model, table, ending: str = ".csv", **settings) -> Path:
    out = table.with_name(f"out{ending}")
    embed_file(model, table, out, precision="32-true", workers=1, **settings)
    return out


def read(file: Path) -> pd.DataFrame:
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    return pd.read_csv(file, keep_default_na=False, na_values={f"x{i}": "" for i in range(128)})


def test_every_row_is_there_in_its_order_with_the_vector_of_embed(model, table):
    report = embed_file(model, table, table.with_name("out.csv"), precision="32-true", workers=1)
    found = read(report.out)
    assert found.columns[:4].tolist() == ["row", "smiles", "molae_status", "molae_reason"]
    assert found.row.tolist() == list(range(8))
    assert found.smiles.tolist() == SMILES
    assert np.flatnonzero(found.molae_status == "invalid").tolist() == BAD
    assert found.molae_reason[1] == "unclosed ring"
    assert (found.molae_status.drop(BAD) == "ok").all()
    x = found.filter(regex="^x").to_numpy()
    assert x.shape == (8, 128)
    assert np.isnan(x[BAD]).all()
    good = [row for row in range(8) if row not in BAD]
    expected = embed(model, [SMILES[row] for row in good], cache=False, precision="32-true")
    assert np.allclose(x[good], expected, atol=1e-5)
    assert report.rows == {"ok": 6, "invalid": 2}
    text = "6 of 8 rows embedded in 128 columns, 2 invalid: see molae_reason"
    assert str(report) == text
    assert list(table.parent.glob("*.tmp")) == []


def test_a_file_without_bad_rows(model, tmp_path):
    (tmp_path / "data.smi").write_text("CCO\nCC\n")
    report = embed_file(model, tmp_path / "data.smi", tmp_path / "out.npz")
    assert str(report) == "2 of 2 rows embedded in 128 columns"


@pytest.mark.parametrize("level", ["molecule", "atom"])
def test_all_formats_hold_the_same(model, table, level):
    csv = read(run(model, table, ".csv", level=level))
    arrays = np.load(run(model, table, ".npz", level=level))
    x = csv.filter(regex="^x").to_numpy(np.float32)
    assert np.allclose(arrays["x"], x, atol=1e-6, equal_nan=True)
    assert arrays["x"].dtype == np.float32
    assert np.flatnonzero(arrays["status"] == "invalid").tolist() == BAD
    assert arrays["reason"][1] == "unclosed ring"
    if level == "atom":
        assert arrays["row"].tolist() == csv.row.tolist()
        assert arrays["element"].tolist() == csv.element.tolist()
        assert arrays["atom"].tolist() == [-1 if a == "" else int(a) for a in csv.atom]
    pytest.importorskip("pyarrow")
    parquet = read(run(model, table, ".parquet", level=level))
    assert parquet.columns.tolist() == csv.columns.tolist()
    assert np.array_equal(parquet.filter(regex="^x").to_numpy(), arrays["x"], equal_nan=True)
    assert parquet.molae_reason.tolist() == csv.molae_reason.tolist()


def test_atoms_are_numbered_as_in_the_smiles(model, tmp_path):
    mol = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    other = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
    table = tmp_path / "data.smi"
    table.write_text(f"{Chem.MolToSmiles(mol)}\n[H]{'OC'}\n{other}\n")
    found = read(run(model, table, level="atom"))
    assert found.columns[:5].tolist() == ["row", "molae_status", "molae_reason", "atom", "element"]
    first, small, second = (part for _, part in found.groupby("row"))
    assert small.element.tolist() == ["O", "C"]
    mols = [Chem.MolFromSmiles(line) for line in table.read_text().split()]
    for part, read_by_rdkit in ((first, mols[0]), (small, mols[1]), (second, mols[2])):
        assert part.atom.astype(int).tolist() == list(range(read_by_rdkit.GetNumAtoms()))
        assert part.element.tolist() == [a.GetSymbol() for a in read_by_rdkit.GetAtoms()]
    match = list(mols[2].GetSubstructMatch(mols[0]))
    x, y = (part.filter(regex="^x").to_numpy() for part in (first, second))
    assert np.allclose(x, y[match], atol=1e-5)
    data = from_smiles(Chem.MolToSmiles(mol), recipe="fast")
    with torch.no_grad():
        expected = model.encoder(data.z, data.pos).x[data.atom_map.argsort()]
    assert np.allclose(x, expected, atol=1e-5)


def test_records_of_an_sd_file_keep_their_coordinates_and_numbers(model, tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("OCCN"))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    with Chem.SDWriter(str(tmp_path / "data.sdf")) as writer:
        writer.write(mol)
    pos = torch.tensor(mol.GetConformer().GetPositions()[:4], dtype=torch.float)
    with torch.no_grad():
        expected = model.encoder(torch.tensor([8, 6, 6, 7]), pos)
    atoms = read(run(model, tmp_path / "data.sdf", level="atom"))
    assert atoms.element.tolist() == ["O", "C", "C", "N"]
    assert np.allclose(atoms.filter(regex="^x"), expected.x, atol=1e-4)  # four decimals in the file
    molecule = read(run(model, tmp_path / "data.sdf", readout="cls"))
    assert np.allclose(molecule.filter(regex="^x"), expected.molecule, atol=1e-4)
    assert molecule.smiles.tolist() == ["NCCO"]


def test_where_coordinates_come_from(tmp_path):
    model = MolAE.from_pretrained("molae-small")  # whose vectors depend on them
    blocks = [block("OCCN"), block("CC(C)CO", "2d"), block("CC(C)CO", "tagged")]
    sdf = write_sdf(tmp_path / "data.sdf", [(text, {}) for text in blocks])
    own = read(run(model, sdf, coordinates="file"))
    assert own.molae_status.tolist() == ["ok", "failed", "failed"]
    assert own.molae_reason[1] == "the record has no 3D coordinates"
    either = read(run(model, sdf))
    assert either.molae_status.tolist() == ["ok"] * 3
    assert "generated" in either.molae_reason[1]
    made = read(run(model, sdf, coordinates="generated"))
    (tmp_path / "data.smi").write_text("NCCO\nCC(C)CO\nCC(C)CO\n")
    expected = read(run(model, tmp_path / "data.smi")).filter(regex="^x")
    assert made.filter(regex="^x").equals(expected)
    first, same = (found.filter(regex="^x")[:1].astype(float) for found in (own, either))
    assert np.allclose(first, same, atol=1e-5)
    assert not np.allclose(first, expected[:1], atol=1e-3)
    with pytest.raises(InputError, match=r"data.smi has no 3D coordinates, .* give an SD file"):
        run(model, tmp_path / "data.smi", coordinates="file")


def test_the_recipe_of_the_model_is_followed(tmp_path):
    model = MolAE.from_pretrained("molae-small")  # whose vectors depend on the conformer
    predictor = MolAEPredictor(model.encoder)
    predictor.recipe = Options(num_conformers=3, remove_hydrogens=False).to_dict()
    (tmp_path / "data.smi").write_text("CCCCO\n")
    atoms = read(run(predictor, tmp_path / "data.smi", level="atom"))
    assert atoms.element.tolist() == [*"CCCCO", *"HHHHHHHHHH"]
    data = from_smiles("CCCCO", num_conformers=3, remove_hydrogens=False)
    with torch.no_grad():
        each = [model.encoder(data.z, pos) for pos in data.conformers.unbind(1)]
    molecule = read(run(predictor, tmp_path / "data.smi", readout="cls"))
    expected = torch.stack([out.molecule for out in each]).mean(0)
    assert np.allclose(molecule.filter(regex="^x"), expected, atol=1e-5)
    one = read(run(predictor, tmp_path / "data.smi", num_conformers=1, readout="cls"))
    assert np.allclose(one.filter(regex="^x"), each[0].molecule, atol=1e-5)
    assert not np.allclose(one.filter(regex="^x"), expected, atol=1e-4)


def test_the_recipe_of_conformers_is_that_of_the_model_or_the_call(tmp_path):
    smiles = "CC(C)Cc1ccc(cc1)C(C)C(=O)O"
    model = MolAE.from_pretrained("molae-small")
    predictor = MolAEPredictor(model.encoder)
    predictor.recipe = Options(1).to_dict()  # without a name, as all before there were others
    (tmp_path / "data.smi").write_text(f"{smiles}\n")
    vectors = {
        name: model.embed([smiles], recipe=name, precision="32-true")  # as that of run
        for name in ("published", "fast", "flat")
    }
    calls = {"published": (predictor, {}), "flat": (predictor, {"recipe": "flat"})}
    calls["fast"] = model, {}  # which has none of its own
    for recipe, (of, settings) in calls.items():
        found = read(run(of, tmp_path / "data.smi", **settings)).filter(regex="^x")
        fits = [name for name in vectors if np.allclose(found, vectors[name], atol=1e-5)]
        assert fits == [recipe]
    with pytest.raises(ValueError, match="unknown recipe 'quick'"):
        run(predictor, tmp_path / "data.smi", recipe="quick")


@pytest.fixture(scope="module")
def graph_model() -> MolAE:
    """A model whose graph channel has an effect."""
    torch.manual_seed(0)
    model = tiny_model(graph=True).eval()
    for weights in model.encoder.graph_bias.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return model


@pytest.mark.parametrize("readout", ["cls", "mean", "cls, mean"])
def test_encoders_with_a_graph_see_it(graph_model, table, readout):
    good = [smiles for row, smiles in enumerate(SMILES) if row not in BAD]
    expected = embed(graph_model, good, cache=False, precision="32-true", readout=readout)
    x = read(run(graph_model, table, readout=readout)).drop(BAD).filter(regex="^x")
    assert np.allclose(x, expected, atol=1e-5)
    data = from_smiles(good[0], recipe="fast")
    with torch.no_grad():
        without = graph_model.encoder(data.z, data.pos)
    without = {"cls": without.molecule, "mean": without.x.mean(0, keepdim=True)}
    without = torch.cat([without[name] for name in readout.split(", ")], dim=1)
    assert not np.allclose(x[:1], without, atol=1e-3)


def test_records_of_an_sd_file_have_their_graph(graph_model, tmp_path):
    mol = Chem.AddHs(Chem.MolFromSmiles("O=C(C)Nc1ccccc1"))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    order = np.random.default_rng(0).permutation(mol.GetNumAtoms()).tolist()
    mol = Chem.RenumberAtoms(mol, order)
    with Chem.SDWriter(str(tmp_path / "data.sdf")) as writer:
        writer.write(mol)
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    (read_back,) = Chem.SDMolSupplier(str(tmp_path / "data.sdf"), removeHs=False)
    bare = Chem.RemoveHs(read_back)
    graph = mol_graph(bare)
    pos = torch.tensor(read_back.GetConformer().GetPositions()[heavy], dtype=torch.float)
    z = torch.tensor([atom.GetAtomicNum() for atom in bare.GetAtoms()])
    ends, kinds = torch.from_numpy(graph.bond_index).long(), torch.from_numpy(graph.bond_type)
    edges, types = torch.cat([ends, ends.flip(0)], 1), torch.cat([kinds, kinds])
    graph = Graph(torch.from_numpy(graph.atom), edges, types)
    with torch.no_grad():
        expected = graph_model.encoder(z, pos, graph=graph)
    atoms = read(run(graph_model, tmp_path / "data.sdf", level="atom"))
    assert atoms.atom.astype(int).tolist() == heavy
    assert np.allclose(atoms.filter(regex="^x"), expected.x, atol=1e-4)
    molecule = read(run(graph_model, tmp_path / "data.sdf", readout="cls"))
    assert np.allclose(molecule.filter(regex="^x"), expected.molecule, atol=1e-4)


def test_a_row_whose_graph_cannot_be_made_has_a_reason(graph_model, tmp_path):
    graph_model.recipe = Options(num_conformers=1, remove_hydrogens=False).to_dict()
    (tmp_path / "data.smi").write_text("CCO\n[H][H]\n")
    found = read(run(graph_model, tmp_path / "data.smi"))
    del graph_model.recipe
    assert found.molae_status.tolist() == ["failed", "ok"]
    assert "with hydrogens removed" in found.molae_reason[0]


def test_the_readout_is_of_molecules(model, table):
    assert read(run(model, table, readout="cls")).filter(regex="^x").shape == (8, 64)
    with pytest.raises(InputError, match="atoms have vectors of their own"):
        run(model, table, level="atom", readout="mean")


def test_the_column_of_a_table_and_a_parquet_file(model, table):
    table.write_text("smiles,product\nbad,CCO\nbad,CC\n")
    found = read(run(model, table, smiles_column="product"))
    assert found.smiles.tolist() == ["CCO", "CC"]
    with pytest.raises(InputError, match="no column"):
        run(model, table, smiles_column="absent")
    (table.parent / "data.smi").write_text("CCO\n")
    with pytest.raises(InputError, match="has no columns"):
        run(model, table.parent / "data.smi", smiles_column="product")
    pytest.importorskip("pyarrow")
    pd.read_csv(table).to_parquet(table.with_suffix(".parquet"))
    other = read(run(model, table.with_suffix(".parquet"), smiles_column="product"))
    pd.testing.assert_frame_equal(other, found)


def test_a_folder_of_parquet_files(model, table):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    for level in ("molecule", "atom"):
        whole = read(run(model, table, ".parquet", level=level))
        report = embed_file(
            model, table, f"{table.parent}/{level}/", level, precision="32-true", workers=1
        )
        assert report.rows == {"ok": 6, "invalid": 2}
        files = sorted((table.parent / level).iterdir())
        assert [file.name for file in files] == [f"part-{n:07}.parquet" for n in range(3)]
        pd.testing.assert_frame_equal(pd.read_parquet(table.parent / level), whole)
        assert not table.with_name(f"{level}.parts").exists()
    with pytest.raises(InputError, match="atom exists: remove it"):
        embed_file(model, table, f"{table.parent}/atom/")


def test_a_packed_table(model, table):
    packed = gzip.decompress(run(model, table, ".csv.gz").read_bytes())
    assert packed == run(model, table).read_bytes()
    with pytest.raises(InputError, match=r"out\.npz\.gz: the name must end in"):
        run(model, table, ".npz.gz")


def test_rows_of_a_part(model, table):
    whole = read(run(model, table, part_rows=8))
    parts = read(run(model, table))
    assert whole.iloc[:, :4].equals(parts.iloc[:, :4])
    assert np.allclose(whole.filter(regex="^x"), parts.filter(regex="^x"), 0, 1e-5, equal_nan=True)
    with pytest.raises(ValueError, match="part_rows must be"):
        run(model, table, part_rows=0)
    with pytest.raises(InputError, match="engine must be one of"):
        run(model, table, engine="cloud")


def test_memory_does_not_grow_with_the_number_of_rows(model, table, monkeypatch):
    carbon = Row("3d", "", "C", np.array([6]), np.zeros((1, 1, 3), np.float32), np.array([0]))
    monkeypatch.setattr(file_rows, "make_row", lambda *_: carbon)
    peaks = []
    for number in (200, 1200):  # 2.4 and 14 MB
        table.write_text("note,smiles\n" + f"{'n' * 12000},C\n" * number)
        tracemalloc.start()
        report = embed_file(
            model, table, table.with_name("out.csv"), workers=1, precision="32-true", part_rows=50
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.rows == {"ok": number}
    assert peaks[1] < 1.2 * peaks[0]


def test_a_damaged_row_is_found_before_the_work(model, table, monkeypatch):
    monkeypatch.setattr(module, "make_parts", None)
    table.write_text(table.read_text() + "a,CC,too many cells\n")
    with pytest.raises(InputError, match=r"row 8 .* has 3 cells, the header 2"):
        run(model, table)
    assert [file.name for file in table.parent.iterdir()] == ["data.csv"]


def test_errors_come_before_the_work(model, table, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"out.xlsx: the name must end in .csv, .npz, .parquet"):
        run(model, table, ".xlsx")
    with pytest.raises(InputError, match="level must be one of molecule, atom, got 'bond'"):
        run(model, table, level="bond")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        embed_file(model, table, tmp_path / "absent" / "out.csv")
    with pytest.raises(FileNotFoundError):
        embed_file(model, tmp_path / "absent.csv", tmp_path / "out.csv")
    (tmp_path / "empty.smi").write_text("\n")
    with pytest.raises(InputError, match="holds no molecule"):
        embed_file(model, tmp_path / "empty.smi", tmp_path / "out.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'molae_pyg\[parquet\]'"):
        run(model, table, ".parquet")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data.csv", "empty.smi"]
