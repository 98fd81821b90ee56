"""Does torch.compile pay for small models, with free shapes or with sizes in a few buckets?

Command: MOLAE_DATA=... python benchmarks/compiling.py (needs a C++ compiler)

Method: MolAEPredictor of the shipped models, fp32, on ZINC molecules in batches of 32 of similar
size; molae-graph with its graph channel. Ways: as it is; the whole model compiled at once
(`fullgraph=True, dynamic=True`), so that one compilation serves all sizes; and its Transformer
compiled for fixed sizes, each batch padded to a multiple of 16 tokens. Measured are the time of
compiling (the first pass over the batches, less a later one), forward without gradients, and
forward with backward, in turns in this process.
"""

import argparse
import json

import record
import torch
import torch.nn.functional as F
from encoder import DIRECTIONS, forward, parts, training, zinc_molecules
from torch import Tensor, nn
from torch_geometric.data import Batch
from turns import beside, seconds, take

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.inference.graphs import Graphs
from molae_pyg.models.encoding import graph_input, sees_graph
from molae_pyg.nn.transformer import PairTransformer, TransformerOutput

BASE = "as it is"
BUCKET = 16


class Bucketed(nn.Module):
    """A Transformer that is compiled for each size, a multiple of 16 tokens."""

    def __init__(self, transformer: PairTransformer):
        super().__init__()
        self.compiled = torch.compile(transformer, fullgraph=True, dynamic=False)

    def forward(self, x: Tensor, pair: Tensor, mask: Tensor) -> TransformerOutput:
        length = x.size(1)
        more = -length % BUCKET
        pair_in = F.pad(pair, (0, more, 0, more))  # [B, H, L', L']
        out = self.compiled(F.pad(x, (0, 0, 0, more)), pair_in, F.pad(mask, (0, more)))
        pair = out.pair[:, :, :length, :length]
        return TransformerOutput(out.x[:, :length], out.hidden[:, :length], pair, pair_in, mask)


class Predicts(nn.Module):
    """A predictor over flat batches, compiled in one of the ways."""

    dtype = torch.float32

    def __init__(self, name: str, way: str):
        super().__init__()
        self.model = model = MolAEPredictor(MolAE.from_pretrained(name).encoder)
        self.compiled = model
        if way == "whole, free sizes":
            self.compiled = torch.compile(model, fullgraph=True, dynamic=True)
        elif way == "Transformer, buckets":
            model.encoder.transformer = Bucketed(model.encoder.transformer)

    def forward(self, batch: Batch) -> Tensor:
        more = graph_input(self.model, batch)
        return self.compiled(batch.z, batch.pos, batch.batch, batch.num_graphs, **more)


WAYS = (BASE, "whole, free sizes", "Transformer, buckets")


def measure(name: str, number: int, turns: int) -> dict:
    molecules = zinc_molecules(number)
    graphs = Graphs(True)
    if sees_graph(MolAE.from_pretrained(name)):
        molecules = [graphs(data) for data in molecules]
    batches = [Batch.from_data_list(part) for part in parts(molecules, by_size=True)]
    result = {}
    for title, train in DIRECTIONS.items():
        torch.compiler.reset()
        make = training if train else forward
        ways = {way: make(Predicts(name, way), batches) for way in WAYS}
        first = {way: seconds(run) for way, run in ways.items()}
        rows = take(ways, turns, f"{name}, {title}")
        result[title] = beside(rows, BASE)
        for way, found in result[title].items():
            median = found["seconds"]["median"]
            found["molecules per second"] = round(len(molecules) / median, 1)
            found["seconds of compiling"] = round(first[way] - median, 1)
        print(name, title, json.dumps(result[title], indent=2), flush=True)
    return result


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--models", nargs="+", default=["molae-small", "molae-graph"])
    parser.add_argument("--molecules", type=int, default=128, help="default: 128")
    parser.add_argument("--turns", type=int, default=5, help="counted turns, default: 5")
    args = parser.parse_args()
    torch.manual_seed(0)
    result = {name: measure(name, args.molecules, args.turns) for name in args.models}
    print("written:", record.write("compiling", question, result))


if __name__ == "__main__":
    main()
