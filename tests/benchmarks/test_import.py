"""Every script of benchmarks/ and experiments/ can be imported and, if it has flags, says them."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "benchmarks", ROOT / "experiments", ROOT / "experiments" / "data"]
SCRIPTS = sorted(path for folder in FOLDERS for path in folder.glob("*.py"))
#: Packages that a script says it needs beside those of the package.
OPTIONAL = {"store_formats.py": ["pyarrow", "lmdb"]}
#: Scripts without flags are imported only.
WITHOUT_FLAGS = {f"benchmarks/{name}.py" for name in ("cost_model", "report", "run_all")}


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_script_starts(path, monkeypatch, capsys):
    for package in OPTIONAL.get(path.name, ()):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, "report", raising=False)  # there is one in either folder
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    if '__name__ == "__main__"' not in path.read_text() or name(path) in WITHOUT_FLAGS:
        runpy.run_path(str(path), run_name="imported")
        return
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert "usage: " in capsys.readouterr().out
