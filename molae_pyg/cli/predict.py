"""``molae predict``: a model and new molecules become predictions with intervals."""

import argparse

from molae_pyg.cli.arguments import add_data, add_table_flags, add_verb, molecules_of, resumable

_DESCRIPTION = """\
Predicts the molecules of a file by the model of a folder that molae train has written.

All rows and columns of the file come out in order, with a prediction, its interval, a
status and the similarity to the nearest training molecule. Rows that give no molecule
have a reason. If the file has labels too, the predictions are scored. After an
interruption the same command resumes."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    what = "predict molecules with a trained model"
    parser = add_verb(commands, "predict", _predict, what, _DESCRIPTION)
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder of molae train")
    add_data(parser)
    add("output", metavar="OUT.csv", help="file to write: .csv or .tsv, also with .gz")
    add("--alpha", type=float, default=0.1, metavar="A", help="share outside the intervals; 0.1")
    add("--strict", action="store_true", help="exit with 2 if a row could not be predicted")
    add_table_flags(parser)


def _predict(
    model: str,
    data: str,
    output: str,
    alpha: float,
    smiles: str | None,
    strict: bool,
    encoding: str,
) -> int:
    from molae_pyg.chem.options import InputError, as_input_errors
    from molae_pyg.tables.formats import check_apart, read_cells
    from molae_pyg.workflow import AtomModel, FittedModel
    from molae_pyg.workflow.atoms.output import atom_scores
    from molae_pyg.workflow.output import check_output, scores_of
    from molae_pyg.workflow.predicting import predict_file

    if not 0 < alpha < 1:
        raise InputError(f"--alpha must be between 0 and 1, got {alpha}")
    check_output(output)
    check_apart(data, output)
    fitted = FittedModel.load(model)
    with as_input_errors():
        cells = read_cells(data, encoding, smiles)
    molecules = molecules_of(fitted, data, smiles, encoding)
    of_atoms = isinstance(fitted, AtomModel)
    with resumable():
        found, renamed = predict_file(fitted, molecules, cells, data, output, alpha)
    for name in renamed:
        print(f"column {name!r} of {data} is called '{name} (input)' in {output}")
    for line in (atom_scores if of_atoms else scores_of)(fitted, data, found, smiles, encoding):
        print(line)
    print(_last_line(found["molae_status"].tolist()))
    is_whole = (found["molae_status"] == "ok").all()
    return 2 if strict and not is_whole else 0


def _last_line(status: list[str]) -> str:
    parts = [f"{status.count('ok'):,} of {len(status):,} rows predicted"]
    parts += [f"{n:,} {kind}" for kind in ("invalid", "failed") if (n := status.count(kind))]
    return ", ".join(parts) + (": see molae_reason" if len(parts) > 1 else "")
