"""The package as a whole: what importing it costs, its public names, its version."""

import importlib.metadata
import subprocess
import sys

import pytest
import torch
import torch_geometric.typing
from torch_geometric.utils import segment

import molae_pyg

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


@pytest.mark.parametrize("name", molae_pyg.__all__)
def test_public_name_resolves(name):
    assert getattr(molae_pyg, name) is not None
    assert name in dir(molae_pyg)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'MolBE'"):
        molae_pyg.MolBE  # noqa: B018


def test_version_equals_metadata():
    assert molae_pyg.__version__ == importlib.metadata.version("molae_pyg")


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
