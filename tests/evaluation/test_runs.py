"""Finished folders and lines of results are read as they were written, or refused."""

import json
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from molae_pyg.evaluation import runs

RUNS = [{"dataset": "esol", "seed": seed, "test": 0.1 * seed} for seed in range(3)]
RESULT = {"score": 0.1 + 0.2, "none": None, "names": ["a", "é"], "nested": {"lr": 1e-4, "n": 3}}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "run"
    (place / "model").mkdir(parents=True)
    (place / "model" / "weights").write_bytes(bytes(range(256)))
    (place / "predictions.csv").write_text("y\n1\n")
    (place / "lock").touch()
    runs.seal(place / "result.json", RESULT)
    return place


def test_what_is_written_is_read(folder):
    found = runs.read_sealed(folder / "result.json")
    assert found | RESULT == found
    assert found["files"].keys() == {"model/weights", "predictions.csv"}
    (folder / "predictions-all.npz").touch()  # a file that came later is no part of it
    assert runs.read_sealed(folder / "result.json") == found


@pytest.mark.parametrize("name", ["model/weights", "predictions.csv"])
@pytest.mark.parametrize("what", ["a bit", "the end", "the file"])
def test_a_changed_file_is_refused(folder, name, what):
    file = folder / name
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    if what == "the file":
        file.unlink()
    else:
        file.write_bytes(content if what == "a bit" else content[:-1])
    with pytest.raises(runs.Unsealed, match=rf"{name} (was changed|is missing).*remove .*run"):
        runs.read_sealed(folder / "result.json")


def edits() -> list:
    def score(result):
        result["score"] = 0.2

    def nested(result):
        result["nested"]["lr"] = 1e-3

    def added(result):
        result["more"] = 1

    def checksum(result):
        result["files"]["predictions.csv"] = "0" * 64

    def unlisted(result):
        del result["files"]["predictions.csv"]

    def stripped(result):
        del result["sha256"]

    return [score, nested, added, checksum, unlisted, stripped]


@pytest.mark.parametrize("edit", edits(), ids=lambda edit: edit.__name__)
def test_changed_content_is_refused(folder, edit):
    file = folder / "result.json"
    result = json.loads(file.read_text())
    edit(result)
    file.write_text(json.dumps(result, indent=2))
    with pytest.raises(runs.Unsealed, match=r"changed after it was finished|has no checksums"):
        runs.read_sealed(file)


@given(st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage_is_refused_or_harmless(folder, data):
    """A file that is cut, or has a byte replaced, is read as it was written or refused."""
    file = folder / "result.json"
    whole = runs.read_sealed(file)
    copy = folder.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] = data.draw(st.integers(0, 255))
    (copy / "result.json").write_bytes(content)
    try:
        found = runs.read_sealed(copy / "result.json")
    except runs.Unsealed:
        return
    assert found == whole


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "results.jsonl"
    assert runs.read_results(file) == []
    for run in RUNS:
        runs.add_result(file, run)
    return file


def test_what_is_added_is_read(file):
    assert runs.read_results(file) == RUNS
    assert [path.name for path in file.parent.iterdir()] == ["results.jsonl"]


def test_a_torn_last_line_is_dropped_wherever_it_is_torn(file, capsys):
    whole = file.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for size in range(last, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert runs.read_results(file) == RUNS[:2]
    assert "the last line is torn" in capsys.readouterr().out
    runs.add_result(file, RUNS[2])
    assert file.read_bytes() == whole


def test_other_damage_names_the_line(file):
    first, second, *rest = file.read_text().splitlines()
    file.write_text("\n".join([first, second[:-5], *rest]) + "\n")
    with pytest.raises(ValueError, match=r"results\.jsonl, line 2 is damaged"):
        runs.read_results(file)
    changed = json.dumps(json.loads(second) | {"test": 0.0})
    file.write_text("\n".join([first, changed, *rest]) + "\n")
    with pytest.raises(ValueError, match=r"results\.jsonl, line 2 was changed"):
        runs.read_results(file)


def test_the_commit_is_that_of_the_checkout_only(monkeypatch, tmp_path):
    """Installed inside somebody's repository, the package does not report the commit of that."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("needs git")
    monkeypatch.chdir(tmp_path)
    for words in (["init"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "x"]):
        more = ["--allow-empty", "-q"] if "commit" in words else ["-q"]
        subprocess.run([git, *words, *more], check=True)
    package = tmp_path / "site-packages" / "molae_pyg" / "evaluation"
    package.mkdir(parents=True)
    monkeypatch.setattr(runs, "__file__", str(package / "runs.py"))
    assert runs.environment()["commit"] is None
    (tmp_path / ".git").rename(tmp_path / "site-packages" / ".git")
    assert len(runs.environment()["commit"]) >= 7
