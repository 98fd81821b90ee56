"""The file of a shard: what the safetensors package reads, and damage."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from stores import random_rows

from molae_pyg.chem.featurizer import OUTCOMES
from molae_pyg.store.format import (
    DTYPES,
    STATUSES,
    STORED,
    StoreError,
    make_record,
    to_arrays,
)
from molae_pyg.store.shard import Shard, write_shard

NAME = "shard-00000.safetensors"


def arrays(num_rows: int = 20) -> dict[str, np.ndarray]:
    return to_arrays([make_record(*row) for row in random_rows(num_rows)])


def test_the_safetensors_package_reads_it(tmp_path):
    written = arrays()
    entry = write_shard(tmp_path / NAME, written)
    read = load_file(tmp_path / NAME)
    assert set(read) == set(DTYPES) == set(written)
    for name, values in written.items():
        assert read[name].dtype == values.dtype, name
        assert np.array_equal(read[name], values), name
    with safe_open(tmp_path / NAME, "np") as file:
        assert file.metadata() == {"format": "molae_pyg.store"}
    assert entry.bytes == (tmp_path / NAME).stat().st_size
    assert (entry.rows, entry.molecules, entry.atoms) == (20, 16, len(written["z"]))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]  # no temporary file stays


@pytest.mark.parametrize("num_rows", [0, 4, 20])
def test_arrays_and_parts_are_what_was_written(tmp_path, num_rows):
    written = arrays(num_rows)
    shard = Shard(tmp_path, write_shard(tmp_path / NAME, written), verify=True)
    for name, values in written.items():
        assert np.array_equal(shard.read(name), values), name
        assert shard.length(name) == len(values)
        assert shard.start(name) % values.itemsize == 0  # aligned
        for low, high in ((0, len(values)), (len(values) // 3, len(values) // 2)):
            part = shard.part(name, low, high)
            assert np.array_equal(part, values[low:high]), name
            assert part.dtype == values.dtype
            assert part.shape == values[low:high].shape


def test_a_shard_that_becomes_shorter(tmp_path):
    shard = Shard(tmp_path, write_shard(tmp_path / NAME, arrays()), verify=True)
    shard.fileno()
    (tmp_path / NAME).write_bytes(b"")
    with pytest.raises(StoreError, match=f"{NAME} has become shorter while it was read"):
        shard.part("pos", 0, 1)


def test_codes_are_part_of_the_format():
    assert STATUSES[:6] == ("3d", "2d", "failed", "invalid", "timed out", "excluded")
    assert set(OUTCOMES) <= set(STATUSES)
    assert STATUSES[:2] == STORED


def test_missing_and_truncated(tmp_path):
    path = tmp_path / NAME
    entry = write_shard(path, arrays())
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(StoreError, match=f"{NAME} is {len(content) - 1} bytes long instead of"):
        Shard(tmp_path, entry, verify=False)
    path.unlink()
    with pytest.raises(StoreError, match=f"{NAME} is missing: copy this file again"):
        Shard(tmp_path, entry, verify=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"row"', b'"raw"'),
        (b'{"__', b'["__'),
        (b'"I16"', b'"F16"'),
        (b'"data_offsets":[0,', b'"data_offsets":[8,'),
    ],
)
def test_damaged_header(tmp_path, old, new):
    path = tmp_path / NAME
    entry = write_shard(path, arrays())
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(StoreError, match="has a damaged header"):
        Shard(tmp_path, entry, verify=True)


def test_absurd_header_length(tmp_path):
    path = tmp_path / NAME
    entry = write_shard(path, arrays())
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    with pytest.raises(StoreError, match="has a damaged header"):
        Shard(tmp_path, entry, verify=True)


def test_a_changed_byte_is_found_before_the_first_part(tmp_path):
    path = tmp_path / NAME
    entry = write_shard(path, arrays())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    shard = Shard(tmp_path, entry, verify=True)
    with pytest.raises(StoreError, match=f"{NAME} is damaged"):
        shard.part("z", 0, 1)
    with pytest.raises(StoreError, match="is damaged"):  # again, not only once
        shard.part("z", 0, 1)
    Shard(tmp_path, entry, verify=False).part("z", 0, 1)
