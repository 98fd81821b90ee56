"""Official weights of the competitors, if their files are at hand: whether they load and work.

Put the files of the official repositories into the folder $MOLAE_OFFICIAL: PretrainGNN's
chem/model_gin/contextpred.pth and so on, MolCLR's model.pth, GraphMVP's pretraining_model.pth.
What two official graph convolutions return was recorded: chem/model_architecture's
gcn_supervised_contextpred.pth, and MolCLR's ckpt/pretrained_gcn/checkpoints/model.pth, here
molclr_gcn.pth.
"""

import os
from pathlib import Path

import competitors
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.nn import global_mean_pool
from torch_geometric.utils import scatter

from molae_pyg.baselines.mol_clr import MolCLR, mol_clr_objective
from molae_pyg.baselines.official_gnn import edge_gin_from_official
from molae_pyg.official_file import read_official
from molae_pyg.transforms import GraphViews

FOLDER = Path(os.environ.get("MOLAE_OFFICIAL", "nowhere"))
ENCODERS = (
    *("contextpred", "masking", "edgepred", "infomax", "supervised_contextpred"),
    *("model", "pretraining_model"),
)


def file(name: str) -> Path:
    path = FOLDER / f"{name}.pth"
    if not path.is_file():
        pytest.skip(f"{path} is absent: set MOLAE_OFFICIAL to a folder of official weights")
    return path


@pytest.mark.parametrize("name", ENCODERS)
def test_an_official_encoder_loads(name):
    encoder, graphs = edge_gin_from_official(file(name)), competitors.graphs()
    assert (encoder.config["hidden_channels"], encoder.config["num_layers"]) == (300, 5)
    with torch.no_grad():
        h = encoder(graphs.x, graphs.edge_index, graphs.edge_attr)
    assert h.isfinite().all()
    assert h.std(0).max() > 0.01  # not collapsed


def test_official_mol_clr_finds_the_other_view():
    model = MolCLR.from_official(file("model"))
    torch.manual_seed(0)
    new = MolCLR().eval()
    _, graphs = competitors.corpus()
    batch = GraphViews()(Batch.from_data_list(graphs))
    with torch.no_grad():
        found = mol_clr_objective(model, batch)["accuracy"]
        by_chance = mol_clr_objective(new, batch)["accuracy"]
    assert found > 0.5
    assert found > 2 * by_chance


def graph_convolution(weights: dict[str, Tensor], batch: Batch) -> Tensor:
    """States of all atoms by the layers of PretrainGNN (a normalised sum) or MolCLR (a sum)."""
    n, loop = len(batch.x), torch.arange(len(batch.x))
    source, target = torch.cat([batch.edge_index, loop.expand(2, n)], dim=1)
    kind, direction = torch.cat([batch.edge_attr, torch.tensor([[4, 0]]).expand(n, 2)]).T
    degree = target.bincount().float()
    h = (
        weights["x_embedding1.weight"][batch.x[:, 0]]
        + weights["x_embedding2.weight"][batch.x[:, 1]]
    )
    for number in range(5):
        w = competitors.part(weights, f"gnns.{number}.")
        norm = competitors.part(weights, f"batch_norms.{number}.")
        bond = w["edge_embedding1.weight"][kind] + w["edge_embedding2.weight"][direction]
        if "linear.weight" in w:
            m = F.linear(h, w["linear.weight"], w["linear.bias"])[source] + bond
            h = scatter(m * (degree[source] * degree[target]).rsqrt()[:, None], target, 0, n)
        else:
            h = scatter((h @ w["weight"])[source] + bond, target, 0, n) + w["bias"]
        statistics = (norm[name] for name in ("running_mean", "running_var", "weight", "bias"))
        h = F.batch_norm(h, *statistics)
        h = h.relu() if number < 4 else h
    return h


@pytest.mark.parametrize("name", ["hu_gin", "molclr"])
def test_the_layout_of_graph_convolutions(name):
    """The shapes were recorded with the figures below: every layer of them is read."""
    key = {"hu_gin": "gcn_5x300_shapes", "molclr": "gcn_molclr_shapes"}[name]
    h = graph_convolution(competitors.by_rule(competitors.meta(name)[key]), competitors.graphs())
    assert h.shape == (51, 300)
    assert h.isfinite().all()


def test_recorded_states_of_an_official_graph_convolution():
    weights = read_official(file("gcn_supervised_contextpred")).weights
    recorded = competitors.arrays("official_weights")["hu_gcn_supervised_contextpred_nodes"]
    assert competitors.off(graph_convolution(weights, competitors.graphs()), recorded) < 1e-5


def test_recorded_vectors_of_the_official_graph_convolution_of_mol_clr():
    weights, batch = read_official(file("molclr_gcn")).weights, competitors.graphs()
    recorded, model = competitors.arrays("official_weights"), MolCLR()
    heads = {"feat_lin": model.feature, "out_lin": model.projection}
    for name, head in heads.items():
        head.load_state_dict(competitors.part(weights, f"{name}."))
    with torch.no_grad():
        feature = model.feature(global_mean_pool(graph_convolution(weights, batch), batch.batch))
        assert competitors.off(feature, recorded["molclr_gcn_h"]) < 1e-5
        assert competitors.off(model.projection(feature), recorded["molclr_gcn_out"]) < 1e-5
