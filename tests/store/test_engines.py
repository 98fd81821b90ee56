"""Engines: a real Ray cluster on this machine, whose workers are killed."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from readers import deadly, refusing
from stores import num_journalled

from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.records import RecordRefused
from molae_pyg.store import engines, prepare
from molae_pyg.store.engines import RowSettings, make_rows

SMILES = ["CCO", "CN", "C1CC", "CC(=O)O", "c1ccccc1", "CCC", "CCl", "C#N", "CCO", "OO"]
NUMBERED = [*enumerate(SMILES)]
OPTIONS = Options(num_conformers=1)


def made_by(engine: str, read=parse_smiles, workers: int = 2) -> dict:
    """Row number -> row; a row made twice is an error."""
    found = {}
    for number, row in make_rows(iter(NUMBERED), RowSettings(read, OPTIONS), engine, workers):
        assert number not in found
        found[number] = row
    return found


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for number, row in found.items():
        other = expected[number]
        assert row[:3] == other[:3]
        assert (row.z is None) == (other.z is None)
        if row.z is not None:
            assert (row.z == other.z).all()
            assert (row.conformers == other.conformers).all()


@pytest.fixture(scope="module")
def local():
    return made_by("local")


def test_every_row_is_made_once(local):
    assert sorted(local) == list(range(len(SMILES)))
    assert [local[row].smiles for row in range(len(SMILES))] == SMILES
    assert local[2].status == "invalid"


def test_a_bounded_number_of_records_is_taken_ahead(monkeypatch):
    monkeypatch.setattr(engines, "_AHEAD", 2)
    taken = []

    def records():
        for number in range(10):
            taken.append(number)
            yield number, "C1CC"

    made = make_rows(records(), RowSettings(parse_smiles, OPTIONS), "local", 1)
    next(made)
    assert len(taken) == 2
    made.close()


def test_a_refused_record_stops_the_engine():
    with pytest.raises(RecordRefused, match="CCC is refused"):
        made_by("local", refusing)


def test_ray_is_not_needed_otherwise(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs Ray: pip install 'molae_pyg\[ray\]'"):
        made_by("ray")


@pytest.mark.parametrize(
    ("address", "workers", "settings"),
    [
        (None, 3, {"num_cpus": 3, "include_dashboard": False}),
        ("ray://head:10001", 3, {}),  # the cores of a cluster are not ours to set
    ],
)
def test_cluster_of_the_environment_or_of_this_machine(monkeypatch, address, workers, settings):
    calls = []
    fake = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda *args, **kwargs: calls.append((args, kwargs)),
        shutdown=lambda: calls.append("shutdown"),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with engines._ray(workers):
        pass
    assert calls == [((address or "local",), {"logging_level": "WARNING", **settings}), "shutdown"]
    fake.is_initialized = lambda: True  # connected by the caller, and left so
    with engines._ray(workers):
        pass
    assert len(calls) == 2


def children(pid: int) -> list[int]:
    """Linux lists the children of every thread."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text().split()]


def ray_workers() -> list[int]:
    """Returns the Ray workers below this process that make a chunk."""
    found, below = [], [os.getpid()]
    while below:
        pid = below.pop()
        try:
            below += children(pid)
            if b"ray::_make_chunk" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_ray_worker_loses_no_row_and_makes_none_twice(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "CHUNK", 3)
    source = tmp_path / "molecules.smi"
    source.write_text("\n".join(SMILES * 3))
    settings = {"num_conformers": 3, "workers": 2, "progress": False}
    killed, deadline = [], time.monotonic() + 60

    def kill() -> None:
        """Kills one as soon as the first rows are done."""
        while not killed and time.monotonic() < deadline:
            if num_journalled(store):
                for pid in ray_workers()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.01)

    store = tmp_path / "ray"
    killer = threading.Thread(target=kill)
    killer.start()
    report = prepare(source, store, engine="ray", **settings)
    killer.join()
    assert killed
    assert report.counts["failed"] == 0
    prepare(source, tmp_path / "local", **settings)
    for path in sorted((tmp_path / "local").iterdir()):
        assert (store / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_record_that_kills_its_ray_worker_every_time_has_failed(ray, local, monkeypatch):
    monkeypatch.setattr(engines, "CHUNK", 4)
    monkeypatch.setattr(engines, "DEATHS", 2)
    found = made_by("ray", deadly)
    failed = found.pop(SMILES.index("CCC"))
    assert (failed.status, failed.reason) == ("failed", "its Ray worker died, 2 times in a row")
    assert_same(found, {row: local[row] for row in found})
    assert len(found) == len(SMILES) - 1


def test_a_refused_record_stops_ray(ray):
    with pytest.raises(RecordRefused, match="CCC is refused"):
        made_by("ray", refusing)


def test_what_is_tried_when_ray_workers_keep_dying():
    singles = engines._Chunk(NUMBERED[:3]).split()
    assert singles == [([record],) for record in NUMBERED[:3]]
    assert singles[0].split() == []
    ((number, row),) = singles[0].given_up()
    assert (number, row.status) == (0, "failed")
