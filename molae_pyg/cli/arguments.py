"""What several verbs share: their parsers, flags about files of molecules, and Ctrl-C."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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


def add_engine_flags(parser: argparse.ArgumentParser, part_rows: str) -> None:
    """Adds the flags ``engine``, ``workers`` and ``part_rows``, whose default is described."""
    add = parser.add_argument
    add("--engine", choices=("local", "ray"), default="local", help="default: local")
    add("--workers", type=int, metavar="N", help="processes, or Ray tasks; default: one a core")
    what = "rows that are in memory together, and that a kill can cost"
    add("--part-rows", type=int, metavar="N", help=f"{what}; default: {part_rows}")


@contextmanager
def resumable() -> Iterator[None]:
    """Ctrl-C in the block says that the same command resumes."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or "stopped; the same command resumes") from None
