"""Bars are shown on a terminal and fill no log file."""

import sys

import pytest

from molae_pyg.chem import featurize
from molae_pyg.store import prepare


@pytest.fixture(params=[False, True], ids=["log file", "terminal"])
def terminal(request, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: request.param, raising=False)
    return request.param


@pytest.mark.parametrize("progress", [True, False])
def test_featurize(terminal, progress, capsys, monkeypatch):
    from molae_pyg.chem import featurizer

    real = featurizer.tqdm
    monkeypatch.setattr(featurizer, "tqdm", lambda *args, **kw: real(*args, **kw | {"delay": 0}))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    featurize(["CO", "CN"], workers=1, progress=progress)
    assert ("2/2" in capsys.readouterr().err) == (terminal and progress)


@pytest.mark.parametrize("progress", [True, False])
def test_prepare(terminal, progress, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    (tmp_path / "a.smi").write_text("CO\nCN\n")
    prepare(tmp_path / "a.smi", tmp_path / "store", 0, workers=1, progress=progress)
    err = capsys.readouterr().err
    assert ("2/2" in err) == (terminal and progress)
    assert not err or (terminal and progress)
