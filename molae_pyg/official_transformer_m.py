"""Conversion of official checkpoints of Transformer-M and MoleBLEND to ours and back.

Both have the same encoder, so that one table of names serves both.
"""

import inspect
import re

import torch
from torch import Tensor, nn

from molae_pyg.checkpoint import CheckpointError, Model
from molae_pyg.official_file import OfficialFile

#: Our module or parameter -> official one, in front of which is ``encoder.``. ``*`` is the number
#: of a layer. Of the names in a tuple, the official tensors are joined to one of ours.
NAMES = {
    "encoder.atom": "molecule_encoder.atom_feature.atom_encoder",
    "encoder.in_degree": "molecule_encoder.atom_feature.in_degree_encoder",
    "encoder.out_degree": "molecule_encoder.atom_feature.out_degree_encoder",
    "encoder.graph_token": "molecule_encoder.atom_feature.graph_token.weight",
    "encoder.token_bias": "molecule_encoder.molecule_attn_bias.graph_token_virtual_distance.weight",
    "encoder.path_bias.length": "molecule_encoder.molecule_attn_bias.spatial_pos_encoder",
    "encoder.path_bias.bond": "molecule_encoder.molecule_attn_bias.edge_encoder",
    "encoder.path_bias.hop": "molecule_encoder.molecule_attn_bias.edge_dis_encoder.weight",
    **{
        f"encoder.distance_bias.{ours}": f"molecule_encoder.molecule_3d_bias.{official}"
        for ours, official in {
            "gaussian.mean": "gbf.means.weight",
            "gaussian.std": "gbf.stds.weight",
            "gaussian.scale": "gbf.mul",
            "gaussian.offset": "gbf.bias",
            "linear1": "gbf_proj.layer1",
            "linear2": "gbf_proj.layer2",
            "node": "edge_proj",
        }.items()
    },
    "encoder.input_norm": "molecule_encoder.emb_layer_norm",
    **{
        f"encoder.layers.*.{ours}": f"molecule_encoder.layers.*.{official}"
        for ours, official in {
            "attention.out_proj": "self_attn.out_proj",
            "attn_norm": "self_attn_layer_norm",
            "linear1": "fc1",
            "linear2": "fc2",
            "ffn_norm": "final_layer_norm",
        }.items()
    },
    "encoder.layers.*.attention.in_proj": tuple(
        f"molecule_encoder.layers.*.self_attn.{part}_proj" for part in "qkv"
    ),
    "denoising_head.in_proj": tuple(f"molecule_encoder.atom_proc.{part}_proj" for part in "qkv"),
    "denoising_head.out": tuple(f"molecule_encoder.atom_proc.force_proj{i}" for i in (1, 2, 3)),
    **{
        f"{ours}_head.{part}": f"molecule_encoder.blend_{official}_pred_head.{name}"
        for ours, official in {"length": "spd", "bond": "edge", "distance": "3d"}.items()
        for part, name in {
            "row": "transform_n2_head.row_head",
            "row_norm": "transform_n2_head.row_LayerNorm",
            "column": "transform_n2_head.column_head",
            "column_norm": "transform_n2_head.column_LayerNorm",
        }.items()
    },
    "length_head.out": "molecule_encoder.blend_spd_pred_head.linear",
    "bond_head.out": "molecule_encoder.blend_edge_pred_head.linear_map_feature",
    "distance_head.out": "molecule_encoder.blend_3d_pred_head.linear",
    "axes": tuple(f"molecule_encoder.blend_3d_pred_head.force_proj{i}" for i in (1, 2, 3)),
    "dense": "lm_head_transform_weight",
    "norm": "layer_norm",
    "out.weight": "embed_out.weight",
    "out.bias": "lm_output_learned_bias",
}


def official_names(key: str) -> list[str]:
    """Returns the official keys whose tensors make one of ours."""
    number = "".join(re.findall(r"\.layers\.(\d+)\.", key))
    ours = re.sub(r"\.layers\.\d+\.", ".layers.*.", key)
    leaf = "" if ours in NAMES else "." + ours.rpartition(".")[2]
    found = NAMES[ours.removesuffix(leaf)]
    modules = (found,) if isinstance(found, str) else found
    return [f"encoder.{module}{leaf}".replace("*", number) for module in modules]


def load_transformer_m(cls: type[Model], file: OfficialFile) -> Model:
    """Builds a reference model from an official file, which must have exactly its keys."""
    model = cls(**_config(cls, file), reference=True)
    weights, used = {}, set()
    for key, mine in model.state_dict().items():
        names = official_names(key)
        if lacking := [name for name in names if name not in file.weights]:
            raise CheckpointError(f"{file.path} lacks {', '.join(lacking)} of {cls.TITLE}")
        joined = torch.cat([file.weights[name] for name in names])
        if joined.numel() != mine.numel():
            raise CheckpointError(
                f"{file.path} does not fit: {', '.join(names)} {list(joined.shape)} instead of "
                f"{list(mine.shape)}"
            )
        weights[key] = joined.view(mine.shape)
        used.update(names)
    if unknown := sorted(set(file.weights) - used):
        raise CheckpointError(
            f"{file.path} has {len(unknown)} unknown keys: {', '.join(unknown[:8])}"
        )
    model.load_state_dict(weights)
    return model


def _config(cls: type[Model], file: OfficialFile) -> dict[str, int]:
    """Sizes, from the tensors of a file."""

    def shape(key: str) -> tuple[int, ...]:
        if key not in file.weights:
            raise CheckpointError(f"{file.path} is no {cls.TITLE} model: no {key!r}")
        return tuple(file.weights[key].shape)

    inside = "encoder.molecule_encoder."
    layers = [re.match(rf"{re.escape(inside)}layers\.(\d+)\.", key) for key in file.weights]
    found = {
        "hidden_channels": shape(f"{inside}emb_layer_norm.weight")[0],
        "ffn_channels": shape(f"{inside}layers.0.fc1.weight")[0],
        "heads": shape(f"{inside}molecule_attn_bias.spatial_pos_encoder.weight")[1],
        "num_layers": len({match[1] for match in layers if match}),
        "num_gaussians": shape(f"{inside}molecule_3d_bias.gbf.means.weight")[1],
    }
    if "direction_channels" in inspect.signature(cls).parameters:
        found["direction_channels"] = shape(f"{inside}blend_3d_pred_head.linear.weight")[0]
    return found


def to_official(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of our weights under the official keys, in the official shapes.

    Raises:
        ValueError: The model is no reference, so that its heads have no official form.
    """
    if not model.config["reference"]:
        raise ValueError("only a model with reference=True has the weights of the official code")
    official = {}
    for key, value in model.state_dict().items():
        names = official_names(key)
        if key == "encoder.path_bias.hop":
            value = value.reshape(-1, 1)
        parts = value.detach().clone().chunk(len(names))
        official.update(zip(names, parts, strict=True))
    return official
