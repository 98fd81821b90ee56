"""``molae train``: a table becomes a model with an honest estimate."""

import argparse
import warnings
from typing import TYPE_CHECKING, Any

from molae_pyg.chem.recipes import DEFAULT_RECIPE
from molae_pyg.cli.arguments import add_coordinates, add_table_flags, add_verb, resumable
from molae_pyg.evaluation.flags import CHEMBL, add_recipe
from molae_pyg.model_files import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from molae_pyg.tables.formats import Cells
    from molae_pyg.workflow import FitSettings

_DESCRIPTION = """\
Trains a model on the molecules and labels of a table and writes it to a folder.

Each row is predicted by a model that has not seen it; from these predictions come the
scores, the 90 % intervals and the comparison with simple baselines on the same folds.
After an interruption the same command resumes."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    what = "learn properties from a table"
    parser = add_verb(commands, "train", _train, what, _DESCRIPTION)
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        help=".csv, .tsv, .sdf (also with .gz) or .parquet; or "
        f"{CHEMBL}, 1,017 sulfonamides that come with RDKit",
    )
    add("model", metavar="MODEL", help="folder to write")
    add(
        "--targets",
        metavar="A,B",
        help="columns to learn, or all; default: the only one that can be",
    )
    what = "regression, classification or multiclass, or A=TYPE,B=TYPE; default: from the labels"
    add("--task-type", metavar="TYPE", help=what)
    what = "take targets and settings of an earlier training; other flags have priority"
    add("--like", metavar="MODEL", help=what)
    add("--folds", type=int, metavar="N", help="1: all rows, no estimate; default: 5")
    add("--split", help="scaffold (default), random or column:NAME")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--frozen", action="store_true", default=None, help="read-out of the encoder; the default"
    )
    how.add_argument(
        "--finetune",
        dest="frozen",
        action="store_false",
        default=None,
        help="train the encoder too (slow)",
    )
    add(
        "--features",
        choices=("none", "descriptors", "ecfp", "both", "auto"),
        help="beside the encoder; auto (default) chooses in each fold",
    )
    add("--conformers", type=int, metavar="K", help="of a molecule; default: 1")
    add_recipe(parser, DEFAULT_RECIPE)
    add_coordinates(parser, None, "generated")
    add("--epochs", type=int, metavar="N", help="of fine-tuning; default: 20")
    what = f"name or folder; default: {DEFAULT_WEIGHTS}"
    add("--weights", metavar="NAME|MODEL", help=what)
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of fine-tuning, such as lr=1e-4")
    what = "rare classes weigh as much as frequent ones; probabilities are calibrated all the same"
    add("--class-weights", action="store_true", default=None, help=what)
    what = "of fine-tuning: try N settings in each fold, on rows inside its training rows"
    add("--tune", type=int, metavar="N", help=what)
    what = "columns that the read-out sees beside the molecule: numbers, words or SMILES"
    add("--extra", metavar="A,B", help=what)
    add("--seed", type=int, metavar="N", help="default: 0")
    add_table_flags(parser)


def _train(data: str, model: str, **flags: Any) -> None:
    from molae_pyg.chem.options import as_input_errors
    from molae_pyg.evaluation.sources import types_of
    from molae_pyg.tables.atom_lists import has_atom_lists, read_atom_table
    from molae_pyg.tables.formats import read_cells
    from molae_pyg.tables.reading import read_table
    from molae_pyg.workflow import fit, fit_atoms, molecules_of_sdf
    from molae_pyg.workflow.atoms.output import atom_summary
    from molae_pyg.workflow.output import cells_of, summary
    from molae_pyg.workflow.tuning import tuned_lines

    settings, targets = _settings(flags)
    of_atoms, molecules = False, None
    with as_input_errors():
        if data == CHEMBL:
            from molae_pyg.datasets import ChEMBLActivities

            table = ChEMBLActivities.read()
            cells = cells_of(table)
        else:
            cells = read_cells(data, flags["encoding"], flags["smiles"])
            numbers = flags["task_type"] in (None, "regression")
            of_atoms = numbers and has_atom_lists(cells, targets, flags["smiles"])
            where = data, flags["smiles"], targets
            if of_atoms:
                table = read_atom_table(*where, flags["encoding"])
            else:
                table = read_table(*where, types_of(flags["task_type"]), flags["encoding"])
            if settings.coordinates == "file":
                molecules = molecules_of_sdf(data)
    print(_described(table), flush=True)
    if not of_atoms:
        _describe_columns(settings, cells, table)
    with resumable():
        if of_atoms:
            fitted = fit_atoms(table, model, settings, cells, data)
        else:
            fitted = fit(table, model, settings, cells, data, molecules)
    if molecules is not None and (failed := fitted.outcomes.count("failed")):
        where = "see molae_reason in predictions.csv"
        print(f"{failed:,} of {len(cells.rows):,} records have no 3D coordinates: {where}")
    print(f"\n{(atom_summary if of_atoms else summary)(fitted)}\n")
    for line in tuned_lines(fitted.info.get("tuned", [])):
        print(line)
    print(f"{model}/predictions.csv  the table with out-of-fold predictions")
    print(f"{model}/metrics.csv      all scores")
    print(f"Predict new molecules: molae predict {model} NEW.csv OUT.csv")
    print(f"Open the report: {model}/report.html")


def _settings(flags: dict[str, Any]) -> "tuple[FitSettings, list[str] | None]":
    """Returns the settings and the names of the targets."""
    from molae_pyg.workflow import FitSettings, FittedModel

    training = dict(map(_setting, flags["set"]))
    if flags["epochs"] is not None:
        training["epochs"] = flags["epochs"]
    names = ("folds", "split", "frozen", "features", "conformers", "weights", "seed", "tune")
    names += ("coordinates", "class_weights", "recipe")
    given = {name: flags[name] for name in names if flags[name] is not None}
    if flags["extra"]:
        given["extra"] = [name.strip() for name in flags["extra"].split(",")]
    targets = flags["targets"] and [name.strip() for name in flags["targets"].split(",")]
    if flags["like"]:
        earlier = FittedModel.load(flags["like"])
        known = earlier.info["identity"]["settings"]
        targets = targets or [target.name for target in earlier.targets]
        given["training"] = known["training"] | training
        return FitSettings.of(known, **given), targets
    return FitSettings(**given, training=training), targets


def _describe_columns(settings: "FitSettings", cells: "Cells", table: Any) -> None:
    """Prints what the columns beside the molecules are read as, or that some are not used."""
    from molae_pyg.workflow.extra import Extra, other_molecules

    if settings.extra:
        print(f"beside the molecule: {Extra.read(settings.extra, cells)}", flush=True)
        return
    for name in other_molecules(cells, table.smiles, table.task_names):
        warnings.warn(
            f"column {name!r} holds molecules too: --extra {name} would use them", stacklevel=1
        )


def _described(table: Any) -> str:
    """Returns what is learned, target by target."""
    if table.description:
        return table.description
    parts = []
    for name, kind, y in zip(table.task_names, table.task_types, table.y.T, strict=True):
        parts.append(f"{name}: {kind}, {int((~y.isnan()).sum()):,} labels")
    return "; ".join(parts)


def _setting(text: str) -> tuple[str, Any]:
    """Reads KEY=VALUE; numbers, true, false and null are values, all else is text."""
    import yaml

    from molae_pyg.chem.options import InputError

    key, mark, value = text.partition("=")
    if not mark or not key:
        raise InputError(f"--set takes KEY=VALUE, got {text!r}")
    try:
        return key, float(value) if "e" in value.lower() else yaml.safe_load(value)
    except (ValueError, yaml.YAMLError):
        return key, value
