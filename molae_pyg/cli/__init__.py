"""The ``molae`` command: one file a verb, which loads what it needs when it runs.

The module of a verb has ``add(commands)``, which adds its parser and sets ``run``, the function
that is called with the arguments. It returns None or an exit status.
"""

import argparse
import sys
from collections.abc import Sequence

from molae_pyg._version import __version__
from molae_pyg.cli import embed, explain, predict, prepare, train

VERBS = (train, predict, explain, embed, prepare)


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
        return run(**args) or 0
    except KeyboardInterrupt as error:
        print(f"\nmolae {name}: {str(error) or 'stopped'}", file=sys.stderr)
        return 130
    except Exception as error:
        if not _explains_itself(error):
            raise
        print(f"molae {name}: {error}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line with all subcommands."""
    parser = argparse.ArgumentParser(prog="molae", description="Mol-AE for PyTorch Geometric.")
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
    from molae_pyg.checkpoint import CheckpointError
    from molae_pyg.chem.options import InputError
    from molae_pyg.chem.records import RecordRefused
    from molae_pyg.store import StoreError

    kinds = (OSError, InputError, ModuleNotFoundError, RecordRefused, StoreError, CheckpointError)
    return isinstance(error, kinds)
