"""Pre-trains Mol-AE with the 3D Cloze Test on a conformer store or a file of molecules.

    molae prepare molecules.smi store
    python experiments/pretrain.py store --config molae_pyg/evaluation/configs/pretrain_small.yaml

    torchrun --nproc-per-node 8 experiments/pretrain.py store        # many GPUs of one machine
    srun python experiments/pretrain.py store                        # SLURM, a task per GPU

A file of molecules (SMILES, SDF, LMDB) is prepared first, to <output>/store. Writes the model to
<output>/model, every loss term to <output>/metrics.csv and <output>/logs (TensorBoard), and a
page about the run to <output>/report.html. Called again after a kill it resumes at the last
checkpoint.
"""

import argparse
import json
import os
from itertools import product
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from torch_geometric.transforms import BaseTransform

from molae_pyg import AblatedMolAE, ClozeDrop, MolAE
from molae_pyg.analysis import reconstruct, reconstruction_plot, training_report
from molae_pyg.durable import write_durably
from molae_pyg.evaluation.config import CONFIGS, check_pretraining, read_yaml
from molae_pyg.evaluation.runs import environment
from molae_pyg.evaluation.sealed import EXPECTED
from molae_pyg.store import ConformerStore, prepare
from molae_pyg.training import Pretraining, cloze_objective, pretrain

CONFIG = CONFIGS / "pretrain.yaml"
PICTURES = 2  # held-out molecules drawn, true against rebuilt
MOLECULES, SEEDS = 20, 5  # looked at for them, as small molecules may have nothing to rebuild
WRITTEN = ("metrics.json", "environment.json", "report.html")


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
    if Path(path).is_dir():
        _say_unused(ConformerStore(path).meta, settings)
    else:
        # With several processes the first prepares; Lightning has not brought them together yet.
        if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1))) > 1:
            raise SystemExit(f"{path} is no store: make one first, molae prepare {path} FOLDER")
        prepare(path, output / "store", **settings)
        path = output / "store"
    return ConformerStore(path)


def _say_unused(meta: dict, settings: dict) -> None:
    """Names the settings under ``data`` that the store, which is complete, does not follow."""
    for name, value in settings.items():
        if name in meta and meta[name] != value:
            print(f"data.{name}: {value} is not used: the store was made with {meta[name]}")


def refuse_other_files(output: Path) -> None:
    """Raises SystemExit if the folder has files of ours to be, but is no folder of a run."""
    found = [name for name in WRITTEN if (output / name).exists()]
    if found and not (output / "run.json").is_file():
        raise SystemExit(
            f"{output} holds {found[0]}, but no run of this script: give another --output"
        )


def draw_pictures(
    model: MolAE, valid: ConformerStore, transform: BaseTransform, output: Path, seed: int
) -> int:
    """Draws held-out molecules, true against rebuilt; returns how many.

    A molecule of which the cloze test drops no atom, or all, is skipped; if all are, other seeds
    are tried.
    """
    for old in output.glob("reconstruction*.png"):
        old.unlink()
    drawn, reason = set(), ""
    for attempt, i in product(range(SEEDS), range(min(MOLECULES, len(valid)))):
        if i in drawn or len(drawn) == PICTURES:
            continue
        try:
            result = reconstruct(model, valid[i], transform, seed=seed + attempt)
        except ValueError as error:
            reason = str(error)
            continue
        reconstruction_plot(result, output / f"reconstruction{len(drawn)}.png")
        drawn.add(i)
    if len(drawn) < min(PICTURES, len(valid)):
        print(f"{len(drawn)} pictures of held-out molecules; others were skipped: {reason}")
    return len(drawn)


def main() -> None:
    args = parse_args()
    config = read_yaml(args.config)
    check_pretraining(config, args.config)
    output = Path(args.output)
    refuse_other_files(output)
    try:
        run(args, config, output)
    except EXPECTED as error:
        raise SystemExit(str(error)) from None


def run(args: argparse.Namespace, config: dict, output: Path) -> None:
    """Trains, and writes what the script says it writes."""
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
    cls = AblatedMolAE if "ablation" in config["model"] else MolAE
    model = cls.from_pretrained(args.weights) if args.weights else cls(**config["model"])
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{model}: {parameters:,} parameters; {len(train)} molecules, {num_valid} held out")
    transform = ClozeDrop(**config.get("cloze", {}))
    settings = Pretraining(**config["training"])
    metrics = pretrain(model, cloze_objective, train, valid, output, settings, transform, args.seed)
    if rank_zero_only.rank > 0:
        return
    print("held-out molecules:")
    for name, value in metrics.items():
        print(f"  {name.removeprefix('val_'):20}{value:10.4f}")
    for name, content in (("metrics", metrics), ("environment", environment())):
        text = json.dumps(content, indent=2) + "\n"
        write_durably(output / f"{name}.json", text.encode())
    draw_pictures(model, valid, transform, output, args.seed)
    report = training_report(output)
    print(f"written to {output}: model, logs, metrics.csv, metrics.json, {report.name}")


if __name__ == "__main__":
    main()
