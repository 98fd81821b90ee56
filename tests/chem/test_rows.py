"""Rows by way of a worker whose process hangs, dies or cannot read."""

import textwrap

import numpy as np
import pytest

from molae_pyg.chem import from_smiles, worker
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.records import RecordRefused
from molae_pyg.chem.rows import Exclusions, Row, ended_early, make_row
from molae_pyg.chem.workers import WorkerPool

OPTIONS = Options(num_conformers=2, add_2d=True)


def program(body: str) -> str:
    """A worker in which the given code replaces names of ``records`` and ``parsing``."""
    head = "import os, time\nimport molae_pyg.chem.worker as w\n"
    head += "from molae_pyg.chem import parsing, records\nfrom molae_pyg.chem.records import *\n"
    head += "parse = parsing.parse_smiles\n"
    return head + textwrap.dedent(body) + "\nw.serve()"


def rows_of(*smiles: str, options: Options = OPTIONS, exclusions: Exclusions | None = None):
    with WorkerPool(1) as pool:
        jobs = [pool.apply(make_row, parse_smiles, s, options, exclusions) for s in smiles]
        return [job.result() for job in jobs]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(worker, "GRACE", 0.5)


@pytest.mark.parametrize("hydrogens", [False, True])
def test_a_row_is_what_from_smiles_gives(hydrogens):
    settings = {"num_conformers": 2, "add_2d": True, "max_atoms": 3}
    settings["remove_hydrogens"] = not hydrogens
    smiles = ("OCCN", "[H][H]", "C[Pt](N)(N)Cl")
    for row, string in zip(rows_of(*smiles, options=Options(**settings)), smiles, strict=True):
        data = from_smiles(string, **settings)
        assert (row.status, row.smiles) == ("3d", string)
        assert (row.reason, row.num_cropped) == (data.reason, data.num_cropped)
        assert ("atoms cropped" in row.stored()[1]) == (data.num_cropped > 0)
        assert row.z.dtype == np.int64
        assert np.array_equal(row.z, data.z)
        assert np.array_equal(row.conformers, data.conformers)


def test_a_process_that_hangs_is_killed_and_the_layout_is_used(monkeypatch):
    body = """
    def hang(mol, recipe):
        if mol.GetNumAtoms() == 9:
            time.sleep(1000)
        yield from generate(mol, recipe)
    records.generate = hang
    """
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    ethanol, methanol = rows_of("CCO", "CO", options=Options(2, True, time_limit=0.1))
    assert (ethanol.status, ethanol.reason) == ("2d", "time limit reached")
    assert ethanol.conformers.shape == (3, 3, 3)
    assert not ethanol.conformers[..., 2].any()
    assert methanol.status == "3d"


def test_what_was_made_before_the_end_is_kept(monkeypatch):
    body = """
    def die_late(mol, recipe):
        for message in generate(mol, recipe):
            yield message
            os._exit(7)
    records.generate = die_late
    """
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    (row,) = rows_of("CCO")
    whole = from_smiles("CCO", num_conformers=1, add_2d=True)
    assert row.status == "3d"
    assert row.reason == "the conformer process died twice (exit code 7); 1 of 2 conformers"
    assert np.array_equal(row.conformers, whole.conformers[:, [0, 0, 1]])


@pytest.mark.parametrize(
    "name", ["parsing.parse_smiles", "records.generate", "records.compound_key"]
)
def test_a_record_whose_process_is_killed_once_is_tried_again(monkeypatch, tmp_path, name):
    body = f"""
    import signal
    real = {name}
    def killed_once(*args):
        if not os.path.exists({str(tmp_path / "marker")!r}):
            open({str(tmp_path / "marker")!r}, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    {name} = killed_once
    """
    exclusions = Exclusions((), "listed")
    (expected,) = rows_of("CCO", exclusions=exclusions)
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    (row,) = rows_of("CCO", exclusions=exclusions)
    assert (tmp_path / "marker").exists()
    assert row[:3] == expected[:3] == ("3d", "", "CCO")
    assert np.array_equal(row.conformers, expected.conformers)


def test_reasons_that_another_run_may_mend():
    for reason in (
        "time limit reached; 3 of 10 conformers",
        "the conformer process died twice (exit code -9)",
        "no time for the 2D layout",
        "minimisation cut short by the time limit",
        "its Ray worker died, 3 times in a row",
    ):
        assert ended_early(reason)
    for reason in ("", "ETKDG found no 3D embedding", "unclosed ring", "in test.csv"):
        assert not ended_early(reason)


def test_hanging_and_dying_while_reading(monkeypatch):
    body = """
    def read(smiles):
        if smiles == "CCO": time.sleep(1000)
        if smiles == "CN": os._exit(7)
        return parse(smiles)
    parsing.parse_smiles = read
    """
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    options = Options(1, time_limit=0.1)
    for exclusions in (None, Exclusions((), "listed")):
        hung, died, fine = rows_of("CCO", "CN", "CO", options=options, exclusions=exclusions)
        assert hung == Row("timed out", "time limit reached while reading the record", "CCO")
        died_of = "the conformer process died twice (exit code 7) while reading the record"
        assert died == Row("failed", died_of, "CN")
        assert fine.status == "3d"


def test_no_time_even_for_the_layout(monkeypatch):
    body = """
    def hang(*args):
        time.sleep(1000)
        yield
    records.generate = hang
    records.lay_out = lambda molecule: time.sleep(1000)
    """
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    (row,) = rows_of("CCO", options=Options(1, time_limit=0.1))
    reason = "time limit reached; no time for the 2D layout"
    assert row == Row("timed out", reason, "CCO")


def test_what_gives_no_coordinates_has_failed(monkeypatch):
    body = """
    records.generate = lambda mol, recipe: iter([Message("note", "no luck")])
    records.layout_of = lambda mol: Message("note", "none here either")
    """
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    assert rows_of("CCO") == [Row("failed", "no luck; none here either", "CCO")]


def test_exclusions():
    exclusions = Exclusions({"CCO"}, "in test.csv")
    made = rows_of("OCC", "[H]OCC", "CO", "C1CC", exclusions=exclusions)
    assert [row.status for row in made] == ["excluded", "excluded", "3d", "invalid"]
    assert made[0] == Row("excluded", "in test.csv", "OCC")


def test_a_refused_record_is_an_error_and_the_worker_remains(monkeypatch):
    body = """
    def refuse(read, record, recipe=None):
        if record == "bad":
            yield Message(REFUSED, "bad is refused")
        else:
            yield from work(read, record, recipe)
    records.work = refuse
    """
    monkeypatch.setattr(worker, "_PROGRAM", program(body))
    with WorkerPool(1) as pool:
        bad, good = [pool.apply(make_row, parse_smiles, s, OPTIONS, None) for s in ("bad", "CO")]
        with pytest.raises(RecordRefused, match="bad is refused"):
            bad.result()
        assert good.result().status == "3d"
