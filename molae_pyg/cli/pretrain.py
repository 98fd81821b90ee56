"""``molae pretrain``: molecules without labels become an encoder."""

import argparse
from pathlib import Path
from typing import Any

from molae_pyg.cli.arguments import add_verb, resumable
from molae_pyg.evaluation.flags import add_pretraining

#: Short names of shipped settings.
SIZES = {"small": "pretrain_small", "base": "pretrain"}

_DESCRIPTION = """\
Pre-trains Mol-AE with the 3D Cloze Test on molecules without labels, or, with --objective,
another system, such as mol-clr (docs: "Other objectives", "The paper's competitors").

Conformers of a file of molecules are made first, to RUN/store. The results are the model,
RUN/model, all loss terms, RUN/metrics.csv, and a page, RUN/report.html. After an
interruption the same command resumes. RUN/model is a name for --weights of molae train, and
of molae compare --model, if the system reads conformers; those that read graphs are rows of
molae compare."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    what = "train an encoder on molecules without labels"
    parser = add_verb(commands, "pretrain", _pretrain, what, _DESCRIPTION)
    add = parser.add_argument
    what = ".smi, .txt, .csv, .tsv or .sdf (also with .gz), .lmdb, or a store of molae prepare"
    add("input", metavar="MOLECULES", help=what)
    add("output", metavar="RUN", help="folder to write")
    what = (
        "small (for a laptop; of cloze: that of molae-small), base (Mol-AE of the published size)"
    )
    add("--config", metavar="NAME|FILE", help=f"{what}, or a YAML file; default: small")
    add_pretraining(parser)


def _pretrain(config: str | None, objective: str | None, **flags: Any) -> None:
    if not Path(flags["input"]).exists():  # before the imports, which take seconds
        raise FileNotFoundError(f"there is no file or store {flags['input']}")

    from molae_pyg.chem.options import InputError, as_input_errors
    from molae_pyg.evaluation.pretraining import pretrain_as_asked

    config = config or "small"
    if config == "base" and objective not in (None, "cloze"):
        raise InputError(f"--config base is Mol-AE: leave it out for --objective {objective}")
    if config == "small" and objective not in (None, "cloze"):
        path = None  # the shipped settings of the objective
    else:
        path = SIZES.get(config, config)
    with resumable(), as_input_errors():
        pretrain_as_asked(argparse.Namespace(config=path, objective=objective, **flags))
