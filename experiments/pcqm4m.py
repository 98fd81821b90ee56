"""Trains and evaluates Mol-AE on PCQM4Mv2 of OGB's Large-Scale Challenge, on RDKit conformers.

    python experiments/pcqm4m.py --root data

Writes to --output: the model, ``result.json`` with OGB's validation MAE and the time that inference
takes from SMILES on, and the test predictions as ``PCQM4Mv2Evaluator`` saves them. Conformers and
training go on where they were interrupted.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import yaml
from models import DEVICE, load_encoder, num_parameters
from results import environment, finish

from molae_pyg import MolAEPredictor
from molae_pyg.chem import featurize
from molae_pyg.datasets import PCQM4Mv2
from molae_pyg.datasets.pcqm4m import TABLE, find_pcqm4m, pcqm4m_evaluator
from molae_pyg.datasets.reading import read_smiles
from molae_pyg.training import Finetuning, finetune, predict

CONFIG = Path(__file__).parent / "configs" / "pcqm4m.yaml"
TESTS = {"test-dev": 147_037, "test-challenge": 147_432}  # rows of OGB's own parts
HOURS = 4.0  # that the rules allow for the rows of a test part, conformers included


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=CONFIG, help="YAML of settings")
    parser.add_argument("--root", default="data", help="folder of OGB's files and conformers")
    parser.add_argument("--output", default="runs/pcqm4m", help="folder of results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timed", type=int, default=1000, help="molecules of the time taken")
    return parser.parse_args()


def measure_inference(
    model: MolAEPredictor, smiles: list[str], data: dict[str, Any], precision: str
) -> dict[str, Any]:
    """How long a test part takes from SMILES to predictions, from the rate of some molecules."""
    start = time.perf_counter()
    molecules, report = featurize(smiles, **data, on_error="skip")
    conformers = time.perf_counter() - start
    predict(model, molecules, precision=precision)
    seconds = time.perf_counter() - start
    hours = max(TESTS.values()) / len(smiles) * seconds / 3600
    return {
        "molecules": len(smiles),
        "without a molecule": len(report) - len(report.kept),
        "seconds of conformers": round(conformers, 2),
        "seconds": round(seconds, 2),
        "molecules per second": round(len(smiles) / seconds, 2),
        "hours for a test part": round(hours, 2),
        "within the rule of four hours": hours <= HOURS,
    }


def save_test(output: Path, part: str, predicted: np.ndarray) -> None:
    """Saves the predictions of a test part, by OGB's own function if the part is OGB's own."""
    if len(predicted) == TESTS[part]:
        pcqm4m_evaluator().save_test_submission({"y_pred": predicted}, str(output), part)
        return
    np.savez_compressed(output / f"{part}.npz", y_pred=predicted)
    number = f"{len(predicted)} rows, OGB's has {TESTS[part]:,}"
    print(f"{part}: {number}: {output / part}.npz is no entry")


def main() -> None:
    args = parse_args()
    config = yaml.safe_load(Path(args.config).read_text())
    settings, output = Finetuning(**config["training"]), Path(args.output)
    L.seed_everything(args.seed, verbose=False)
    model = MolAEPredictor(
        load_encoder(config["weights"], {}), 1, task_names=PCQM4Mv2.task_names, **config["head"]
    )
    names = ("train", "valid", *TESTS)
    parts = {name: PCQM4Mv2(args.root, name, **config["data"]) for name in names}
    for part in parts.values():
        print(f"{part}: {part.num_rows} rows, {part.num_rows - len(part)} of them no molecule")
    scale = parts["train"].y
    best = finetune(model, parts["train"], parts["valid"], output, settings, args.seed, scale)
    model.to(DEVICE)
    predicted = {
        name: parts[name].official(
            predict(model, parts[name], precision=settings.precision), prior=float(scale.mean())
        )
        for name in ("valid", *TESTS)
    }
    labels = {"y_true": parts["valid"].official_labels(), "y_pred": predicted["valid"]}
    mae = float(pcqm4m_evaluator().eval(labels)["mae"])
    print(f"validation MAE {mae:.4f} eV over {len(predicted['valid'])} rows")
    for name in TESTS:
        save_test(output, name, predicted[name])
    smiles = read_smiles(find_pcqm4m(args.root) / TABLE)
    timed = [smiles[row] for row in parts["test-dev"].official_rows[: args.timed]]
    inference = measure_inference(model, timed, config["data"], settings.precision)
    result = {"valid mae": mae, "epoch": best["epoch"], "seed": args.seed}
    result |= {"parameters": num_parameters(model), "config": config}
    finish(output, {**result, "inference": inference, "environment": environment()})
    print(json.dumps(inference, indent=2))


if __name__ == "__main__":
    main()
