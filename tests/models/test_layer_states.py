"""States after every layer, taken by forward hooks as probes do, are those of the official code."""

import goldens
import pytest
import torch
from torch import Tensor, nn

from molae_pyg import MolAE
from molae_pyg.models import UniMol
from molae_pyg.official_checkpoint import OfficialFile, load_official, load_official_uni_mol

INPUTS = {k: v[:1, :15] for k, v in goldens.arrays("tiny/inputs").items()}  # aspirin, 13 atoms


def states(stack: nn.Module, forward) -> tuple[list[Tensor], list[Tensor]]:
    """Residual stream and pair tensor before the first layer and after each one."""
    x, pair = [], []

    def take(layer: nn.Module, args: tuple, out: tuple) -> None:
        if not x:
            x.append(args[0])
            pair.append(torch.zeros_like(out[1]) if args[1] is None else args[1])
        x.append(out[0])
        pair.append(out[1].clone())

    handles = [layer.register_forward_hook(take) for layer in stack.layers]
    with torch.no_grad():
        forward()
    for handle in handles:
        handle.remove()
    return x, pair


def assert_recorded(mine: tuple[list[Tensor], list[Tensor]], name: str, keep: Tensor) -> None:
    """``keep``: tokens that the stack sees, in our order."""
    recorded = goldens.arrays("objectives/ablations/layer_states_aspirin")
    for x, theirs in zip(mine[0], recorded[f"{name}_x"], strict=True):
        theirs = goldens.tokens_in_our_order(theirs, INPUTS)[:, keep]
        assert (x - theirs).abs().max() < 2e-5
    for pair, theirs in zip(mine[1], recorded[f"{name}_pair"], strict=True):
        theirs = goldens.pairs_in_our_order(theirs.permute(0, 2, 3, 1), INPUTS)[:, keep][:, :, keep]
        assert (pair.permute(0, 2, 3, 1) - theirs).abs().max() < 2e-5


@pytest.fixture(scope="module")
def data():
    return goldens.batch(INPUTS)


def test_uni_mol(data):
    file = OfficialFile("tiny", goldens.uni_mol_weights("tiny"), {})
    model = load_official_uni_mol(UniMol, file, "corrected").eval()
    found = states(
        model.encoder.transformer,
        lambda: model(data.z, data.pos, None, data.drop_mask, data.pos_noisy, data.z_noisy),
    )
    assert_recorded(found, "unimol", torch.ones(15, dtype=torch.bool))


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_mol_ae(data, stack):
    model = load_official(MolAE, OfficialFile("tiny", goldens.weights("tiny"), {})).eval()
    found = states(
        getattr(model, stack).transformer,
        lambda: model(data.z, data.pos, None, data.drop_mask, data.pos_noisy),
    )
    keep = torch.ones(15, dtype=torch.bool)
    if stack == "encoder":
        keep[2:] = ~data.drop_mask
    assert_recorded(found, f"molae_{stack}", keep)
