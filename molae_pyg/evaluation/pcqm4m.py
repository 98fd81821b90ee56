"""Trains and evaluates Mol-AE on PCQM4Mv2 of OGB's Large-Scale Challenge, on RDKit conformers.

    python -m molae_pyg.evaluation.pcqm4m --root data

Writes the model, ``result.json`` with OGB's validation MAE and the time of inference from SMILES,
and the test predictions as ``PCQM4Mv2Evaluator`` saves them. After an interruption the same command
resumes. A finished folder is read; one of other molecules, labels or settings, or one whose files
were changed, is refused.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from molae_pyg.baselines.job import DEVICE, digest_of, load_encoder, num_parameters
from molae_pyg.chem import featurize
from molae_pyg.datasets import PCQM4Mv2
from molae_pyg.datasets.pcqm4m import TABLE, find_pcqm4m, pcqm4m_evaluator
from molae_pyg.durable import write_arrays
from molae_pyg.evaluation import runs
from molae_pyg.evaluation.config import (
    arguments,
    check,
    config_path,
    read_yaml,
    run_command,
)
from molae_pyg.evaluation.flags import make_parser
from molae_pyg.evaluation.models import HEAD
from molae_pyg.fingerprint import digest
from molae_pyg.inference import predict
from molae_pyg.models import MolAEPredictor
from molae_pyg.tables.reading import read_smiles
from molae_pyg.training import Finetuning, finetune

TESTS = {"test-dev": 147_037, "test-challenge": 147_432}  # rows of OGB's own parts
HOURS = 4.0  # that the rules allow for the rows of a test part, conformers included


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "pcqm4m", output="runs/pcqm4m")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training; default: 0")
    what = "number of molecules to measure the time of inference with"
    parser.add_argument(
        "--timed", type=int, default=1000, metavar="N", help=f"{what}; default: 1000"
    )
    return parser.parse_args()


def measure_inference(
    model: MolAEPredictor, smiles: list[str], data: dict[str, Any], precision: str
) -> dict[str, Any]:
    """Returns how long a test part takes from SMILES to predictions, from the rate of some."""
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
    """Saves the predictions of a test part, by OGB's own function if the rows are OGB's."""
    if len(predicted) == TESTS[part]:
        pcqm4m_evaluator().save_test_submission({"y_pred": predicted}, str(output), part)
        return
    write_arrays(output / f"{part}.npz", {"y_pred": predicted})
    number = f"{len(predicted)} rows, OGB's has {TESTS[part]:,}"
    print(f"{part}: {number}: {output / part}.npz is no entry")


def identity_of(parts: dict[str, PCQM4Mv2], config: dict[str, Any], seed: int) -> dict[str, Any]:
    """Returns what must be the same for a run to be the same."""
    stores = {name: digest(part.store.digest(), part.official_rows) for name, part in parts.items()}
    labels = {name: digest(parts[name].official_labels()) for name in ("train", "valid")}
    return {
        "config": config,
        "seed": seed,
        "weights_sha256": digest_of(config),
        "molecules_sha256": stores,
        "labels_sha256": labels,
    }


def make_run(args: argparse.Namespace, config: dict[str, Any]) -> dict[str, Any]:
    """Trains, predicts and writes, or reads a finished run; returns the result."""
    output = Path(args.output)
    names = ("train", "valid", *TESTS)
    parts = {name: PCQM4Mv2(args.root, name, **config["data"]) for name in names}
    for part in parts.values():
        print(f"{part}: {part.num_rows} rows, {part.num_rows - len(part)} of them no molecule")
    identity = identity_of(parts, config, args.seed)
    if runs.is_finished(output, identity):
        return runs.read_sealed(output / runs.RESULT)
    settings = Finetuning(**config["training"])
    L.seed_everything(args.seed, verbose=False)
    encoder = load_encoder(config["weights"])
    model = MolAEPredictor(encoder, 1, task_names=PCQM4Mv2.task_names, **config["head"])
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
    result = {**identity, "valid mae": mae, "epoch": best["epoch"]}
    result |= {"parameters": num_parameters(model), "inference": inference}
    return runs.seal(output / runs.RESULT, {**result, "environment": runs.environment()})


def evaluate(args: argparse.Namespace) -> None:
    """Checks the settings, makes the run and prints its result."""
    path = config_path(args.config)
    config = read_yaml(path)
    data = arguments(PCQM4Mv2, "root", "part", "transform")
    known = {"data": data, "weights": None, "head": HEAD, "training": Finetuning}
    check(config, known, path, needed=known)
    result = make_run(args, config)
    print(f"validation MAE {result['valid mae']:.4f} eV, epoch {result['epoch']}")
    print(json.dumps(result["inference"], indent=2))


def main() -> None:
    run_command(evaluate, parse_args())


if __name__ == "__main__":
    main()
