"""A finished run is accepted only for its molecules, labels and settings, with unchanged files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from scripts import SMILES, call

from molae_pyg.baselines.job import Job
from molae_pyg.durable import FolderLock
from molae_pyg.evaluation.models import MODELS, Model

CONFIG = """
default: [mean]
data: {num_conformers: 0}
models:
  mean: {}
  ecfp-forest: {num_trees: 5}
  frozen-ridge: {weights: molae-small}
  frozen-forest: {weights: molae-small, num_trees: 5}
  gin: {model: {hidden_channels: 8, num_layers: 1, dropout: 0.0}, training: {epochs: 1}}
  dmpnn: {epochs: 2}
  molae: {weights: random, head: {}, training: {epochs: 1}}
  molae-random:
    weights: random
    encoder: {hidden_channels: 16, ffn_channels: 16, heads: 2, num_layers: 1, num_gaussians: 8}
    head: {}
    training: {epochs: 1}
"""
FLAGS = ("--config", "tiny.yaml", "--seeds", "1", "--output", "out", "--dataset")


def write_table(path: Path, smiles: list[str] = SMILES, **columns: list) -> None:
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame({"smiles": smiles, **columns}).to_csv(path, index=False)


def lengths() -> list[float]:
    return [0.5 * len(s) + 0.25 for s in SMILES]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with finished runs of two models on my.csv, made once."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(CONFIG)
    write_table(folder / "my.csv", y=lengths())
    return folder


@pytest.fixture
def folder(finished, tmp_path, monkeypatch, capsys):
    """A copy of that folder, in which the test runs."""
    if not (finished / "out").is_dir():
        monkeypatch.chdir(finished)
        status, printed = call(
            monkeypatch, capsys, "moleculenet", *FLAGS, "my.csv", "--model", "mean", "ecfp-forest"
        )
        assert status == 0, printed
    place = tmp_path / "copy"
    shutil.copytree(finished, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def compare(folder, monkeypatch, capsys):
    """Calls the comparison with a table and more flags."""
    return lambda *words: call(monkeypatch, capsys, "moleculenet", *FLAGS, *words)


def test_finished_runs_are_not_made_again(compare, folder):
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("result.json")}
    shutil.copy(folder / "my.csv", folder / "my.csv.bak")
    (folder / "other").mkdir()
    (folder / "my.csv").rename(folder / "other" / "my.csv")  # its place does not count
    status, printed = compare("other/my.csv", "--model", "mean", "ecfp-forest")
    assert status == 0, printed
    assert "0-0: rmse" not in printed  # no run was made
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("result.json")} == before


def changes() -> dict:
    other = lengths()
    other[3] += 0.25
    return {
        "a label": ({"y": other}, "labels_sha256"),
        "a name": ({"z": lengths()}, "task_names"),
        "the order": ({"y": lengths()[::-1]}, "labels_sha256"),
        "classes": ({"y": [len(s) % 2 for s in SMILES]}, "task_types"),
        "a molecule": ({"smiles": ["CC(C)C", *SMILES[1:]], "y": lengths()}, "smiles_sha256"),
    }


@pytest.mark.parametrize("change", changes())
@pytest.mark.parametrize("model", ["mean", "frozen-forest"])  # finished or not
def test_other_data_under_the_same_name_are_refused(compare, folder, change, model):
    columns, said = changes()[change]
    write_table(folder / "my.csv", **columns)
    status, printed = compare("my.csv", "--model", model)
    assert status == 1
    assert "out/scaffold/my holds runs on other data. What differs: " in printed
    assert said in printed
    assert "give another --output" in printed
    assert ": rmse" not in printed  # no score of the old labels is printed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{num_trees: 5}", "{num_trees: 6}"), "settings.num_trees: 5 there, 6 now"),
        (("num_conformers: 0", "num_conformers: 0, seed: 1"), "data.seed: absent there, 1 now"),
    ],
)
def test_other_settings_are_refused(compare, folder, change, said):
    (folder / "tiny.yaml").write_text(CONFIG.replace(*change))
    status, printed = compare("my.csv", "--model", "ecfp-forest")
    assert status == 1
    assert "ecfp-forest/0-0 holds another run. What differs: " in printed
    assert said in printed


def test_other_weights_under_the_same_name_are_refused(compare, folder):
    import torch

    from molae_pyg import MolAE

    for seed in (0, 1):
        torch.manual_seed(seed)
        MolAE.tiny().save_pretrained(folder / "weights")
        text = CONFIG.replace("forest: {weights: molae-small", "forest: {weights: weights")
        (folder / "tiny.yaml").write_text(text)
        status, printed = compare("my.csv", "--model", "frozen-forest")
        assert status == seed, printed
    assert "frozen-forest/0-0 holds another run. What differs: weights_sha256: " in printed
    assert "frozen-forest, 1 run" not in printed  # its score is not of these weights


def test_without_pre_training_the_size_of_the_weights_counts(compare, folder):
    import torch

    from molae_pyg import MolAE

    row = "mol-ae-random: {weights: weights, pretrained: false, head: {}, training: {epochs: 1}}"
    (folder / "tiny.yaml").write_text(CONFIG + f"  {row}\n")
    tiny = MolAE.tiny().config
    wider = {"ffn_channels": 2 * tiny["ffn_channels"]}
    for number, changes in enumerate(({}, {}, wider)):
        torch.manual_seed(number)
        MolAE(**{**tiny, **changes}).save_pretrained(folder / "weights")
        status, printed = compare("my.csv", "--model", "mol-ae-random")
        assert ("0-0: rmse" in printed) == (number == 0), printed  # made once
        assert status == (number == 2), printed
    assert "mol-ae-random/0-0 holds another run. What differs: weights_sha256: " in printed


def edit_score(place: Path) -> None:
    result = json.loads((place / "result.json").read_text())
    result["test"]["rmse"] = 0.01
    (place / "result.json").write_text(json.dumps(result))


def edit_predictions(place: Path) -> None:
    file = place / "predictions.csv"
    file.write_text(file.read_text().replace(",test,", ",none,", 1))


def remove_predictions(place: Path) -> None:
    (place / "predictions.csv").unlink()


def move(place: Path) -> None:
    shutil.copytree(place.parent.parent / "ecfp-forest" / "0-0", place, dirs_exist_ok=True)


def tear(place: Path) -> None:
    file = place / "result.json"
    file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize("edit", [edit_score, edit_predictions, remove_predictions, move, tear])
def test_a_folder_that_was_changed_is_refused(compare, folder, edit, monkeypatch, capsys):
    place = Path("out/scaffold/my/mean/0-0")
    edit(place)
    status, printed = compare("my.csv", "--model", "mean")
    assert status == 1
    assert "1 failed: out/scaffold/my/mean/0-0" in printed
    assert "mean, 1 run" not in printed
    assert "ecfp-forest, 1 run: rmse" in printed  # the others are shown
    status, printed = call(monkeypatch, capsys, "report", "out")
    assert status == 1
    assert "left out, 1:" in printed
    page = Path("out/report/report.md").read_text()
    assert "## Left out" in page
    assert "| mean |" not in page
    assert "| ecfp-forest |" in page
    status, printed = call(monkeypatch, capsys, "rerun", str(place))
    assert status == 1
    assert not Path("runs/rerun/scaffold/my/mean/0-0/result.json").exists()


def test_a_run_is_repeated_on_its_own_data_only(folder, monkeypatch, capsys):
    run = "out/scaffold/my/ecfp-forest/0-0"
    for _ in range(2):  # an earlier repetition is replaced
        status, printed = call(monkeypatch, capsys, "rerun", run)
        assert status == 0, printed
        assert "largest difference of 6 test predictions: 0\n" in printed
    status, printed = call(monkeypatch, capsys, "rerun", run, "--output", "out")
    assert status == 1  # not onto itself
    assert "holds a run that is no repetition" in printed
    write_table(folder / "my.csv", y=[2 * y for y in lengths()])
    status, printed = call(monkeypatch, capsys, "rerun", run)
    assert status == 1
    assert "labels_sha256: " in printed


def test_a_report_is_not_written_over_other_files(folder, monkeypatch, capsys):
    mine = folder / "mine"
    mine.mkdir()
    (mine / "results.json").write_text("precious")
    status, printed = call(monkeypatch, capsys, "report", "out", "--output", "mine")
    assert status == 1
    assert "mine holds files that are no report" in printed
    assert [file.read_text() for file in mine.iterdir()] == ["precious"]


def test_tables_of_the_same_name(compare, folder):
    """The second table of a name is refused; the others are compared."""
    for number, name in enumerate(("a/x.csv", "b/x.csv", "data.v1.csv", "data.v2.csv")):
        write_table(folder / name, y=[y + number for y in lengths()])
    status, printed = compare("a/x.csv", "b/x.csv", "data.v1.csv", "data.v2.csv", "a/x.csv")
    assert status == 1
    assert "refused: b/x.csv: its runs would be called 'x', like those of a/x.csv" in printed
    assert "1 failed: b/x.csv" in printed
    for name in ("x", "data.v1", "data.v2"):
        assert f"{name}, mean 0-0: rmse" in printed
        assert (folder / "out/scaffold" / name / "mean/0-0/result.json").is_file()


def test_two_processes_in_one_output(compare, folder):
    place = folder / "out/scaffold/my/frozen-forest"
    place.mkdir()
    code = f"""
import sys
from pathlib import Path
from molae_pyg.baselines.job import Job
from molae_pyg.durable import FolderLock
from molae_pyg.evaluation.models import MODELS, Model
with FolderLock(Path({str(place)!r})):
    print("taken", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as other:
        assert other.stdout.readline() == "taken\n"
        status, printed = compare("my.csv", "--model", "frozen-forest", "mean")
        other.stdin.close()
    assert status == 1
    assert "my/frozen-forest is taken by another process, which makes its runs" in printed
    assert "1 failed: out/scaffold/my/frozen-forest\n" in printed + "\n"
    assert "mean, 1 run: rmse" in printed  # what is finished is taken
    with FolderLock(place):
        pass  # nothing was left locked


@pytest.mark.slow
def test_a_table_of_values_and_classes(compare, folder, monkeypatch, capsys):
    """Each target has its own scores and its own kind of model; none are averaged over units."""
    big = [1000.0 * len(s) for s in SMILES]
    write_table(folder / "two.csv", big=big, active=[len(s) % 2 for s in SMILES], note=["x"] * 48)
    models = ["mean", "ecfp-forest", "frozen-ridge", "gin", "molae-random", "dmpnn"]
    status, printed = compare("two.csv", "--targets", "big,active", "--model", *models)
    assert status == 1
    assert "1 failed: out/scaffold/two/dmpnn/0-0" in printed
    assert "chemprop trains targets of one type" in printed or "make chemprop" in printed
    assert printed.index("two.csv: big: ") < printed.index(
        "CSVDataset(two, 48)"
    )  # said before the work
    for model in models[:-1]:
        result = json.loads((folder / f"out/scaffold/two/{model}/0-0/result.json").read_text())
        assert result["task_types"] == ["regression", "classification"]
        assert result["metric"] == "mixed_error"
        assert "rmse" not in result["test"]
        assert result["tasks"]["big"].keys() == {"rmse", "mae", "r2", "spearman"}
        assert result["tasks"]["active"].keys() == {"roc_auc", "average_precision"}
        table = pd.read_csv(folder / f"out/scaffold/two/{model}/0-0/predictions.csv")
        assert table["active predicted"].between(0, 1).all()
        rows = table[table["part"] == "test"]
        error = ((rows["big true"] - rows["big predicted"]) ** 2).mean() ** 0.5
        assert result["tasks"]["big"]["rmse"] == pytest.approx(error, rel=1e-4)
        expected = (error / result["scale"][0] + 2 * (1 - result["tasks"]["active"]["roc_auc"])) / 2
        assert result["test"]["mixed_error"] == pytest.approx(expected, rel=1e-4)
    assert "big: rmse" in printed
    assert "active: roc_auc" in printed
    status, printed = call(monkeypatch, capsys, "report", "out")
    assert status == 0, printed
    assert "two, mixed_error" in Path("out/report/report.md").read_text()


def test_flags_of_tables(compare, folder):
    write_table(folder / "flags.tsv", y=lengths())
    text = "nom;structure;größe;b, c\n" + "".join(f"x;{s};{len(s)};{len(s) % 2}\n" for s in SMILES)
    (folder / "UPPER.CSV").write_bytes(text.encode("latin-1"))
    flags = ["--targets", 'größe,"b, c"', "--task-type", 'größe=regression,"b, c=regression"']
    flags += ["--smiles", "structure", "--encoding", "latin-1"]
    status, printed = compare("UPPER.CSV", *flags)
    assert status == 0, printed
    result = json.loads((folder / "out/scaffold/UPPER/mean/0-0/result.json").read_text())
    assert result["task_names"] == ["größe", "b, c"]
    assert result["metric"] == "standardised_rmse"
    status, printed = compare("flags.tsv")
    assert status == 0, printed
    status, printed = compare("my.csv", "--task-type", "y=")
    assert status == 1
    assert "Traceback" not in printed
    status, printed = compare("nothing-of-that-name")
    assert status == 1
    assert "there is no data set 'nothing-of-that-name'" in printed
    status, printed = compare("esol", "--targets", "y")
    assert status == 1
    assert "are for tables only" in printed


def test_other_models_are_fitted_after_unreadable_weights(compare, folder):
    (folder / "weights").mkdir()
    (folder / "weights" / "config.json").write_text("{")
    status, printed = compare("my.csv", "--model", "weights", "mean")
    assert status == 1
    assert "1 failed: out/scaffold/my/weights" in printed
    assert "mean, 1 run: rmse" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("script", ["moleculenet", "rerun"])
def test_ctrl_c_ends_in_one_line(folder, script, monkeypatch, capsys):
    """The finished runs stay, and the same command makes the rest."""

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it

    def fit(job: Job) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    place = Path("out/scaffold/my/ecfp-forest/0-0")
    if script == "moleculenet":
        shutil.rmtree(place)
        words = (*FLAGS, "my.csv", "--model", "mean", "ecfp-forest")
    else:
        words = (str(place),)
    with monkeypatch.context() as patch:
        patch.setitem(MODELS, "ecfp-forest", Model(fit, None))
        status, printed = call(monkeypatch, capsys, script, *words)
    assert status == 130
    assert printed.endswith("\nstopped\n")
    assert "Traceback" not in printed
    status, printed = call(monkeypatch, capsys, script, *words)
    assert status == 0, printed
