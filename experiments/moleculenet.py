"""Fine-tunes Mol-AE on a data set, scaffold split, beside two baselines in the same run.

    python experiments/moleculenet.py                      # activities that come with RDKit
    python experiments/moleculenet.py --dataset esol       # or another of MoleculeNet
    python experiments/moleculenet.py --dataset my.csv     # a SMILES column, numeric targets

Prints the test metrics and writes metrics.json, predictions.csv, a PNG and the fine-tuned model.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
import yaml
from baselines import ForestBaseline, MeanBaseline

from molae_pyg import MolAE, MolAEEncoder, MolAEPredictor, __version__
from molae_pyg.analysis import parity_plot, roc_plot
from molae_pyg.datasets import ChEMBLActivities, CSVDataset, MoleculeNet
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import evaluate
from molae_pyg.splits import Split, scaffold_split
from molae_pyg.training import Finetuning, finetune, predict

CONFIG = Path(__file__).parent / "configs" / "moleculenet.yaml"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="chembl2321810", help="name, or path of a CSV file")
    parser.add_argument("--root", default="data", help="folder of data files and conformers")
    parser.add_argument(
        "--weights", help="molae-small, random, a folder or official .pt file; default: of the YAML"
    )
    parser.add_argument("--config", default=CONFIG, help="YAML of settings")
    parser.add_argument("--seeds", type=int, default=1, help="runs, seeds 0 ... n - 1")
    parser.add_argument("--output", help="folder of results; default: runs/<dataset>")
    return parser.parse_args()


def read_config(path: str | Path, dataset: str) -> dict:
    """The settings of a YAML file, with the line of the data set put into its sections."""
    config = yaml.safe_load(Path(path).read_text())
    line = dict(config.pop("datasets", {}).get(dataset, {}))
    if "pooler_dropout" in line:
        config["head"]["pooler_dropout"] = line.pop("pooler_dropout")
    config["training"].update(line)
    return config


def load_dataset(name: str, root: str, settings: dict) -> MoleculeTable:
    """The data set of a name, or of a CSV file, with conformers."""
    if name.lower() == "chembl2321810":
        return ChEMBLActivities(root, **settings)
    if name.lower().endswith((".csv", ".csv.gz")):
        return CSVDataset(name, root=root, **settings)
    return MoleculeNet(root, name.lower(), **settings)


def load_encoder(weights: str, settings: dict) -> MolAEEncoder:
    """A pre-trained encoder, or one of these settings with random weights."""
    if weights == "random":
        return MolAEEncoder(**settings)
    if weights.endswith(".pt"):
        encoder, report = MolAEEncoder.from_official(weights)
        print(f"{weights}: {len(report.missing)} missing, {len(report.unexpected)} unexpected keys")
        return encoder
    return MolAE.from_pretrained(weights).encoder


def run_baselines(dataset: MoleculeTable, split: Split) -> dict[str, np.ndarray]:
    """Test predictions ``[n, T]`` of the training mean and of a forest on fingerprints."""
    smiles = np.array(dataset.smiles, dtype=object)
    y = dataset.y.numpy()
    models = {
        "training mean": MeanBaseline(),
        "ECFP4 + random forest": ForestBaseline(dataset.task_type),
    }
    return {
        name: model.fit(smiles[split.train], y[split.train]).predict(smiles[split.test])
        for name, model in models.items()
    }


def run_molae(
    dataset: MoleculeTable, split: Split, args: argparse.Namespace, config: dict, seed: int
) -> tuple[np.ndarray, dict]:
    """Fine-tunes with one seed: test predictions ``[n, T]`` and facts about the run."""
    start = time.perf_counter()
    L.seed_everything(seed, verbose=False)
    model = MolAEPredictor(
        load_encoder(config["weights"], config["encoder"]),
        dataset.num_tasks,
        task_names=dataset.task_names,
        task_type=dataset.task_type,
        **config["head"],
    )
    settings = Finetuning(**{"metric": dataset.metric, **config["training"]})
    folder = Path(args.output) / f"seed{seed}"
    best = finetune(model, dataset[split.train], dataset[split.valid], folder, settings, seed)
    predicted = predict(model, dataset[split.test], precision=settings.precision)
    parameters = sum(p.numel() for p in model.parameters())
    return predicted, {**best, "parameters": parameters, "seconds": time.perf_counter() - start}


def print_table(scores: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(scores.values())))
    print("\n" + " " * 26 + "".join(f"{c:>18}" for c in columns))
    for name, values in scores.items():
        print(f"{name:26}" + "".join(f"{values[c]:18.3f}" for c in columns))


def write_predictions(
    path: Path, dataset: MoleculeTable, split: Split, predictions: dict[str, np.ndarray]
) -> None:
    """One line a test molecule, then every row of the source that gave no molecule, with why."""
    test = dataset[split.test]
    table = pd.DataFrame({"row": [int(d.row) for d in test], "smiles": test.smiles})
    for t, task in enumerate(dataset.task_names):
        table[f"{task} measured"] = test.y[:, t].numpy()
        for name, predicted in predictions.items():
            table[f"{task} {name}"] = predicted[:, t]
    table["note"] = [d.reason for d in test]
    left_out = pd.DataFrame(
        [
            {"row": row, "note": f"{outcome}: {reason}"}
            for row, (outcome, reason) in enumerate(
                zip(dataset.report.outcomes, dataset.report.reasons, strict=True)
            )
            if outcome in ("failed", "invalid")
        ]
    )
    pd.concat([table, left_out]).to_csv(path, index=False)


def main() -> None:
    args = parse_args()
    name = Path(args.dataset).name.split(".")[0].lower()
    args.output = args.output or f"runs/{name}"
    config = read_config(args.config, name)
    config["weights"] = args.weights or config.get("weights", "random")
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)

    Finetuning(**config["training"])  # an unknown key stops here, not after the conformers
    dataset = load_dataset(args.dataset, args.root, config["data"])
    print(dataset, dataset.report.summary(), sep="\n")
    split = scaffold_split(dataset.smiles)
    sizes = {part: len(index) for part, index in split._asdict().items()}
    print("scaffold split:", ", ".join(f"{n} {part}" for part, n in sizes.items()), flush=True)

    print(f"weights: {config['weights']}", "fitting the baselines", sep="\n", flush=True)
    predictions = run_baselines(dataset, split)
    runs = {}
    for seed in range(args.seeds):
        key = f"Mol-AE seed {seed}"
        predictions[key], runs[key] = run_molae(dataset, split, args, config, seed)

    y = dataset.y.numpy()[split.test]
    scores = {k: evaluate(y, p, dataset.task_type) for k, p in predictions.items()}
    print_table(scores)
    result = {
        "dataset": dataset.name,
        "task_type": dataset.task_type,
        "rows": dict(dataset.report.counts),
        "split": sizes,
        "config": config,
        "test": scores,
        "runs": runs,
        "versions": {
            "molae_pyg": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    (output / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")
    write_predictions(output / "predictions.csv", dataset, split, predictions)
    shown = {k: p[:, 0] for k, p in predictions.items()}
    if dataset.task_type == "regression":
        parity_plot(y[:, 0], shown, dataset.task_names[0], output / "parity.png")
    else:
        roc_plot(y[:, 0], shown, output / "roc.png")
    print(f"\nwritten to {output}: metrics.json, predictions.csv, the picture, seed*/model")


if __name__ == "__main__":
    main()
