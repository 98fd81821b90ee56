"""The ``molae`` command: one file a verb, which loads what it needs when it runs.

The module of a verb has ``add(commands)``, which adds its parser and sets ``run``, the function
that is called with the arguments. It returns None or an exit status.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from molae_pyg._version import __version__
from molae_pyg.cli import compare, embed, explain, predict, prepare, pretrain, train

VERBS = (train, predict, explain, embed, compare, pretrain, prepare)

_FIRST_STEPS = """\
learn a property from a table, and predict new molecules:
  molae train   my.csv runs/my --targets logS     my.csv has columns smiles and logS
  molae predict runs/my new.csv predicted.csv     all rows, with intervals

runs/my/predictions.csv has a prediction of each row by a model that has not seen it,
runs/my/metrics.csv the scores beside simple baselines. No GPU is needed.
molae COMMAND --help explains all flags."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: Arguments after ``molae``. default: None, those of this process.

    Returns:
        Exit status: 0, 1 for an error, which is printed, or 130 after Ctrl-C.
    """
    args = vars(make_parser().parse_args(argv))
    run, name = args.pop("run"), args.pop("command")
    try:
        return _status(name, run, args)
    except KeyboardInterrupt as error:  # also while modules are loaded
        print(f"\nmolae {name}: {str(error) or 'stopped'}", file=sys.stderr)
        return 130


def _status(name: str, run: Callable[..., int | None], args: dict[str, Any]) -> int:
    """Runs a verb; prints an error that explains itself, and raises any other."""
    try:
        with _plain_warnings(name):
            return run(**args) or 0
    except Exception as error:
        if not _explains_itself(error):
            raise
        print(f"molae {name}: {error}", file=sys.stderr)
        return 1


@contextmanager
def _plain_warnings(command: str) -> Iterator[None]:
    """Prints warnings of the package as a line, without the line of code that they come from."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def plainly(message: Warning | str, category: type[Warning], *place: object) -> None:
            if category is UserWarning:
                print(f"molae {command}: {message}", file=sys.stderr)
            else:
                show(message, category, *place)

        warnings.showwarning = plainly
        yield


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="molae",
        description="Mol-AE for PyTorch Geometric.",
        epilog=_FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"molae_pyg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for verb in VERBS:
        verb.add(commands)
    return parser


def _explains_itself(error: Exception) -> bool:
    """Whether the message alone says what to do.

    These errors are raised where input, settings, files and stores are checked. Any other error,
    also a plain ValueError, is a defect of molae_pyg, and its traceback is needed.
    """
    if isinstance(error, OSError | ModuleNotFoundError):
        return True
    from molae_pyg.checkpoint import CheckpointError
    from molae_pyg.chem.options import InputError
    from molae_pyg.chem.records import RecordRefused
    from molae_pyg.store import StoreError
    from molae_pyg.training import NonFiniteLossError

    own = (InputError, RecordRefused, StoreError, CheckpointError, NonFiniteLossError)
    return isinstance(error, own)
