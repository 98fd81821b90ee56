"""Stores and molecules of a varied input are, byte for byte, those of an earlier version.

The goldens were recorded by this file with the code of commit b9a0fed, whose engine for stores was
not that for molecules in memory::

    PYTHONPATH=<checkout of b9a0fed> python tests/datasets/test_golden_stores.py
"""

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from rdkit import rdBase

from molae_pyg.chem import featurize, from_sdf, from_smiles
from molae_pyg.datasets import ConformerStore, MoleculeTable, prepare

FOLDER = Path(__file__).parents[1] / "data" / "goldens" / "stores"
GOLDEN = FOLDER / "golden.json"
OLD_STORE = FOLDER / "old"

#: Name of a store -> input file, settings.
STORES = {
    "default": ("molecules.smi", {"num_conformers": 3, "shard_rows": 8}),
    "hydrogens": (
        "molecules.smi",
        {"num_conformers": 2, "add_2d": False, "remove_hydrogens": False, "seed": 5},
    ),
    "flat and cropped": ("molecules.smi", {"num_conformers": 0, "max_atoms": 3}),
    "excluded": ("molecules.smi", {"num_conformers": 1, "exclude": "excluded.smi"}),
    "table": ("molecules.csv", {"num_conformers": 1, "max_atoms": 2}),
    "sdf": ("molecules.sdf", {"remove_hydrogens": False}),
    "sdf, two": ("molecules.sdf", {"num_conformers": 2, "add_2d": False, "max_atoms": 4}),
}
SMILES = [
    *("CCO", "OCC", "C1CC", None, " CN ", "[2H]O[2H]", "[H][H]", "*C[Pt]", "C1#CC1", "CCO"),
    *("CC[C@H](C)[C@@H](N)C(=O)O", "C[#119]", "", "O" * 60),
]
Y = [float(row) for row in range(len(SMILES))]
FEATURIZED = [
    {},
    {"num_conformers": 2, "add_2d": True, "remove_hydrogens": False, "canonical": False},
    {"num_conformers": 0, "add_2d": True, "max_atoms": 2, "seed": 3},
]
TABLES = [
    {"num_conformers": 2},
    {"num_conformers": 0, "max_atoms": 3},
    {"num_conformers": 1, "add_2d": False, "seed": 2, "max_atoms": 5},
]

same_rdkit = pytest.mark.skipif(
    GOLDEN.exists() and json.loads(GOLDEN.read_text())["rdkit"] != rdBase.rdkitVersion,
    reason="the goldens are of another version of RDKit, whose conformers differ",
)


def store_of(name: str, folder: Path) -> Path:
    source, settings = STORES[name]
    if "exclude" in settings:
        settings = {**settings, "exclude": FOLDER / settings["exclude"]}
    prepare(FOLDER / source, folder / "store", workers=1, progress=False, **settings)
    return folder / "store"


def checksums(store: Path) -> dict[str, str]:
    files = sorted(path for path in store.iterdir() if path.name != "lock")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def digest(data) -> str:
    """A checksum of everything that a ``Data`` holds, with names and types."""
    found = hashlib.sha256()
    for key, value in sorted(data.to_dict().items()):
        if torch.is_tensor(value):
            value = value.numpy()
            found.update(f"{key} {value.dtype} {value.shape}".encode() + value.tobytes())
        else:
            found.update(f"{key} {value!r}".encode())
    return found.hexdigest()


def featurized(settings: dict) -> dict:
    data, report = featurize(SMILES, on_error="skip", workers=1, progress=False, **settings)
    alone = [from_smiles(SMILES[row], **settings) for row in report.kept]
    assert [digest(one) for one in alone] == [digest(one) for one in data]
    return {
        "items": [digest(one) for one in data],
        "outcomes": report.outcomes,
        "reasons": report.reasons,
    }


def table(settings: dict, root: Path | None) -> MoleculeTable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MoleculeTable(SMILES, Y, root=root, workers=1, **settings)


def of_sdf(settings: dict) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = from_sdf(FOLDER / "molecules.sdf", on_error="skip", **settings)
    return [digest(data) for data in records]


def items_of(dataset: MoleculeTable) -> list[str]:
    return [digest(data) for data in dataset]


def record() -> None:
    found = {"rdkit": rdBase.rdkitVersion, "stores": {}}
    for name in STORES:
        with TemporaryDirectory() as folder:
            store = store_of(name, Path(folder))
            found["stores"][name] = checksums(store)
            if name == "default":
                shutil.copytree(store, OLD_STORE, ignore=shutil.ignore_patterns("lock"))
                molecules = [digest(data) for data in ConformerStore(store)]
                found["old"] = {
                    "items": molecules,
                    "rows": [*map(list, ConformerStore(store).rows())],
                }
    found["featurized"] = [featurized(settings) for settings in FEATURIZED]
    found["sdf"] = [of_sdf({"num_conformers": 2, "add_2d": True}), of_sdf({})]
    found["tables"] = []
    for settings in TABLES:
        with TemporaryDirectory() as folder:
            found["tables"].append(items_of(table(settings, Path(folder))))
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")


@pytest.fixture(scope="module")
def golden() -> dict:
    return json.loads(GOLDEN.read_text())


@same_rdkit
@pytest.mark.parametrize("name", STORES)
def test_new_stores_are_those_of_the_earlier_version(golden, name, tmp_path):
    assert checksums(store_of(name, tmp_path)) == golden["stores"][name]


def test_an_earlier_store_is_read(golden):
    store = ConformerStore(OLD_STORE)
    assert [digest(data) for data in store] == golden["old"]["items"]
    assert [[*row] for row in store.rows()] == golden["old"]["rows"]


@same_rdkit
@pytest.mark.parametrize("number", range(len(FEATURIZED)))
def test_molecules_in_memory_are_those_of_the_earlier_version(golden, number):
    assert featurized(FEATURIZED[number]) == golden["featurized"][number]


@same_rdkit
def test_molecules_of_an_sd_file_are_those_of_the_earlier_version(golden):
    assert [of_sdf({"num_conformers": 2, "add_2d": True}), of_sdf({})] == golden["sdf"]


@same_rdkit
@pytest.mark.parametrize("number", range(len(TABLES)))
def test_stored_tables_are_those_of_the_earlier_version(golden, number, tmp_path):
    assert items_of(table(TABLES[number], tmp_path)) == golden["tables"][number]


if __name__ == "__main__":
    record()
