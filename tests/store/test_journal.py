"""The rows that are not sealed yet: order, damage, full disks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stores import random_rows

from molae_pyg.store.format import StoreError, make_record, to_units
from molae_pyg.store.journal import NAME, Journal, delete_journal

ROWS = random_rows(10)
RECORDS = [make_record(*row) for row in ROWS]


def fill(folder, rows=range(10)) -> None:
    journal = Journal(folder, 10)
    for row in rows:
        journal.add([RECORDS[row]])
    journal.close()


def assert_same(records, rows):
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        wanted = make_record(*row)
        assert record._replace(z=None, pos=None) == wanted._replace(z=None, pos=None)
        assert np.array_equal(record.z, wanted.z)
        assert np.array_equal(record.pos, wanted.pos)


def test_rows_come_back_in_order(tmp_path):
    fill(tmp_path, (7, 2, 9, 0, 3))
    journal = Journal(tmp_path, 10)
    assert np.flatnonzero(journal.done[0]).tolist() == [0, 2, 3, 7, 9]
    assert [row in journal for row in (0, 1, 9, 10)] == [True, False, True, False]
    assert journal.count(0) == journal.num_rows == 5
    assert_same(journal.records(0), [ROWS[i] for i in (0, 2, 3, 7, 9)])
    journal.close()
    delete_journal(tmp_path)
    assert not list(tmp_path.iterdir())


def test_rows_of_several_shards(tmp_path):
    journal = Journal(tmp_path, 4)
    journal.add(RECORDS)
    assert [journal.count(number) for number in range(4)] == [4, 4, 2, 0]
    assert_same(journal.records(1), ROWS[4:8])
    journal.remove(1)
    assert journal.num_rows == 6
    assert 5 not in journal
    journal.close()
    journal = Journal(tmp_path, 4)
    assert sorted(journal.done) == [0, 2]
    assert_same(journal.records(2), ROWS[8:])
    journal.close()


def test_a_row_that_is_added_again_replaces_the_first(tmp_path):
    """As after Ctrl-C between the commit and the return."""
    journal = Journal(tmp_path, 10)
    for row in (ROWS[0], ROWS[1]._replace(row=0)):
        journal.add([make_record(*row)])
    assert journal.count(0) == 1
    assert_same(journal.records(0), [ROWS[1]._replace(row=0)])
    journal.close()


def damage(path, rows) -> None:
    content = bytearray(path.read_bytes())
    for row in rows:
        content[content.index(RECORDS[row].pos.tobytes()) + 5] ^= 1
    path.write_bytes(content)


def test_damaged_rows_are_made_anew(tmp_path):
    fill(tmp_path)
    damage(tmp_path / NAME, (4, 7))
    journal = Journal(tmp_path, 10)
    assert np.flatnonzero(~journal.done[0]).tolist() == [4, 7]
    journal.add([RECORDS[4], RECORDS[7]])
    assert_same(journal.records(0), ROWS)
    journal.close()


def test_rows_that_are_damaged_while_the_journal_is_open(tmp_path):
    fill(tmp_path)
    journal = Journal(tmp_path, 10)
    with journal._database:
        journal._database.execute("UPDATE rows SET pos = zeroblob(6) WHERE row = 4")
    with pytest.raises(StoreError, match=r"journal\.sqlite is damaged: run again, which makes"):
        journal.records(0)
    journal.close()
    journal = Journal(tmp_path, 10)
    assert journal.count(0) == 9
    journal.close()


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_goes_unnoticed(tmp_path, seed):
    """Rows are those that were added, or are made anew, or a StoreError names the file."""
    fill(tmp_path)
    rng, path = np.random.default_rng(seed), tmp_path / NAME
    content = bytearray(path.read_bytes())
    if seed % 2:
        for place in rng.integers(0, len(content), 20):
            content[place] ^= int(rng.integers(1, 256))
    else:
        del content[int(rng.integers(len(content))) :]
    path.write_bytes(content)
    try:
        journal = Journal(tmp_path, 10)
        assert set(journal.done) <= {0}
        if journal.num_rows:
            assert_same(journal.records(0), [row for row in ROWS if row.row in journal])
        journal.close()
    except StoreError as error:
        assert str(path) in str(error)  # noqa: PT017, either is right
        assert "run again" in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_file_that_is_not_a_database(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    message = r"journal\.sqlite is damaged: delete it and run again, which makes the rows"
    with pytest.raises(StoreError, match=message):
        Journal(tmp_path, 10)


def test_a_full_disk_loses_no_row(tmp_path):
    journal = Journal(tmp_path, 10)
    journal.add(RECORDS[:2])
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(
        StoreError, match=r"journal\.sqlite cannot be .* free some space .* is full"
    ):
        journal.add([RECORDS[2]._replace(reason=bytes(100_000))])
    assert 2 not in journal
    journal.close()
    journal = Journal(tmp_path, 10)
    assert_same(journal.records(0), ROWS[:2])
    journal.add([RECORDS[2]])
    assert_same(journal.records(0), ROWS[:3])
    journal.close()


def test_several_rows_are_added_together_or_not_at_all(tmp_path):
    journal = Journal(tmp_path, 10)

    def records():
        yield from RECORDS[:3]
        raise RuntimeError("the source ends")

    with pytest.raises(RuntimeError, match="the source ends"):
        journal.add(records())
    journal.close()
    assert Journal(tmp_path, 10).num_rows == 0


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
