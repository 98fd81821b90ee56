"""Makes one page of finished runs: tables, significance, learning curves, predictions, cost.

    python -m molae_pyg.evaluation.report runs/moleculenet

Writes report.html, which loads nothing from elsewhere, report.md, results.json (all scores, without
the predictions) and the pictures of report.md into <runs>/report, or --output. A run is left out if
its files were changed after it was finished, if it was fitted to other labels than the rest, or if
it has other settings or weights than the first run of its model; the page names it, and the script
ends with 1.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from tqdm.auto import tqdm

from molae_pyg.analysis.page import Page, claim_folder
from molae_pyg.durable import write_durably
from molae_pyg.evaluation import figures
from molae_pyg.evaluation import score_tables as tables
from molae_pyg.evaluation.config import run_command
from molae_pyg.evaluation.flags import make_parser
from molae_pyg.evaluation.runs import comparable, read_runs
from molae_pyg.evaluation.score_tables import Runs, metric_of
from molae_pyg.evaluation.significance import tukey_hsd

KEPT = (
    *("dataset", "protocol", "model", "seed", "fold", "metric", "sizes", "valid", "test"),
    *("epoch", "parameters", "seconds", "split_sha256", "weights_sha256", "data", "settings"),
    *("tasks", "valid_tasks", "task_types", "smiles_sha256", "labels_sha256", "environment"),
)
TARGETS = 40  # number of targets of a data set that the page shows


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, root=False)
    what = "folder of the runs"
    parser.add_argument(
        "runs", nargs="?", default="runs/moleculenet", help=f"{what}; default: runs/moleculenet"
    )
    parser.add_argument("--output", help="folder of the report; default: <runs>/report")
    return parser.parse_args()


def load(folder: Path) -> tuple[dict[str, dict[str, Runs]], list[str]]:
    """Returns finished runs by protocol, data set and model, and why others are left out.

    Each run has its ``folder``.

    Raises:
        ValueError: If there is no finished run.
    """
    runs, wrong = read_runs(folder)
    runs, others = comparable(runs)
    left_out = [message for _, message in wrong + others]
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for place, result in runs:
        found[result["protocol"]][result["dataset"]][result["model"]].append(
            {**result, "folder": place}
        )
    for datasets in found.values():
        for models in datasets.values():
            for runs in models.values():
                runs.sort(key=lambda run: (run["seed"], run["fold"]))
    if not found:
        why = f"{folder} has no finished run; molae_pyg.evaluation.compare makes them"
        raise ValueError("\n".join([why, *left_out]))
    return found, left_out


def add_summary(page: Page, datasets: dict[str, Runs]) -> None:
    """Says what was run and what is bold in the tables, and why something is not."""
    runs = [run for models in datasets.values() for runs in models.values() for run in runs]
    devices = sorted({run["environment"]["device"] for run in runs})
    commits = sorted({str(run["environment"]["commit"]) for run in runs})
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    page.text(
        f"{count}, on {' and '.join(devices)}, commit {', '.join(commits)}. Scores are those of "
        "the test rows, mean ± sample standard deviation over runs."
    )
    by_method: dict[str, list[str]] = defaultdict(list)
    for name, models in datasets.items():
        by_method[tables.how_tested(models)].append(name)
    untested = by_method.pop("", [])
    if by_method:
        several = len(by_method) > 1
        how = "; ".join(
            f"{method} ({', '.join(names)})" if several else method
            for method, names in by_method.items()
        )
        page.text(
            "Bold type marks the best mean of a data set and every one that it is not "
            f"significantly ahead of. Significance is found by {how}."
        )
    if untested:
        page.text(
            f"Significance is not tested on {', '.join(untested)}: a test needs at least two "
            "models, each with a score of every run, on one split or on two splits that they share."
        )


def add_predictions(page: Page, protocol: str, name: str, models: Runs) -> None:
    """Adds predictions of every target, and the learning curves of a data set."""
    first = {model: runs[0] for model, runs in models.items()}
    run = next(iter(first.values()))
    of_run = f"seed {run['seed']}" + (f", fold {run['fold']}" if protocol == "cv5x5" else "")
    targets = list(zip(run["task_names"], run["task_types"], strict=True))
    predictions = {model: tables.predictions_of(run) for model, run in first.items()}
    pictures, few = figures.predictions(predictions, targets[:TARGETS], name, of_run)
    for ending, picture in pictures.items():
        page.picture(f"{protocol}-{name}-predictions{ending}", picture)
    if few:
        page.text(f"{name}: there are too few test labels to draw {'; '.join(few)}.")
    if len(targets) > TARGETS:
        page.text(f"{name}: {TARGETS} of {len(targets)} targets are drawn.")
    curves = figures.learning_curves(models, name)
    if curves is not None:
        page.picture(f"{protocol}-{name}-curves", curves)


def add_protocol(page: Page, folder: Path, protocol: str, datasets: dict[str, Runs]) -> None:
    """Adds one protocol's part of the page."""
    page.heading(f"Protocol {protocol}", 2)
    add_summary(page, datasets)
    page.table(*tables.score_table(datasets))
    ensembles = tables.ensemble_table(datasets)
    if not ensembles.empty:
        page.heading("Mean prediction of all seeds", 3)
        page.table(ensembles)
    gains, clear = tables.gain_table(datasets, tables.twins(datasets))
    if not gains.empty:
        page.heading("What pre-training adds", 3)
        page.text(
            "How much better a model is than the same network from random weights; bold: clearly "
            "so, or clearly worse (95 %, over drawn test sets and several seeds)."
        )
        page.table(gains, clear)
    for name, models in datasets.items():
        targets = tables.target_table(models)
        if not targets.empty:
            page.heading(f"Targets of {name}", 3)
            page.table(targets[:TARGETS])
            if len(targets) > TARGETS:
                page.text(f"These are {TARGETS} of {len(targets)} targets; results.json has all.")
    if protocol == "cv5x5":
        add_intervals(page, datasets)
    page.heading("Predictions and learning curves", 3)
    for name, models in tqdm(datasets.items(), "pictures", disable=None):
        add_predictions(page, protocol, name, models)
    page.heading("Cost", 3)
    page.text("Seconds are those of fitting and predicting, per run; conformers are not included.")
    page.table(tables.cost_table(datasets))
    integrity = tables.integrity_table(folder, protocol, datasets)
    if not integrity.empty:
        page.heading("Rows of the data sets", 3)
        page.table(integrity)


def add_intervals(page: Page, datasets: dict[str, Runs]) -> None:
    """Adds the simultaneous intervals of the models, if there are any to compare."""
    tested = [
        name for name, models in datasets.items() if tables.how_tested(models) == tables.TUKEY
    ]
    if not tested:
        return
    page.heading("Simultaneous intervals", 3)
    page.text(
        "The intervals are those of Tukey's HSD after a repeated-measures analysis of variance. "
        "Models whose intervals do not overlap differ significantly. Folds share training rows, "
        "therefore the intervals are too narrow rather than too wide."
    )
    for name in tested:
        names, scores = tables.paired(datasets[name])
        found, metric = tukey_hsd(scores), metric_of(datasets[name])
        picture = figures.intervals(names, found, name, metric, len(scores))
        page.picture(f"cv5x5-{name}-tukey", picture)


def make_report(args: argparse.Namespace) -> None:
    """Writes the report.

    Raises:
        ValueError: If there is no finished run, or the folder of the report has other files.
        SystemExit: If runs are left out; the message says why.
    """
    folder = Path(args.runs)
    found, left_out = load(folder)
    output = Path(args.output or folder / "report")
    claim_folder(output)
    page = Page("Models on molecular data sets")
    if left_out:
        page.heading("Left out", 2)
        for message in left_out:
            page.text(message)
    for protocol, datasets in found.items():
        add_protocol(page, folder, protocol, datasets)
    names = list(dict.fromkeys(name for datasets in found.values() for name in datasets))
    published = tables.published_table(names)
    if not published.empty:
        page.heading("Published figures", 2)
        page.text(
            "These figures are from the tables of Yang et al. (ICML 2024). They were not measured "
            "here but on other splits, mostly with models pre-trained on millions of molecules. "
            "ROC-AUC is in per cent."
        )
        page.table(published)
    page.write_folder(output)
    rows = [
        {key: run[key] for key in KEPT if key in run}
        for datasets in found.values()
        for models in datasets.values()
        for runs in models.values()
        for run in runs
    ]
    write_durably(output / "results.json", json.dumps(rows, indent=1).encode() + b"\n")
    print(f"written to {output}: report.html, report.md, results.json and pictures")
    if left_out:
        raise SystemExit("\n".join([f"left out, {len(left_out)}:", *left_out]))


def main() -> None:
    run_command(make_report, parse_args())


if __name__ == "__main__":
    main()
