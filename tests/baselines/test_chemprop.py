"""Where chemprop is looked for; the comparison calls it in test_compare.py."""

from pathlib import Path

import pytest

from molae_pyg.baselines import chemprop


@pytest.fixture
def places(tmp_path, monkeypatch) -> dict[str, Path]:
    """Programs at all places, by name of the place."""
    checkout, folder, on_path = (tmp_path / name for name in ("checkout", "folder", "bin"))
    (checkout / "molae_pyg" / "baselines").mkdir(parents=True)
    monkeypatch.setattr(
        chemprop, "__file__", str(checkout / "molae_pyg" / "baselines" / "chemprop.py")
    )
    found = {
        "environment": tmp_path / "mine",
        "checkout": checkout / chemprop.INSTALLED,
        "folder": folder / chemprop.INSTALLED,
        "path": on_path / "chemprop",
    }
    for program in found.values():
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(on_path))
    monkeypatch.setenv("CHEMPROP", str(found["environment"]))
    return found


def test_the_first_place_counts(places, monkeypatch):
    assert chemprop.find_executable() == places["environment"]
    monkeypatch.delenv("CHEMPROP")
    for name in ("checkout", "folder", "path"):
        assert chemprop.find_executable() == places[name]
        places[name].unlink()
    with pytest.raises(FileNotFoundError, match=r"chemprop is not installed: .*`make chemprop`"):
        chemprop.find_executable()


def test_a_given_place_is_the_only_one(places, monkeypatch):
    monkeypatch.setenv("CHEMPROP", "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere not found"):
        chemprop.find_executable()
