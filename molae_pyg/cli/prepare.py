"""``molae prepare`` and ``molae merge``: stores of conformers for pre-training."""

import argparse

from molae_pyg.cli.arguments import add_verb
from molae_pyg.evaluation.flags import add_recipe

_PREPARE = """\
Makes conformers of every molecule of a file and writes them to a store for pre-training.
After an interruption the same command resumes where it was."""

_MERGE = """\
Writes the rows of several stores into one, store after store. After an interruption the
same command resumes where it was."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds both commands."""
    _add_prepare(commands)
    _add_merge(commands)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    what = "make conformers of a file of molecules"
    parser = add_verb(commands, "prepare", _prepare, what, _PREPARE)
    parser.add_argument("source", help=".smi, .txt, .csv, .tsv or .sdf (also with .gz), or .lmdb")
    parser.add_argument("store", help="folder to write")
    add = parser.add_argument
    add("--num-conformers", type=int, metavar="K", help="default: 10, of SDF 1")
    add_recipe(parser, "published")
    parser.set_defaults(recipe="published")
    add("--no-2d", dest="add_2d", action="store_false", help="do not append the 2D layout")
    add(
        "--keep-hydrogens",
        dest="remove_hydrogens",
        action="store_false",
        help="keep hydrogens; default: remove them once the coordinates are made",
    )
    add("--max-atoms", type=int, metavar="N", help="crop larger molecules; default: never")
    add("--seed", type=int, default=0, help="seed of coordinates and cropping; default: 0")
    add("--time-limit", type=float, default=30.0, metavar="S", help="seconds a molecule; 30")
    add("--workers", type=int, metavar="N", help="number of processes; default: one a core")
    add("--engine", choices=("local", "ray"), default="local", help="default: local")
    add("--exclude", metavar="FILE", help="molecules to leave out, such as a test set")
    add("--shard-rows", type=int, default=50_000, metavar="N", help="rows a file; default: 50000")
    add("--encoding", default="utf-8", help="of lists and tables, such as latin-1; default: utf-8")
    add("--repair", action="store_true", help="remake rows that a time limit or a kill ended")


def _prepare(**settings: object) -> None:
    from molae_pyg.store import prepare

    print(prepare(**settings))


def _add_merge(commands: argparse._SubParsersAction) -> None:
    what = "merge stores of conformers into one"
    parser = add_verb(commands, "merge", _merge, what, _MERGE)
    parser.add_argument("stores", nargs="+", metavar="STORE", help="folders of complete stores")
    parser.add_argument("output", metavar="OUT", help="folder to write")
    parser.add_argument("--exclude", metavar="FILE", help="SMILES to leave out, such as a test set")


def _merge(**settings: object) -> None:
    from molae_pyg.store.merge import merge

    store = merge(**settings)
    print(f"{len(store)} molecules of {store.num_rows} rows written to {store.folder}")
    for status, number in store.outcomes().items():
        print(f"{number:12,}  {status}")
