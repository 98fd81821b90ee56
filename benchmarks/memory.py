"""How much memory does a training step need, by molecule size and batch size?

Command: python benchmarks/memory.py

Method: published size, forward, loss and backward of the cloze test on random molecules, with
dropout, in the precision of the hardware, with and without activation checkpointing. Every cell is
a fresh process. On a CPU the peak is that of the resident memory (VmHWM of Linux), which includes
the interpreter, PyTorch, weights and gradients; on CUDA it is that of the allocator.
"""

import argparse
import subprocess
import sys

import machine
import record
import torch

SIZES = (32, 64, 128, 256, 512)
BATCHES = (1, 8, 32)
MOST = 140_000  # largest number of pair cells of a cell of the table


def step(n: int, batch_size: int, recompute: bool, device: str) -> float:
    """Returns the peak in GiB; it runs in its own process."""
    from encoder import random_molecules
    from torch_geometric.data import Batch

    from molae_pyg import ClozeDrop, MolAE, cloze_loss
    from molae_pyg.inference.precision import autocast

    torch.manual_seed(0)
    model = MolAE().to(device).train()
    model.encoder.transformer.recompute = model.decoder.transformer.recompute = recompute
    molecule = random_molecules(n)[0]
    batch = ClozeDrop()(Batch.from_data_list([molecule] * batch_size)).to(device)
    with autocast(torch.device(device)):
        out = model(batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy)
        loss = cloze_loss(out, batch)["total"]
    loss.backward()
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return machine.memory("VmHWM") / 2**10


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cell", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        print(step(args.cell[0], args.cell[1], bool(args.cell[2]), args.device))
        return
    result: dict[str, dict] = {"plain": {}, "recompute": {}}
    for number, way in enumerate(result):
        for n in SIZES:
            for batch_size in BATCHES:
                if batch_size * (n + 2) ** 2 > MOST and batch_size > 1:
                    continue
                cell = [str(n), str(batch_size), str(number)]
                command = [sys.executable, __file__, "--device", args.device, "--cell", *cell]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                result[way][f"{n} atoms x {batch_size}"] = round(float(done.stdout), 2)
                print(way, cell[:2], done.stdout.strip(), flush=True)
    print("written:", record.write("memory", question, result, args.device))


if __name__ == "__main__":
    main()
