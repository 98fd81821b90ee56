"""Do contributions by leaving out atoms find the atoms that a property really comes from?

Command: MOLAE_DATA=... python benchmarks/atom_contributions.py [--fitted]

Method: Crippen's logP is a sum over atoms, so the contribution of each atom is known. Predictors
learn the logP of 600 ZINC molecules (labels computed by RDKit; 100 more choose the epoch) and
explain 200 others. For each of these, Spearman's correlation of molae_pyg.inference.explain with
Crippen's contributions (an atom with its hydrogens), over its atoms; median and quartiles over
molecules. Controls: the same models before training, and the mean contribution of each element in
the training molecules, which knows nothing else. With --fitted the models are those of molae train
(5 folds, frozen encoder) for the same 700 molecules, with new conformers; not with descriptors,
among which is Crippen's logP.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import record
import torch
import zinc
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from scipy.stats import spearmanr
from torch_geometric.data import Data

from molae_pyg import MolAE, MolAEEncoder, MolAEPredictor
from molae_pyg.inference import explain
from molae_pyg.tables.reading import Table
from molae_pyg.training import Finetuning, finetune
from molae_pyg.workflow import FitSettings, fit

TRAIN, VALID, TEST = 600, 100, 200
#: Weights that the training starts from, and readout.
MODELS = (
    ("molae-small", "cls"),
    ("molae-small", "atomwise"),
    ("random", "cls"),
    ("molae-small", "mean"),
)
SETTINGS = Finetuning(epochs=25, lr=3e-4, precision="32-true")


def crippen(smiles: str) -> np.ndarray:
    """Returns Crippen's contribution to logP of each heavy atom with its hydrogens ``[n]``."""
    mol = Chem.MolFromSmiles(smiles)
    n, mol = mol.GetNumAtoms(), Chem.AddHs(mol)
    value = np.array([logp for logp, _ in rdMolDescriptors._CalcCrippenContribs(mol)])
    for atom in list(mol.GetAtoms())[n:]:
        value[atom.GetNeighbors()[0].GetIdx()] += value[atom.GetIdx()]
    return value[:n]


def molecules(number: int) -> list[Data]:
    """Returns ZINC molecules with ``y``, logP, and ``truth``, the contributions of the atoms."""
    found = zinc.read(number, 1)
    items = []
    for row, smiles in enumerate(found.smiles):
        part = slice(*found.start[row : row + 2])
        truth = torch.from_numpy(crippen(smiles)).float()
        z, pos = found.z[part].astype(np.int64), found.pos[part] / 1000
        assert [atom.GetAtomicNum() for atom in Chem.MolFromSmiles(smiles).GetAtoms()] == z.tolist()
        y = truth.sum()[None, None]
        items.append(
            Data(z=torch.from_numpy(z), pos=torch.from_numpy(pos).float(), y=y, truth=truth)
        )
    return items


def by_element(train: list[Data], test: list[Data]) -> list[np.ndarray]:
    """Returns the mean contribution of each atom's element in the training molecules."""
    z, truth = torch.cat([d.z for d in train]), torch.cat([d.truth for d in train])
    mean = {element: truth[z == element].mean().item() for element in z.unique().tolist()}
    return [np.array([mean.get(element, 0.0) for element in d.z.tolist()]) for d in test]


def agreement(found: list[np.ndarray], test: list[Data]) -> dict[str, float]:
    """Returns quartiles over molecules of the correlation over the atoms of each."""
    rho = [spearmanr(v, d.truth).statistic for v, d in zip(found, test, strict=True)]
    low, median, high = np.percentile(np.nan_to_num(rho), [25, 50, 75])
    low, median, high = (round(float(value), 3) for value in (low, median, high))
    return {"median": median, "quartiles": [low, high]}


def predictor(start: str, readout: str, train: list[Data]) -> MolAEPredictor:
    pretrained = MolAE.from_pretrained("molae-small").encoder
    encoder = pretrained if start == "molae-small" else MolAEEncoder(**pretrained.config)
    model = MolAEPredictor(encoder, readout=readout, task_names=["logP"])
    model.set_scaling(torch.cat([d.y for d in train]))
    return model


def measure(start: str, readout: str, seed: int, parts: list[list[Data]]) -> dict:
    train, valid, test = parts
    torch.manual_seed(seed)
    model = predictor(start, readout, train)

    def explained() -> dict[str, float]:
        return agreement([e.values[:, 0] for e in explain(model, test)], test)

    before = explained()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        finetune(model, train, valid, Path(folder), SETTINGS, seed)
    seconds = time.perf_counter() - began
    y = torch.cat([d.y for d in test])[:, 0].numpy()
    explanations = explain(model, test)
    error = np.array([e.prediction[0] for e in explanations]) - y
    return {
        "start": start,
        "readout": readout,
        "seed": seed,
        "test_rmse": round(float(np.sqrt((error**2).mean())), 3),
        "test_std": round(float(y.std()), 3),
        "spearman": agreement([e.values[:, 0] for e in explanations], test),
        "spearman_before_training": before,
        "training_seconds": round(seconds),
    }


def measure_fitted(features: str, smiles: list[str], parts: list[list[Data]]) -> dict:
    train, test = parts[0] + parts[1], parts[2]
    y = torch.cat([d.y for d in train])
    table = Table(smiles[: len(train)], y, ["logP"], ["regression"])
    with tempfile.TemporaryDirectory() as folder:
        model = fit(table, folder, FitSettings(features=features))
        explanations = model.explain(smiles[len(train) :])
    truth = torch.cat([d.y for d in test])[:, 0].numpy()
    error = np.array([e.prediction[0] for e in explanations]) - truth
    return {
        "features": features,
        "test_rmse": round(float(np.sqrt((error**2).mean())), 3),
        "spearman": agreement([e.values[:, 0] for e in explanations], test),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="default: 1")
    parser.add_argument("--fitted", action="store_true", help="the models of molae train")
    args = parser.parse_args()
    if "MOLAE_DATA" not in os.environ:
        raise SystemExit("set MOLAE_DATA to the folder of the data")
    items = molecules(TRAIN + VALID + TEST)
    train, rest = items[:TRAIN], items[TRAIN:]
    parts = [train, rest[:VALID], rest[VALID:]]
    if args.fitted:
        smiles = zinc.read(TRAIN + VALID + TEST, 1).smiles[: len(items)]
        runs = [measure_fitted(features, smiles, parts) for features in ("none", "ecfp")]
        print(runs)
        record.write("atom_contributions_fitted", __doc__.splitlines()[0], {"runs": runs})
        return
    runs = []
    for seed in range(args.seeds):
        for start, readout in MODELS:
            runs.append(measure(start, readout, seed, parts))
            print(runs[-1], flush=True)
    control = agreement(by_element(train, parts[2]), parts[2])
    print("mean of each element:", control)
    result = {"runs": runs, "mean_of_each_element": control}
    record.write("atom_contributions", __doc__.splitlines()[0], result)


if __name__ == "__main__":
    main()
