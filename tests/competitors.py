"""Recorded outputs of the official code of the paper's competitors, and weights by their rule."""

import json
from functools import cache
from pathlib import Path

import goldens
import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.chem.hu_graph import hu_graph
from molae_pyg.store import ConformerStore, StoreWriter
from molae_pyg.training.objectives import Objective

FOLDER = goldens.FOLDER / "competitors"


@cache
def arrays(name: str) -> dict[str, Tensor]:
    return goldens.arrays(f"competitors/{name}")


@cache
def meta(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def by_rule(shapes: dict[str, list[int]], seed: int = 20240704) -> dict[str, Tensor]:
    """Weights of the rule that made the recorded models."""
    random, weights = np.random.RandomState(seed), {}
    for key in sorted(shapes):
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(0)
            continue
        r = random.standard_normal(shapes[key])
        if key.endswith("running_mean"):
            r = 0.1 * r
        elif key.endswith("running_var"):
            r = 1 + 0.1 * np.abs(r)
        elif "norm" in key and key.endswith(".weight"):
            r = 1 + 0.1 * r
        elif key.endswith("bias"):
            r = 0.05 * r
        elif "embedding" in key:
            r = 0.5 * r
        else:
            r = r / np.sqrt(shapes[key][-1])
        weights[key] = torch.from_numpy(np.asarray(r, np.float32))
    return weights


def linear(out_channels: int, in_channels: int, seed: int) -> nn.Linear:
    """A head whose weights follow the rule."""
    head = nn.Linear(in_channels, out_channels)
    head.load_state_dict(
        by_rule({"weight": [out_channels, in_channels], "bias": [out_channels]}, seed)
    )
    return head


def graphs() -> Batch:
    """The four recorded molecules as a batch."""
    found = arrays("hu_gin")
    fields = {key: found[key] for key in ("x", "edge_index", "edge_attr", "batch")}
    return Batch.from_data_list(items(Data(**fields, z=found["x"][:, 0] + 1)))


def items(batch: Data) -> list[Data]:
    """The molecules of a batch, with the fields that transforms have added to it."""
    molecules = []
    of_bond = batch.batch[batch.edge_index[0]]
    for number in range(int(batch.batch.max()) + 1):
        atoms, bonds = batch.batch == number, of_bond == number
        start = int(atoms.nonzero()[0])
        data = Data(edge_index=batch.edge_index[:, bonds] - start)
        for key, value in batch.to_dict().items():
            if isinstance(value, Tensor) and key not in ("batch", "ptr", "edge_index"):
                data[key] = value[bonds if len(value) == len(bonds) else atoms]
        molecules.append(data)
    return molecules


SMILES = (
    "CCO", "c1ccccc1O", "CC(=O)NC", "CC(C)CN", "OCC1CCCO1", "Clc1ccncc1", "CCCCCC(=O)O", "N#CC1CC1",
)  # fmt: skip


def stores(folder: Path) -> tuple[ConformerStore, ConformerStore]:
    """24 molecules to train on and 8 held-out ones, with coordinates of no meaning."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder, {"source": "SMILES"}) as writer:
        for row, smiles in enumerate(SMILES * 4):
            z = hu_graph(smiles).z.numpy()
            conformers = rng.normal(size=(len(z), 1, 3))
            writer.add(row, "3d", smiles=smiles, z=z, conformers=conformers)
        writer.finish(32)
    store = ConformerStore(folder)
    return store[:24], store[24:]


def off(mine: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert mine.shape == theirs.shape
    return ((mine - theirs).abs().max() / theirs.abs().max()).item()


def same(one: Data, other: Data) -> bool:
    """Whether two batches have equal fields."""
    a, b = one.to_dict(), other.to_dict()
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) if isinstance(a[key], Tensor) else a[key] == b[key] for key in a
    )


def corpus() -> tuple[list[Data], list[Data]]:
    """Graphs of 448 molecules to train on and 64 held-out ones, in a fixed random order."""
    ends = ("CC(C)", "c1ccccc1", "N#CC", "OCC", "FC(F)(F)", "C1CCNC1", "CS(=O)(=O)", "Clc1ccncc1")
    middles = ("C", "CCO", "NC(=O)", "c1ccc(cc1)", "C(O)CC", "N1CCN(CC1)", "C=CC", "OCCO")
    lasts = ("N", "C(=O)O", "c1ccco1", "CC(C)C", "Br", "OC", "C1CC1", "S(N)(=O)=O")
    smiles = [a + b + c for a in ends for b in middles for c in lasts]
    order = np.random.default_rng(0).permutation(len(smiles))
    graphs = [hu_graph(smiles[i]) for i in order]
    return graphs[64:], graphs[:64]


def learn(
    model: nn.Module, objective: Objective, transform: BaseTransform, steps: int, lr: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Trains on batches of 64 of the corpus; returns the terms of held-out molecules around it."""
    train, held_out = corpus()
    optimizer = torch.optim.Adam(model.parameters(), lr)

    def validate() -> dict[str, float]:
        torch.manual_seed(1)
        with torch.no_grad():
            terms = objective(model.eval(), transform(Batch.from_data_list(held_out)))
        model.train()
        return {name: value.item() for name, value in terms.items()}

    before = validate()
    for step in range(steps):
        torch.manual_seed(step)
        chosen = torch.randperm(len(train))[:64].tolist()
        optimizer.zero_grad()
        batch = transform(Batch.from_data_list([train[i] for i in chosen]))
        objective(model, batch)["loss"].backward()
        optimizer.step()
    return before, validate()
