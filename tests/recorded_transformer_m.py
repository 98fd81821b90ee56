"""Models, molecules and noise of the recordings of Transformer-M's official code."""

import json
from functools import cache

import goldens
import torch
from torch_geometric.data import Data

from molae_pyg.chem.ogb_graph import add_ogb_graph
from molae_pyg.models import TransformerM
from molae_pyg.official_file import OfficialFile
from molae_pyg.official_transformer_m import load_transformer_m

FOLDER = goldens.FOLDER / "objectives"
SMILES = {
    "tetrahydrofuran": "C1CCOC1", "dimethyl_ether_middle": "O(C)C",
    "sodium_acetate": "CC(=O)[O-].[Na+]", "methane": "C", "butene": r"C/C=C\C",
    "fluoro_aniline": "Nc1ccc(F)cc1", "chiral": "N[C@@H](C)C(=O)O",
}  # fmt: skip


@cache
def meta(size: str) -> dict:
    name = "meta" if size == "tiny" else "base_meta"
    return json.loads((FOLDER / f"transformer_m/{name}.json").read_text())


@cache
def official_file(size: str) -> OfficialFile:
    scope: dict = {}
    exec((FOLDER / "fill_rule.py").read_text(), scope)
    tiny = json.loads((FOLDER / "transformer_m/state_dict_shapes.json").read_text())
    shapes = tiny if size == "tiny" else meta("base")["shapes"]
    weights = {k: torch.from_numpy(v) for k, v in scope["fill"](shapes).items()}
    return OfficialFile(size, weights, {})


def load(size: str = "tiny") -> TransformerM:
    return load_transformer_m(TransformerM, official_file(size)).eval()


def recorded_batch(noise: bool = True, molecule: int | None = None) -> Data:
    """The recorded molecules; noise is that of the recording."""
    arrays = goldens.arrays("objectives/transformer_m/inputs")
    count = arrays["num_atoms"]
    valid = torch.arange(arrays["pos"].size(1)) < count[:, None]  # [B, n]
    unit = goldens.arrays("objectives/transformer_m/noise")["unit_normal"]
    pos = arrays["pos"][valid]
    batch = Data(
        z=arrays["raw_node_feat"][:, 0] + 1,
        x=arrays["raw_node_feat"],
        edge_index=arrays["raw_edge_index"],
        edge_attr=arrays["raw_edge_attr"],
        pos=pos,
        pos_noisy=pos + 0.2 * unit[valid] * noise,
        batch=torch.repeat_interleave(torch.arange(3), count),
    )
    if molecule is not None:
        batch = batch.subgraph(batch.batch == molecule)
        batch.batch = torch.zeros_like(batch.batch)
    batch.num_graphs = int(batch.batch.max()) + 1
    return batch


def small(name: str) -> tuple[Data, dict]:
    """One of the small recorded molecules, with features made here."""
    arrays = goldens.arrays("objectives/transformer_m/data_extra")
    theirs = {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{name}/")}
    z = theirs["node_feat"][:, 0] + 1
    data = Data(z=z, smiles=SMILES[name], atom_map=torch.arange(len(z)), num_nodes=len(z))
    return add_ogb_graph(data, canonical=False), theirs


def corrected(seed: int = 0, **settings) -> TransformerM:
    torch.manual_seed(seed)
    sizes = {"hidden_channels": 32, "ffn_channels": 48, "heads": 4, "num_layers": 2}
    model = TransformerM(**(sizes | {"num_gaussians": 16} | settings))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()
