"""A finished folder is read as it was written, or refused."""

import importlib
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RESULT = {"score": 0.1 + 0.2, "none": None, "names": ["a", "é"], "nested": {"lr": 1e-4, "n": 3}}


@pytest.fixture
def sealed(monkeypatch):
    return importlib.import_module("molae_pyg.evaluation.sealed")


@pytest.fixture
def folder(sealed, tmp_path):
    place = tmp_path / "run"
    (place / "model").mkdir(parents=True)
    (place / "model" / "weights").write_bytes(bytes(range(256)))
    (place / "predictions.csv").write_text("y\n1\n")
    (place / "lock").touch()
    sealed.seal(place / "result.json", RESULT)
    return place


def test_what_is_written_is_read(sealed, folder):
    found = sealed.read_sealed(folder / "result.json")
    assert found | RESULT == found
    assert found["files"].keys() == {"model/weights", "predictions.csv"}
    (folder / "predictions-all.npz").touch()  # a file that came later is no part of it
    assert sealed.read_sealed(folder / "result.json") == found


@pytest.mark.parametrize("name", ["model/weights", "predictions.csv"])
@pytest.mark.parametrize("what", ["a bit", "the end", "the file"])
def test_other_files_are_as_they_were(sealed, folder, name, what):
    file = folder / name
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    if what == "the file":
        file.unlink()
    else:
        file.write_bytes(content if what == "a bit" else content[:-1])
    with pytest.raises(sealed.Unsealed, match=rf"{name} (was changed|is missing).*remove .*run"):
        sealed.read_sealed(folder / "result.json")


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
def test_its_own_content_is_as_it_was(sealed, folder, edit):
    file = folder / "result.json"
    result = json.loads(file.read_text())
    edit(result)
    file.write_text(json.dumps(result, indent=2))
    with pytest.raises(sealed.Unsealed, match=r"changed after it was finished|has no checksums"):
        sealed.read_sealed(file)


@given(st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_damage_is_refused_or_harmless(sealed, folder, data):
    """Cut, or with a byte replaced: the content is the one that was written, or there is none."""
    file = folder / "result.json"
    whole = sealed.read_sealed(file)
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
        found = sealed.read_sealed(copy / "result.json")
    except sealed.Unsealed:
        return
    assert found == whole
