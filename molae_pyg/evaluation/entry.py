"""Entries of OGB's leaderboard: blends, scores, and the folder of a submission with its page."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg.baselines.gin_predictor import graph_network
from molae_pyg.baselines.graph_heads import pre_trained
from molae_pyg.baselines.job import num_parameters
from molae_pyg.datasets import OGBMol
from molae_pyg.datasets.ogb_mol import (
    evaluator,
    find_folder,
    import_ogb,
    read_molecules,
    read_split,
)
from molae_pyg.durable import write_arrays, write_durably
from molae_pyg.evaluation.blending import PARTS, Predicted, mix, quantiles
from molae_pyg.evaluation.runs import UNSEALED, seal
from molae_pyg.fingerprint import digest
from molae_pyg.models import MolAE
from molae_pyg.official_checkpoint import read_official
from molae_pyg.splits import Split
from molae_pyg.tables.reading import Table

SUBMISSION, PAGE = "submission.json", "submission.md"
NAME = r"predictions/\d+\.npz"  # of the predictions of a run
NUM_RUNS = 10  # that the leaderboard asks for
PAPER = "https://proceedings.mlr.press/v235/yang24al.html"  # of Mol-AE
TO_FILL_IN = "to be filled in"


def score(name: str, y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Returns the score of OGB's evaluator for labels and predictions ``[rows, T]``."""
    (value,) = evaluator(name).eval({"y_true": y_true, "y_pred": y_pred}).values()
    return float(value)


def summary(scores: list[float]) -> dict[str, Any]:
    """Returns mean and unbiased standard deviation, as OGB's examples report them."""
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return {"mean": float(np.mean(scores)), "std": std, "runs": scores}


def mean_of(runs: list[Predicted]) -> Predicted:
    """Returns the mean prediction of several runs."""
    return {part: np.mean([run[part] for run in runs], axis=0) for part in runs[0]}


def blend(
    dataset: OGBMol, first: Predicted, second: Predicted, share: float | None = None
) -> tuple[Predicted, float]:
    """Mixes two models; returns the predictions and the share of the second model.

    Without a share, the one with the best score on the validation rows is chosen.
    """
    sign, labels = -1, dataset.labels_of("valid")
    if dataset.metric != "rmse":
        sign, first, second = 1, quantiles(first), quantiles(second)
    return mix(first, second, lambda rows: sign * score(dataset.name, labels, rows), share)


def entry_name(model: str, entry: dict[str, Any]) -> str:
    """Returns the name of the folder of an entry, from a model and the settings of the entry."""
    parts = [model]
    if entry["conformers"] != 1:
        parts.append(f"{entry['conformers'] or 'all'}conformers")
    if entry["ensemble"] > 1:
        parts.append(f"{entry['ensemble']}runs")
    if entry["blend"]:
        parts.append(f"with-{entry['blend']}")
        parts += [] if entry["share"] is None else [f"{entry['share']:g}"]
    return "-".join(parts)


def write_submission(
    folder: Path,
    dataset: OGBMol,
    predicted: list[Predicted],
    results: list[dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Writes the predictions of every run, ``submission.md`` and, last, ``submission.json``.

    The last one has the checksums of all files. An earlier submission is replaced.

    Args:
        folder: Folder of the submission.
        dataset: Data set of the submission.
        predicted: Predictions of each run of the entry.
        results: Results of all fits of the entry.
        facts: ``command``, ``entry`` (its settings), ``identity`` (of OGB's files),
            ``external_data`` and ``shares`` (of the second model of a blend, for each run).

    Raises:
        ValueError: If the folder holds something else.
    """
    place = folder / "predictions"
    _clear(folder)
    place.mkdir(parents=True, exist_ok=True)
    for number, parts in enumerate(predicted):
        write_arrays(place / f"{number}.npz", parts)
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
        "seeds": seeds_of(len(predicted), facts["entry"]["ensemble"]),
        "identity": facts["identity"],
        "fits": {f"{result['model']}/{result['seed']}": result["sha256"] for result in results},
        "settings": {result["model"]: result["settings"] for result in results},
        "seconds": round(sum(result["seconds"] for result in results), 1),
        "paper": PAPER if _is_mol_ae(results[0]) else TO_FILL_IN,
    }
    write_durably(folder / PAGE, as_markdown(submission).encode())
    seal(folder / SUBMISSION, submission)


def _clear(folder: Path) -> None:
    """Removes the files of an earlier submission, which may have had more runs."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name not in UNSEALED]
    names = {path.relative_to(folder).as_posix() for path in found}
    ours = {SUBMISSION, PAGE, *(name for name in names if re.fullmatch(NAME, name))}
    if names - ours:
        raise ValueError(
            f"{folder} holds {sorted(names - ours)[0]}, which is no part of a submission: give "
            "another --output"
        )
    (folder / SUBMISSION).unlink(missing_ok=True)
    for path in found:
        path.unlink(missing_ok=True)


def official_identity(root: str, name: str) -> dict[str, Any]:
    """Returns checksums of the molecules, labels and split in OGB's files."""
    return identity_of_files(*read_official_files(find_folder(root, name)))


def identity_of_files(table: Table, split: Split, is_official: bool) -> dict[str, Any]:
    """Returns what :func:`official_identity` returns, from the content of the files."""
    return {
        "official_smiles_sha256": digest(table.smiles),
        "official_labels_sha256": digest(table.task_names, table.y),
        "official_split_sha256": digest(split._asdict()),
        "is_official_split": is_official,
    }


def read_official_files(folder: Path) -> tuple[Table, Split, bool]:
    """Returns molecules and labels, the split, and whether it is OGB's own."""
    table = read_molecules(folder)
    return table, *read_split(folder, len(table.smiles))


def merged_environment(results: list[dict[str, Any]]) -> dict[str, str]:
    """Returns versions and hardware of all fits; different values are joined by commas."""
    environments = [result["environment"] for result in results]
    names = dict.fromkeys(name for found in environments for name in found)
    return {
        name: ", ".join(
            dict.fromkeys(str(found.get(name, "not recorded")) for found in environments)
        )
        for name in names
    }


def method_name(results: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """Returns the name of an entry, with the external data that the rules ask for."""
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
    """Returns the number of parameters of each stage of one run, without forests, and the sum."""
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
    model = graph_network(weights) or pre_trained(weights) or MolAE.from_pretrained(weights)
    return num_parameters(model)


def as_markdown(submission: dict[str, Any]) -> str:
    """Returns the page of a submission: every item of the leaderboard's form."""
    number = len(submission["test"]["runs"])
    items = {
        "method": submission["method"],
        "data set": submission["dataset"],
        "metric": submission["metric"],
        "runs": f"{number}, seeds from 0",
        "test": plus_minus(submission["test"]),
        "validation": plus_minus(submission["valid"]),
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
    """Returns the reasons why the leaderboard would refuse a submission."""
    found = []
    if len(submission["test"]["runs"]) < NUM_RUNS:
        number = len(submission["test"]["runs"])
        found.append(f"The leaderboard asks for {NUM_RUNS} runs; these are {number}.")
    if not submission["is_official_split"]:
        found.append("The split was recomputed: it is not OGB's own file.")
    return found


def plus_minus(scores: dict[str, Any]) -> str:
    """Returns mean ± standard deviation."""
    std = "" if scores["std"] is None else f" ± {scores['std']:.4f}"
    return f"{scores['mean']:.4f}{std}"


def seeds_of(runs: int, size: int) -> list[list[int]]:
    """Returns the seeds of each run of an entry with ``size`` fits per run."""
    return [list(range(number * size, (number + 1) * size)) for number in range(runs)]
