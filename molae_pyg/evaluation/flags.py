"""Flags of the commands of this room and of ``molae``, which add them to parsers of their own.

This module loads nothing but the standard library, so that ``--help`` is quick.
"""

import argparse
from typing import Any

CHEMBL = "chembl2321810"  # the data set that comes with RDKit
#: Names of :data:`~molae_pyg.evaluation.protocols.PROTOCOLS`.
PROTOCOLS = ("scaffold", "scaffold-chiral", "published", "random", "cv5x5")
#: Names of :data:`~molae_pyg.evaluation.systems.SYSTEMS`.
OBJECTIVES = (
    *("cloze", "chemistry", "uni-mol", "uni-mol-pe", "transformer-m", "mole-blend"),
    *("pretrain-gnn", "pretrain-gnn-masking", "mol-clr"),
    *("graph-mvp", "graph-mvp-g", "graph-mvp-c", "grover"),
)


def make_parser(doc: str, config: str = "", root: bool = True, output: str = "") -> Any:
    """Returns a parser whose ``--help`` begins with the documentation of a module.

    Args:
        doc: Documentation of the module.
        config: Default of ``--config``. (default: no such flag)
        root: Whether there is a flag ``--root``. (default: :obj:`True`)
        output: Default of ``--output``. (default: no such flag)
    """
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=raw)
    if config:
        add_config(parser, config)
    if root:
        add_root(parser)
    if output:
        what = "folder of the results"
        parser.add_argument(
            "--output", default=output, metavar="FOLDER", help=f"{what}; default: {output}"
        )
    return parser


def add_config(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds the flag ``--config``."""
    what = "name of shipped settings, or path of a YAML file"
    parser.add_argument("--config", default=default, help=f"{what}; default: {default}")


def add_root(parser: argparse.ArgumentParser) -> None:
    """Adds the flag ``--root``."""
    what = "folder of the data files and conformers"
    parser.add_argument("--root", default="data", metavar="FOLDER", help=f"{what}; default: data")


def add_comparison(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a comparison, see :mod:`molae_pyg.evaluation.compare`."""
    add_config(parser, "moleculenet (published, if that is the protocol)")
    add_root(parser)
    parser.set_defaults(config=None)
    add = parser.add_argument
    what = "names, tables, official folders, or all"
    add("--dataset", nargs="+", default=[CHEMBL], help=f"{what}; default: {CHEMBL}")
    add_table_flags(parser)
    add("--protocol", choices=PROTOCOLS, default="scaffold", help="default: scaffold")
    what = "names in the settings, or weights: folders, official .pt files"
    add("--model", nargs="+", help=f"{what}; default: from the settings")
    add("--seeds", type=int, help="number of seeds, for cv5x5 of repeats; default: 3, for cv5x5 5")
    what = "number of conformers per molecule"
    add("--num-conformers", type=int, metavar="K", help=f"{what}; default: from the settings")
    add_recipe(parser, "from the settings")
    what = "folder of the runs"
    add("--output", default="runs/moleculenet", help=f"{what}; default: runs/moleculenet")


def add_recipe(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds the flag ``--recipe`` of conformers; ``default`` describes its default."""
    what = "how conformers are made: published, fast or flat (the 2D layout)"
    parser.add_argument("--recipe", metavar="NAME", help=f"{what}; default: {default}")


def add_pretraining(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of pre-training, see :mod:`molae_pyg.evaluation.pretraining`."""
    add = parser.add_argument
    what = "system to pre-train; default: that of the settings, or cloze, which is Mol-AE"
    add("--objective", choices=OBJECTIVES, metavar="NAME", help=f"{what}. {', '.join(OBJECTIVES)}")
    add("--held-out", type=float, default=0.05, help="share for validation; default: 0.05")
    what = "number of the first molecules to hold out of"
    add("--held-out-of", type=int, metavar="N", help=f"{what}; default: all")
    add("--weights", help="folder of a model to train further; default: random weights")
    add("--seed", type=int, default=0, help="seed of weights, order and validation; default: 0")


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that describe the columns of a table."""
    flags = parser.add_argument_group("tables (.csv, .tsv, also .gz)")
    flags.add_argument(
        "--smiles", metavar="COLUMN", help="column of the SMILES; default: by its name"
    )
    flags.add_argument(
        "--targets",
        metavar="A,B",
        help='columns to learn; default: the only column that can be a target; "A, B",C if a name '
        "has a comma",
    )
    flags.add_argument(
        "--task-type",
        metavar="TYPE",
        help="regression or classification, or A=regression,B=classification; default: from the "
        "labels",
    )
    flags.add_argument("--encoding", help="encoding of the text; default: utf-8")
