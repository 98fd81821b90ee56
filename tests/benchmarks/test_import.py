"""Every script and every runnable module can be imported and, if it has flags, prints help."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "benchmarks", ROOT / "experiments", ROOT / "experiments" / "data"]
SCRIPTS = sorted(path for folder in FOLDERS for path in folder.glob("*.py"))
#: Packages that a script needs beside those of molae_pyg.
OPTIONAL = {"store_formats.py": ["pyarrow", "lmdb"]}
#: Scripts without flags are imported only.
WITHOUT_FLAGS = {f"benchmarks/{name}.py" for name in ("cost_model", "report", "run_all")}
RUNNABLE = '__name__ == "__main__"'
#: Modules that a user runs with ``python -m``: they have a parser.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "molae_pyg").rglob("*.py"))
    if RUNNABLE in (text := path.read_text()) and "parser" in text
]
EVALUATION = ["compare", "leaderboard", "pcqm4m", "pretraining", "report", "rerun", "search"]
EVALUATION += ["submission", "transfer"]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_script_starts(path, monkeypatch, capsys):
    for package in OPTIONAL.get(path.name, ()):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, "report", raising=False)  # a benchmark, or another module
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    if RUNNABLE not in path.read_text() or name(path) in WITHOUT_FLAGS:
        runpy.run_path(str(path), run_name="imported")
        return
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", MODULES)
def test_module_starts(module, monkeypatch, capsys):
    """Help begins with the documentation of the module."""
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: " in printed
    if module.startswith("molae_pyg.evaluation."):
        assert f"python -m {module}" in printed
        flags = printed.partition("options:")[2]
        assert flags.count("\n  -") >= 2


def test_the_modules_of_the_comparison_are_found():
    assert {f"molae_pyg.evaluation.{name}" for name in EVALUATION} <= set(MODULES)
