"""Does fine-tuning in bf16 end with the scores of fp32, and how far apart are their embeddings?

Command: MOLAE_DATA=... python benchmarks/bf16_scores.py

Method: molae-small is fine-tuned as by molae_pyg.evaluation.transfer, with the same seeds, splits
and settings in both precisions; test scores side by side. Embeddings are of 1,000 ZINC molecules.
Without bf16 arithmetic in hardware it is emulated: products of bf16 matrices, computed in fp32,
rounded to bf16, as by a unit that adds up in fp32. Scores then are those of bf16, times are not.
"""

import argparse
import contextlib
import json
from pathlib import Path

import numpy as np
import record
import torch
from encoder import parts, zinc_molecules
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Batch
from tqdm import tqdm
from turns import summary

from molae_pyg import MolAE
from molae_pyg.datasets import MoleculeNet
from molae_pyg.evaluation import transfer
from molae_pyg.inference.precision import autocast, precision

PRECISIONS = ("32-true", "bf16-mixed")
NAMES = ("mm", "addmm", "bmm", "baddbmm", "baddbmm_")
PRODUCTS = {getattr(torch.ops.aten, name).default for name in NAMES}


class EmulatedProducts(TorchDispatchMode):
    """Computes products of bf16 matrices in fp32 and rounds them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        if func in PRODUCTS and all(t.dtype == torch.bfloat16 for t in tensors):
            wide = [a.float() if isinstance(a, torch.Tensor) else a for a in args]
            found = func(*wide, **(kwargs or {})).bfloat16()
            return args[0].copy_(found) if func is torch.ops.aten.baddbmm_.default else found
        return func(*args, **(kwargs or {}))


def emulated() -> contextlib.AbstractContextManager:
    return contextlib.nullcontext() if precision() == "bf16-mixed" else EmulatedProducts()


def scores(name: str, root: str, seeds: int, file: Path) -> dict[str, dict[str, float]]:
    """Returns test scores of a data set by precision; finished runs are read from the file."""
    done = {(r["dataset"], r["precision"], r["seed"]): r for r in transfer.read_results(file)}
    config = transfer.read_config(transfer.CONFIG, name)
    dataset = MoleculeNet(root, name, **config["data"])
    splits = [transfer.make_split(dataset, seed, set()) for seed in range(seeds)]
    found = {}
    for mode in PRECISIONS:
        config["training"]["precision"] = mode
        tests = []
        for seed, split in enumerate(splits):
            run = done.get((name, mode, seed))
            if run is None:
                encoder = MolAE.from_pretrained("molae-small").encoder
                folder = file.parent / f"{name}-{mode}-{seed}"
                with emulated():
                    run = transfer.run_finetuning(encoder, dataset, split, config, folder, seed)
                run |= {"dataset": name, "precision": mode, "seed": seed}
                transfer.add_result(file, run)
            tests.append(run["test"])
        spread = {"std": float(f"{np.std(tests, ddof=1):.3g}")} if seeds > 1 else {}
        found[mode] = {"mean": float(f"{np.mean(tests):.4g}"), **spread, "seeds": tests}
    return {"metric": dataset.metric, **found}


@torch.inference_mode()
def embeddings(number: int) -> dict[str, float]:
    """Returns the cosine between the vectors of both precisions."""
    encoder = MolAE.from_pretrained("molae-small").encoder
    cosines = []
    for part in tqdm(parts(zinc_molecules(number), by_size=True), "embeddings", disable=None):
        batch = Batch.from_data_list(part)
        vectors = []
        for mode in PRECISIONS:
            with autocast(torch.device("cpu"), mode), emulated():
                vectors.append(encoder(batch.z, batch.pos, batch.batch).molecule.float())
        cosines += torch.cosine_similarity(*vectors).tolist()
    return summary(cosines)


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--datasets", nargs="+", default=["freesolv", "bace"])
    parser.add_argument("--root", default="data", help="folder of data files and conformers")
    parser.add_argument("--seeds", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--molecules", type=int, default=1000, help="molecules to embed, default: 1000"
    )
    parser.add_argument(
        "--output", default="runs/bf16_scores", help="folder of the runs, which resume after a kill"
    )
    args = parser.parse_args()
    file = Path(args.output, "results.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    config = transfer.read_checked(transfer.CONFIG)
    transfer.check_settings(file.parent / "settings.json", config, "molae-small", [])
    result = {
        "bf16": "hardware" if precision() == "bf16-mixed" else "emulated",
        "cosine": embeddings(args.molecules),
        **{name: scores(name, args.root, args.seeds, file) for name in args.datasets},
    }
    print(json.dumps(result, indent=2))
    print("written:", record.write("bf16_scores", question, result))


if __name__ == "__main__":
    main()
