"""Official weights of the competitors, if their files are at hand: whether they load and work.

Put the files of the official repositories into the folder $MOLAE_OFFICIAL: PretrainGNN's
chem/model_gin/contextpred.pth and so on, MolCLR's model.pth, GraphMVP's pretraining_model.pth.
"""

import os
from pathlib import Path

import competitors
import pytest
import torch
from torch_geometric.data import Batch

from molae_pyg.baselines.mol_clr import MolCLR, mol_clr_objective
from molae_pyg.baselines.official_gnn import edge_gin_from_official
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
