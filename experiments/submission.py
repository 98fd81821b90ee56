"""Folders with what OGB's leaderboard asks for, and their verification.

    python experiments/submission.py runs/ogb/ogbg-molhiv/submissions/molae-small
    python experiments/submission.py runs/ogb/*/submissions/*

reads labels and split from OGB's files, scores the predictions in each folder with OGB's evaluator
and compares the scores with those that the folder states; it ends with 1 where they differ. Of
several folders it prints tables, entries by data sets.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg import MolAE
from molae_pyg.datasets import OGBMol
from molae_pyg.datasets.ogb_mol import (
    evaluator,
    find_folder,
    import_ogb,
    read_molecules,
    read_split,
)
from molae_pyg.official_checkpoint import read_official

Predicted = dict[str, np.ndarray]  # "valid" and "test", each [rows, T] float32
PARTS = ("valid", "test")
NUM_RUNS = 10  # that the leaderboard asks for
PAPER = "https://proceedings.mlr.press/v235/yang24al.html"  # of Mol-AE
TO_FILL_IN = "to be filled in"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="+", type=Path, help="submissions")
    parser.add_argument("--root", default="data", help="folder of data sets")
    return parser.parse_args()


def score(name: str, y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """What OGB's evaluator makes of labels and predictions ``[rows, T]``."""
    (value,) = evaluator(name).eval({"y_true": y_true, "y_pred": y_pred}).values()
    return float(value)


def summary(scores: list[float]) -> dict[str, Any]:
    """Mean and unbiased standard deviation, as OGB's examples report them."""
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return {"mean": float(np.mean(scores)), "std": std, "runs": scores}


def write_submission(
    folder: Path,
    dataset: OGBMol,
    predicted: list[Predicted],
    results: list[dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Writes ``submission.json``, ``submission.md`` and the predictions of every run.

    Args:
        folder: Where to.
        dataset: The data set.
        predicted: Of each run of the entry.
        results: What the fits behind them have written, with the name of their model.
        facts: ``command``, ``entry`` (its settings), ``external_data`` and ``shares`` (of the
            second model of a blend in each run).
    """
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    for number, parts in enumerate(predicted):
        np.savez_compressed(folder / "predictions" / f"{number}.npz", **parts)
    scores = {
        part: [score(dataset.name, dataset.labels_of(part), run[part]) for run in predicted]
        for part in PARTS
    }
    environment = merged_environment(results)
    submission = {
        "dataset": dataset.name,
        "is_official_split": dataset.is_official_split,
        "metric": dataset.evaluator().eval_metric,
        "method": method_name(results, facts),
        "external_data": facts["external_data"],
        **{part: summary(scores[part]) for part in PARTS},
        "parameters": count_parameters(results, facts["entry"]["ensemble"]),
        "hardware": f"{environment['device']}, threads: {environment['threads']}",
        "command": facts["command"],
        "versions": {"ogb": import_ogb("ogb").__version__, **environment},
        "entry": facts["entry"],
        "shares": facts["shares"],
        "settings": {result["model"]: result["settings"] for result in results},
        "seconds": round(sum(result["seconds"] for result in results), 1),
        "paper": PAPER if _is_mol_ae(results[0]) else TO_FILL_IN,
    }
    (folder / "submission.json").write_text(json.dumps(submission, indent=2) + "\n")
    (folder / "submission.md").write_text(as_markdown(submission))


def merged_environment(results: list[dict[str, Any]]) -> dict[str, str]:
    """Versions and hardware of all fits; where they differ, each value in order of appearance."""
    environments = [result["environment"] for result in results]
    names = dict.fromkeys(name for found in environments for name in found)
    return {
        name: ", ".join(
            dict.fromkeys(str(found.get(name, "not recorded")) for found in environments)
        )
        for name in names
    }


def method_name(results: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The name of an entry, with the external data, as the leaderboard's rules ask."""
    model, entry = results[0]["model"], facts["entry"]
    parts = [f"Mol-AE ({model})" if _is_mol_ae(results[0]) else model]
    if facts["external_data"]:
        parts.append(f"pre-trained on {facts['external_data']}")
    elif results[0]["weights_sha256"]:
        parts.append("pre-trained on data that the settings do not name (external_data)")
    if entry["conformers"] != 1:
        parts.append(f"mean over {entry['conformers'] or 'all'} conformers")
    if entry["ensemble"] > 1:
        parts.append(f"mean of {entry['ensemble']} runs")
    if entry["blend"]:
        parts.append(f"blended with {entry['blend']}")
    return ", ".join(parts)


def _is_mol_ae(result: dict[str, Any]) -> bool:
    return result["fit"].startswith("molae")


def count_parameters(results: list[dict[str, Any]], ensemble: int) -> dict[str, int]:
    """Parameters of all stages of one run of an entry and their sum; of forests none."""
    found = {}
    for result in {result["model"]: result for result in results}.values():
        weights = result["settings"].get("weights", "random")
        if weights != "random":
            found[f"pre-training, {weights}"] = _size_of(weights)
        if "parameters" in result:
            found[f"{result['model']}, runs: {ensemble}"] = ensemble * result["parameters"]
    return {**found, "sum": sum(found.values())}


def _size_of(weights: str) -> int:
    if weights.endswith(".pt"):
        return sum(tensor.numel() for tensor in read_official(weights).weights.values())
    return sum(parameter.numel() for parameter in MolAE.from_pretrained(weights).parameters())


def as_markdown(submission: dict[str, Any]) -> str:
    """What the form of the leaderboard asks for, item by item."""
    number = len(submission["test"]["runs"])
    items = {
        "method": submission["method"],
        "data set": submission["dataset"],
        "metric": submission["metric"],
        "runs": f"{number}, seeds from 0",
        "test": _plus_minus(submission["test"]),
        "validation": _plus_minus(submission["valid"]),
        "parameters": ", ".join(f"{n:,} ({what})" for what, n in submission["parameters"].items()),
        "external data": submission["external_data"] or "none",
        "hardware": submission["hardware"],
        "command": f"`{submission['command']}`",
        "versions": ", ".join(f"{k} {v}" for k, v in submission["versions"].items()),
        "paper": submission["paper"],
        "code, contact": TO_FILL_IN,
    }
    rows = "".join(f"| {item} | {value} |\n" for item, value in items.items())
    notes = "".join(f"\n**{note}**\n" for note in shortcomings(submission))
    return f"# {submission['method']}\n\n| | |\n|---|---|\n{rows}{notes}"


def shortcomings(submission: dict[str, Any]) -> list[str]:
    """Why the leaderboard would not take it."""
    found = []
    if len(submission["test"]["runs"]) < NUM_RUNS:
        number = len(submission["test"]["runs"])
        found.append(f"The leaderboard asks for {NUM_RUNS} runs; these are {number}.")
    if not submission["is_official_split"]:
        found.append("The split was recomputed: it is not OGB's own file.")
    return found


def _plus_minus(scores: dict[str, Any]) -> str:
    std = "" if scores["std"] is None else f" ± {scores['std']:.4f}"
    return f"{scores['mean']:.4f}{std}"


def verify(folder: Path, submission: dict[str, Any], root: str) -> bool:
    """Scores the predictions of a submission anew; prints both and says whether they agree."""
    name = submission["dataset"]
    place = find_folder(root, name)
    labels = read_molecules(place).y.numpy()
    split, _ = read_split(place, len(labels))
    agrees = True
    for part in PARTS:
        stated = submission[part]
        again = []
        for number in range(len(stated["runs"])):
            with np.load(folder / "predictions" / f"{number}.npz") as arrays:
                again.append(score(name, labels[getattr(split, part)], arrays[part]))
        found = summary(again)
        # Another processor may round the last bit of a sum otherwise.
        same = np.allclose(_figures(found), _figures(stated), rtol=1e-6, equal_nan=True)
        agrees &= same
        print(f"{part:>5}: stated {_plus_minus(stated)}, found {_plus_minus(found)}", end="")
        print(f" over {len(again)} runs: {'the same' if same else 'NOT THE SAME'}")
    for note in shortcomings(submission):
        print(note)
    return agrees


def _figures(scores: dict[str, Any]) -> np.ndarray:
    """Mean, standard deviation (NaN of one run) and the score of each run."""
    return np.array([scores["mean"], scores["std"], *scores["runs"]], dtype=float)


def as_table(submissions: dict[Path, dict[str, Any]], part: str) -> str:
    """Mean ± standard deviation of entries (rows) on data sets (columns), in Markdown."""
    cells = {
        (folder.name, submission["dataset"]): _plus_minus(submission[part])
        for folder, submission in submissions.items()
    }
    entries, datasets = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    lines = [[part, *datasets], ["---"] * (len(datasets) + 1)]
    lines += [[entry, *(cells.get((entry, name), "—") for name in datasets)] for entry in entries]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    args = parse_args()
    submissions = {
        folder: json.loads((folder / "submission.json").read_text()) for folder in args.folder
    }
    wrong = []
    for folder, submission in submissions.items():
        print(folder)
        if not verify(folder, submission, args.root):
            wrong.append(str(folder))
    if len(submissions) > 1:
        print(*(as_table(submissions, part) for part in PARTS), sep="\n")
    if wrong:
        raise SystemExit(f"the scores are not those of the predictions: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
