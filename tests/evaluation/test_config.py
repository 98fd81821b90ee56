"""Settings: errors in a YAML file are reported with their place, before any work."""

import sys
from pathlib import Path

import pytest
import yaml
from scripts import call

from molae_pyg.evaluation.config import (
    CONFIGS,
    config_path,
    exit_if_failed,
    keep_going,
    read_yaml,
    run_command,
)
from molae_pyg.evaluation.search import check_space


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {num_conformers: 1\nmodels: {}\n", r"x.yaml, line \d+, column \d+: "),
        ("data:\n\tseed: 1\n", r"x.yaml, line 2, column 1: "),
        ("data: {seed: 1}\nmodels: {}\ndata: {}\n", "x.yaml, line 3, column 1: the key 'data' is"),
        ("- data\n- models\n", "x.yaml has no settings"),
        ("", "x.yaml has no settings"),
        ("data: !!python/object:os.system {}\n", "x.yaml, line 1, column 7: "),
        ("name: 'größe'\n".encode("latin-1"), "x.yaml is not UTF-8 text"),
    ],
)
def test_invalid_yaml_is_an_error_with_the_line(tmp_path, text, said):
    (tmp_path / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=said):
        read_yaml(tmp_path / "x.yaml")


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"x\.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "x.yaml")


def test_numbers_and_anchors(tmp_path):
    text = "a: &a {lr: 1e-4, big: 1E3, word: 1e, text: '1e-4'}\nb: {<<: *a, lr: 2.5e-3}\n"
    (tmp_path / "x.yaml").write_text(text)
    found = read_yaml(tmp_path / "x.yaml")
    assert found["a"] == {"lr": 1e-4, "big": 1000.0, "word": "1e", "text": "1e-4"}
    assert found["b"]["lr"] == 2.5e-3
    assert found["b"]["big"] == 1000.0


SCRIPTS = {
    "moleculenet": ("moleculenet.yaml", ["--dataset", "none.csv"]),
    "search": ("moleculenet.yaml", ["--dataset", "x.csv", "--model", "gin"]),
    "ogb_leaderboard": ("ogb.yaml", ["--dataset", "molesol"]),
    "pretrain": ("pretrain_small.yaml", ["store"]),
    "transfer": ("transfer.yaml", ["--weights", "molae-small"]),
    "pcqm4m": ("pcqm4m.yaml", []),
}
PLACES = {
    "moleculenet": ["", "data", "models", "models.gin", "models.gin.model", "models.molae.head"],
    "search": ["", "data", "models.gin.training"],
    "ogb_leaderboard": ["", "entry", "models.gin.training", "models.gin.datasets.ogbg-molhiv"],
    "pretrain": ["", "data", "model", "cloze", "training"],
    "transfer": ["", "data", "head", "training", "datasets", "datasets.esol"],
    "pcqm4m": ["", "data", "head", "training"],
}


@pytest.mark.parametrize(
    ("script", "place"), [(name, place) for name, places in PLACES.items() for place in places]
)
def test_an_unknown_key_is_named_with_the_known_ones(script, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name, args = SCRIPTS[script]
    config = yaml.safe_load((CONFIGS / name).read_text())
    section = config
    for key in filter(None, place.split(".")):
        section = section.setdefault(key, {})
    section["num_conformer"] = {}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(config))
    status, printed = call(monkeypatch, capsys, script, *args, "--config", "x.yaml")
    assert status == 1
    assert "unknown key num_conformer in x.yaml" in printed
    assert "known are: " in printed
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]  # nothing was begun


@pytest.mark.parametrize(
    ("script", "text", "said"),
    [
        ("moleculenet", "models: {mean: {}}", "x.yaml has no data"),
        (
            "moleculenet",
            "data: {}\nmodels: {mean: }",
            "models.mean must be settings by name",
        ),
        (
            "moleculenet",
            "data: 3\nmodels: {mean: {}}",
            "data must be settings by name ({}: none), got 3",
        ),
        ("moleculenet", "data: {}\ndefault: [gin]\nmodels: {mean: {}}", "default names gin"),
        (
            "moleculenet",
            "data: {}\ndefault: [gin]\nmodels: {gin: {model: {}, training: {epochs: 0}}}",
            "models.gin.training: ",
        ),
        ("ogb_leaderboard", "entry: {share: 2}", "share must be null or lie between 0 and 1"),
        ("ogb_leaderboard", "entry: {ensemble: 0}", "ensemble must be a number from 1, got 0"),
        ("pretrain", "data: {}\nmodel: {}", "x.yaml has no training"),
    ],
)
def test_impossible_values(script, text, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(text)
    status, printed = call(monkeypatch, capsys, script, *SCRIPTS[script][1], "--config", "x.yaml")
    assert status == 1
    assert said in printed
    assert "Traceback" not in printed


def test_search_spaces_are_checked():
    spaces = read_yaml(CONFIGS / "search.yaml")
    models = read_yaml(CONFIGS / "moleculenet.yaml")["models"]
    for model, space in spaces.items():
        section = {key: value for key, value in models[model].items() if key != "datasets"}
        check_space(model, section, space, "search.yaml")
    with pytest.raises(ValueError, match=r"unknown key rate in search\.yaml: gin\.training"):
        check_space("gin", {"training": {}}, {"training.rate": [1]}, "search.yaml")
    sys.modules.pop("search", None)


def test_names_of_shipped_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path("quick") == CONFIGS / "quick.yaml"
    assert read_yaml("quick")["data"]["num_conformers"] == 2
    (tmp_path / "quick").write_text("data: {seed: 7}\n")
    assert read_yaml("./quick") == {"data": {"seed": 7}}  # a path is a path
    for other in ("quick.yaml", "configs/quick", "../published", "slow"):
        assert config_path(other) == Path(other)
    with pytest.raises(ValueError, match="Names of shipped settings are cv5x5, moleculenet, ogb"):
        read_yaml("slow")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (KeyboardInterrupt("3 rows are done"), 130, "3 rows are done"),
        (ValueError("give --model"), "give --model", ""),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'", ""),
    ],
)
def test_expected_errors_of_a_command_end_in_a_message(error, status, said, capsys):
    def work(number: int) -> None:
        assert number == 3
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(work, 3)
    assert ended.value.code == status
    assert capsys.readouterr().err.strip() == said


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 / 0)


def test_failures_are_collected(capsys):
    failed: list[str] = []
    for name, error in (("a", None), ("b", ValueError("wrong")), ("c", KeyError("x"))):
        with keep_going(name, failed):
            if error is not None:
                raise error
    assert failed == ["b", "c"]
    printed = capsys.readouterr().err
    assert "b failed: wrong\n" in printed
    assert "c failed: Traceback" in printed
    with pytest.raises(SystemExit, match="2 failed: b, c"):
        exit_if_failed(failed)
    exit_if_failed([])
    with pytest.raises(KeyboardInterrupt), keep_going("d", failed):
        raise KeyboardInterrupt
    assert failed == ["b", "c"]
