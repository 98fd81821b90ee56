import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem

from molae_pyg.chem import (
    conformers,
    featurize,
    from_mol,
    from_smiles,
    rows,
    worker,
    workers,
)
from molae_pyg.chem.conformers import Request, generate, layout_2d
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.rows import Row, row_in, row_of
from molae_pyg.chem.workers import WorkerPool

CHIRAL = "CC[C@H](C)[C@@H](N)C(=O)O"


def program(body: str) -> str:
    """A worker whose ``generate`` is replaced by the given function body."""
    head = "import os, time\nfrom molae_pyg.chem import records, worker\n"
    head += "from molae_pyg.chem.conformers import generate\ndef replaced(mol, request):\n"
    return head + textwrap.indent(body, "    ") + "\nrecords.generate = replaced\nworker.serve()"


def rows_of(pool: WorkerPool, *smiles: str, **settings) -> list[Row]:
    options = Options(remove_hydrogens=False, **settings)
    jobs = [pool.apply(row_in, parse_smiles(text), options) for text in smiles]
    return [job.result() for job in jobs]


def made_here(smiles: str, request: Request) -> np.ndarray:
    """Conformers and layout ``[n, K + 1, 3]`` of a molecule, made in this process."""
    mol = parse_smiles(smiles).mol
    conformers = [message.value for message in generate(mol, request)]
    return np.stack([*conformers, layout_2d(mol)], axis=1)


def test_a_worker_gives_what_this_process_gives():
    settings = {"num_conformers": 2, "seed": 4, "add_2d": True}
    with WorkerPool(2) as pool:
        remote = rows_of(pool, CHIRAL, "CCO", "*CC", CHIRAL, **settings)
    local = made_here(CHIRAL, Request(count=2, seed=4))
    for row in (remote[0], remote[3]):
        assert np.array_equal(row.conformers, local)
    assert remote[2].reason == "no force field parameters: ETKDG geometry as it is"


def test_no_conformer_is_made_in_this_process(monkeypatch):
    local = made_here("CCO", Request())
    for name in ("EmbedMolecule", "EmbedMultipleConfs"):
        monkeypatch.setattr(conformers.rdDistGeom, name, None)
    row = row_of(parse_smiles("CCO"), Options(1, remove_hydrogens=False))
    assert np.array_equal(row.conformers, local[:, :1])


def test_a_late_process_is_killed_and_what_was_made_is_kept(monkeypatch):
    body = "for message in generate(mol, request):\n    yield message\n    time.sleep(1000)"
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    with WorkerPool(1) as pool:
        (row,) = rows_of(pool, "CCO", num_conformers=5, time_limit=0.1, add_2d=True)
    assert row.status == "3d"
    assert row.num_distinct == 1
    assert not row.conformers[:, 5, 2].any()  # the layout, by a second process
    assert row.reason == "time limit reached; 1 of 5 conformers"


def test_a_late_process_that_made_nothing_gives_the_layout(monkeypatch):
    monkeypatch.setattr(worker, "GRACE", 0.2)
    monkeypatch.setattr(worker, "_PROGRAM", program("time.sleep(1000)\nyield"))
    with WorkerPool(1) as pool:
        (row,) = rows_of(pool, "CCO", time_limit=0.1)
    assert (row.status, row.reason) == ("2d", "time limit reached")


def test_a_late_layout_too_is_a_failure(monkeypatch):
    monkeypatch.setattr(worker, "GRACE", 0.2)
    hang = "\nrecords.lay_out = lambda molecule: time.sleep(1000)\nworker.serve()"
    code = program("time.sleep(1000)\nyield").replace("\nworker.serve()", hang)
    monkeypatch.setattr(worker, "_PROGRAM", code)
    with WorkerPool(1) as pool:
        (row,) = rows_of(pool, "CCO", time_limit=0.1)
    assert row.status == "timed out"
    assert row.reason == "time limit reached; no time for the 2D layout"


def test_death_is_reported_and_the_next_job_runs(monkeypatch):
    body = "if mol.GetNumAtoms() == 9: os._exit(7)\nyield from generate(mol, request)"
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    with WorkerPool(1) as pool:
        dead, alive = rows_of(pool, "CCO", "CO")
    assert dead.status == "2d"
    assert dead.reason == "the conformer process died twice (exit code 7)"
    assert alive.status == "3d"


ONCE = """
if not os.path.exists({marker!r}):
    open({marker!r}, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def once(marker: Path) -> str:
    """Code that kills its process the first time that it runs, as want of memory would."""
    return ONCE.format(marker=str(marker))


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_molecule_whose_process_is_killed_is_tried_once_more(monkeypatch, tmp_path):
    body = "import signal" + once(tmp_path / "a") + "yield from generate(mol, request)"
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    with WorkerPool(1) as pool:
        (row,) = rows_of(pool, "CCO", num_conformers=2, add_2d=True)
    assert np.array_equal(row.conformers, made_here("CCO", Request(2)))
    assert row.reason == ""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_process_killed_while_it_starts_is_started_again(monkeypatch, tmp_path):
    start = "import os, signal" + once(tmp_path / "a")
    monkeypatch.setattr(worker, "_PROGRAM", start + program("yield from generate(mol, request)"))
    with WorkerPool(1) as pool:
        assert rows_of(pool, "CO")[0].reason == ""
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(worker, "_PROGRAM", killed)
    with WorkerPool(1) as pool, pytest.raises(ChildProcessError, match="killed 3 times"):
        rows_of(pool, "CO")


@pytest.fixture
def own_worker(monkeypatch):
    """A program for the worker of this process, which is not kept for other tests."""
    monkeypatch.setattr(workers, "_spare", spare := [])
    monkeypatch.setattr(worker, "GRACE", 0.2)

    def use(code: str) -> None:
        head = "import time\nfrom molae_pyg.chem import conformers, parsing, worker\n"
        monkeypatch.setattr(worker, "_PROGRAM", f"{head}{code}\nworker.serve()")

    yield use
    for each in spare:
        each.discard()


def test_the_layout_has_the_time_limit_too(own_worker):
    own_worker("conformers.rdDepictor.Compute2DCoords = lambda mol: time.sleep(1000)")
    began = time.monotonic()
    with pytest.raises(ValueError, match="no coordinates for 'CCO': no time for the 2D layout"):
        from_smiles("CCO", 0, add_2d=True, time_limit=0.5)
    data = from_smiles("CCO", 1, add_2d=True, time_limit=5)
    assert (data.status, data.reason) == ("3d", "no time for the 2D layout")
    assert torch.equal(data.conformers[:, 1], data.conformers[:, 0])
    _, report = featurize(["CCO"], 0, True, time_limit=0.5, on_error="skip", workers=1)
    assert (report.outcomes, report.reasons) == (["failed"], ["no time for the 2D layout"])
    assert time.monotonic() - began < 100
    mol = Chem.AddHs(Chem.MolFromSmiles("CO"))
    conformers.rdDistGeom.EmbedMolecule(mol)
    assert from_mol(mol, 1, add_2d=True, time_limit=0.5).reason == "no time for the 2D layout"


def test_long_strings_are_read_under_the_clock(own_worker):
    own_worker("parsing.parse_smiles = lambda *args: time.sleep(1000)")
    long = "C" * (rows.LONG + 1)
    for call in (from_smiles, lambda *args, **kwargs: featurize([long], *args[1:], **kwargs)):
        with pytest.raises(ValueError, match="time limit reached while reading the SMILES"):
            call(long, time_limit=0.5)


def test_long_strings_are_read_as_short_ones_are(monkeypatch):
    smiles = "C[C@H](N)C(=O)O.[2H]OC/C=C/[CH3:1]"
    short = [from_smiles(smiles, 1, True, canonical=c, seed=2) for c in (True, False)]
    monkeypatch.setattr(rows, "LONG", 3)
    for data, canonical in zip(short, (True, False), strict=True):
        long = from_smiles(smiles, 1, True, canonical=canonical, seed=2)
        assert long.to_dict().keys() == data.to_dict().keys()
        for key, value in data.to_dict().items():
            same = torch.equal(value, long[key]) if torch.is_tensor(value) else value == long[key]
            assert same, key
    for bad in ("C1CCCC", "C[#119]", "[CH255]"):
        with pytest.raises(ValueError, match="cannot read SMILES"):
            from_smiles(bad)


def test_prints_in_a_worker_do_not_mix_with_results(monkeypatch):
    body = "print('noise', flush=True)\nyield from generate(mol, request)"
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    with WorkerPool(1) as pool:
        assert rows_of(pool, "CO")[0].status == "3d"


def test_a_worker_that_cannot_start_is_an_error(monkeypatch):
    monkeypatch.setattr(worker, "_PROGRAM", "raise SystemExit(3)")
    with WorkerPool(1) as pool, pytest.raises(ChildProcessError, match="could not start"):
        rows_of(pool, "CO")


def test_leaving_the_pool_ends_jobs_under_way(monkeypatch):
    monkeypatch.setattr(worker, "_PROGRAM", program("time.sleep(1000)\nyield"))
    with WorkerPool(1) as pool:
        jobs = [pool.apply(row_in, parse_smiles("CO"), Options(time_limit=900)) for _ in range(3)]
        while not jobs[0].running():
            time.sleep(0.01)
    assert all(job.done() for job in jobs)
    assert isinstance(jobs[0].exception(), RuntimeError)


def test_map_keeps_the_order():
    with WorkerPool(2) as pool:
        made = pool.map(lambda _, number: number, ((number,) for number in range(300)))
        assert list(made) == list(range(300))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such clock")
def test_a_worker_whose_parent_is_killed_does_not_run_for_ever(tmp_path):
    script = tmp_path / "parent.py"
    body = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(1000); yield"
    script.write_text(
        "import molae_pyg.chem.rows as rows, molae_pyg.chem.worker as w\n"
        "from molae_pyg.chem.options import Options\n"
        "from molae_pyg.chem.parsing import parse_smiles\n"
        "from molae_pyg.chem.workers import WorkerPool\n"
        "w.GRACE = w._ORPHAN = 0.5\n"
        f"w._PROGRAM = {program(body)!r}\n"
        "WorkerPool(1).apply(rows.row_in, parse_smiles('C'), Options(time_limit=0.5))\n"
        "import os, signal, time\n"
        "while not os.path.exists('pid') or not open('pid').read(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, script], cwd=tmp_path, timeout=120).returncode < 0
    worker = int((tmp_path / "pid").read_text())
    for _ in range(200):
        if not _is_running(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker is still there")


def _is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended may stay listed as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_scripts_need_no_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('body')\n"
        "from molae_pyg.chem.options import Options\n"
        "from molae_pyg.chem.parsing import parse_smiles\n"
        "from molae_pyg.chem.rows import row_in\n"
        "from molae_pyg.chem.workers import WorkerPool\n"
        "with WorkerPool(2) as pool:\n"
        "    jobs = [pool.apply(row_in, parse_smiles(s), Options()) for s in ('CCO', 'CCN')]\n"
        "    print(*(job.result().status for job in jobs))\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["body", "3d", "3d"]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("molae_pyg", "rdkit"),
        ("molae_pyg.chem", "rdkit"),
        ("molae_pyg.chem.conformers", "torch"),
        ("molae_pyg.chem.worker", "torch"),
        ("molae_pyg.chem.workers", "torch"),
        ("molae_pyg.chem.records", "torch"),
        ("molae_pyg.chem.rows", "torch"),
    ],
)
def test_imports_stay_light(module, absent):
    code = f"import sys, {module}; assert {absent!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], timeout=120, check=True)
