"""``molae explain``: which atoms the predictions of a model come from."""

import argparse
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from molae_pyg.cli.arguments import add_data, add_table_flags, add_verb

if TYPE_CHECKING:
    from molae_pyg.inference import Explanation

_DESCRIPTION = """\
Colours the atoms of molecules by what each adds to the prediction: the prediction for the
molecule minus that without the atom.

OUT.html shows the molecules; OUT.csv beside it has a line an atom (row, atom, element, and a
column for each target)."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    what = "colour atoms by what they add to a prediction"
    parser = add_verb(commands, "explain", _explain, what, _DESCRIPTION)
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder of molae train, or of a saved MolAEPredictor")
    add_data(parser)
    add("output", metavar="OUT.html", help="page to write; OUT.csv is written beside it")
    add("--draw", type=int, default=100, metavar="N", help="molecules on the page; default: 100")
    add("--strict", action="store_true", help="exit with 2 if a row could not be explained")
    add_table_flags(parser)


def _explain(
    model: str,
    data: str,
    output: str,
    draw: int,
    smiles: str | None,
    strict: bool,
    encoding: str,
) -> int:
    from rdkit import rdBase

    from molae_pyg.analysis import explain_page, write_contributions
    from molae_pyg.chem.options import InputError
    from molae_pyg.inference.parts import said_of_rows
    from molae_pyg.tables.formats import check_apart

    page = Path(output)
    if page.suffix.lower() != ".html":
        raise InputError(f"{output}: the name must end in .html")
    if not page.absolute().parent.is_dir():
        raise FileNotFoundError(f"{output}: there is no such folder")
    if draw < 1:
        raise InputError(f"--draw must be at least 1, got {draw}")
    table = page.with_suffix(".csv")
    check_apart(data, page, table)
    if table.exists() and not page.exists():  # no table of an earlier page
        raise InputError(
            f"{table} exists, and the table of the page would replace it: give another name"
        )
    with rdBase.BlockLogs():  # of atoms that RDKit reads again; rows have reasons
        found, facts = _explanations(model, data, smiles, encoding)
    write_contributions(found, table)
    facts = [("Model", model), ("Table", data), *facts]
    explain_page(found, page, "What the predictions come from", most=draw, facts=facts)
    rows = Counter(explanation.status for explanation in found)
    said = said_of_rows(rows, "explained", f"the end of {page}")
    print(f"{page} shows the atoms, {table} has the numbers\n{said}")
    return 2 if strict and rows["ok"] < len(found) else 0


def _explanations(
    folder: str, data: str, smiles: str | None, encoding: str
) -> "tuple[list[Explanation], list[tuple[str, str]]]":
    """Returns the explanations, and facts of the model that explain them."""
    from molae_pyg.chem.options import InputError, as_input_errors
    from molae_pyg.inference import explain
    from molae_pyg.models import MolAEPredictor
    from molae_pyg.tables.formats import smiles_of
    from molae_pyg.workflow import FittedModel
    from molae_pyg.workflow.features import DESCRIPTORS, ECFP
    from molae_pyg.workflow.file_molecules import molecules_of
    from molae_pyg.workflow.folder import MODEL_FILE

    if (Path(folder) / MODEL_FILE).is_file():
        fitted = FittedModel.load(folder)
        molecules = molecules_of(fitted, data, encoding, smiles)
        blocks = list(dict.fromkeys(name for fold in fitted.models for name in fold.blocks))
        parts = ["fine-tuned encoder"] * any(fold.is_finetuned for fold in fitted.models) + blocks
        read_from = ", ".join(parts)
        if set(blocks) & {DESCRIPTORS, ECFP}:
            read_from += " (in descriptors and ECFP an atom that is left out is a dummy, *)"
        return fitted.explain(molecules), [("Predicted from", read_from)]
    model = MolAEPredictor.from_pretrained(folder)
    if model.recipe is None:
        raise InputError(f"{folder} does not say how the molecules of its training were made")
    with as_input_errors():
        molecules = smiles_of(data, encoding, smiles)
    if not molecules:
        raise InputError(f"{data} has no rows")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ SMILES gave no molecule")  # printed
        return explain(model, molecules), []
