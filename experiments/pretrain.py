"""Pre-trains Mol-AE with the 3D Cloze Test on a file of molecules.

    python experiments/pretrain.py molecules.smi --config experiments/configs/pretrain_small.yaml
    python experiments/pretrain.py molecules.sdf.gz          # keeps the file's conformers

Reads SMILES (.smi, .txt: one a line; .csv: a SMILES column; .gz of these) or SDF. Writes the
model to <output>/model and every loss term to <output>/metrics.csv. Called again after a kill it
goes on at the last checkpoint.
"""

import argparse
import json
from pathlib import Path

import lightning as L
import numpy as np
import yaml
from torch_geometric.data import Data

from molae_pyg import ClozeDrop, MolAE, featurize, from_sdf
from molae_pyg.datasets.reading import read_smiles
from molae_pyg.training import ClozeModule, Pretraining, pretrain

CONFIG = Path(__file__).parent / "configs" / "pretrain.yaml"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="file of molecules")
    parser.add_argument("--config", default=CONFIG, help="YAML of settings")
    parser.add_argument("--output", default="runs/pretrain", help="folder of results")
    parser.add_argument("--held-out", type=float, default=0.05, help="share for validation")
    parser.add_argument("--limit", type=int, help="use the first so many molecules")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load_molecules(path: str, limit: int | None, settings: dict) -> list[Data]:
    """Molecules with conformers; what could not be used is counted and printed."""
    if path.lower().endswith((".sdf", ".sdf.gz")):
        return from_sdf(path, on_error="skip")[:limit]
    molecules, report = featurize(read_smiles(path)[:limit], **settings, on_error="skip")
    print(report.summary())
    return molecules


def main() -> None:
    args = parse_args()
    config = yaml.safe_load(Path(args.config).read_text())
    molecules = load_molecules(args.input, args.limit, config["data"])
    num_valid = max(1, round(args.held_out * len(molecules)))
    if len(molecules) < 2:
        raise SystemExit(f"{args.input}: {len(molecules)} molecules, pre-training needs two")
    order = np.random.default_rng(args.seed).permutation(len(molecules))
    train = [molecules[i] for i in order[num_valid:]]
    valid = [molecules[i] for i in order[:num_valid]]

    L.seed_everything(args.seed, verbose=False)
    settings = Pretraining(**config["training"])
    model = MolAE(**config["model"])
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{model}: {parameters:,} parameters; {len(train)} molecules, {num_valid} held out")
    module = ClozeModule(
        model,
        ClozeDrop(**config.get("cloze", {})),
        settings.lr,
        settings.weight_decay,
        settings.warmup_steps,
        settings.steps,
    )
    metrics = pretrain(module, train, valid, args.output, settings, args.seed)
    print("held-out molecules:")
    for name, value in metrics.items():
        print(f"  {name.removeprefix('val_'):20}{value:10.4f}")
    (Path(args.output) / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"written to {args.output}: model, metrics.csv, metrics.json")


if __name__ == "__main__":
    main()
