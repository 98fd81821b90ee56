"""Recorded outputs of the reference implementation (tests/data/goldens) in our layout."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.chem.elements import CLS, MASK, PAD, SEP, atomic_number_table
from molae_pyg.models import AblatedMolAE, MolAE
from molae_pyg.official_checkpoint import (
    OfficialFile,
    load_official,
    official_name,
    read_official,
)

FOLDER = Path(__file__).parent / "data" / "goldens"


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return {k: torch.from_numpy(file[k]) for k in file.files if file[k].dtype.kind in "fib"}


@cache
def meta(size: str) -> dict:
    return json.loads((FOLDER / size / "meta.json").read_text())


@cache
def weights(size: str) -> dict[str, Tensor]:
    """Official weights: of the tiny checkpoint file, or of the rule that made the base ones."""
    if size == "tiny":
        return read_official(FOLDER / "tiny" / "tiny_checkpoint.pt").weights
    scope: dict = {}
    exec((FOLDER / "fill_rule.py").read_text(), scope)
    shapes = json.loads((FOLDER / "base_state_dict_shapes.json").read_text())
    return {k: torch.from_numpy(v) for k, v in scope["fill"](shapes).items()}


def model(size: str, flags: list[str], cls: type[MolAE] | None = None) -> MolAE:
    """The recorded model, in evaluation mode, with the official flags of a variant.

    ``cls`` is by default MolAE for the published flags, AblatedMolAE for all others.
    """
    if cls is None:
        cls = MolAE if flags == ["encoder_unmasked_tokens_only"] else AblatedMolAE
    args = dict.fromkeys(flags, True)
    args.setdefault("encoder_unmasked_tokens_only", False)
    return load_official(cls, OfficialFile(size, weights(size), args)).eval()


def batch(inputs: dict[str, Tensor]) -> Data:
    """The recorded batch as flat tensors; ``official_slots`` gives each atom's official place."""
    tokens, target = inputs["src_tokens"], inputs["tokens_target"]
    masked = inputs["encoder_masked_tokens"]
    atom = (tokens != PAD) & (tokens != CLS) & (tokens != SEP)
    element = atomic_number_table()
    return Data(
        z=element[torch.where(masked, target, tokens)[atom]],
        z_noisy=torch.where(tokens == MASK, 0, element[tokens])[atom],
        pos=inputs["coord_target"][atom],
        pos_noisy=inputs["src_coord"][atom],
        drop_mask=masked[atom],
        batch=atom.nonzero()[:, 0],
        num_nodes=int(atom.sum()),
    )


def slots(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Our dense layout in official slots: indices ``[B, L]`` and which are tokens ``[B, L]``."""
    num_tokens = (inputs["src_tokens"] != PAD).sum(1)
    length = int(num_tokens.max())
    index = torch.zeros(len(num_tokens), length, dtype=torch.long)
    for b, n in enumerate(num_tokens.tolist()):
        index[b, :n] = torch.tensor([0, n - 1, *range(1, n - 1)])
    return index, torch.arange(length) < num_tokens[:, None]


def tokens_in_our_order(x: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Official ``[B, N, ...]`` -> ``[B, L, ...]`` (CLS, SEP, atoms)."""
    index, _ = slots(inputs)
    return x[torch.arange(len(index))[:, None], index]


def pairs_in_our_order(x: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Official ``[B, N, N, ...]`` -> ``[B, L, L, ...]``."""
    index, _ = slots(inputs)
    return x[torch.arange(len(index))[:, None, None], index[:, :, None], index[:, None, :]]


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def uni_mol_weights(size: str) -> dict[str, Tensor]:
    """Official weights of Uni-Mol: the rule, over the shapes of a Mol-AE without its decoder."""
    scope: dict = {}
    exec((FOLDER / "fill_rule.py").read_text(), scope)
    name = {"tiny": "objectives/unimol/state_dict_shapes", "base": "base_state_dict_shapes"}[size]
    shapes = json.loads((FOLDER / f"{name}.json").read_text())
    shapes = {k: v for k, v in shapes.items() if not k.startswith("decoder.")}
    return {k: torch.from_numpy(v) for k, v in scope["fill"](shapes).items()}


def assert_losses_and_grads(model: torch.nn.Module, terms: dict, recorded: dict, names: dict):
    """Compares the terms of a loss, and the norm of the gradient of every parameter."""
    off = {name: terms[name].item() / recorded["losses"][names[name]] - 1 for name in names
           if recorded["losses"][names[name]]}  # fmt: skip
    model.zero_grad()
    terms["loss"].backward()
    grads = {official_name(k): p.grad for k, p in model.named_parameters()}
    mine = {k: 0.0 if grad is None else grad.norm().item() for k, grad in grads.items()}
    assert_gradient_norms(mine, recorded["grad_norms"])
    print(f"losses, largest relative difference {max(map(abs, off.values())):.1e}")
    for ours, official in names.items():
        assert terms[ours].item() == pytest.approx(recorded["losses"][official], rel=1e-5), ours


def assert_gradient_norms(mine: dict[str, float], recorded: dict[str, float | None]) -> None:
    """Compares the norm of the gradient of every parameter, by official name."""
    assert mine.keys() == recorded.keys()
    theirs = {name: norm or 0.0 for name, norm in recorded.items()}
    off = max(abs(mine[name] - norm) / norm for name, norm in theirs.items() if norm > 1e-2)
    print(f"gradient norms, largest relative difference {off:.1e}")
    for name, norm in theirs.items():
        assert mine[name] == pytest.approx(norm, rel=1e-3, abs=1e-3), name
