"""Official checkpoint files and ours, both ways: one table of names, no code from the file run."""

import argparse
import os
import pickle
import re
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from molae_pyg.checkpoint import CheckpointError, Model
from molae_pyg.chem.elements import NUM_TOKENS

#: Our module -> official module. ``*`` stands for a layer's number and is carried over.
OFFICIAL_NAMES = {
    "encoder.embedding": "embed_tokens",
    "encoder.pair_bias.gaussian.mean": "gbf.means.weight",
    "encoder.pair_bias.gaussian.std": "gbf.stds.weight",
    "encoder.pair_bias.gaussian.scale": "gbf.mul",
    "encoder.pair_bias.gaussian.offset": "gbf.bias",
    "encoder.pair_bias.linear1": "gbf_proj.linear1",
    "encoder.pair_bias.linear2": "gbf_proj.linear2",
    "encoder.pair_norm": "encoder.final_head_layer_norm",
    **{
        f"{stack}.transformer.{ours}": f"{stack}.{official}"
        for stack in ("encoder", "decoder")
        for ours, official in {
            "input_norm": "emb_layer_norm",
            "final_norm": "final_layer_norm",
            "layers.*.attn_norm": "layers.*.self_attn_layer_norm",
            "layers.*.attention.in_proj": "layers.*.self_attn.in_proj",
            "layers.*.attention.out_proj": "layers.*.self_attn.out_proj",
            "layers.*.ffn_norm": "layers.*.final_layer_norm",
            "layers.*.linear1": "layers.*.fc1",
            "layers.*.linear2": "layers.*.fc2",
        }.items()
    },
    "token_head.dense": "lm_head.dense",
    "token_head.norm": "lm_head.layer_norm",
    "token_head.out": "lm_head",
    "coordinate_head.norm": "decoder.final_head_layer_norm",
    "coordinate_head.linear1": "pair2coord_proj.linear1",
    "coordinate_head.linear2": "pair2coord_proj.linear2",
    "distance_head.dense": "dist_head.dense",
    "distance_head.norm": "dist_head.layer_norm",
    "distance_head.out": "dist_head.out_proj",
}

#: Buffers that some official files carry; they hold no learned value.
OFFICIAL_BUFFERS = {"embed_positions._float_tensor", "embed_positions.weights"}

#: Official keys an encoder file may lack: trained without the pair norm term, never used.
OPTIONAL_KEYS = {
    "encoder.final_head_layer_norm.weight",
    "encoder.final_head_layer_norm.bias",
}


class OfficialReport(NamedTuple):
    """What did not fit, see :meth:`molae_pyg.MolAEEncoder.from_official`."""

    missing: list[str]  #: Encoder keys that the file lacks.
    unexpected: list[str]  #: Keys of the file that the encoder does not have.


class OfficialFile(NamedTuple):
    """What an official checkpoint file holds."""

    path: str  #: Where it was read from.
    weights: dict[str, Tensor]  #: Official key -> tensor.
    args: dict[str, Any]  #: Command-line settings of the run, empty if the file has none.


def official_name(name: str) -> str:
    """The official key of one of our keys (of a full model: encoder keys start ``encoder.``)."""
    numbers = re.findall(r"\.layers\.(\d+)\.", name)
    key = re.sub(r"\.layers\.\d+\.", ".layers.*.", name)
    if key in OFFICIAL_NAMES:  # a parameter that has a name of its own
        return OFFICIAL_NAMES[key]
    module, _, leaf = key.rpartition(".")
    official = f"{OFFICIAL_NAMES[module]}.{leaf}"
    return official.replace("*", numbers[0]) if numbers else official


def read_official(path: str | os.PathLike) -> OfficialFile:
    """Reads an official ``.pt`` file without running code from it.

    The unpickler admits tensors and plain containers and, since official files keep their
    command line in one, :class:`argparse.Namespace`; anything else is refused.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is no checkpoint of tensors and settings alone, so it was not loaded "
            f"(it could run code): {error}"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint file: {error!r}") from error
    args = content.get("args") if isinstance(content, dict) else None
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise CheckpointError(f"{path} holds no 'model' with named tensors")
    weights = {k: v for k, v in weights.items() if k not in OFFICIAL_BUFFERS}
    if isinstance(args, argparse.Namespace):
        args = vars(args)
    return OfficialFile(str(path), weights, dict(args) if isinstance(args, dict) else {})


def _encoder_config(file: OfficialFile) -> dict[str, Any]:
    """Sizes from the tensors, dropout from the run's settings where the file has them."""
    w = file.weights
    try:
        vocabulary, channels = w["embed_tokens.weight"].shape
        config = {
            "hidden_channels": channels,
            "ffn_channels": w["encoder.layers.0.fc1.weight"].shape[0],
            "heads": w["gbf_proj.linear2.weight"].shape[0],
            "num_layers": _num_layers(w, "encoder"),
            "num_gaussians": w["gbf.means.weight"].shape[1],
        }
    except KeyError as error:
        raise CheckpointError(f"{file.path} is no Mol-AE or Uni-Mol model: no {error}") from error
    if vocabulary != NUM_TOKENS:
        raise CheckpointError(
            f"{file.path} has {vocabulary} tokens, Mol-AE has {NUM_TOKENS} "
            "(30 lines of dict.txt and [MASK])"
        )
    for ours, theirs in {"dropout": "dropout", "attn_dropout": "attention_dropout"}.items():
        if theirs in file.args:
            config[ours] = file.args[theirs]
    return config


def _num_layers(weights: dict[str, Tensor], stack: str) -> int:
    numbers = [re.match(rf"{stack}\.layers\.(\d+)\.", key) for key in weights]
    return 1 + max((int(n[1]) for n in numbers if n), default=-1)


def _official_ablation(args: dict[str, Any]) -> dict[str, Any]:
    """The flags of the official run that are alive, as fields of ``Ablation``."""
    pair = "noisy" if args.get("decoder_noise") else "zero"
    return {
        "drop": bool(args.get("encoder_unmasked_tokens_only", True)),
        "decoder_position": not args.get("decoder_no_pe", False),
        "decoder_token": "encoder" if args.get("feed_token_rep_to_decoder") else "mask",
        "decoder_pair": "encoder" if args.get("feed_pair_rep_to_decoder") else pair,
    }


def _fill_official(model: nn.Module, file: OfficialFile, prefix: str, optional: set[str]):
    """Copies official tensors into a model; returns the keys that were missing or left over."""
    names = {key: official_name(prefix + key) for key in model.state_dict()}
    missing = sorted(set(names.values()) - set(file.weights))
    unexpected = sorted(set(file.weights) - set(names.values()))
    lacking = [key for key in missing if key not in optional]
    if lacking:
        raise CheckpointError(
            f"{file.path} lacks {len(lacking)} keys of {type(model).__name__}: "
            f"{', '.join(lacking[:8])}{' ...' if len(lacking) > 8 else ''}"
        )
    weights = {k: file.weights[n] for k, n in names.items() if n in file.weights}
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # names the keys and shapes
        raise CheckpointError(f"{file.path} does not fit: {error}") from error
    return OfficialReport(missing, unexpected)


def load_official(cls: type[Model], file: OfficialFile) -> Model:
    """Builds a full Mol-AE from an official file; every key must be known and there."""
    num_decoder_layers = _num_layers(file.weights, "decoder")
    if "decoder.emb_layer_norm.weight" not in file.weights:
        raise CheckpointError(
            f"{file.path} has no decoder, so it is no full Mol-AE (perhaps Uni-Mol, or a "
            "fine-tuned model): MolAEEncoder.from_official reads its encoder"
        )
    config = _encoder_config(file)
    try:
        model = cls(
            **config,
            num_decoder_layers=num_decoder_layers,
            ablation=_official_ablation(file.args),
        )
    except ValueError as error:
        raise CheckpointError(
            f"{file.path} was made with settings that {cls.__name__} cannot follow ({error}); "
            "ReferenceMolAE.from_official follows all of the official code's"
        ) from error
    report = _fill_official(model, file, prefix="", optional=OPTIONAL_KEYS)
    if report.unexpected:
        raise CheckpointError(
            f"{file.path} has {len(report.unexpected)} unknown keys: "
            f"{', '.join(report.unexpected[:8])}"
        )
    return model


def load_official_encoder(cls: type[Model], file: OfficialFile) -> tuple[Model, OfficialReport]:
    """Builds an encoder from an official Mol-AE or Uni-Mol file, and says what was left over."""
    encoder = cls(**_encoder_config(file))
    return encoder, _fill_official(encoder, file, prefix="encoder.", optional=OPTIONAL_KEYS)


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """Our weights under the official keys, copied bit for bit."""
    return {official_name(k): v.detach().clone() for k, v in model.state_dict().items()}
