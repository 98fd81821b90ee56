"""Pre-trains Mol-AE with the 3D Cloze Test on a conformer store or a file of molecules.

    molae prepare molecules.smi store
    python experiments/pretrain.py store --config experiments/configs/pretrain_small.yaml

    torchrun --nproc-per-node 8 experiments/pretrain.py store        # many GPUs of one machine
    srun python experiments/pretrain.py store                        # SLURM, a task per GPU

A file of molecules (SMILES, SDF, LMDB) is prepared first, to <output>/store. Writes the model to
<output>/model, every loss term to <output>/metrics.csv and <output>/logs (TensorBoard), and a
page about the run to <output>/report.html. Called again after a kill it goes on at the last
checkpoint.
"""

import argparse
import json
import os
from pathlib import Path

import lightning as L
import numpy as np
import yaml
from lightning.pytorch.utilities import rank_zero_only
from results import environment

from molae_pyg import ClozeDrop, MolAE
from molae_pyg.analysis import reconstruct, reconstruction_plot, training_report
from molae_pyg.datasets import ConformerStore, prepare
from molae_pyg.training import Pretraining, pretrain

CONFIG = Path(__file__).parent / "configs" / "pretrain.yaml"
PICTURES = 2  # held-out molecules drawn, true against rebuilt


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="conformer store or file of molecules")
    parser.add_argument("--config", default=CONFIG, help="YAML of settings")
    parser.add_argument("--output", default="runs/pretrain", help="folder of results")
    parser.add_argument("--held-out", type=float, default=0.05, help="share for validation")
    parser.add_argument("--held-out-of", type=int, help="... of the first so many; default: all")
    parser.add_argument("--weights", help="folder of a model to train further, default: random")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def open_store(path: str, output: Path, settings: dict) -> ConformerStore:
    """The store at ``path``, or the one made of the molecules of that file."""
    if not Path(path).is_dir():
        # With several processes the first prepares; Lightning has not brought them together yet.
        if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1))) > 1:
            raise SystemExit(f"{path} is no store: make one first, molae prepare {path} FOLDER")
        prepare(path, output / "store", **settings)
        path = output / "store"
    return ConformerStore(path)


def main() -> None:
    args = parse_args()
    config = yaml.safe_load(Path(args.config).read_text())
    output = Path(args.output)
    store = open_store(args.input, output, config["data"])
    if len(store) < 2:
        raise SystemExit(f"{args.input}: {len(store)} molecules, pre-training needs two")
    eligible = min(len(store), args.held_out_of or len(store))
    order = np.random.default_rng(args.seed).permutation(eligible)
    num_valid = max(1, round(args.held_out * eligible))
    held_out = np.zeros(len(store), bool)
    held_out[order[:num_valid]] = True
    train, valid = store[~held_out], store[held_out]

    L.seed_everything(args.seed, verbose=False)
    model = MolAE.from_pretrained(args.weights) if args.weights else MolAE(**config["model"])
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{model}: {parameters:,} parameters; {len(train)} molecules, {num_valid} held out")
    transform = ClozeDrop(**config.get("cloze", {}))
    settings = Pretraining(**config["training"])
    metrics = pretrain(model, train, valid, output, settings, transform, args.seed)
    if rank_zero_only.rank > 0:
        return
    print("held-out molecules:")
    for name, value in metrics.items():
        print(f"  {name.removeprefix('val_'):20}{value:10.4f}")
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    (output / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
    for i in range(min(PICTURES, num_valid)):
        result = reconstruct(model, valid[i], transform, seed=args.seed)
        reconstruction_plot(result, output / f"reconstruction{i}.png")
    report = training_report(output)
    print(f"written to {output}: model, logs, metrics.csv, metrics.json, {report.name}")


if __name__ == "__main__":
    main()
