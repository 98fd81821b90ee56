"""Verifies submissions to OGB's leaderboard.

    python -m molae_pyg.evaluation.submission runs/ogb/ogbg-molhiv/submissions/molae-graph
    python -m molae_pyg.evaluation.submission runs/ogb/*/submissions/*

reads labels and split from OGB's files and computes everything again: the origin of the split, the
metric, the score of each run from its predictions, mean and standard deviation, and the page. Seeds
must be 0, 1, ... without a gap, predictions finite and of OGB's shape, and every file as its
checksum says. What differs is printed, and the exit status is 1. Of several folders, tables of
entries by data sets are printed.

It cannot find out whether the predictions are those of the method, the seeds and the settings that
are named, made without the test labels; nor whether somebody left out or replaced a run, numbered
the others anew and computed all checksums again. Only the fits behind an entry show that: repeat
them with the command of the submission.
"""

import argparse
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg.datasets.ogb_mol import evaluator, find_folder
from molae_pyg.evaluation.config import EXPECTED, run_command
from molae_pyg.evaluation.entry import (
    PAGE,
    PARTS,
    SUBMISSION,
    as_markdown,
    identity_of_files,
    plus_minus,
    read_official_files,
    score,
    seeds_of,
    shortcomings,
    summary,
)
from molae_pyg.evaluation.flags import make_parser
from molae_pyg.evaluation.runs import FILES, UNSEALED, Unsealed, read_json, read_sealed
from molae_pyg.fingerprint import differences


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="folder of a submission")
    return parser.parse_args()


def verify(folder: Path, root: str) -> list[str]:
    """Computes again what a submission states, prints scores, and returns what is wrong."""
    wrong: list[str] = []
    file = folder / SUBMISSION
    try:
        submission = read_sealed(file)
    except Unsealed as error:
        wrong.append(str(error))
        submission = read_json(file, "make the submission anew")
    _check_types(submission, file)
    wrong += _wrong_files(folder, submission)
    name = submission["dataset"]
    table, split, is_official = read_official_files(find_folder(root, name))
    labels = table.y.numpy()
    metric = evaluator(name).eval_metric
    found = {"is_official_split": is_official, "metric": metric}
    found |= {"identity": identity_of_files(table, split, is_official)}
    there = {key: submission[key] for key in found if key in submission}
    wrong += differences(there, found)
    wrong += _wrong_seeds(submission)
    runs = len(submission["test"]["runs"])
    for part in PARTS:
        wrong += _wrong_scores(folder, submission, part, labels[getattr(split, part)], runs)
    page = folder / PAGE
    if not page.is_file() or page.read_text() != as_markdown(submission):
        wrong.append(f"{page} does not say what {SUBMISSION} says")
    for note in shortcomings(submission | {"is_official_split": is_official}):
        print(note)
    return wrong


def _check_types(submission: dict[str, Any], file: Path) -> None:
    """Raises :class:`Unsealed` if a submission lacks something."""
    wanted = {"dataset": str, "metric": str, "is_official_split": bool, "entry": dict}
    wanted |= {"seeds": list, "parameters": dict, **dict.fromkeys(PARTS, dict)}
    if wrong := [name for name, kind in wanted.items() if type(submission.get(name)) is not kind]:
        raise Unsealed(f"{file} has no {', no '.join(wrong)}: make the submission anew")
    for part in PARTS:
        stated = submission[part]
        numbers = [stated.get("mean"), *(stated.get("runs") or [None])]
        if any(not isinstance(number, int | float) for number in numbers):
            raise Unsealed(f"{file}: {part} has no score of each run and their mean")


def _wrong_files(folder: Path, submission: dict[str, Any]) -> list[str]:
    """Returns an error for each file that the submission does not list."""
    listed = {*submission.get(FILES, {}), SUBMISSION, *UNSEALED}
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in found)
    return [f"{folder / name} is no part of the submission" for name in names if name not in listed]


def _wrong_seeds(submission: dict[str, Any]) -> list[str]:
    """Returns an error if the seeds are not 0, 1, ... without a gap."""
    runs, size = len(submission["test"]["runs"]), submission["entry"].get("ensemble")
    wanted = seeds_of(runs, size) if type(size) is int and size > 0 else None
    if submission["seeds"] == wanted and len(submission["valid"]["runs"]) == runs:
        return []
    return [f"the seeds of {runs} runs must be {wanted}, found {submission['seeds']}"]


def _wrong_scores(
    folder: Path, submission: dict[str, Any], part: str, labels: np.ndarray, runs: int
) -> list[str]:
    """Scores the predictions of a part again, prints the scores, and returns what differs."""
    again, wrong = [], []
    for number in range(runs):
        file = folder / "predictions" / f"{number}.npz"
        try:
            again.append(
                score(submission["dataset"], labels, _read_predictions(file, part, labels))
            )
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            wrong.append(f"{file}: {error}")
    if wrong:
        return wrong
    stated, found = submission[part], summary(again)
    # Another processor may round the last bit of a sum otherwise.
    one, other = _figures(stated), _figures(found)
    same = one.shape == other.shape and np.allclose(one, other, rtol=1e-6, equal_nan=True)
    print(f"{part:>5}: stated {plus_minus(stated)}, found {plus_minus(found)}", end="")
    print(f" over {len(again)} runs: {'the same' if same else 'NOT THE SAME'}")
    return [] if same else [f"the {part} scores are not those of the predictions"]


def _read_predictions(file: Path, part: str, labels: np.ndarray) -> np.ndarray:
    with np.load(file) as arrays:
        if part not in arrays:
            raise ValueError(f"has no {part} predictions")
        predicted = arrays[part]
    if predicted.shape != labels.shape:
        raise ValueError(f"{part} has shape {predicted.shape}, OGB's rows {labels.shape}")
    if not np.issubdtype(predicted.dtype, np.floating) or not np.isfinite(predicted).all():
        raise ValueError(f"{part} has predictions that are no finite numbers")
    return predicted


def _figures(scores: dict[str, Any]) -> np.ndarray:
    """Mean, standard deviation (NaN of one run) and the score of each run."""
    return np.array([scores["mean"], scores.get("std"), *scores["runs"]], dtype=float)


def as_table(submissions: dict[Path, dict[str, Any]], part: str) -> str:
    """Returns mean ± standard deviation of entries (rows) on data sets (columns), in Markdown."""
    cells = {
        (folder.name, submission["dataset"]): plus_minus(submission[part])
        for folder, submission in submissions.items()
    }
    entries, datasets = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    lines = [[part, *datasets], ["---"] * (len(datasets) + 1)]
    lines += [[entry, *(cells.get((entry, name), "—") for name in datasets)] for entry in entries]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def verify_all(args: argparse.Namespace) -> None:
    """Verifies all folders and prints tables of them.

    Raises:
        SystemExit: If a submission is not what it states.
    """
    submissions, wrong = {}, {}
    for folder in args.folder:
        print(folder)
        try:
            wrong[folder] = verify(folder, args.root)
            submissions[folder] = read_json(folder / SUBMISSION, "")
        except EXPECTED as error:  # the others are verified
            wrong[folder] = [str(error)]
    if len(submissions) > 1:
        print(*(as_table(submissions, part) for part in PARTS), sep="\n")
    if any(wrong.values()):
        lines = [f"{folder}: {what}" for folder, found in wrong.items() for what in found]
        raise SystemExit("\n".join(["not what they state:", *lines]))


def main() -> None:
    run_command(verify_all, parse_args())


if __name__ == "__main__":
    main()
