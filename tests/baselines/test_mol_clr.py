"""MolCLR against recordings of its official code."""

import competitors
import pytest
import torch
import torch.nn.functional as F
from goldens import assert_same_weights
from learning import course
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from molae_pyg.baselines.mol_clr import MolCLR, mol_clr_objective, view
from molae_pyg.baselines.official_gnn import edge_gin_from_official
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.hu_graph import HuGraphs, hu_graph
from molae_pyg.nn.contrast import nt_xent
from molae_pyg.training import Pretraining, pretrain
from molae_pyg.transforms import GraphViews

RECORDED, META = competitors.arrays("molclr"), competitors.meta("molclr")


def weights(name: str = "ginet_molclr") -> dict[str, torch.Tensor]:
    made = competitors.by_rule(META[f"{name}_shapes"])
    for key, value in META[f"{name}_weight_sums"].items():
        assert made[key].double().sum().item() == pytest.approx(value, abs=1e-6), key
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("molclr") / "model.pth"
    torch.save(weights(), path)
    return path


def run(model: MolCLR, batch: Batch):
    with torch.no_grad():
        return model(batch.x, batch.edge_index, batch.edge_attr, batch.batch)


def test_recorded_vectors(file):
    model, batch = MolCLR.from_official(file), competitors.graphs()
    h, out = run(model, batch)
    assert competitors.off(h, RECORDED["heavy_h"]) < 1e-5
    assert competitors.off(out, RECORDED["heavy_out"]) < 1e-5
    fields = {key: RECORDED[f"h_{key}"] for key in ("x", "edge_index", "edge_attr", "batch")}
    h, out = run(model, Data(**fields))
    assert competitors.off(h, RECORDED["hydrogens_h"]) < 1e-5
    assert competitors.off(out, RECORDED["hydrogens_out"]) < 1e-5
    assert competitors.off(run(model.train(), batch)[1], RECORDED["heavy_train_out"]) < 1e-4


def test_recorded_loss_and_gradient():
    a, b = (F.normalize(RECORDED[key], dim=1) for key in ("zi", "zj"))
    a.requires_grad_()
    for temperature in (0.1, 0.5):
        theirs = RECORDED[f"ntxent_cos_T{temperature}"].item()
        assert nt_xent(a, b, temperature).item() == pytest.approx(theirs, rel=1e-5)
    nt_xent(a, b).backward()
    assert competitors.off(a.grad, RECORDED["ntxent_grad_zi_normalised"]) < 1e-4


@pytest.mark.parametrize("number", range(4))
def test_recorded_views(number):
    known = META["augmentation"][number]
    graph = hu_graph(known["smiles"], canonical=False)
    graph.masked = torch.zeros(graph.num_nodes, 2, dtype=torch.bool)
    graph.deleted = torch.zeros(graph.num_edges // 2, 2, dtype=torch.bool)
    for column, name in enumerate("ij"):
        graph.masked[known[f"mask_atoms_{name}"], column] = True
        graph.deleted[known[f"drop_bonds_{name}"], column] = True
    graph.deleted = graph.deleted.repeat_interleave(2, dim=0)
    x, edge_index, edge_attr = view(graph, 0)
    assert x.tolist() == known["x_i"]
    assert edge_index.tolist() == known["edge_index_i"]
    assert edge_attr.tolist() == known["edge_attr_i"]
    assert view(graph, 1)[1].size(1) == known["num_edges_j"]


def views(smiles: tuple[str, ...] = competitors.SMILES) -> Batch:
    torch.manual_seed(0)
    return GraphViews()(Batch.from_data_list([hu_graph(s) for s in smiles]))


def test_inputs_are_not_changed_and_every_parameter_is_trained():
    model, batch = MolCLR(16, 2, 8), views()
    before = batch.clone()
    mol_clr_objective(model, batch)["loss"].backward()
    assert competitors.same(batch, before)
    assert all(p.grad is not None for p in model.parameters())


def test_batched_is_alone_and_the_order_of_atoms_does_not_matter():
    torch.manual_seed(0)
    model, batch = MolCLR(16, 3, 8).eval(), competitors.graphs()
    out = run(model, batch).projection
    alone = [
        run(model, Batch.from_data_list([item])).projection for item in competitors.items(batch)
    ]
    torch.testing.assert_close(torch.cat(alone), out, atol=1e-6, rtol=0)
    order = torch.randperm(batch.num_nodes)
    permuted = Data(
        batch.x[order], order.argsort()[batch.edge_index], batch.edge_attr, batch=batch.batch[order]
    )
    torch.testing.assert_close(run(model, permuted).projection, out, atol=1e-6, rtol=0)


def test_the_views_of_eight_molecules_find_each_other():
    torch.manual_seed(0)
    found = course(MolCLR(32, 3, 32), lambda model, _: mol_clr_objective(model, views()), None, 80)
    assert found[-1]["loss"] < 0.1 * found[0]["loss"]
    assert found[-1]["accuracy"] == 1


def test_pre_trained_on_a_store(tmp_path):
    train, valid = competitors.stores(tmp_path / "store")
    settings = Pretraining(steps=6, validate_every=3, lr=1e-2, warmup_steps=1, pair_budget=2000)
    model, transform = MolCLR(16, 2, 8), Compose([HuGraphs(), GraphViews()])
    scores = pretrain(model, mol_clr_objective, train, valid, tmp_path / "run", settings, transform)
    assert 0 < scores["val_total"] < 10
    assert 0 <= scores["val_accuracy"] <= 1
    assert_same_weights(MolCLR.from_pretrained(tmp_path / "run" / "model"), model)


def test_an_encoder_of_a_fine_tuned_file(tmp_path):
    """Its head is not read; the vectors that it reads are."""
    content = weights("ginet_finetune")
    torch.save(content, tmp_path / "model.pth")
    model = MolCLR()
    model.encoder = edge_gin_from_official(tmp_path / "model.pth")
    model.feature.load_state_dict(competitors.part(content, "feat_lin."))
    fields = {key: RECORDED[f"h_{key}"] for key in ("x", "edge_index", "edge_attr", "batch")}
    assert competitors.off(run(model.eval(), Data(**fields)).feature, RECORDED["finetune_h"]) < 1e-5
    with pytest.raises(CheckpointError, match=r"lacks out_lin.0.weight"):
        MolCLR.from_official(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"out_lin.2.bias": torch.zeros(3)}, r"out_lin.2.bias \[3\] instead of \[256\]"),
        ({"gnns.1.edge_embedding1.weight": torch.zeros(6, 300)}, r"gnns.1.* \[6, 300\] instead of"),
        ({"more": torch.zeros(1)}, "1 unknown keys: more"),
        ({"feat_lin.weight": torch.zeros(512)}, r"feat_lin.weight has 1 dimensions"),
    ],
)
def test_other_files_are_refused(tmp_path, changed, message):
    torch.save({**weights(), **changed}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=message):
        MolCLR.from_official(tmp_path / "model.pth")


def test_views_of_held_out_molecules_find_each_other():
    torch.manual_seed(0)
    model = MolCLR(64, 5, 64)
    before, after = competitors.learn(model, mol_clr_objective, GraphViews(), 200, 2e-3)
    assert after["loss"] < 0.6 * before["loss"]
    assert after["accuracy"] > before["accuracy"] + 0.15
