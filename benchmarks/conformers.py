"""How fast is each conformer recipe, and what does it change for a linear model on the vectors?

Command: MOLAE_DATA=... python benchmarks/conformers.py

Method, speed: processor time of this process for 1 and for 10 conformers of ZINC molecules, recipes
in turn, molecule by molecule; ratios of the times of one turn. "published, singly" makes one
conformer a call. Method, accuracy: vectors of one conformer (CLS and mean over atoms) of both
shipped models; ridge regression or logistic regression (C = 0.01), standardised, ten scaffold
splits, which are the same for all recipes. Fitted on the training rows; differences to "published"
are paired by split. The steps of "fast" are the most with which it is 1.9 times as fast for one
conformer and 2.2 times for ten; validation rows decide whether fewer would be better: mean
difference over all sets and both models, in units of the size of another seed's. Vectors are kept
in ``--output``, so that a killed run resumes; of lipo there are 700 random molecules.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from rdkit import rdBase
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch_geometric.data import Data
from tqdm import tqdm
from turns import summary

from molae_pyg import MolAE
from molae_pyg.chem import conformers
from molae_pyg.chem.conformers import Coordinates, Request, generate, layout_of
from molae_pyg.chem.graph import add_graph
from molae_pyg.chem.parsing import Molecule, parse_smiles
from molae_pyg.chem.recipes import Recipe, recipe_named
from molae_pyg.datasets import MoleculeNet
from molae_pyg.inference import embed
from molae_pyg.splits import scaffold_split
from molae_pyg.store.sources import MoleculeFile

SETS = ("freesolv", "esol", "lipo", "bace", "bbbp")
MODELS = ("molae-small", "molae-graph")
SPLITS = 10
MOST = 700  # molecules of lipo
#: Recipe and seed by name; "other-seed" shows what chance does.
TRIED = {
    "published": (recipe_named("published"), 0),
    "dg100": (Recipe("dg100", 0, "DG", 100), 0),
    "dg75": (Recipe("dg75", 0, "DG", 75), 0),
    "dg50": (Recipe("dg50", 0, "DG", 50), 0),
    "flat": (recipe_named("flat"), 0),
    "other-seed": (recipe_named("published"), 1),
}
#: What only the speed is measured of.
MORE = {"dg200": (Recipe("dg200", 0, "DG", 200), 0), "et50": (Recipe("et50", 0, "ETKDG", 50), 0)}


def made(molecule: Molecule, recipe: Recipe, count: int = 1, seed: int = 0) -> Coordinates:
    """Makes the coordinates of a molecule in this process."""
    coordinates = Coordinates()
    request = Request(0 if recipe.is_flat else count, seed, recipe=recipe)
    for message in generate(molecule.mol, request):
        coordinates.add(message)
    if coordinates.lacks_layout(request):
        coordinates.add(layout_of(molecule.mol))
    return coordinates


def speed(smiles: list[str], count: int, turns: int) -> dict[str, Any]:
    """Returns milliseconds a molecule and the speed-up over "published, singly", by recipe."""
    molecules = [parse_smiles(text) for text in smiles]
    ways = {"published, singly": (recipe_named("published"), 0.0)}
    share = conformers.TOGETHER
    ways |= {name: (recipe, share) for name, (recipe, seed) in (TRIED | MORE).items() if not seed}
    rows = []
    for _ in tqdm(range(turns), f"{count} conformers", disable=None):
        spent = dict.fromkeys(ways, 0.0)
        for molecule in molecules:
            for name, (recipe, conformers.TOGETHER) in ways.items():  # sets the share, too
                start = time.process_time()
                made(molecule, recipe, count)
                spent[name] += time.process_time() - start
        rows.append(spent)
    conformers.TOGETHER = share
    return {
        name: {
            "ms": summary([1e3 * row[name] / len(molecules) for row in rows]),
            "speed-up": summary([row["published, singly"] / row[name] for row in rows]),
        }
        for name in ways
    }


def molecules_of(name: str, root: str) -> tuple[list[str], np.ndarray]:
    """Returns canonical SMILES of at least two heavy atoms, and labels."""
    table = MoleculeNet.read(root, name)
    smiles, y = [], []
    order = range(len(table.smiles))
    if name == "lipo":
        order = np.random.RandomState(0).permutation(len(table.smiles))[:MOST]
    for row in order:
        try:
            molecule = parse_smiles(table.smiles[row])
        except ValueError:
            continue
        if (molecule.numbers != 1).sum() > 1:
            smiles.append(molecule.key)
            y.append(float(table.y[row, 0]))
    return smiles, np.array(y)


def vectors(name: str, how: str, root: str, file: Path) -> dict[str, np.ndarray]:
    """Returns SMILES, labels, the rows with coordinates, and their vectors by model."""
    if file.exists():
        with np.load(file) as kept:
            return dict(kept)
    smiles, y = molecules_of(name, root)
    recipe, seed = TRIED[how]
    rows, items = [], []
    for row, text in enumerate(tqdm(smiles, f"{name}, {how}", disable=None)):
        molecule = parse_smiles(text)
        coordinates = made(molecule, recipe, seed=seed)
        if not (coordinates.conformers or recipe.is_flat):
            continue
        pos = coordinates.layout if recipe.is_flat else coordinates.conformers[0]
        (heavy,) = np.nonzero(molecule.numbers != 1)
        z, pos = torch.from_numpy(molecule.numbers[heavy]), torch.from_numpy(pos[heavy])
        place = torch.from_numpy(molecule.atom_map[heavy])
        items.append(add_graph(Data(z=z, pos=pos, smiles=text, atom_map=place)))
        rows.append(row)
    found = {"smiles": np.array(smiles), "y": y, "rows": np.array(rows)}
    for model in MODELS:
        found[model] = embed(MolAE.from_pretrained(model), items, precision="32-true")
    np.savez(file, **found)
    return found


def score(x: np.ndarray, y: np.ndarray, seen: np.ndarray, parts: list[np.ndarray]) -> list[float]:
    """Returns the error of a linear model on each part: RMSE, or 1 - ROC-AUC."""
    if {*np.unique(y)} <= {0.0, 1.0}:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
        model.fit(x[seen], y[seen])
        return [1 - roc_auc_score(y[part], model.decision_function(x[part])) for part in parts]
    model = make_pipeline(StandardScaler(), RidgeCV(10.0 ** np.arange(0, 6)))
    model.fit(x[seen], y[seen])
    return [root_mean_squared_error(y[part], model.predict(x[part])) for part in parts]


def accuracy(name: str, root: str, folder: Path) -> dict[str, Any]:
    """Returns errors of a set by model and recipe, on validation and on test rows."""
    known = {how: vectors(name, how, root, folder / f"{name}-{how}.npz") for how in TRIED}
    smiles, y = known["published"]["smiles"].tolist(), known["published"]["y"]
    usable = np.logical_and.reduce([np.isin(range(len(y)), v["rows"]) for v in known.values()])
    splits = [scaffold_split(smiles, seed=seed) for seed in range(SPLITS)]
    parts = [[rows[usable[rows]] for rows in map(np.asarray, split)] for split in splits]
    found: dict[str, Any] = {}
    for model in MODELS:
        errors = {}  # [SPLITS, 2]
        for how, made_of in tqdm(known.items(), f"{name}, {model}", disable=None):
            x = np.zeros((len(y), made_of[model].shape[1]))
            x[made_of["rows"]] = made_of[model]
            errors[how] = np.array([score(x, y, seen, [v, t]) for seen, v, t in parts])
        found[model] = {how: _compared(e, errors["published"]) for how, e in errors.items()}
    return found


def _compared(errors: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    """Returns mean errors, and mean, deviation and size of the differences to ``base``."""
    found = {}
    for place, part in enumerate(("validation", "test")):
        difference = (errors - base)[:, place]
        size = np.sqrt(np.mean(difference**2))
        numbers = errors[:, place].mean(), difference.mean(), difference.std(ddof=1), size
        keys = ("error", "difference", "std of differences", "rms of differences")
        found[part] = {key: round(float(n), 4) for key, n in zip(keys, numbers, strict=True)}
    return found


def chosen(found: dict[str, Any]) -> dict[str, float]:
    """Returns the mean difference on validation rows, in units of the size of another seed's."""
    result = {}
    for how in TRIED:
        if how in ("published", "other-seed"):
            continue
        units = []
        for models in found.values():
            for errors in models.values():
                unit = errors["other-seed"]["validation"]["rms of differences"]
                units.append(errors[how]["validation"]["difference"] / unit)
        result[how] = round(float(np.mean(units)), 3)
    return result


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--molecules", type=int, default=40, help="of ZINC, default: 40")
    parser.add_argument("--turns", type=int, default=3, help="default: 3")
    parser.add_argument("--datasets", nargs="*", default=SETS, help="default: all five")
    parser.add_argument("--root", default="data", help="folder of data files")
    parser.add_argument("--output", default="runs/conformers", help="folder of the vectors")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    zinc = [*MoleculeFile(Path(os.environ["MOLAE_DATA"], "pretrain", "zinc250k.smi.gz"))]
    order = np.random.RandomState(7).permutation(len(zinc))
    smiles = [zinc[row] for row in order[: args.molecules]]
    with rdBase.BlockLogs():
        result = {
            "molecules": len(smiles),
            **{f"{n} conformers": speed(smiles, n, args.turns) for n in (1, 10)},
        }
        found = {name: accuracy(name, args.root, folder) for name in args.datasets}
    result |= {"accuracy": found, "validation, in units of another seed": chosen(found)}
    print(json.dumps(result, indent=2))
    print("written:", record.write("conformers", question, result))


if __name__ == "__main__":
    main()
