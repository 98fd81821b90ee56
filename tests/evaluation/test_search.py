"""The search from end to end on a small file, and the repetition of a finished run."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from scripts import SMILES, call, run

from molae_pyg.evaluation import search
from molae_pyg.evaluation.config import CONFIGS


@pytest.fixture
def folder(tmp_path) -> Path:
    table = pd.DataFrame({"smiles": SMILES, "y": [0.5 * len(s) for s in SMILES]})
    table.to_csv(tmp_path / "my.csv", index=False)
    config = yaml.safe_load((CONFIGS / "moleculenet.yaml").read_text())
    config["data"] = {"num_conformers": 1, "add_2d": True}
    config["models"]["molae-small"]["training"] |= {"epochs": 1, "patience": 1}
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.mark.slow
def test_search_resumes_and_writes_settings_that_run(folder):
    pytest.importorskip("optuna")
    args = ["--dataset", "my.csv", "--model", "ecfp-forest", "--config", "few.yaml"]
    first = run(folder, "search.py", *args, "--trials", "1")
    assert first.returncode == 0, first.stderr
    again = run(folder, "search.py", *args, "--trials", "2")
    assert again.returncode == 0, again.stderr
    file = folder / "runs" / "search" / "my-scaffold-ecfp-forest.yaml"
    assert "# Best of 2 trials on the validation rows of my" in file.read_text()
    found = yaml.safe_load(file.read_text())
    assert found["models"]["ecfp-forest"].keys() == {"num_trees", "counts"}
    flags = ["--dataset", "my.csv", "--seeds", "1", "--config", str(file)]
    done = run(folder, "moleculenet.py", *flags)
    assert done.returncode == 0, done.stderr
    assert "ecfp-forest, 1 run: " in done.stdout
    missing = run(folder, "search.py", *args[:2], "--model", "mean", "--config", "few.yaml")
    assert "no space for 'mean'" in missing.stderr


@pytest.mark.slow
def test_a_run_is_repeated_from_its_own_files(folder):
    flags = ["--dataset", "my.csv", "--seeds", "1", "--config", "few.yaml"]
    done = run(folder, "moleculenet.py", *flags, "--model", "molae-small")
    assert done.returncode == 0, done.stderr
    again = run(folder, "rerun.py", "runs/moleculenet/scaffold/my/molae-small/0-0")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "largest difference of 6 test predictions: 0\n" in again.stdout


def test_spaces_name_existing_settings():
    spaces = yaml.safe_load((CONFIGS / "search.yaml").read_text())
    models = yaml.safe_load((CONFIGS / "moleculenet.yaml").read_text())["models"]
    assert set(spaces) <= set(models)
    for model, space in spaces.items():
        for values in space.values():
            assert isinstance(values, list) or values["low"] < values["high"]
        sections = {name.split(".")[0] for name in space if "." in name}
        assert sections - {"encoder"} <= set(models[model])


def test_trials_of_another_search_are_refused():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    identity = {"settings": {"num_trees": 5}, "labels_sha256": "a" * 64}
    search.check_study(study, identity, "x.db")
    search.check_study(study, identity, "x.db")
    for other, said in (
        ({**identity, "labels_sha256": "b" * 64}, "labels_sha256"),
        ({**identity, "settings": {"num_trees": 6}}, "settings.num_trees: 5 there, 6 now"),
    ):
        with pytest.raises(ValueError, match=said):
            search.check_study(study, other, "x.db")
    unmarked = optuna.create_study()
    unmarked.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ValueError, match="does not say of what"):
        search.check_study(unmarked, identity, "x.db")


@pytest.mark.parametrize("content", [b"no database at all", b"torn"])
def test_a_damaged_database_is_named_with_the_remedy(folder, content, monkeypatch, capsys):
    pytest.importorskip("optuna")
    monkeypatch.chdir(folder)
    flags = ["--dataset", "my.csv", "--model", "ecfp-forest", "--config", "few.yaml"]
    file = folder / "runs" / "search" / "my-scaffold-ecfp-forest.db"
    if content == b"torn":
        assert call(monkeypatch, capsys, "search", *flags, "--trials", "1")[0] == 0
        whole = file.read_bytes()
        content = whole[:4096] + bytes(len(whole) - 4096)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    status, printed = call(monkeypatch, capsys, "search", *flags, "--trials", "2")
    assert status == 1
    assert "my-scaffold-ecfp-forest.db is damaged (" in printed
    assert "remove it to start the search anew" in printed
    assert "Traceback" not in printed
    assert file.read_bytes() == content
