"""How fast is the encoder, compared with that of unimol_tools and with the peak of the machine?

Command: MOLAE_DATA=... python benchmarks/encoder.py (needs unimol_tools, see peers.py)

Method: published size, random weights, dropout as published in training, in fp32 and in bf16
(autocast), each of them compared with the other code in the same precision. Sizes: molecules of N
random atoms, without padding, as many as 20,000 pair cells allow; the slope is that of the line
through log(seconds per molecule) against log(N + 2). Batches: molecules of 32 random atoms. ZINC:
`--molecules` real molecules in batches of 32; unimol_tools gets them in random order, as its data
path does, in dense tensors; MolAEEncoder takes flat PyG batches, sorted by size as `embed` does.
Measured are forward (evaluation, no gradient, one autocast context for a pass over all batches) and
forward with backward (training). All take turns
in this process. Reported are median, minimum and maximum of the turns, and the quotients within a
turn. FLOPs are counted by PyTorch. Products of two large square matrices in both precisions take
part in the turns: their FLOP/s are the peaks at that time. The peak of the machine is the best of a
second. Five minutes on two cores: --sizes 16 64 256 --batches --molecules 64 --turns 3.
"""

import argparse
import json

import machine
import numpy as np
import peers
import record
import torch
import zinc
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Batch, Data
from turns import Way, beside, summary, take

from molae_pyg import MolAEEncoder
from molae_pyg.chem.elements import ELEMENTS

CELLS = 20_000
BATCH = 32
PEER, OURS = "unimol_tools", "molae_pyg"
PRODUCT = "matrix product"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
DIRECTIONS = {"forward": False, "forward and backward": True}  # name -> whether it trains


def random_molecules(n: int, number: int | None = None, seed: int = 0) -> list[Data]:
    """Returns molecules of n atoms at about the density of real molecules."""
    rng = np.random.default_rng(seed)
    number = number or max(1, CELLS // (n + 2) ** 2)
    width = 1.4 * n ** (1 / 3)
    return [
        Data(
            z=torch.from_numpy(rng.choice(list(ELEMENTS.values())[:8], n)),
            pos=torch.from_numpy(rng.normal(0, width, (n, 3)).astype(np.float32)),
        )
        for _ in range(number)
    ]


def zinc_molecules(number: int) -> list[Data]:
    molecules = zinc.read(number, 1)
    return [
        Data(
            z=torch.from_numpy(molecules.z[a:b].astype(np.int64)),
            pos=torch.from_numpy(molecules.pos[a:b] / 1000).float(),
            smiles=smiles,
        )
        for a, b, smiles in zip(
            molecules.start[:-1], molecules.start[1:], molecules.smiles, strict=True
        )
    ]


def parts(molecules: list[Data], by_size: bool) -> list[list[Data]]:
    if by_size:
        molecules = sorted(molecules, key=lambda data: data.z.numel())
    return [molecules[start : start + BATCH] for start in range(0, len(molecules), BATCH)]


def computing_in(dtype: torch.dtype) -> torch.autocast:
    """Returns the context that computes in fp32, or in bf16 by PyTorch's autocast."""
    return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)


class Ours(nn.Module):
    """MolAEEncoder over flat batches, in a precision of :data:`PRECISIONS`."""

    def __init__(self, precision: str):
        super().__init__()
        self.encoder, self.dtype = MolAEEncoder(), PRECISIONS[precision]

    def prepare(self, part: list[Data]) -> Batch:
        return Batch.from_data_list(part)

    def forward(self, batch: Batch) -> torch.Tensor:
        with computing_in(self.dtype):
            out = self.encoder(batch.z, batch.pos, batch.batch, batch_size=batch.num_graphs)
            return out.molecule


class Peer(nn.Module):
    """The encoder of unimol_tools over dense batches, in bf16 by PyTorch's autocast."""

    def __init__(self, precision: str):
        super().__init__()
        self.model, self.dtype = peers.unimol_encoder(), PRECISIONS[precision]

    def prepare(self, part: list[Data]) -> dict[str, torch.Tensor]:
        return peers.unimol_batch(part)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with computing_in(self.dtype):
            return self.model(**batch, return_repr=True)


def forward(model: nn.Module, batches: list) -> Way:
    def way() -> None:
        model.eval()
        # One context for all batches, as `embed` has: bf16 copies of the weights are made once.
        with torch.no_grad(), computing_in(model.dtype):
            for batch in batches:
                model(batch)

    return way


def training(model: nn.Module, batches: list) -> Way:
    def way() -> None:
        model.train()
        for batch in batches:
            model(batch).square().mean().backward()
            model.zero_grad(set_to_none=True)

    return way


def flops(model: nn.Module, batches: list, train: bool) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        (training if train else forward)(model, batches)()
    return counter.get_total_flops()


#: Precision -> name -> model.
Models = dict[str, dict[str, nn.Module]]


def measure(models: Models, molecules: list[Data], turns: int) -> dict:
    """Measures both directions on some molecules, which are sorted by size for ours."""
    batches = {
        name: [model.prepare(part) for part in parts(molecules, by_size=name == OURS)]
        for name, model in models["fp32"].items()
    }
    result = {"molecules": len(molecules)}
    for title, train in DIRECTIONS.items():
        make = training if train else forward
        ways = {
            precision: {name: make(model, batches[name]) for name, model in of_both.items()}
            | {PRODUCT: machine.product(PRECISIONS[precision])}
            for precision, of_both in models.items()
        }
        flat = {(p, name): way for p, some in ways.items() for name, way in some.items()}
        rows = take(flat, turns, title)
        operations = {
            name: flops(model, batches[name], train) for name, model in models["fp32"].items()
        }
        result[title] = {
            precision: compared(
                [{name: row[precision, name] for name in some} for row in rows],
                operations, len(molecules),
            )
            for precision, some in ways.items()
        }  # fmt: skip
    return result


def compared(rows: list[dict[str, float]], operations: dict[str, int], molecules: int) -> dict:
    """Rates, speed-up over the peer and share of the peak, all in one precision."""
    found = beside(rows, PEER)
    del found[PRODUCT]
    for name, figures in found.items():
        seconds = figures["seconds"]["median"]
        figures["molecules per second"] = round(molecules / seconds, 1)
        figures["GFLOP/s"] = round(operations[name] / seconds / 1e9, 1)
        figures["share of the peak"] = summary(
            [operations[name] / row[name] / (machine.FLOPS / row[PRODUCT]) for row in rows]
        )
    return found


def slope(sizes: list[int], rates: list[float]) -> float:
    """Returns the exponent of the size in the cost of a molecule."""
    return round(float(np.polyfit(np.log(np.add(sizes, 2)), -np.log(rates), 1)[0]), 2)


def slopes(result: dict, sizes: list[int], models: Models) -> dict:
    """Direction -> precision -> way -> slope."""

    def rate(n: int, title: str, precision: str, name: str) -> float:
        return result[f"{n} atoms"][title][precision][name]["molecules per second"]

    return {
        title: {
            p: {name: slope(sizes, [rate(n, title, p, name) for n in sizes]) for name in models[p]}
            for p in models
        }
        for title in DIRECTIONS
    }


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--sizes", type=int, nargs="*", default=[16, 32, 64, 128, 256])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument(
        "--molecules", type=int, default=256, help="molecules of ZINC, default: 256"
    )
    parser.add_argument("--turns", type=int, default=7, help="counted turns, default: 7")
    args = parser.parse_args()
    torch.manual_seed(0)
    models = {precision: {PEER: Peer(precision), OURS: Ours(precision)} for precision in PRECISIONS}
    result = {
        "peak, GFLOP/s": {
            name: round(machine.gemm(dtype) / 1e9, 1) for name, dtype in PRECISIONS.items()
        },
        "copy, GB/s": machine.copy() / 1e9,
    }
    for n in args.sizes:
        result[f"{n} atoms"] = measure(models, random_molecules(n), args.turns)
    if len(args.sizes) > 1:
        result["slopes"] = slopes(result, args.sizes, models)
    for number in args.batches:
        molecules = random_molecules(32, number)
        result[f"32 atoms x {number}"] = measure(models, molecules, args.turns)
    result["ZINC"] = measure(models, zinc_molecules(args.molecules), args.turns)
    print(json.dumps(result, indent=2))
    print("written:", record.write("encoder", question, result))


if __name__ == "__main__":
    main()
