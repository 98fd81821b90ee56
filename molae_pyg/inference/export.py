"""Export of encoders and predictors: programs of ``torch.export``, and ONNX files.

The flat input of the models has shapes that depend on values (the largest molecule). What is
exported takes padded molecules instead, of which all shapes are known, and computes the same.
"""

import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from molae_pyg._version import __version__
from molae_pyg.chem.elements import CLS, PAD, SEP
from molae_pyg.models import MolAEEncoder, MolAEPredictor, PropertyModel
from molae_pyg.models.encoding import sees_graph
from molae_pyg.nn.dense import NUM_SPECIAL
from molae_pyg.nn.graph_bias import ATOM_SIZES, pair_codes

_ROWS = {0: "molecules", 1: "atoms"}
#: Inputs, with the names of their free sizes in an ONNX file.
_SIZES = {"z": _ROWS, "pos": _ROWS, "features": _ROWS, "bonds": {**_ROWS, 2: "atoms"}}


class DenseEncoding(NamedTuple):
    """Output of :class:`DenseEncoder`."""

    molecule: Tensor  #: Molecule representations ``[B, C]`` (the token CLS).
    atom: Tensor  #: Atom representations ``[B, N, C]``, zeros where there is no atom.


class DenseEncoder(nn.Module):
    """An encoder of padded molecules; N is the number of atoms of the largest.

    Args:
        encoder: The encoder, used as it is, not copied.

    Shapes:
        z ``[B, N]`` atomic numbers, 0 where there is no atom, pos ``[B, N, 3]`` in Å ->
        :class:`DenseEncoding`. An encoder with a graph channel also takes the features of the atoms
        ``[B, N, 6]`` (all 0: unknown) and the types of the bonds ``[B, N, N]``, symmetric, see
        :class:`~molae_pyg.nn.Graph`; without them it knows no graph.
    """

    def __init__(self, encoder: MolAEEncoder):
        super().__init__()
        if type(encoder) is not MolAEEncoder:  # its forward is written out below
            raise ValueError(f"a {type(encoder).__name__} cannot be exported, only a MolAEEncoder")
        self.encoder = encoder

    def forward(
        self, z: Tensor, pos: Tensor, features: Tensor | None = None, bonds: Tensor | None = None
    ) -> DenseEncoding:
        encoder, atom = self.encoder, z > 0  # [B, N]
        padding = ~atom[..., None]  # [B, N, 1]
        num_atoms = atom.sum(1).clamp(min=1)[:, None, None]  # [B, 1, 1]
        pos = pos.masked_fill(padding, 0.0)  # [B, N, 3]
        pos = (pos - pos.sum(1, keepdim=True) / num_atoms).masked_fill(padding, 0.0)
        token = torch.where(atom, encoder.token_of_z[z], PAD)  # [B, N]
        special = token.new_tensor([CLS, SEP]).expand(z.size(0), NUM_SPECIAL)  # [B, 2]
        token = torch.cat([special, token], 1)  # [B, L]
        pos = torch.cat([pos.new_zeros(z.size(0), NUM_SPECIAL, 3), pos], 1)  # [B, L, 3]
        mask = torch.cat([torch.ones_like(special, dtype=torch.bool), atom], 1)  # [B, L]
        x, bias = encoder.embedding(token), encoder.pair_bias(token, pos)  # [B, H, L, L]
        if features is not None:
            ahead, graph = (NUM_SPECIAL, 0), encoder.graph_bias  # rows of CLS and SEP
            known = F.pad(atom & (features > 0).any(-1), ahead)  # [B, L]
            x = x + graph.atoms(F.pad(features, (0, 0, *ahead)))
            bias = bias + graph.pairs(pair_codes(F.pad(bonds, ahead * 2), known))
        x = encoder.transformer(x, bias, mask).x  # [B, L, C]
        return DenseEncoding(x[:, 0], x[:, NUM_SPECIAL:].masked_fill(padding, 0.0))


class DensePredictor(nn.Module):
    """A predictor of padded molecules, as :class:`DenseEncoder`.

    Args:
        predictor: The predictor, used as it is, not copied.

    Shapes:
        The inputs of :class:`DenseEncoder` -> ``[B, T]`` in real units, or probabilities of
        classes.
    """

    def __init__(self, predictor: MolAEPredictor):
        super().__init__()
        self.predictor = predictor
        self.encoder = DenseEncoder(predictor.encoder)

    def forward(
        self, z: Tensor, pos: Tensor, features: Tensor | None = None, bonds: Tensor | None = None
    ) -> Tensor:
        molecule, atom = self.encoder(z, pos, features, bonds)  # [B, C], [B, N, C]
        y = self.predictor.head.of_padded(atom, molecule, z > 0)  # [B, T]
        return self.predictor.probabilities(y * self.predictor.std + self.predictor.mean)


class DenseEnsemble(nn.Module):
    """The mean prediction of several predictors, such as those of all folds.

    Args:
        predictors: Predictors of the same tasks, used as they are, not copied.

    Shapes:
        Those of :class:`DensePredictor`.
    """

    def __init__(self, predictors: Sequence[MolAEPredictor]):
        super().__init__()
        self.predictors = nn.ModuleList(DensePredictor(p) for p in predictors)

    def forward(
        self, z: Tensor, pos: Tensor, features: Tensor | None = None, bonds: Tensor | None = None
    ) -> Tensor:
        graph = (features, bonds)
        predicted = [p(z, pos, *graph) if _takes_graph(p) else p(z, pos) for p in self.predictors]
        return torch.stack(predicted).mean(0)


def dense(model: nn.Module | Sequence[MolAEPredictor]) -> nn.Module:
    """Returns a model that takes padded molecules and computes what ``model`` computes.

    Args:
        model: A :class:`~molae_pyg.MolAEPredictor`; a list of them, whose predictions are averaged;
            an encoder; or a model with an encoder such as :class:`~molae_pyg.MolAE`, whose encoder
            is taken.

    Returns:
        :class:`DensePredictor`, :class:`DenseEnsemble` or :class:`DenseEncoder`.

    Raises:
        ValueError: The model has no Mol-AE encoder, or the predictors have other tasks.
    """
    if predictors := _predictors(model):
        return DensePredictor(model) if model is predictors[0] else DenseEnsemble(predictors)
    encoder = getattr(model, "encoder", model)
    if not isinstance(encoder, MolAEEncoder) or isinstance(model, PropertyModel):
        raise ValueError(
            f"a {type(model).__name__} cannot be exported: give a MolAEPredictor, a MolAEEncoder "
            "or a MolAE"
        )
    return DenseEncoder(encoder)


def _predictors(model: nn.Module | Sequence[MolAEPredictor]) -> list[MolAEPredictor]:
    """Returns the predictors of a model or list, empty for an encoder."""
    if not isinstance(model, list | tuple):
        return [model] if isinstance(model, MolAEPredictor) else []
    if not model or not all(isinstance(each, MolAEPredictor) for each in model):
        raise ValueError("a list to export must hold one MolAEPredictor or more, and nothing else")
    tasks = [list(zip(each.task_names, each.task_types, strict=True)) for each in model]
    if other := [each for each in tasks if each != tasks[0]]:
        raise ValueError(f"predictors of other tasks have no mean: {tasks[0]} and {other[0]}")
    return list(model)


def export_program(model: nn.Module | Sequence[MolAEPredictor]) -> ExportedProgram:
    """Exports a model with ``torch.export``, for any number of molecules and atoms.

    The program is in evaluation mode, in float32 on the CPU, whatever the mode, type and device of
    the model, which stays as it is. Save it with ``torch.export.save``.

    Args:
        model: As in :func:`dense`.

    Returns:
        A program with the inputs and outputs of :class:`DensePredictor` or :class:`DenseEncoder`.

    Raises:
        ValueError: As :func:`dense`.
    """
    module = deepcopy(dense(model)).cpu().float().eval()
    inputs = {"z": torch.tensor([[6, 8, 0], [6, 7, 6]]), "pos": torch.arange(18.0).view(2, 3, 3)}
    if _takes_graph(module):
        inputs["features"] = torch.ones(2, 3, len(ATOM_SIZES), dtype=torch.long)
        inputs["bonds"] = torch.zeros(2, 3, 3, dtype=torch.long)
    sizes = {name: dict.fromkeys(_SIZES[name], Dim.DYNAMIC) for name in inputs}
    with torch.no_grad():
        return torch.export.export(module, tuple(inputs.values()), dynamic_shapes=sizes)


def _takes_graph(module: nn.Module) -> bool:
    """Whether the graph is an input: an encoder in the module has a graph channel."""
    return any(sees_graph(part) for part in module.modules())


def export_onnx(model: nn.Module | Sequence[MolAEPredictor], path: str | os.PathLike) -> None:
    """Writes a model as one ONNX file, for any number of molecules and atoms.

    Inputs are ``z`` int64 ``[molecules, atoms]``, atomic numbers with 0 where there is no atom, and
    ``pos`` float32 ``[molecules, atoms, 3]`` in Å. Outputs are ``prediction`` ``[molecules, T]`` of
    a predictor (real units, or probabilities of classes), ``molecule`` ``[molecules, C]`` and
    ``atom`` ``[molecules, atoms, C]`` of an encoder. A model with a graph channel also has the
    inputs ``features`` and ``bonds`` of :class:`DenseEncoder`, int64. The metadata of the file name
    the tasks, their types and the recipe of the molecules.

    Needs the packages onnx and onnxscript: ``pip install 'molae_pyg[onnx]'``.

    Args:
        model: As in :func:`dense`.
        path: The file, replaced if it is there.

    Raises:
        ValueError: As :func:`dense`.
        ModuleNotFoundError: onnx or onnxscript is not installed.
        OSError: The file cannot be written.
    """
    if missing := [name for name in ("onnx", "onnxscript") if not importlib.util.find_spec(name)]:
        raise ModuleNotFoundError(
            f"ONNX files need {' and '.join(missing)}: pip install 'molae_pyg[onnx]'"
        )
    path = Path(path)
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    predictors = _predictors(model)
    outputs = ["prediction"] if predictors else list(DenseEncoding._fields)
    program = export_program(model)
    inputs = list(_SIZES)[: len(program.graph_signature.user_inputs)]
    with _quiet():
        file = torch.onnx.export(
            program,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes={name: _SIZES[name] for name in inputs},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    file.model.metadata_props.update(_metadata(predictors))
    file.save(path)


def _metadata(predictors: list[MolAEPredictor]) -> dict[str, str]:
    """Returns what a user of the file has to know besides its inputs and outputs, as JSON."""
    known = {"molae_pyg": __version__}
    if predictors:
        first = predictors[0]
        known |= {"task_names": first.task_names, "task_types": first.task_types}
        known |= {"recipe": first.recipe, **first.saved_classes}
    return {name: json.dumps(value) for name, value in known.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's remarks on packages that it does not need, and on itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name")  # two inputs share their sizes
            yield
    finally:
        logger.setLevel(level)
