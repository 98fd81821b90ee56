"""Verification accepts a submission as it was made and names what was changed."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scripts import SMILES, call

from molae_pyg.evaluation.runs import seal
from molae_pyg.splits import scaffold_split

FLAGS = ("--dataset", "molesol", "--model", "mean", "ecfp-forest", "--num-conformers", "0")
PLACE = Path("runs/ogb/ogbg-molesol/submissions/ecfp-forest")


def write_set(root: Path, scale: float = 0.1) -> None:
    """Writes a small ogbg-molesol in the layout of the official one."""
    place = root / "ogbg_molesol"
    (place / "mapping").mkdir(parents=True, exist_ok=True)
    (place / "split" / "scaffold").mkdir(parents=True, exist_ok=True)
    with gzip.open(place / "mapping" / "mol.csv.gz", "wt") as file:
        file.write("measured log solubility in mols per litre,smiles,mol_id\n")
        file.writelines(f"{-scale * len(s)},{s},{s}\n" for s in SMILES)
    for part, rows in scaffold_split(SMILES)._asdict().items():
        with gzip.open(place / "split" / "scaffold" / f"{part}.csv.gz", "wt") as file:
            file.writelines(f"{row}\n" for row in rows)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ogb")
    write_set(folder / "data")
    (folder / "tiny.yaml").write_text("models: {ecfp-forest: {num_trees: 3}}")
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch, capsys):
    """A copy of a folder with a submission of three runs, in which the test runs."""
    if not (finished / "runs").is_dir():
        monkeypatch.chdir(finished)
        words = (*FLAGS, "--config", "tiny.yaml", "--seeds", "3")
        status, printed = call(monkeypatch, capsys, "ogb_leaderboard", *words)
        assert status == 0, printed
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def verify(folder, monkeypatch, capsys):
    return lambda: call(monkeypatch, capsys, "submission", str(PLACE))


def edited(**changes) -> None:
    file = PLACE / "submission.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes, indent=2))


def stated() -> dict:
    return json.loads((PLACE / "submission.json").read_text())


def arrays(number: int) -> dict:
    with np.load(PLACE / "predictions" / f"{number}.npz") as found:
        return dict(found)


def summaries(runs: list[int]) -> dict:
    """Returns the scores that a submission of these runs alone would state."""
    found = {}
    for part in ("valid", "test"):
        scores = [stated()[part]["runs"][run] for run in runs]
        std = float(np.std(scores, ddof=1))
        found[part] = {"mean": float(np.mean(scores)), "std": std, "runs": scores}
    return found


def split_written_over() -> None:
    edited(is_official_split=False)


def another_metric() -> None:
    edited(metric="mae")


def better_score() -> None:
    better = stated()["test"]
    edited(test=better | {"mean": better["mean"] / 2})


def last_run_removed() -> None:
    edited(**summaries([0, 1]), seeds=[[0], [1]])
    (PLACE / "predictions" / "2.npz").unlink()


def worst_run_left_out() -> None:
    edited(**summaries([0, 2]))
    (PLACE / "predictions" / "2.npz").replace(PLACE / "predictions" / "1.npz")


def best_run_twice() -> None:
    shutil.copy(PLACE / "predictions" / "0.npz", PLACE / "predictions" / "1.npz")
    edited(**summaries([0, 0, 2]))


def nan_predictions() -> None:
    bad = arrays(1)
    bad["test"][0] = np.nan
    np.savez(PLACE / "predictions" / "1.npz", **bad)


def other_shape() -> None:
    bad = arrays(1)
    np.savez(PLACE / "predictions" / "1.npz", valid=bad["valid"], test=bad["test"][:-1])


def other_file() -> None:
    (PLACE / "predictions" / "3.npz").write_bytes(b"more")


def other_page() -> None:
    page = PLACE / "submission.md"
    page.write_text(page.read_text().replace("| external data | none |", "| external data | |"))


def other_labels() -> None:
    write_set(Path("data"), scale=0.2)


def torn() -> None:
    file = PLACE / "submission.json"
    file.write_bytes(file.read_bytes()[:200])


def other_seeds() -> None:
    edited(seeds=[[0], [2], [3]])


TAMPERED = [
    *(split_written_over, another_metric, better_score, last_run_removed, worst_run_left_out),
    *(best_run_twice, nan_predictions, other_shape, other_file, other_page, other_labels, torn),
    *(other_seeds, lambda: edited(dataset="ogbg-molbace"), lambda: edited(method="mine")),
    lambda: edited(test={"mean": None}),
]


def test_a_submission_is_as_it_was_made(verify):
    status, printed = verify()
    assert status == 0, printed
    assert printed.count("the same") == 2


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_changed_by_hand(verify, tamper):
    tamper()
    status, printed = verify()
    assert status == 1
    assert "not what they state:" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (split_written_over, "is_official_split: False there, True now"),
        (another_metric, "metric: 'mae' there, 'rmse' now"),
        (better_score, "the test scores are not those of the predictions"),
        (worst_run_left_out, "the seeds of 2 runs must be [[0], [1]], found [[0], [1], [2]]"),
        (nan_predictions, "test has predictions that are no finite numbers"),
        (other_shape, "test has shape"),
        (other_file, "predictions/3.npz is no part of the submission"),
        (other_labels, "identity.official_labels_sha256: "),
        (other_seeds, "the seeds of 3 runs must be [[0], [1], [2]]"),
    ],
)
def test_verification_does_not_rely_on_checksums(verify, tamper, said, monkeypatch):
    """The files were changed and all checksums computed again."""
    tamper()
    content = {key: value for key, value in stated().items() if key not in ("files", "sha256")}
    if tamper is other_file:
        Path(PLACE / "predictions" / "3.npz").unlink()
    seal(PLACE / "submission.json", content)
    if tamper is other_file:
        other_file()
    status, printed = verify()
    assert status == 1
    assert said in printed


def test_old_predictions_are_not_scored_on_other_labels(folder, monkeypatch, capsys):
    before = (PLACE / "submission.json").read_bytes()
    other_labels()
    words = (*FLAGS, "--config", "tiny.yaml", "--seeds", "3")
    status, printed = call(monkeypatch, capsys, "ogb_leaderboard", *words)
    assert status == 1
    assert printed.count("holds another run. What differs: ") == 2
    assert "official_labels_sha256: " in printed
    assert "2 failed: molesol mean, molesol ecfp-forest" in printed
    assert (PLACE / "submission.json").read_bytes() == before


def test_a_run_that_was_changed_is_refused(folder, monkeypatch, capsys):
    file = Path("runs/ogb/ogbg-molesol/runs/ecfp-forest/1/predictions.npz")
    with np.load(file) as found:
        np.savez(file, valid=found["valid"], test=found["test"] + 0.1)
    words = (*FLAGS, "--config", "tiny.yaml", "--seeds", "3")
    status, printed = call(monkeypatch, capsys, "ogb_leaderboard", *words)
    assert status == 1
    assert "1/predictions.npz was changed after it was finished; remove " in printed
    assert "1 failed: molesol ecfp-forest" in printed


def test_a_submission_of_fewer_runs_removes_old_ones(folder, monkeypatch, capsys):
    words = (*FLAGS, "--config", "tiny.yaml", "--seeds", "2")
    status, printed = call(monkeypatch, capsys, "ogb_leaderboard", *words)
    assert status == 0, printed
    assert sorted(file.name for file in (PLACE / "predictions").iterdir()) == ["0.npz", "1.npz"]
    status, printed = call(monkeypatch, capsys, "submission", str(PLACE))
    assert status == 0, printed
    (PLACE / "notes.txt").write_text("mine")
    status, printed = call(monkeypatch, capsys, "ogb_leaderboard", *words)
    assert status == 1
    assert "holds notes.txt, which is no part of a submission" in printed


def test_other_submissions_are_verified_after_an_unreadable_one(folder, monkeypatch, capsys):
    torn()
    other = PLACE.with_name("mean")
    status, printed = call(monkeypatch, capsys, "submission", str(PLACE), "nowhere", str(other))
    assert status == 1
    assert printed.count("the same") == 2
    assert "submission.json is damaged" in printed
    assert "nowhere" in printed
