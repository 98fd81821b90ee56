"""``molae embed``: a file of molecules becomes a file of vectors."""

import argparse
from typing import TYPE_CHECKING

from molae_pyg.chem.recipes import DEFAULT_RECIPE
from molae_pyg.cli.arguments import (
    add_coordinates,
    add_data,
    add_engine_flags,
    add_table_flags,
    add_verb,
    resumable,
)
from molae_pyg.evaluation.flags import add_recipe
from molae_pyg.model_files import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from torch import nn

_DESCRIPTION = """\
Writes the vector of every molecule of a file, or of every atom.

All rows come out in order, with a status; rows that give no molecule have no vector and a
reason. The file may be of any length. After an interruption the same command resumes."""

#: What --readout may be, and its name in Python.
_READOUTS = {None: None, "cls": "cls", "mean": "mean", "cls,mean": "cls, mean"}


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    what = "write vectors of molecules or atoms"
    parser = add_verb(commands, "embed", _embed, what, _DESCRIPTION)
    add = parser.add_argument
    add_data(parser)
    what = ".csv, .npz, .parquet (needs pyarrow), or NAME/, a folder of .parquet files"
    add("out", metavar="OUT", help=f"file to write: {what}")
    add(
        "--weights",
        default=DEFAULT_WEIGHTS,
        metavar="NAME|MODEL",
        help="weights by name, a folder of saved weights, or a folder of molae train (its frozen "
        f"encoder, or the fine-tuned one of the first fold); default: {DEFAULT_WEIGHTS}",
    )
    add("--level", choices=("molecule", "atom"), default="molecule", help="default: molecule")
    what = "of molecules: the CLS token, the mean over atoms, or both side by side; default: both"
    add("--readout", choices=list(_READOUTS)[1:], help=what)
    what = "those of MODEL, or else those of the file where it has 3D coordinates"
    add_coordinates(parser, None, what)
    add("--conformers", type=int, metavar="K", help="to average over; default: 1, or the model's")
    add_recipe(parser, f"the model's, or {DEFAULT_RECIPE}")
    add_engine_flags(parser, "512, of atoms 128")
    add_table_flags(parser)


def _embed(
    data: str,
    out: str,
    weights: str,
    level: str,
    readout: str | None,
    coordinates: str | None,
    conformers: int | None,
    recipe: str | None,
    engine: str,
    workers: int | None,
    part_rows: int | None,
    smiles: str | None,
    encoding: str,
) -> None:
    from molae_pyg.inference import embed_file

    model, own = _load(weights)
    how = ("auto", workers, encoding, smiles, _READOUTS[readout], coordinates or own, recipe)
    with resumable():
        print(embed_file(model, data, out, level, conformers, 32, *how, engine, part_rows))


def _load(weights: str) -> "tuple[nn.Module, str | None]":
    """Returns an encoder, or a predictor, which knows how molecules are made.

    The second value is where the coordinates of its training came from, if that is known.
    """
    from molae_pyg.checkpoint import saved_class
    from molae_pyg.model_files import find_folder
    from molae_pyg.models import MolAEEncoder, MolAEPredictor
    from molae_pyg.workflow import FittedModel
    from molae_pyg.workflow.folder import MODEL_FILE

    folder = find_folder(weights)
    if (folder / MODEL_FILE).is_file():
        fitted = FittedModel.load(folder)
        finetuned = folder / "fold-0" / "finetuned" / "model"
        model = MolAEEncoder.from_pretrained(
            finetuned if finetuned.is_dir() else folder / "encoder"
        )
        model.recipe = fitted.info["recipe"]
        return model, fitted.coordinates
    is_predictor = saved_class(folder) == "MolAEPredictor"
    return (MolAEPredictor if is_predictor else MolAEEncoder).from_pretrained(folder), None
