"""``molae predict``: a model and new molecules become predictions with intervals."""

import argparse

from molae_pyg.cli.arguments import add_data, add_engine_flags, add_table_flags, add_verb, resumable
from molae_pyg.evaluation.flags import add_recipe

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
    what = ".csv or .tsv (also with .gz), .parquet (needs pyarrow), or NAME/, a folder of .parquet"
    add("output", metavar="OUT.csv", help=f"file to write: {what}")
    add("--alpha", type=float, default=0.1, metavar="A", help="share outside the intervals; 0.1")
    add("--strict", action="store_true", help="exit with 2 if a row could not be predicted")
    add_recipe(parser, "that of the training; another one shifts predictions")
    add_engine_flags(parser, "2048")
    add_table_flags(parser)


def _predict(
    model: str,
    data: str,
    output: str,
    alpha: float,
    recipe: str | None,
    engine: str,
    workers: int | None,
    part_rows: int | None,
    smiles: str | None,
    strict: bool,
    encoding: str,
) -> int:
    from molae_pyg.chem.options import InputError
    from molae_pyg.workflow import AtomModel, FittedModel
    from molae_pyg.workflow.atoms.output import atom_scores
    from molae_pyg.workflow.output import scores_of
    from molae_pyg.workflow.predicting import predict_file

    if not 0 < alpha < 1:
        raise InputError(f"--alpha must be between 0 and 1, got {alpha}")
    fitted = FittedModel.load(model)
    fitted.recipe = recipe
    how = (alpha, encoding, smiles, engine, workers, part_rows)
    with resumable():
        report = predict_file(fitted, data, output, *how)
    for name in report.renamed:
        print(f"column {name!r} of {data} is called '{name} (input)' in {output}")
    scores = atom_scores if isinstance(fitted, AtomModel) else scores_of
    for line in scores(fitted, data, report.labelled, smiles, encoding):
        print(line)
    print(report)
    is_whole = report.rows["ok"] == report.rows.total()
    return 2 if strict and not is_whole else 0
