"""The official files, made here as their authors make them: one pickled dict a record."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from molae_pyg.chem import from_smiles
from molae_pyg.chem.records import RecordRefused
from molae_pyg.store import ConformerStore, prepare
from molae_pyg.store.sources import official_records, read_official

lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")

GOLDENS = Path(__file__).parents[1] / "data" / "goldens" / "data" / "molecules.npz"
SMILES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
}


def official(name: str, layout: bool = False) -> dict:
    """A record as the official pipeline made it; downstream sets have the 2D layout in it."""
    goldens = np.load(GOLDENS)
    frames = [*goldens[f"{name}/coordinates"]] + [goldens[f"{name}/coordinates_2d"]] * layout
    mol = Chem.AddHs(Chem.MolFromSmiles(SMILES[name]))
    atoms = [atom.GetSymbol() for atom in mol.GetAtoms()]
    coordinates = [frame.astype(np.float32) for frame in frames]
    return {"atoms": atoms, "coordinates": coordinates, "smi": SMILES[name], "mol": mol}


def write(path: Path, contents: list, subdir: bool = False) -> Path:
    environment = lmdb.open(str(path), subdir=subdir, map_size=2**24)
    with environment, environment.begin(write=True) as transaction:
        for number, content in enumerate(contents):
            value = content if isinstance(content, bytes) else pickle.dumps(content, -1)
            transaction.put(str(number).encode("ascii"), value)
    return path


def record(**changes: object) -> tuple[bytes, bytes]:
    content = {"atoms": ["C", "O"], "coordinates": [np.eye(3)[:2] + 1], "smi": "CO"} | changes
    return b"7", pickle.dumps({k: v for k, v in content.items() if v is not None})


@pytest.mark.parametrize("layout", [False, True])
def test_conformers_are_kept_and_the_layout_is_that_of_the_smiles(tmp_path, layout):
    source = write(tmp_path / "train.lmdb", [official(name, layout) for name in SMILES], layout)
    report = prepare(source, tmp_path / "store", workers=1, progress=False)
    assert report.counts["3d"] == report.num_rows == 3
    for data, name in zip(ConformerStore(tmp_path / "store"), SMILES, strict=True):
        heavy = [symbol != "H" for symbol in official(name)["atoms"]]
        frames = np.stack(official(name, layout=True)["coordinates"], axis=1)[heavy]
        assert data.smiles == SMILES[name]
        assert data.conformers.shape == (sum(heavy), 11, 3)
        np.testing.assert_allclose(data.conformers, frames, atol=1e-3)
        # another atom order, as from_smiles makes it canonical
        assert sorted(data.z.tolist()) == sorted(from_smiles(SMILES[name]).z.tolist())


def test_rows_in_the_order_of_the_keys(tmp_path):
    path = write(tmp_path / "some.lmdb", [{}] * 12)
    assert [key for key, _ in official_records(path)][:4] == [b"0", b"1", b"10", b"11"]


def test_damaged_records_are_invalid_rows(tmp_path):
    contents = [record()[1], b"nonsense", record(smi=None)[1], record(atoms=["C"])[1]]
    report = prepare(
        write(tmp_path / "some.lmdb", contents), tmp_path / "store", workers=1, progress=False
    )
    assert report.counts["3d"] == 1
    assert report.counts["invalid"] == 3
    table = report.problems.read_text().splitlines()
    assert table[0] == "row,smiles,status,reason"
    assert [line.split(",")[:3] for line in table[1:]] == [[r, "", "invalid"] for r in "123"]
    assert "record '2': it has no smi" in table[2]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"atoms": None, "smi": None}, "it has no atoms and no smi"),
        ({"atoms": []}, "atoms is no list of elements"),
        ({"atoms": ["C", "Xx"]}, "atoms has 'Xx', which is no element"),
        ({"atoms": ["C", 8]}, "atoms has 8, which is no element"),
        ({"atoms": "CO"}, "atoms is no list"),
        ({"smi": 3}, "smi is no string but a int"),
        ({"coordinates": []}, "coordinates is no list of conformers"),
        ({"coordinates": [np.ones((2, 3)), np.ones((3, 3))]}, r"\[1\] has shape \[3, 3\], exp"),
        ({"coordinates": [[["a", 1, 2], [1, 2, 3]]]}, "expected .2, 3. numbers"),
        ({"coordinates": [np.full((2, 3), np.nan)]}, r"coordinates\[0\] is not finite"),
    ],
)
def test_entries_that_are_missing_or_do_not_fit(changes, reason):
    with pytest.raises(ValueError, match=f"record '7': .*{reason}"):
        read_official(record(**changes))


def test_entries_of_other_types():
    both = np.arange(12.0).reshape(2, 2, 3)
    item = read_official(record(atoms=np.array(["C", "*"]), coordinates=both, y=np.float32(1)))
    assert item.numbers.tolist() == [6, 118]
    assert np.array_equal(item.given, both)
    assert len(read_official(record(coordinates=both[0])).given) == 1
    assert len(read_official(record(coordinates=both.tolist())).given) == 2


def test_flat_conformers_are_the_layout():
    flat, high = np.array([[0.0, 0, 0], [1, 2, 0]]), np.eye(3)[:2] + 1
    item = read_official(record(coordinates=[high, flat]))
    assert np.array_equal(item.given, [high])
    assert np.array_equal(item.layout, flat)
    only = read_official(record(coordinates=[flat]))
    assert (only.given, only.generate) == ((), False)
    assert only.note == "the record has no 3D coordinates"
    ion = read_official(record(atoms=["Na"], coordinates=[np.zeros((1, 3))], smi="[Na+]"))
    assert len(ion.given) == 1  # of one atom nothing else can be expected


class Hostile:
    def __reduce__(self):
        return os.system, (f"touch {os.environ['MARK']}",)


def test_a_hostile_record_stops_the_run_and_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    contents = [record()[1], record(smi=Hostile())[1]]
    path = write(tmp_path / "some.lmdb", contents)
    with pytest.raises(RecordRefused, match=r"record '1' is refused: its pickle names \w+.system"):
        prepare(path, tmp_path / "store", workers=1, progress=False)
    assert not (tmp_path / "mark").exists()


def test_what_is_no_lmdb_file(tmp_path, monkeypatch):
    path = tmp_path / "some.lmdb"
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(ValueError, match=r"some.lmdb cannot be read as an LMDB file"):
        next(official_records(path))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'molae_pyg\[lmdb\]'"):
        next(official_records(path))
