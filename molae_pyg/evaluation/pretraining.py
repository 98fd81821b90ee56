"""Pre-trains Mol-AE, or another system, on a conformer store or a file of molecules.

    molae prepare molecules.smi store
    python -m molae_pyg.evaluation.pretraining store --config pretrain_small

    torchrun --nproc-per-node 8 -m molae_pyg.evaluation.pretraining store  # all GPUs of a machine
    srun python -m molae_pyg.evaluation.pretraining store                  # SLURM, a task per GPU

A file of molecules (SMILES, SDF, LMDB) is prepared first, to <output>/store. The results are the
model in <output>/model, every loss term in <output>/metrics.csv and <output>/logs (TensorBoard),
and a page about the run, <output>/report.html. After a kill the same command resumes at the last
checkpoint.
"""

import argparse
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from torch_geometric.transforms import BaseTransform

from molae_pyg.analysis import reconstruct, reconstruction_plot, training_report
from molae_pyg.durable import write_durably
from molae_pyg.evaluation.config import run_command
from molae_pyg.evaluation.flags import add_pretraining, make_parser
from molae_pyg.evaluation.runs import environment
from molae_pyg.evaluation.systems import assemble, read_settings
from molae_pyg.models import MolAE
from molae_pyg.nn.arguments import size
from molae_pyg.store import ConformerStore, prepare
from molae_pyg.training import Pretraining, pretrain
from molae_pyg.training.settings import check_number
from molae_pyg.transforms import ClozeDrop, CoordinateNoise

PICTURES = 2  # held-out molecules that are drawn, true and rebuilt
MOLECULES, SEEDS = 20, 5  # that are tried for them, as no atom of a small molecule may be dropped
WRITTEN = ("metrics.json", "environment.json", "report.html")


def run_pretraining(
    source: str | Path,
    config: dict[str, Any],
    output: str | Path,
    held_out: float = 0.05,
    held_out_of: int | None = None,
    weights: str | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Pre-trains a model by a configuration and writes model, metrics, pictures and a report.

    Args:
        source: A conformer store, or a file of molecules, which is prepared to ``output/store``.
        config: Sections ``data``, ``model``, ``training`` and, optionally, ``cloze``: arguments of
            :func:`~molae_pyg.datasets.prepare`, :class:`~molae_pyg.MolAE` (with ``ablation``:
            of :class:`~molae_pyg.models.AblatedMolAE`), :class:`~molae_pyg.training.Pretraining`
            and :class:`~molae_pyg.ClozeDrop`. ``objective`` is a name of
            :data:`~molae_pyg.evaluation.systems.SYSTEMS`; the section ``noise`` has the arguments
            of its transform, ``loss`` those of its objective.
        output: Folder of the results.
        held_out: Share of the molecules to validate on.
        held_out_of: Number of the first molecules that these are drawn from; default: all.
        weights: Folder of a model to train further; default: random weights.
        seed: Seed of the held-out molecules, the initial weights and the run.

    Returns:
        The metrics of the last validation.

    Raises:
        ValueError: There are fewer than two molecules, or the folder holds something else.
    """
    output = Path(output)
    _refuse_other_files(output)
    store = _open_store(source, output, config["data"])
    train, valid = hold_out(store, source, held_out, held_out_of, seed)
    model, objective, transform = assemble(config, train, output, weights, seed)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{model}: {parameters:,} parameters; {len(train)} molecules, {len(valid)} held out")
    settings = Pretraining(**config["training"])
    metrics = pretrain(model, objective, train, valid, output, settings, transform, seed)
    if rank_zero_only.rank > 0:
        return metrics
    print("held-out molecules:" if metrics else "no loss could be taken of the held-out molecules")
    for name, value in metrics.items():
        print(f"  {name.removeprefix('val_'):20}{value:10.4f}")
    for name, content in (("metrics", metrics), ("environment", environment())):
        text = json.dumps(content, indent=2) + "\n"
        write_durably(output / f"{name}.json", text.encode())
    if isinstance(transform, ClozeDrop | CoordinateNoise):  # the others rebuild no atoms
        _draw(model, valid, transform, output, seed)
    report = training_report(output)
    print(f"written to {output}: model, logs, metrics.csv, metrics.json, {report.name}")
    return metrics


def _refuse_other_files(output: Path) -> None:
    """Raises ValueError if the folder has a file of a result, but is not the folder of a run."""
    found = [name for name in WRITTEN if (output / name).exists()]
    if found and not (output / "run.json").is_file():
        raise ValueError(
            f"{output} holds {found[0]}, but no run of this script: give another folder"
        )


def _open_store(source: str | Path, output: Path, settings: dict[str, Any]) -> ConformerStore:
    """Returns the store, or one that is made of the molecules of a file."""
    if Path(source).is_dir():
        store = ConformerStore(source)
        for name, value in settings.items():
            if name in store.meta and store.meta[name] != value:
                made = store.meta[name]
                print(f"data.{name}: {value} is not used: the store was made with {made}")
        return store
    # With several processes only one may prepare, and Lightning has not connected them yet.
    if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1))) > 1:
        raise ValueError(f"{source} is no store: make one first, molae prepare {source} FOLDER")
    report = prepare(source, output / "store", **settings)
    if report.num_problems:
        print(report)
    return ConformerStore(output / "store")


def hold_out(
    store: ConformerStore, source: str | Path, share: float, first: int | None, seed: int
) -> tuple[ConformerStore, ConformerStore]:
    """Returns the molecules to train on and the held-out ones, one at least.

    Raises:
        ValueError: There are fewer than two molecules, or a number is out of range.
    """
    check_number("--held-out", share, above=0, below=1)
    if first is not None:
        size("--held-out-of", first)
    if len(store) < 2:
        raise ValueError(f"{source}: {len(store)} molecules, pre-training needs two")
    eligible = min(len(store), first or len(store))
    order = np.random.default_rng(seed).permutation(eligible)
    held_out = np.zeros(len(store), bool)
    held_out[order[: max(1, round(share * eligible))]] = True
    return store[~held_out], store[held_out]


def _draw(
    model: MolAE, valid: ConformerStore, transform: BaseTransform, output: Path, seed: int
) -> None:
    """Draws held-out molecules, true and rebuilt.

    A molecule is skipped if the cloze test drops none or all of its atoms; if all molecules are
    skipped, other seeds are tried.
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


def parse_args() -> argparse.Namespace:
    default = "those of the objective (cloze: pretrain)"
    parser = make_parser(__doc__, default, root=False, output="runs/pretrain")
    parser.set_defaults(config=None)
    parser.add_argument("input", help="conformer store or file of molecules")
    add_pretraining(parser)
    return parser.parse_args()


def pretrain_as_asked(args: argparse.Namespace) -> None:
    """Checks the settings and trains."""
    config = read_settings(args.config, args.objective)
    more = (args.held_out, args.held_out_of, args.weights, args.seed)
    run_pretraining(args.input, config, args.output, *more)


def main() -> None:
    run_command(pretrain_as_asked, parse_args())


if __name__ == "__main__":
    main()
