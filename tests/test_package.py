"""The package as a whole: what importing it costs, its public names, its version."""

import importlib.metadata
import importlib.resources
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
import torch_geometric.typing
from torch_geometric.utils import segment

import molae_pyg

ROOT = Path(__file__).parents[1]
HEAVY = {"rdkit", "ogb", "lightning", "pytorch_lightning", "sklearn", "pandas", "matplotlib"}


def heavy_modules_after(code: str) -> set[str]:
    """The members of HEAVY that a fresh interpreter has loaded after running `code`."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return HEAVY & set(run.stdout.split())


def test_import_loads_nothing_heavy():
    assert heavy_modules_after("import molae_pyg") == set()


def test_model_transform_and_loss_load_no_more_than_pyg():
    names = "from molae_pyg import MolAE, MolAEEncoder, ClozeDrop, cloze_loss"
    # PyTorch Geometric itself loads pandas where it is installed.
    assert heavy_modules_after(names) <= heavy_modules_after("import torch_geometric") <= {"pandas"}


@pytest.mark.parametrize("module", ["chem.rows", "store.sources", "store.engines"])
def test_what_workers_import_loads_no_torch(module):
    code = f"import sys\nimport molae_pyg.{module}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", molae_pyg.__all__)
def test_public_name_resolves(name):
    assert getattr(molae_pyg, name) is not None
    assert name in dir(molae_pyg)


def test_unknown_name():
    with pytest.raises(AttributeError, match="No molae_pyg attribute MolBE"):
        molae_pyg.MolBE  # noqa: B018


def test_version_equals_metadata():
    assert molae_pyg.__version__ == importlib.metadata.version("molae_pyg")


def test_metadata():
    found = importlib.metadata.metadata("molae_pyg")
    assert found["Requires-Python"] == "<3.15,>=3.11"
    assert any("Paper" in url for url in found.get_all("Project-URL"))
    relative = re.findall(r"\]\((?!\w+:)[^)]*\)", found.get_payload() or found["Description"])
    assert relative == []  # an index page has no such files
    assert "`docs/fidelity.md`" in (found.get_payload() or found["Description"])


def test_types_are_marked():
    assert importlib.resources.files("molae_pyg").joinpath("py.typed").is_file()


def test_module_is_the_command():
    words = [sys.executable, "-m", "molae_pyg", "--version"]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout == f"molae_pyg {molae_pyg.__version__}\n"


@pytest.mark.slow
def test_source_distribution_builds_the_package_and_holds_no_tests(tmp_path):
    pytest.importorskip("setuptools", minversion="68", reason="setuptools is not installed")
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "molae_pyg", source / "molae_pyg", ignore=ignore)
    shutil.copytree(ROOT / "tests", source / "tests", ignore=lambda *_: ["data"])
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    words = [sys.executable, "-c", build, str(tmp_path)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"setup.cfg", "README.md", "LICENSE", "CHANGELOG.md", "molae_pyg/py.typed"} <= names
    assert "molae_pyg/weights/molae-small/model.safetensors" in names
    assert not [name for name in names if name.startswith("tests")]


@pytest.mark.scatter
@pytest.mark.parametrize("reduce", ["sum", "mean", "min", "max"])
def test_segment_with_and_without_torch_scatter(reduce, monkeypatch):
    pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
    assert torch_geometric.typing.WITH_TORCH_SCATTER
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    ptr = torch.tensor([0, 2, 3, 6])
    expected = segment(x, ptr, reduce=reduce)
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)
    torch.testing.assert_close(segment(x, ptr, reduce=reduce), expected)
