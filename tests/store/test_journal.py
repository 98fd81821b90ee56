"""The log of unfinished rows: what a crash leaves of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stores import random_rows

from molae_pyg.store.journal import Journal, make_record, to_units

ROWS = random_rows(10)
SHORT = random_rows(4)  # the last without a molecule


def fill(path, rows=ROWS) -> list[int]:
    """Writes rows and returns the length of the file after each."""
    journal = Journal(path, 0, 10)
    ends = []
    for row in rows:
        journal.append(make_record(*row))
        ends.append(path.stat().st_size)
    journal.close()
    return ends


def assert_same(records, rows):
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        wanted = make_record(*row)
        assert record._replace(z=None, pos=None, scale=None) == wanted._replace(
            z=None, pos=None, scale=None
        )
        assert record.scale == np.float32(wanted.scale)
        assert np.array_equal(record.z, wanted.z)
        assert np.array_equal(record.pos, wanted.pos)


def test_rows_come_back_in_order(tmp_path):
    fill(tmp_path / "a", [ROWS[i] for i in (7, 2, 9, 0, 3)])
    journal = Journal(tmp_path / "a", 0, 10)
    assert np.flatnonzero(journal.done).tolist() == [0, 2, 3, 7, 9]
    assert journal.count == 5
    assert_same(journal.records(), [ROWS[i] for i in (0, 2, 3, 7, 9)])
    journal.delete()
    assert not (tmp_path / "a").exists()


def test_every_torn_end_is_cut_off(tmp_path):
    path = tmp_path / "a"
    ends = [0, *fill(path, SHORT)]
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        journal = Journal(path, 0, 4)
        whole = sum(end <= size for end in ends) - 1
        assert journal.count == whole
        assert path.stat().st_size == ends[whole]
        journal.close()
    journal = Journal(path, 0, 4)  # one row short now
    journal.append(make_record(*SHORT[3]))
    assert path.read_bytes() == content


def test_what_follows_a_damaged_row_is_made_anew(tmp_path):
    path = tmp_path / "a"
    ends = fill(path)
    content = bytearray(path.read_bytes())
    content[ends[3] + 20] ^= 1
    path.write_bytes(content)
    assert Journal(path, 0, 10).count == 4
    assert path.stat().st_size == ends[3]


def test_rows_of_another_range_are_no_rows(tmp_path):
    fill(tmp_path / "a")
    assert Journal(tmp_path / "a", 100, 10).count == 0


def test_a_failed_write_leaves_no_part_of_a_row(tmp_path):
    class FullDisk:
        def __init__(self, file):
            self.file, self.truncate, self.close = file, file.truncate, file.close

        def write(self, frame):
            return self.file.write(frame[:10])

    path = tmp_path / "a"
    ends = fill(path, ROWS[:2])
    journal = Journal(path, 0, 10)
    journal._file = FullDisk(journal._file)
    with pytest.raises(OSError, match="part of a row only"):
        journal.append(make_record(*ROWS[2]))
    assert path.stat().st_size == ends[1]
    assert not journal.done[2]


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.just(3)),
        elements=st.floats(-1e6, 1e6),
    )
)
def test_units(conformers):
    units, scale = to_units(conformers)
    n, k, _ = conformers.shape
    back = (units.astype(np.float32) * np.float32(scale)).reshape(k, n, 3).transpose(1, 0, 2)
    reach = np.abs(conformers).max()
    assert scale == np.float32(0.001) or reach > 32.767
    assert scale <= max(0.00100001, reach / 32767 * 1.000001)
    assert np.abs(back - conformers).max() <= scale / 2 + 1e-6 * reach
