"""Stores that are unfinished, damaged or of another version: what is noticed, and when."""

import json

import numpy as np
import pytest
from stores import META, random_rows, with_molecule, write

from molae_pyg.datasets import ConformerStore, StoreError, StoreWriter

ROWS = random_rows(30)
MOLECULES = with_molecule(ROWS)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, ROWS)


def test_a_shard_that_becomes_shorter(folder):
    store = ConformerStore(folder)
    store.gather([23])
    (folder / "shard-00003.safetensors").write_bytes(b"")
    with pytest.raises(StoreError, match="a shard has become shorter"):
        store.gather([0, 23])
    with pytest.raises(StoreError, match=r"shard-00003\.safetensors has become shorter"):
        store[23]


def test_unfinished(tmp_path):
    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS[:10]:
            writer.add(*row)
    with pytest.raises(StoreError, match=r"is not complete.*run the same `molae prepare` again"):
        ConformerStore(tmp_path)
    with pytest.raises(StoreError, match=r"is not a conformer store, it has no store\.json"):
        ConformerStore(tmp_path / "elsewhere")


def test_missing_and_truncated_shards_are_named_on_opening(folder):
    path = folder / "shard-00002.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    with pytest.raises(StoreError, match=r"shard-00002\.safetensors is 100 bytes long"):
        ConformerStore(folder)
    path.unlink()
    with pytest.raises(StoreError, match=r"shard-00002\.safetensors is missing"):
        ConformerStore(folder)


def test_a_changed_byte_is_found_when_its_shard_is_used(folder):
    path = folder / "shard-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the last reason, or the last atom
    path.write_bytes(content)
    store = ConformerStore(folder)
    store.gather([0, 1])
    last = int(np.searchsorted([row.row for row in MOLECULES], 15))
    for use in (
        lambda: store.gather([0, last]),
        lambda: store[last],
        lambda: list(store.rows()),
        store.outcomes,
        store.verify,
    ):
        with pytest.raises(StoreError, match=r"shard-00001\.safetensors is damaged"):
            use()
    ConformerStore(folder, verify=False).gather([last])


def test_sizes_that_do_not_fit_are_found_on_opening(folder):
    path = folder / "shard-00000.safetensors"
    content = bytearray(path.read_bytes())
    sizes = np.array([len(row.z) for row in MOLECULES if row.row < 8], "<i4").tobytes()
    content[content.index(sizes)] += 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"shard-00000\.safetensors is damaged \(its sizes"):
        ConformerStore(folder, verify=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "is a conformer store of version 2, .* version 1: update molae_pyg"),
        ({"format": "cheese"}, "is damaged or belongs to something else"),
        ({"shards": [{"name": "a"}]}, "is damaged or belongs to something else"),
    ],
)
def test_another_store_json(folder, change, message):
    path = folder / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreError, match=message):
        ConformerStore(folder)
    path.write_text(path.read_text()[:50])
    with pytest.raises(StoreError, match="is damaged or belongs to something else"):
        ConformerStore(folder)
