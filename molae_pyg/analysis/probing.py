"""Probing: what the states after each layer of a pre-trained model contain.

Layers are counted as in the Mol-AE paper: 0 is the input of the first layer, L the end of the
encoder, and L + 1, L + 2, ... are the layers of Mol-AE's decoder.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from torch import nn
from torch_geometric.transforms import BaseTransform

from molae_pyg.models import Ablation, FullMolAE, TransformerM, UniMol
from molae_pyg.models.full import build_encoder
from molae_pyg.training.objectives import (
    Objective,
    cloze_objective,
    transformer_m_objective,
    uni_mol_objective,
)
from molae_pyg.transforms import ClozeDrop, CoordinateNoise, DenoiseAtoms

_RATES = ("dropout", "attn_dropout", "act_dropout", "drop_path")
#: Parts of names of weights that belong to the last layer of a stack, so that a probe has new ones:
#: the layer norm behind the stack, and what the heads of reconstruction need.
_BEHIND_ENCODER = ("final_norm", "pair_norm", "_head.")
_BEHIND_DECODER = ("decoder.transformer.final_norm", "_head.")


class Probe(NamedTuple):
    """A model whose frozen part is the first layers of another, and how its heads are trained."""

    model: nn.Module
    objective: Objective
    transform: BaseTransform


def num_layers(model: nn.Module) -> tuple[int, int]:
    """Returns the number of layers of the encoder and of the decoder (0 without one)."""
    return model.config["num_layers"], model.config.get("num_decoder_layers", 0)


def first_layers(model: nn.Module, layer: int) -> nn.Module:
    """Returns an encoder that ends after a layer: frozen, without dropout, with a new layer norm.

    It can be embedded and fine-tuned as any encoder. To fine-tune its layers too, set
    ``requires_grad_(True)``. A layer of Mol-AE's decoder is reached as in
    :class:`~molae_pyg.models.FullMolAE`: the molecule is complete, and nothing is masked.

    Args:
        model: :class:`~molae_pyg.MolAE`, :class:`~molae_pyg.models.UniMol` or
            :class:`~molae_pyg.models.TransformerM`. The layers of Transformer-M end in layer norms
            of their own, and none is added.
        layer: Number of the layer, see :mod:`molae_pyg.analysis.probing`.

    Raises:
        ValueError: The model has no such layer, or it has a graph channel or an ablation that
            cannot be probed.
    """
    in_decoder, depth = _depth(model, layer)
    source = FullMolAE.of(model) if in_decoder else model.encoder
    found = build_encoder(_shortened(source.config, depth))
    _take(found, source, (_BEHIND_DECODER if in_decoder else _BEHIND_ENCODER)[:1])
    return found.eval()


def reconstruction_probe(model: nn.Module, layer: int, noise: float = 1.0) -> Probe:
    """Returns new heads on the states after a layer, for :func:`~molae_pyg.training.pretrain`.

    The token head reads the states of atoms, the coordinate head the change of the pair tensor up
    to the layer (at layer 0 there is none, so that no head can move an atom), the distance head the
    pair tensor. The encoder of Mol-AE does not see dropped atoms, so that its layers are probed
    with masked and moved atoms, as those of Uni-Mol; its decoder is probed by the cloze test.
    Transformer-M has its denoising head alone, on molecules shown in 3D only.

    Args:
        model: As for :func:`first_layers`.
        layer: Number of the layer, see :mod:`molae_pyg.analysis.probing`.
        noise: Half-width of the uniform noise in Å; Transformer-M has its own. Default: 1.

    Raises:
        ValueError: As :func:`first_layers`.
    """
    in_decoder, depth = _depth(model, layer)
    if isinstance(model, TransformerM):
        new = TransformerM(**_shortened(model.config, depth))
        probe = Probe(new, transformer_m_objective, DenoiseAtoms(modes=(0, 0, 1)))
    elif in_decoder:
        new = type(model)(**_shortened(model.config, depth))
        drops = model.config.get("ablation", {}).get("drop", True)
        transform = ClozeDrop(noise=noise) if drops else CoordinateNoise(noise)
        probe = Probe(new, cloze_objective, transform)
    else:
        config = _shortened(model.encoder.config, depth)
        own = {key: config.pop(key) for key in ("position_layer", "order") if key in config}
        new = UniMol(**config, position=bool(own), rule=model.config.get("rule", "corrected"))
        probe = Probe(new, uni_mol_objective, CoordinateNoise(noise))
    _take(new, model, _BEHIND_DECODER if in_decoder else _BEHIND_ENCODER)
    return probe


def _depth(model: nn.Module, layer: int) -> tuple[bool, dict[str, int]]:
    """Whether a layer is one of the decoder, and the argument of a model that ends after it."""
    encoder, decoder = num_layers(model)
    if not 0 <= layer <= encoder + decoder:
        raise ValueError(f"layer must be in 0...{encoder + decoder}, not {layer}")
    ablation = {**model.config.get("ablation", {}), "drop": True}
    if model.config.get("graph") or ablation not in ({"drop": True}, asdict(Ablation())):
        raise ValueError("a model with a graph channel or with other positions cannot be probed")
    if layer > encoder:
        return True, {"num_decoder_layers": layer - encoder}
    return False, {"num_layers": layer}


def _shortened(config: Mapping[str, Any], depth: Mapping[str, int]) -> dict[str, Any]:
    """The arguments with other numbers of layers and without dropout."""
    rates = {name: 0.0 for name in _RATES if name in config}
    return {**config, **rates, **depth}


def _take(probe: nn.Module, source: nn.Module, new: Iterable[str]) -> None:
    """Copies and freezes all weights but the new ones."""
    theirs = source.state_dict()
    for name, parameter in probe.named_parameters():
        is_new = any(part in name for part in new)
        parameter.requires_grad_(is_new)
        if not is_new:
            parameter.data.copy_(theirs[name])
