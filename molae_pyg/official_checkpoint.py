"""Conversion of official checkpoints to ours and back, by one table of names."""

import inspect
import re
from typing import Any, NamedTuple

from torch import Tensor, nn

from molae_pyg.checkpoint import PLAIN, CheckpointError, Model
from molae_pyg.chem.elements import NUM_TOKENS
from molae_pyg.official_file import OfficialFile, read_official

__all__ = [
    "OfficialFile",
    "OfficialReport",
    "load_official",
    "load_official_encoder",
    "load_official_uni_mol",
    "official_name",
    "read_official",
    "to_official",
]

#: Our module -> official module. ``*`` stands for the number of a layer, which is the same in both.
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

#: Official keys that a file may lack: nothing uses them, and a run without the pair norm term has
#: none.
OPTIONAL_KEYS = {
    "encoder.final_head_layer_norm.weight",
    "encoder.final_head_layer_norm.bias",
}


class OfficialReport(NamedTuple):
    """Keys that did not fit, see :meth:`molae_pyg.MolAEEncoder.from_official`."""

    missing: list[str]  #: Encoder keys that the file lacks.
    unexpected: list[str]  #: Keys of the file that the encoder does not have.


def official_name(name: str) -> str:
    """Returns the official key of a key of a full model (encoder keys start with ``encoder.``)."""
    numbers = re.findall(r"\.layers\.(\d+)\.", name)
    key = re.sub(r"\.layers\.\d+\.", ".layers.*.", name)
    if key in OFFICIAL_NAMES:  # a parameter that has a name of its own
        return OFFICIAL_NAMES[key]
    module, _, leaf = key.rpartition(".")
    official = f"{OFFICIAL_NAMES[module]}.{leaf}"
    return official.replace("*", numbers[0]) if numbers else official


def _encoder_config(file: OfficialFile) -> dict[str, Any]:
    """Reads sizes from the tensors, and dropout from the settings if the file has them."""
    vocabulary, channels = _sizes(file, "embed_tokens.weight")
    config = {
        "hidden_channels": channels,
        "ffn_channels": _sizes(file, "encoder.layers.0.fc1.weight")[0],
        "heads": _sizes(file, "gbf_proj.linear2.weight")[0],
        "num_layers": _num_layers(file, "encoder"),
        "num_gaussians": _sizes(file, "gbf.means.weight")[1],
    }
    if vocabulary != NUM_TOKENS:
        raise CheckpointError(
            f"{file.path} has {vocabulary} tokens, Mol-AE has {NUM_TOKENS} "
            "(30 lines of dict.txt and [MASK])"
        )
    activation = _setting(file, "activation_fn", "gelu")
    if activation != "gelu":
        raise CheckpointError(f"{file.path} was trained with {activation!r}, Mol-AE has 'gelu'")
    for ours, theirs in {"dropout": "dropout", "attn_dropout": "attention_dropout"}.items():
        config[ours] = _setting(file, theirs, 0.1)
    return config


def _setting(file: OfficialFile, name: str, default: Any) -> Any:
    """Returns a setting of the official run, or the default if the file lacks it."""
    value = file.args.get(name)
    if not isinstance(value, str | int | float | None):
        raise CheckpointError(f"{file.path}: args.{name} is a {type(value).__name__}")
    return default if value is None else value


def _sizes(file: OfficialFile, key: str) -> tuple[int, int]:
    """Returns the shape of a matrix of the file."""
    if key not in file.weights:
        raise CheckpointError(f"{file.path} is no Mol-AE or Uni-Mol model: no {key!r}")
    shape = tuple(file.weights[key].shape)
    if len(shape) != 2:
        raise CheckpointError(f"{file.path}: {key} must be a matrix, its shape is {list(shape)}")
    return shape


def _num_layers(file: OfficialFile, stack: str) -> int:
    """Returns the number of layers in the keys; they must be numbered 0, 1, ... without a gap."""
    keys = [re.match(rf"{stack}\.layers\.([0-9]{{1,9}})\.", key) for key in file.weights]
    numbers = {int(key[1]) for key in keys if key}
    if numbers and max(numbers) != len(numbers) - 1:
        raise CheckpointError(
            f"{file.path}: a key names layer {max(numbers)} of the {stack}, but there are "
            f"{len(numbers)} layers"
        )
    return len(numbers)


def _official_ablation(file: OfficialFile) -> dict[str, Any]:
    """Returns the flags of the official run that have an effect, as fields of ``Ablation``."""

    def flag(name: str, default: bool = False) -> bool:
        value = _setting(file, name, default)
        if value not in (True, False):
            raise CheckpointError(f"{file.path}: args.{name} must be true or false, not {value!r}")
        return bool(value)

    pair = "noisy" if flag("decoder_noise") else "zero"
    return {
        "drop": flag("encoder_unmasked_tokens_only", True),
        "decoder_position": not flag("decoder_no_pe"),
        "decoder_token": "encoder" if flag("feed_token_rep_to_decoder") else "mask",
        "decoder_pair": "encoder" if flag("feed_pair_rep_to_decoder") else pair,
    }


def _fill_official(model: nn.Module, file: OfficialFile, prefix: str) -> OfficialReport:
    """Copies official tensors into a model; returns missing and unexpected keys."""
    names = {key: official_name(prefix + key) for key in model.state_dict()}
    missing = sorted(set(names.values()) - set(file.weights))
    unexpected = sorted(set(file.weights) - set(names.values()))
    lacking = [key for key in missing if key not in OPTIONAL_KEYS]
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
    """Builds a full Mol-AE from an official file, which must have all of its keys and no others."""
    num_decoder_layers = _num_layers(file, "decoder")
    if "decoder.emb_layer_norm.weight" not in file.weights:
        raise CheckpointError(
            f"{file.path} has no decoder, so it is no full Mol-AE (perhaps Uni-Mol, or a "
            "fine-tuned model): MolAEEncoder.from_official reads its encoder"
        )
    config = _encoder_config(file)
    if num_decoder_layers:
        config["decoder_ffn_channels"] = _sizes(file, "decoder.layers.0.fc1.weight")[0]
    heads = _setting(file, "decoder_attention_heads", config["heads"])
    if heads != config["heads"]:
        raise CheckpointError(
            f"{file.path}: the decoder has {heads!r} heads, the encoder {config['heads']}; "
            "they must be equal"
        )
    config["num_decoder_layers"] = num_decoder_layers
    ablation = _official_ablation(file)
    if "ablation" in inspect.signature(cls).parameters:
        config["ablation"] = ablation
    elif ablation != PLAIN:
        raise CheckpointError(
            f"{file.path} was made with the ablation {ablation}, which {cls.__name__} does not "
            "have: AblatedMolAE.from_official reads the file"
        )
    try:
        model = cls(**config)
    except ValueError as error:
        raise CheckpointError(
            f"{file.path} was made with settings that {cls.__name__} cannot follow ({error}); "
            "ReferenceMolAE.from_official follows all settings of the official code"
        ) from error
    _refuse_unknown(_fill_official(model, file, prefix=""), file)
    return model


def load_official_uni_mol(cls: type[Model], file: OfficialFile, rule: str) -> Model:
    """Builds a Uni-Mol with its heads from an official pre-training file with exactly its keys."""
    if lacking := sorted(OPTIONAL_KEYS - set(file.weights)):
        raise CheckpointError(
            f"{file.path} lacks {', '.join(lacking)}, so it is no Uni-Mol pre-training file with "
            "all heads: MolAEEncoder.from_official reads its encoder"
        )
    model = cls(**_encoder_config(file), rule=rule)
    _refuse_unknown(_fill_official(model, file, prefix=""), file)
    return model


def _refuse_unknown(report: OfficialReport, file: OfficialFile) -> None:
    """Raises for keys of the file that the model does not have."""
    if report.unexpected:
        raise CheckpointError(
            f"{file.path} has {len(report.unexpected)} unknown keys: "
            f"{', '.join(report.unexpected[:8])}"
        )


def load_official_encoder(cls: type[Model], file: OfficialFile) -> tuple[Model, OfficialReport]:
    """Builds an encoder from an official Mol-AE or Uni-Mol file; reports keys of other parts."""
    try:
        encoder = cls(**_encoder_config(file))
    except ValueError as error:
        raise CheckpointError(
            f"{file.path} was made with settings that {cls.__name__} cannot follow: {error}"
        ) from error
    return encoder, _fill_official(encoder, file, prefix="encoder.")


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of our weights under the official keys, equal bit by bit.

    Raises:
        ValueError: The encoder has a graph channel, which the official code does not have.
    """
    if model.encoder.config.get("graph"):
        raise ValueError(
            "the official code has no graph channel: only models with graph=False, such as "
            "molae-small, can be written for it"
        )
    return {official_name(k): v.detach().clone() for k, v in model.state_dict().items()}
