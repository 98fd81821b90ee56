"""Results in lines: whole after a kill, refused after a change, and one search in one database."""

import importlib
import json

import pytest

RUNS = [{"dataset": "esol", "seed": seed, "test": 0.1 * seed} for seed in range(3)]


@pytest.fixture
def lines(monkeypatch):
    return importlib.import_module("molae_pyg.evaluation.result_lines")


@pytest.fixture
def file(lines, tmp_path):
    file = tmp_path / "results.jsonl"
    assert lines.read_results(file) == []
    for run in RUNS:
        lines.add_result(file, run)
    return file


def test_what_is_added_is_read(lines, file):
    assert lines.read_results(file) == RUNS
    assert [path.name for path in file.parent.iterdir()] == ["results.jsonl"]


def test_a_torn_last_line_is_dropped_wherever_it_is_torn(lines, file, capsys):
    whole = file.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for size in range(last, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert lines.read_results(file) == RUNS[:2]
    assert "the last line is torn" in capsys.readouterr().out
    lines.add_result(file, RUNS[2])
    assert file.read_bytes() == whole


def test_other_damage_names_the_line(lines, file):
    first, second, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, second[:-5], *rest]) + "\n")
    with pytest.raises(SystemExit, match=r"results\.jsonl, line 2 is damaged"):
        lines.read_results(file)
    changed = json.dumps(json.loads(second) | {"test": 0.0})
    file.write_text("\n".join([first, changed, *rest]) + "\n")
    with pytest.raises(SystemExit, match=r"results\.jsonl, line 2 was changed"):
        lines.read_results(file)


def test_trials_of_another_search_are_refused(monkeypatch):
    optuna = pytest.importorskip("optuna")
    search = importlib.import_module("molae_pyg.evaluation.search")
    study = optuna.create_study()
    identity = {"settings": {"num_trees": 5}, "labels_sha256": "a" * 64}
    search.check_study(study, identity, "x.db")
    search.check_study(study, identity, "x.db")
    for other, said in (
        ({**identity, "labels_sha256": "b" * 64}, "labels_sha256"),
        ({**identity, "settings": {"num_trees": 6}}, "settings.num_trees: 5 there, 6 now"),
    ):
        with pytest.raises(SystemExit, match=said):
            search.check_study(study, other, "x.db")
    unmarked = optuna.create_study()
    unmarked.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(SystemExit, match="does not say of what"):
        search.check_study(unmarked, identity, "x.db")
