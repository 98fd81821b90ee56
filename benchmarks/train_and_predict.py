"""How long do molae train and molae predict take, and how good are they, beside chemprop?

Command: MOLAE_DATA=... python benchmarks/train_and_predict.py (needs `make chemprop`)

Method: rows that RDKit cannot read are left out; each table is divided once: a fifth of the
scaffolds is held out. Both programs get the same file of training rows with their own default
settings, and then predict the held-out rows: molae train and molae predict (five folds, intervals,
baselines and report included), chemprop train and chemprop predict (one model, 50 epochs, random
80:10:10 division of the rows that it gets). Programs run in turn. Processor time is that of the
process and its children, from the operating system.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import record
from rdkit import Chem, rdBase
from sklearn.metrics import roc_auc_score

from molae_pyg.baselines.chemprop import find_executable
from molae_pyg.workflow.folds import make_folds

#: File, column of the SMILES, target and kind of each table.
TABLES = {
    "freesolv": ("SAMPL.csv", "smiles", "expt", "regression"),
    "esol": (
        "delaney-processed.csv",
        "smiles",
        "measured log solubility in mols per litre",
        "regression",
    ),
    "bace": ("bace.csv", "mol", "Class", "classification"),
    "bbbp": ("BBBP.csv", "smiles", "p_np", "classification"),
    "lipo": ("Lipophilicity.csv", "smiles", "exp", "regression"),
}
MOLAE = (sys.executable, "-m", "molae_pyg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seed", type=int, default=0, help="of the division; default: 0")
    args = parser.parse_args()
    result = {}
    for name in args.tables:
        with tempfile.TemporaryDirectory() as folder:
            result[name] = compare(Path(folder), name, args.seed)
        print(name, result[name], flush=True)
    record.write("train_and_predict", __doc__.split("\n")[0], result)


def compare(folder: Path, name: str, seed: int) -> dict:
    """Returns seconds and score of both programs on one table."""
    file, smiles, target, kind = TABLES[name]
    table = pd.read_csv(Path(os.environ["MOLAE_DATA"], "moleculenet", file))
    table = table[[smiles, target]].set_axis(["smiles", "target"], axis=1)
    with rdBase.BlockLogs():
        table = table[[Chem.MolFromSmiles(text) is not None for text in table["smiles"]]]
    fold = make_folds(table["smiles"].tolist(), "scaffold", 5, seed)
    held_out = table[fold == 0]
    table[fold != 0].to_csv(folder / "train.csv", index=False)
    held_out[["smiles"]].to_csv(folder / "new.csv", index=False)
    commands = {
        "molae": (
            (*MOLAE, "train", "train.csv", "molae", "--targets", "target"),
            (*MOLAE, "predict", "molae", "new.csv", "molae.csv"),
        ),
        "chemprop": (
            (find_executable(), "train", "-i", "train.csv", "-t", kind, "-o", "chemprop",
             "--smiles-columns", "smiles", "--target-columns", "target"),
            (find_executable(), "predict", "-i", "new.csv", "-o", "chemprop.csv",
             "--model-paths", "chemprop/model_0/best.pt", "--smiles-columns", "smiles"),
        ),
    }  # fmt: skip
    columns = {"chemprop": "target", "molae": "target_predicted"}
    if kind == "classification":
        columns["molae"] = "target_probability"
    found = {"rows": len(table), "held_out": len(held_out)}
    for program, (train, predict) in commands.items():
        costs = {"train": run(train, folder), "predict": run(predict, folder)}
        predicted = pd.read_csv(folder / f"{program}.csv")[columns[program]].to_numpy(float)
        found[program] = costs | score(held_out["target"].to_numpy(float), predicted, kind)
    return found


def run(command: tuple, folder: Path) -> dict[str, float]:
    """Returns wall-clock and processor seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - start, 1), "processor": round(cpu, 1)}


def score(y: np.ndarray, predicted: np.ndarray, kind: str) -> dict[str, float]:
    """Returns RMSE or ROC-AUC of the rows that have a prediction, and their number."""
    known = ~np.isnan(predicted)
    y, predicted = y[known], predicted[known]
    if kind == "regression":
        found = {"rmse": float(np.sqrt(np.mean((y - predicted) ** 2)))}
    else:
        found = {"roc_auc": float(roc_auc_score(y, predicted))}
    return {name: round(value, 4) for name, value in found.items()} | {"predicted": len(y)}


if __name__ == "__main__":
    main()
