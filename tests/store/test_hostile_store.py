"""Stores written by hand whose checksums fit: every reader refuses them and names the folder."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from stores import META, files, random_rows, write

from molae_pyg.datasets import ConformerStore, StoreError
from molae_pyg.store.format import DTYPES, NUMPY
from molae_pyg.store.report import report_on
from molae_pyg.store.sources import MoleculeFile

CASES = Path(__file__).parents[1] / "data" / "cases"
ROWS = random_rows(20)
SHARD = "shard-00001.safetensors"  # rows 8 to 15
I32, I64 = np.iinfo(np.int32), np.iinfo(np.int64)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "hostile", ROWS)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    arrays = {}
    for name in DTYPES:
        low, high = (8 + length + offset for offset in header[name]["data_offsets"])
        array = np.frombuffer(content[low:high], NUMPY[header[name]["dtype"]])
        arrays[name] = array.reshape(header[name]["shape"]).copy()
    return arrays


def write_by_hand(folder: Path, arrays: dict[str, np.ndarray], **entry: object) -> None:
    """Replaces a shard by other arrays, and its entry in ``store.json`` by one that fits."""
    header, end, parts = {}, 0, []
    for name, dtype in DTYPES.items():
        array = np.ascontiguousarray(arrays[name], NUMPY[dtype])
        offsets = [end, end + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        end += array.nbytes
        parts.append(array.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    content = b"".join([struct.pack("<Q", len(text)), text, *parts])
    (folder / SHARD).write_bytes(content)
    manifest = json.loads((folder / "store.json").read_text())
    for line in manifest["shards"]:
        if line["name"] == SHARD:
            line |= {"bytes": len(content), "crc32": zlib.crc32(content), **entry}
    (folder / "store.json").write_text(json.dumps(manifest))


def use(folder: Path) -> None:
    """Every reader, one after the other; each must work or raise a StoreError."""
    store = ConformerStore(folder)
    readers = [
        lambda: [store[i] for i in range(len(store))],
        lambda: store.gather(range(len(store)), "first", smiles=True),
        lambda: list(store.rows()),
        store.outcomes,
    ]
    errors = []
    for reader in readers:
        try:
            reader()
        except StoreError as error:
            errors.append(error)
    assert all(folder.name in str(error) for error in errors)
    if errors:
        raise errors[0]


def changed(name: str, place: object, value: object):
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name][place] = value

    return change


HOSTILE = {
    **{
        f"scale {value}": changed("scale", 1, value)
        for value in (np.nan, 0.0, -0.001, np.inf, -np.inf, 3e38)
    },
    **{f"status {code}": changed("status", 0, code) for code in (6, 200, 255)},
    "status without a molecule": changed("status", 1, 2),
    "status with a molecule": changed("status", 5, 0),  # row 13 has none
    "negative start of a SMILES": changed("smiles_start", 1, -5),
    "start of a SMILES outside": changed("smiles_start", 1, 10**6),
    "starts that decrease": changed("smiles_start", slice(1, 3), [9, 2]),
    "SMILES that do not end": changed("smiles_start", -1, I64.max),
    "negative start of a reason": changed("reason_start", 1, -5),
    "reasons that decrease": changed("reason_start", slice(1, 3), [9, 2]),
    "reasons that do not begin": changed("reason_start", 0, 1),
    "reasons that do not end": changed("reason_start", -1, 10**15),
    "row outside": changed("row", -1, 16),
    "row of another shard": changed("row", 0, 7),
    "negative row": changed("row", 0, -1),
    "rows out of order": changed("row", slice(0, 2), [9, 8]),
    "a row twice": changed("row", 1, 8),
    "row that overflows": changed("row", -1, I64.max),
    "no atoms": changed("num_atoms", 0, 0),
    "negative atoms": changed("num_atoms", 0, -1),
    "atoms that overflow": changed("num_atoms", slice(0, 2), [I32.max, I32.max]),
    "conformers that overflow": changed("num_conformers", slice(0, 2), [I32.max, I32.max]),
    "negative conformers": changed("num_conformers", 0, -3),
    "atomic number 0": changed("z", 0, 0),
    "atomic number 119": changed("z", 0, 119),
    "atomic number 255": changed("z", -1, 255),
    "SMILES in no UTF-8": changed("smiles", 0, 255),
    "reason in no UTF-8": changed("reason", 0, 255),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_arrays_that_no_writer_writes(folder, name):
    arrays = arrays_of(folder / SHARD)
    HOSTILE[name](arrays)
    write_by_hand(folder, arrays)
    with pytest.raises(StoreError, match="hostile"):
        use(folder)


def test_what_is_written_by_hand_correctly_is_read(folder):
    before = [data.conformers for data in ConformerStore(folder)]
    write_by_hand(folder, arrays_of(folder / SHARD))
    use(folder)
    after = [data.conformers for data in ConformerStore(folder)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def cut(name: str, size: int):
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = arrays[name][:size]

    return change


@pytest.mark.parametrize("name", DTYPES)
def test_arrays_of_another_length(folder, name):
    for length in (-1, 0):
        arrays = arrays_of(folder / SHARD)
        arrays[name] = arrays[name][:length]
        write_by_hand(folder, arrays)
        with pytest.raises(StoreError, match="hostile"):
            use(folder)


@pytest.mark.parametrize("name", ["status", "reason_start"])
def test_problems_of_a_hostile_store(folder, tmp_path, name):
    """``prepare`` on a complete store counts its rows."""
    source = tmp_path / "a.smi"
    source.write_text("C\n" * 20)
    arrays = arrays_of(folder / SHARD)
    arrays[name][1] = 201
    write_by_hand(folder, arrays)
    with pytest.raises(StoreError, match="hostile"):
        report_on(folder, MoleculeFile(source))


def last(shards: list[dict], **change: object) -> list[dict]:
    return [*shards[:-1], shards[-1] | change]


MANIFESTS = {
    "more rows": lambda m: {"num_rows": 99},
    "fewer rows": lambda m: {"num_rows": 5},
    "very many rows": lambda m: {"num_rows": 10**30},
    "negative rows": lambda m: {"num_rows": -1},
    "rows that are no number": lambda m: {"num_rows": "20"},
    "half a row": lambda m: {"num_rows": 20.0},
    "no rows": lambda m: {"num_rows": None},
    "no shards": lambda m: {"shards": []},
    "a shard less": lambda m: {"shards": m["shards"][1:]},
    "a shard twice": lambda m: {"shards": [*m["shards"], m["shards"][0]]},
    "a shard elsewhere": lambda m: {"shards": last(m["shards"], name="../a.safetensors")},
    "another name": lambda m: {"shards": last(m["shards"], name="2")},
    "a name that is no text": lambda m: {"shards": last(m["shards"], name=2)},
    "rows of a shard": lambda m: {"shards": last(m["shards"], rows=5)},
    "negative molecules": lambda m: {"shards": last(m["shards"], molecules=-1)},
    "more molecules": lambda m: {"shards": last(m["shards"], molecules=10**9)},
    "molecules that are no number": lambda m: {"shards": last(m["shards"], molecules="3")},
    "a checksum that is no number": lambda m: {"shards": last(m["shards"], crc32=None)},
    "shards of no rows": lambda m: {"shard_rows": 0},
    "shards of other rows": lambda m: {"shard_rows": 7},
    "shards of negative rows": lambda m: {"shard_rows": -8},
    "complete is no truth value": lambda m: {"complete": "yes"},
    "shards are no list": lambda m: {"shards": 3},
    "no meta": lambda m: {"shards": None},
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_store_json_that_no_writer_writes(folder, name):
    path = folder / "store.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | MANIFESTS[name](manifest)))
    with pytest.raises(StoreError, match="hostile"):
        use(folder)


def test_store_json_that_is_nested_deeply(folder):
    (folder / "store.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match="hostile"):
        use(folder)


@pytest.mark.parametrize("shape", [[-1], [2.0], [True], ["2"], [[2]], [2, 2], None, 5])
def test_shapes_that_are_invalid(folder, shape):
    path = folder / SHARD
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["status"]["shape"] = shape
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + content[8 + length :]
    path.write_bytes(content)
    manifest = json.loads((folder / "store.json").read_text())
    manifest["shards"][1] |= {"bytes": len(content), "crc32": zlib.crc32(content)}
    (folder / "store.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="hostile"):
        use(folder)


@pytest.mark.parametrize("name", ["store-no-shards", "store-scale-nan", "store-status200"])
def test_cases(name, tmp_path):
    for file, content in files(CASES / name).items():
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).write_bytes(content)
    with pytest.raises(StoreError, match=name):
        use(tmp_path / name)


def test_meta_stays_as_it_was_given(folder):
    assert ConformerStore(folder).meta == META
