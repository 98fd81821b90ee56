"""How fast is the encoder, compared with that of unimol_tools and with the peak of the machine?

Command: MOLAE_DATA=... python benchmarks/encoder.py (needs unimol_tools, see peers.py)

Method: published size, random weights, dropout as published in training. Sizes: molecules of N
random atoms, without padding, as many as 20,000 pair cells allow; the slope is that of the line
through log(seconds per molecule) against log(N + 2). Batches: molecules of 32 random atoms. ZINC:
`--molecules` real molecules in batches of 32; unimol_tools gets them in random order, as its data
path does, in dense tensors; MolAEEncoder takes flat PyG batches, sorted by size as `embed` does.
Measured are forward (evaluation, no gradient) and forward with backward (training). All take turns
in this process. Reported are median, minimum and maximum of the turns, and the quotients within a
turn. FLOPs are counted by PyTorch. A product of two large square matrices in fp32 takes part in the
turns: its FLOP/s are the peak at that time. The peak of the machine is the best of a second.
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
from molae_pyg.inference.precision import precision

CELLS = 20_000
BATCH = 32
PEER = "unimol_tools"
PRODUCT = "matrix product"
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


class Ours(nn.Module):
    """MolAEEncoder over flat batches."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.encoder, self.dtype = MolAEEncoder(), dtype

    def prepare(self, part: list[Data]) -> Batch:
        return Batch.from_data_list(part)

    def forward(self, batch: Batch) -> torch.Tensor:
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            return self.encoder(batch.z, batch.pos, batch.batch).molecule


class Peer(nn.Module):
    """The encoder of unimol_tools over dense batches, fp32 as it comes."""

    def __init__(self):
        super().__init__()
        self.model = peers.unimol_encoder()

    def prepare(self, part: list[Data]) -> dict[str, torch.Tensor]:
        return peers.unimol_batch(part)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model(**batch, return_repr=True)


def forward(model: nn.Module, batches: list) -> Way:
    def way() -> None:
        model.eval()
        with torch.inference_mode():
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


def measure(models: dict[str, nn.Module], molecules: list[Data], turns: int) -> dict:
    """Measures both directions on some molecules, which are sorted by size for ours."""
    batches = {
        name: [model.prepare(part) for part in parts(molecules, by_size=name != PEER)]
        for name, model in models.items()
    }
    result = {"molecules": len(molecules)}
    for title, train in DIRECTIONS.items():
        make = training if train else forward
        ways = {name: make(model, batches[name]) for name, model in models.items()}
        rows = take({**ways, PRODUCT: machine.product(torch.float32)}, turns, title)
        found = beside(rows, PEER)
        for name in models:
            operations = flops(models[name], batches[name], train)
            seconds = found[name]["seconds"]["median"]
            found[name]["molecules per second"] = round(len(molecules) / seconds, 1)
            found[name]["GFLOP/s"] = round(operations / seconds / 1e9, 1)
            found[name]["share of the fp32 peak"] = summary(
                [operations / row[name] / (machine.FLOPS / row[PRODUCT]) for row in rows]
            )
        del found[PRODUCT]
        result[title] = found
    return result


def slope(sizes: list[int], rates: list[float]) -> float:
    """Returns the exponent of the size in the cost of a molecule."""
    return round(float(np.polyfit(np.log(np.add(sizes, 2)), -np.log(rates), 1)[0]), 2)


def slopes(result: dict, sizes: list[int], ways: list[str]) -> dict[str, dict[str, float]]:
    """Direction -> way -> slope."""
    return {
        title: {
            way: slope(
                sizes,
                [result[f"{n} atoms"][title][way]["molecules per second"] for n in sizes],
            )
            for way in ways
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
    models: dict[str, nn.Module] = {PEER: Peer(), "MolAEEncoder, fp32": Ours(torch.float32)}
    if precision() == "bf16-mixed":
        models["MolAEEncoder, bf16"] = Ours(torch.bfloat16)
    peak = machine.gemm(torch.float32)
    result = {"fp32 peak, GFLOP/s": round(peak / 1e9, 1), "copy, GB/s": machine.copy() / 1e9}
    for n in args.sizes:
        result[f"{n} atoms"] = measure(models, random_molecules(n), args.turns)
    if len(args.sizes) > 1:
        result["slopes"] = slopes(result, args.sizes, list(models))
    for number in args.batches:
        molecules = random_molecules(32, number)
        result[f"32 atoms x {number}"] = measure(models, molecules, args.turns)
    result["ZINC"] = measure(models, zinc_molecules(args.molecules), args.turns)
    print(json.dumps(result, indent=2))
    print("written:", record.write("encoder", question, result))


if __name__ == "__main__":
    main()
