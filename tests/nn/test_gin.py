"""Graph isomorphism networks against recordings of the official code."""

import competitors
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.nn import global_mean_pool

from molae_pyg.baselines.official_gnn import edge_gin
from molae_pyg.chem.hu_graph import hu_graph
from molae_pyg.chem.ogb_graph import OgbGraphs
from molae_pyg.nn.gin import OGBGIN, EdgeGIN
from molae_pyg.official_file import OfficialFile


def recorded_gin() -> EdgeGIN:
    weights = competitors.by_rule(competitors.meta("hu_gin")["gin_5x300_shapes"])
    sums = competitors.meta("hu_gin")["gin_5x300_weight_sums"]
    for key, value in sums.items():
        assert weights[key].double().sum().item() == pytest.approx(value, abs=1e-6), key
    return edge_gin(OfficialFile("hu", weights, {}))[0].eval()


def states(model: EdgeGIN, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model(batch.x, batch.edge_index, batch.edge_attr)


def test_recorded_states():
    model, recorded, batch = recorded_gin(), competitors.arrays("hu_gin"), competitors.graphs()
    h = states(model, batch)
    assert competitors.off(h, recorded["gin_eval"]) < 1e-5
    mean = global_mean_pool(h, batch.batch)
    assert competitors.off(mean, recorded["gin_eval_mean_pool"]) < 1e-5
    assert competitors.off(states(model.train(), batch), recorded["gin_train"]) < 1e-4


def test_published_size():
    assert sum(p.numel() for p in EdgeGIN().parameters()) == 1_857_900


def test_batched_is_alone_and_the_order_of_atoms_does_not_matter():
    torch.manual_seed(0)
    model, batch = EdgeGIN(16, 3).eval(), competitors.graphs()
    h = states(model, batch)
    alone = torch.cat([states(model, data) for data in batch.to_data_list()])
    torch.testing.assert_close(alone, h, atol=1e-6, rtol=0)
    order = torch.randperm(len(h))
    place = order.argsort()
    with torch.no_grad():
        permuted = model(batch.x[order], place[batch.edge_index], batch.edge_attr)
    torch.testing.assert_close(permuted, h[order], atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", [EdgeGIN(16, 2), OGBGIN(16, 2)])
def test_a_lone_atom_can_be_trained_on(model):
    """It has no statistics of a batch: those of earlier batches are used, and stay."""
    graph = (hu_graph if isinstance(model, EdgeGIN) else OgbGraphs().graph)("[Na+]")
    before = {name: value.clone() for name, value in model.named_buffers()}
    trained = model.train()(graph.x, graph.edge_index, graph.edge_attr)
    trained.sum().backward()
    assert torch.equal(trained, model.eval()(graph.x, graph.edge_index, graph.edge_attr))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_the_published_features_are_read_alone_as_in_a_batch():
    torch.manual_seed(0)
    model = OGBGIN(16, 3).double().eval()
    graphs = [OgbGraphs().graph(s) for s in ("CC(=O)Oc1ccccc1C(=O)O", "[Na+]", "C/C=C/Cl")]
    batch = Batch.from_data_list(graphs)
    before = batch.clone()
    whole = model(batch.x, batch.edge_index, batch.edge_attr)
    alone = torch.cat([model(g.x, g.edge_index, g.edge_attr) for g in graphs])
    torch.testing.assert_close(alone, whole, atol=1e-12, rtol=0)
    assert competitors.same(batch, before)
    order = torch.randperm(len(whole))
    permuted = model(batch.x[order], order.argsort()[batch.edge_index], batch.edge_attr)
    torch.testing.assert_close(permuted, whole[order], atol=1e-12, rtol=0)


def test_inputs_are_not_changed():
    model, batch = EdgeGIN(16, 2), competitors.graphs()
    before = batch.clone()
    model(batch.x, batch.edge_index, batch.edge_attr).sum().backward()
    assert competitors.same(batch, before)
    assert all(p.grad is not None for p in model.parameters())


def test_what_is_above_a_table_has_its_last_row():
    torch.manual_seed(0)
    model, batch = EdgeGIN(16, 2, atom_rows=119, bond_rows=5).eval(), competitors.graphs()
    batch.x[3, 0], batch.edge_attr[4:6, 0] = 119, 5
    unknown = states(model, batch)
    batch.x[3, 0], batch.edge_attr[4:6, 0] = 118, 4
    assert torch.equal(states(model, batch), unknown)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"dropout": 1.0}, "dropout"), ({"num_layers": 0}, "num_layers"), ({"bond_rows": 4}, "bond_")],
)
def test_arguments_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        EdgeGIN(**settings)
