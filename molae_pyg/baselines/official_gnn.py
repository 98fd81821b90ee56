"""Official weights of PretrainGNN, MolCLR and GraphMVP, by tables of names."""

import os
import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from molae_pyg.checkpoint import CheckpointError
from molae_pyg.nn.gin import HU, MOL_CLR, OGBGIN, EdgeGIN, GINTables
from molae_pyg.official_file import OfficialFile, read_official

#: Module of :class:`~molae_pyg.nn.gin.EdgeGIN` -> official one; ``*`` is the number of a layer.
EDGE_GIN = {
    "element": "x_embedding1",
    "chirality": "x_embedding2",
    "layers.*.bond": "gnns.*.edge_embedding1",
    "layers.*.direction": "gnns.*.edge_embedding2",
    "layers.*.linear1": "gnns.*.mlp.0",
    "layers.*.linear2": "gnns.*.mlp.2",
    "layers.*.norm": "batch_norms.*",
}
#: Part of a key of :class:`~molae_pyg.nn.gin.OGBGIN` -> official one, by regular expressions.
OGB_GIN = {
    r"^atom\.": "atom_encoder.atom_embedding_list.",
    r"^bonds\.(\d+)\.": r"gnns.\1.bond_encoder.bond_embedding_list.",
    r"^convs\.(\d+)\.nn\.": r"gnns.\1.mlp.",
    r"^convs\.(\d+)\.": r"gnns.\1.",
    r"^norms\.": "batch_norms.",
}
#: Prefixes of the encoder's keys in files of fine-tuned models.
PREFIXES = ("", "gnn.", "molecule_model.")


def edge_gin_name(key: str) -> str:
    """Returns the official key of a key of :class:`~molae_pyg.nn.gin.EdgeGIN`."""
    number = "".join(re.findall(r"^layers\.(\d+)\.", key))
    module, _, leaf = re.sub(r"^layers\.\d+\.", "layers.*.", key).rpartition(".")
    return f"{EDGE_GIN[module]}.{leaf}".replace("*", number)


def fill(
    module: nn.Module, file: OfficialFile, official_name: Callable[[str], str]
) -> dict[str, Tensor]:
    """Copies official tensors into a module, and returns those of the file that it has no use for.

    Args:
        module: The module, of the sizes of the file.
        file: The file.
        official_name: Returns the official key of a key of the module.

    Raises:
        CheckpointError: The file lacks a key, or one has another shape. The message names it.
    """
    weights, left = {}, dict(file.weights)
    for key, mine in module.state_dict().items():
        name = official_name(key)
        if name not in file.weights:
            raise CheckpointError(f"{file.path} lacks {name} of {type(module).__name__}")
        theirs = left.pop(name)
        if theirs.shape != mine.shape:
            raise CheckpointError(
                f"{file.path} does not fit: {name} {list(theirs.shape)} instead of "
                f"{list(mine.shape)}"
            )
        weights[key] = theirs
    module.load_state_dict(weights)
    return left


def edge_gin(
    file: OfficialFile, tables: GINTables | None = None, dropout: float = 0.0
) -> tuple[EdgeGIN, OfficialFile]:
    """Builds the encoder of an official file.

    Args:
        file: Weights of the encoder alone, or of a model that contains one.
        tables: Rows of the tables; default: those of the file, of Hu et al. or of MolCLR.
        dropout: Dropout of the encoder, default: 0.

    Returns:
        The encoder, and the file without its keys.
    """
    prefix = next((p for p in PREFIXES if f"{p}x_embedding1.weight" in file.weights), None)
    if prefix is None:
        raise CheckpointError(f"{file.path} is no GIN of Hu et al., MolCLR or GraphMVP")
    rows = len(file.weights[f"{prefix}x_embedding1.weight"])
    tables = tables or (MOL_CLR if rows == MOL_CLR.atoms else HU)
    channels = shape_of(file, f"{prefix}x_embedding2.weight", 2)[1]
    encoder = EdgeGIN(channels, _num_layers(file), dropout, *tables)
    left = fill(encoder, file, lambda key: prefix + edge_gin_name(key))
    return encoder, file._replace(weights=left)


def shape_of(file: OfficialFile, key: str, num_dimensions: int) -> tuple[int, ...]:
    """Returns the shape of a tensor of the file.

    Raises:
        CheckpointError: There is none, or it has another number of dimensions.
    """
    if key not in file.weights:
        raise CheckpointError(f"{file.path} lacks {key}")
    shape = tuple(file.weights[key].shape)
    if len(shape) != num_dimensions:
        raise CheckpointError(f"{file.path}: {key} has {len(shape)} dimensions: {list(shape)}")
    return shape


def refuse_unknown(file: OfficialFile) -> None:
    """Raises CheckpointError for keys that are left."""
    if file.weights:
        raise CheckpointError(
            f"{file.path} has {len(file.weights)} unknown keys: "
            f"{', '.join(sorted(file.weights)[:8])}"
        )


def edge_gin_from_official(path: str | os.PathLike) -> EdgeGIN:
    """Reads the encoder of a file of PretrainGNN, MolCLR or GraphMVP, in evaluation mode.

    Weights of heads in the file are not read.

    Raises:
        CheckpointError: The file cannot be read, or has other keys or shapes.
    """
    return edge_gin(read_official(path))[0].eval()


def ogb_gin_name(key: str) -> str:
    """Returns the official key of a key of :class:`~molae_pyg.nn.gin.OGBGIN`."""
    for ours, theirs in OGB_GIN.items():
        key = re.sub(ours, theirs, key)
    return key


def ogb_gin_from_official(path: str | os.PathLike) -> OGBGIN:
    """Reads the encoder of a file of GraphMVP's regression, in evaluation mode.

    Raises:
        CheckpointError: The file cannot be read, or has other keys or shapes.
    """
    file = read_official(path)
    first = "atom_encoder.atom_embedding_list.0.weight"
    prefix = next((p for p in PREFIXES if f"{p}{first}" in file.weights), None)
    if prefix is None:
        raise CheckpointError(f"{file.path} is no GIN with features of the Open Graph Benchmark")
    encoder = OGBGIN(shape_of(file, f"{prefix}{first}", 2)[1], _num_layers(file))
    fill(encoder, file, lambda key: prefix + ogb_gin_name(key))
    return encoder.eval()


def _num_layers(file: OfficialFile) -> int:
    numbers = {int(n) for key in file.weights for n in re.findall(r"^\w*\.?gnns\.(\d+)\.", key)}
    return max(1, len(numbers))


def edge_gin_to_official(encoder: EdgeGIN) -> Mapping[str, Tensor]:
    """Returns copies of the encoder's weights under the official keys."""
    return {edge_gin_name(k): v.detach().clone() for k, v in encoder.state_dict().items()}
