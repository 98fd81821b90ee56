"""How fast is a fine-tuning step, compared with the model of unimol_tools?

Command: MOLAE_DATA=... python benchmarks/finetuning_step.py (needs unimol_tools, see peers.py)

Method: published size with the published head, one target, real ZINC molecules, batches of 32 in
random order. A step is: collate, forward, squared error, backward, clip, Adam. Ours is what
`finetune` does, with and without a budget of pair cells, within which a batch is computed in parts
of similar size. The model of unimol_tools gets the same batches in the form of its own collater.
Both run in fp32 and in bf16 (autocast), and are compared in the same precision. All take turns in
this process. Reported are molecules per second (median, minimum and maximum of the turns) and the
quotient within a turn. Four minutes on two cores: --turns 4.
"""

import argparse
import json
from collections.abc import Callable

import peers
import record
import torch
from encoder import OURS, PEER, PRECISIONS, computing_in, zinc_molecules
from pretraining_step import update
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from turns import Way, beside, take

from molae_pyg import MolAEEncoder, MolAEPredictor
from molae_pyg.training.property import predict_in_parts
from molae_pyg.training.schedule import configure_adam

BATCH = 32
BUDGET = 10_000

Predict = Callable[[list[Data] | Batch], Tensor]


def trainer(model: nn.Module, predict: Predict, loader: torch.utils.data.DataLoader) -> Way:
    """Returns a turn: one epoch over the loader."""
    optimiser = configure_adam(model, 1e-4, 0.0, 1_000_000, 10_000)["optimizer"]

    def way() -> None:
        model.train()
        for batch in loader:
            predicted = predict(batch)  # [B]
            update(model, optimiser, F.mse_loss(predicted, torch.zeros_like(predicted)))

    return way


def ours(molecules: list[Data], precision: str, budget: int | None) -> Way:
    model = MolAEPredictor(MolAEEncoder(), num_tasks=1)

    def predict(batch: Batch) -> Tensor:
        with computing_in(PRECISIONS[precision]):
            if budget is None:
                return model.on_batch(batch)[:, 0].float()
            return predict_in_parts(model, batch, budget)[:, 0].float()

    return trainer(model, predict, DataLoader(molecules, BATCH, shuffle=True))


def peer(molecules: list[Data], precision: str) -> Way:
    model, dtype = peers.unimol_encoder(), PRECISIONS[precision]
    loader = torch.utils.data.DataLoader(
        molecules, BATCH, shuffle=True, collate_fn=peers.unimol_batch
    )

    def predict(batch: dict[str, Tensor]) -> Tensor:
        with computing_in(dtype):
            return model(**batch)[:, 0].float()

    return trainer(model, predict, loader)


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--molecules", type=int, default=64, help="molecules per turn, default: 64")
    parser.add_argument("--turns", type=int, default=15, help="counted turns, default: 15")
    args = parser.parse_args()
    torch.manual_seed(0)
    molecules = zinc_molecules(args.molecules)
    ways = {}
    for name in PRECISIONS:
        ways[name, PEER] = peer(molecules, name)
        ways[name, OURS] = ours(molecules, name, None)
        ways[name, f"{OURS}, in parts"] = ours(molecules, name, BUDGET)
    rows = take(ways, args.turns)
    result = {}
    for name in PRECISIONS:
        own = [{way: row[p, way] for p, way in ways if p == name} for row in rows]
        result[name] = beside(own, PEER)
        for found in result[name].values():
            found["molecules per second"] = round(args.molecules / found["seconds"]["median"], 2)
    result["molecules a turn"] = args.molecules
    print(json.dumps(result, indent=2))
    print("written:", record.write("finetuning_step", question, result))


if __name__ == "__main__":
    main()
