"""What several verbs share: their parsers, flags about files of molecules, and Ctrl-C."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from molae_pyg.workflow import FittedModel
    from molae_pyg.workflow.predicting import Given


def add_verb(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[..., int | None],
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    """Adds the parser of a verb.

    Args:
        commands: The verbs.
        name: Name of the verb.
        run: Is called with the arguments.
        summary: Its line in ``molae --help``.
        description: The first lines of its own help.
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, help=summary, description=description, formatter_class=raw)
    parser.set_defaults(run=run)
    return parser


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds the argument ``data``, a file of molecules."""
    what = ".csv, .tsv, .smi, .txt, .sdf (also with .gz) or .parquet"
    parser.add_argument("data", metavar="DATA", help=what)


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how a file of molecules is read: ``smiles`` and ``encoding``."""
    add = parser.add_argument
    add("--smiles", metavar="COL", help="column of the SMILES; default: found by its name")
    add("--encoding", default="utf-8", help="of the file, such as latin-1; default: utf-8")


def add_coordinates(parser: argparse.ArgumentParser, default: str | None, what: str) -> None:
    """Adds the flag ``coordinates``; ``what`` describes its default."""
    parser.add_argument(
        "--coordinates",
        choices=("generated", "file"),
        default=default,
        help=f"of records of an SD file: generated anew, or those of the file; default: {what}",
    )


def molecules_of(model: "FittedModel", data: str, smiles: str | None, encoding: str) -> "Given":
    """Reads the molecules of a file as a fitted model takes them.

    These are SMILES, with coordinates if it was trained on those of a file, with the places of the
    atoms if it predicts atoms, or with other columns if it was trained with some.
    """
    from molae_pyg.chem.options import InputError, as_input_errors
    from molae_pyg.tables.atom_lists import read_records
    from molae_pyg.tables.formats import read_cells, smiles_of
    from molae_pyg.workflow import AtomModel, molecules_of_sdf

    with as_input_errors():
        if model.coordinates == "file":
            found = molecules_of_sdf(data)
        else:
            read = read_records if isinstance(model, AtomModel) else smiles_of
            found = read(data, encoding, smiles)
        if model.extra:
            found = model.extra.beside(found, read_cells(data, encoding, smiles))
    if not getattr(found, "smiles", found):
        raise InputError(f"{data} has no rows")
    return found


@contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C in the block says that the same command resumes."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or "stopped; the same command resumes") from None
