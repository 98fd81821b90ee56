"""How fast is a pre-training step from the store, compared with the way of the reference?

Command: MOLAE_DATA=... python benchmarks/pretraining_step.py

Method: published size, real ZINC molecules with 11 conformers in a store. A step is: draw a batch,
drop atoms, forward, loss, backward, clip, Adam. Ours is what `pretrain` does: batches of similar
size within a budget of 90,000 pair cells (about 128 molecules), and the encoder does not see the
dropped atoms. The reference takes batches of 128 molecules in random order, padded to a multiple
of 8, masks the dropped atoms and computes them (ReferenceMolAE, whose numbers are those of the
official code), and reads one item at a time from the store through PyTorch Geometric's DataLoader,
in fp32. Both run on the same number of molecules per turn and take turns in this process. Reported
are molecules per second (median, minimum and maximum of the turns) and the quotient within a turn.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import record
import torch
import zinc
from loading import write_store
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose
from turns import Way, beside, take

from molae_pyg import ClozeDrop, MolAE, ReferenceMolAE, cloze_loss
from molae_pyg.inference.precision import autocast
from molae_pyg.inference.precision import precision as hardware_precision
from molae_pyg.store import ConformerStore
from molae_pyg.training import plan_batches
from molae_pyg.training.schedule import configure_adam
from molae_pyg.transforms import SampleConformer

CELLS = 90_000
BATCH = 128
REFERENCE = "reference's way, fp32"


def update(model: torch.nn.Module, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Makes one update: backward, clip, Adam."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def stepper(model: MolAE, device: str, precision: str):
    """Makes one update of a model on one batch."""
    model.to(device).train()
    optimiser = configure_adam(model, 1e-4, 1e-4, 1_000_000, 10_000)["optimizer"]

    def step(batch: Batch) -> None:
        batch = batch.to(device)
        with autocast(torch.device(device), precision):
            out = model(batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy)
            loss = cloze_loss(out, batch)["total"]
        update(model, optimiser, loss)

    return step


def ours(store: ConformerStore, number: int, device: str, precision: str) -> Way:
    step, transform = stepper(MolAE(), device, precision), ClozeDrop()
    rng = np.random.default_rng(0)

    def way() -> None:
        some = rng.permutation(len(store))[:number]
        for indices in plan_batches(store.num_atoms[some], CELLS, rng):
            step(transform(store.gather(torch.from_numpy(some[indices]))))

    return way


def reference(folder: str, number: int, device: str) -> Way:
    step = stepper(ReferenceMolAE(), device, "32-true")
    items = ConformerStore(folder, transform=Compose([SampleConformer(), ClozeDrop()]))

    def way() -> None:
        some = items[torch.randperm(len(items))[:number]]
        for batch in DataLoader(some, BATCH, shuffle=True, exclude_keys=["conformers"]):
            step(batch)

    return way


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument(
        "--molecules", type=int, default=384, help="molecules per turn, default: 384"
    )
    parser.add_argument("--turns", type=int, default=7, help="counted turns, default: 7")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), zinc.read(20_000, 11), 1)
        store = ConformerStore(folder)
        store.verify()
        ways = {REFERENCE: reference(folder, args.molecules, args.device)}
        for name in dict.fromkeys(("32-true", hardware_precision())):
            ways[f"molae_pyg, {name}"] = ours(store, args.molecules, args.device, name)
        result = beside(take(ways, args.turns), REFERENCE)
    for found in result.values():
        found["molecules per second"] = round(args.molecules / found["seconds"]["median"], 2)
    result["molecules a turn"] = args.molecules
    print(json.dumps(result, indent=2))
    print("written:", record.write("pretraining_step", question, result, args.device))


if __name__ == "__main__":
    main()
