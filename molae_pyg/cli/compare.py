"""``molae compare``: models on data sets under a protocol."""

import argparse
from typing import Any

from molae_pyg.cli.arguments import add_verb, resumable
from molae_pyg.evaluation.flags import add_comparison

_DESCRIPTION = """\
Compares models on data sets under a protocol: trains each on the same splits and prints
mean and spread of the test scores.

Data sets are names of MoleculeNet, which are downloaded, tables of your own, or
chembl2321810, which comes with RDKit. Finished runs are kept in --output; after an
interruption the same command makes the missing ones."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    what = "compare models on data sets under a protocol"
    add_comparison(add_verb(commands, "compare", _compare, what, _DESCRIPTION))


def _compare(**flags: Any) -> None:
    from molae_pyg.chem.options import InputError, as_input_errors
    from molae_pyg.evaluation.compare import compare

    try:
        with resumable(), as_input_errors():
            compare(argparse.Namespace(**flags))
    except SystemExit as error:  # some runs failed; each was printed
        raise InputError(str(error)) from None
