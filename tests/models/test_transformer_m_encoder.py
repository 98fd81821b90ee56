"""The encoder of Transformer-M: batches, orders, channels that are hidden, and dropped paths."""

import pytest
import torch
from recorded_transformer_m import corrected, load, recorded_batch, small
from torch_geometric.data import Batch

from molae_pyg.models import TransformerM
from molae_pyg.models.encoding import ogb_graph
from molae_pyg.nn.graph_bias import Graph


def test_batched_is_alone_and_padding_does_not_matter():
    model, data = corrected(), recorded_batch()
    mode = torch.tensor([0, 1, 2])
    with torch.no_grad():
        out = model(data.z, data.pos_noisy, data.batch, ogb_graph(data), mode)
        for i in range(3):
            one = recorded_batch(molecule=i)
            alone = model(one.z, one.pos_noisy, None, ogb_graph(one), mode[i : i + 1])
            torch.testing.assert_close(alone.y[0], out.y[i], atol=1e-5, rtol=0)
            mine = out.direction[data.batch == i]
            torch.testing.assert_close(alone.direction, mine, atol=1e-5, rtol=0)


def test_the_order_of_atoms_does_not_matter():
    """Of an acyclic molecule, which has one path between two atoms."""
    model, (data, _) = corrected().double(), small("chiral")
    torch.manual_seed(0)
    pos, order = torch.randn(len(data.z), 3).double(), torch.randperm(len(data.z))
    with torch.no_grad():
        out = model(data.z, pos, None, ogb_graph(data))
        graph = Graph(data.x[order], order.argsort()[data.edge_index], data.edge_attr)
        permuted = model(data.z[order], pos[order], None, graph)
    torch.testing.assert_close(permuted.y, out.y, atol=1e-9, rtol=0)
    torch.testing.assert_close(permuted.direction, out.direction[order], atol=1e-9, rtol=0)


def test_a_molecule_without_coordinates_is_a_graph_to_the_corrected_model_alone():
    data = recorded_batch(noise=False)
    data.pos[data.batch == 1] = 0
    one = recorded_batch(noise=False, molecule=1)
    for model, same in ((corrected(), True), (load(), False)):
        with torch.no_grad():
            y = model(data.z, data.pos, data.batch, ogb_graph(data)).y
            alone = model(one.z, torch.zeros_like(one.pos), None, ogb_graph(one)).y
        assert torch.allclose(y[1], alone[0], atol=1e-5) == same


def test_single_atoms_and_equal_widths_are_no_error():
    model = corrected(num_gaussians=32)  # as wide as the channels
    one, _ = small("methane")
    batch = Batch.from_data_list([one, one])
    out = model(batch.z, torch.randn(2, 3), batch.batch, ogb_graph(batch))
    assert out.y.isfinite().all()
    assert (out.direction == 0).all()


def test_a_hidden_channel_has_no_influence():
    model, data = corrected(), recorded_batch()
    graph = ogb_graph(data)
    changed = Graph(graph.atom, graph.edge_index[:, :10], graph.bond_type[:10])
    with torch.no_grad():
        for mode, pos, other in (
            (1, torch.randn_like(data.pos), graph),  # a graph only: positions may change
            (2, data.pos_noisy, changed),  # in 3D only: bonds may change
        ):
            modes = torch.full((3,), mode)
            a = model(data.z, data.pos_noisy, data.batch, graph, modes)
            b = model(data.z, pos, data.batch, other, modes)
            torch.testing.assert_close(a.y, b.y, atol=1e-6, rtol=0)


def test_paths_are_dropped_molecule_by_molecule():
    for reference, axis in ((False, 0), (True, 1)):
        model = TransformerM.tiny()
        model = TransformerM(**model.config | {"drop_path": 0.5, "reference": reference}).train()
        drop = model.encoder.layers[-1].drop
        torch.manual_seed(0)
        kept = drop(torch.ones(50, 40, 3))[..., 0] > 0
        assert torch.equal(kept, kept.select(1 - axis, 0).unsqueeze(1 - axis).expand(50, 40))
        assert 0.3 < kept.float().mean() < 0.7


def test_wrong_inputs_are_errors():
    model, data = corrected(), recorded_batch()
    with pytest.raises(ValueError, match=r"expected mode \[3\], got \[2\]"):
        model(data.z, data.pos, data.batch, ogb_graph(data), torch.tensor([0, 1]))
    wrong = Graph(data.x[:, :6], data.edge_index, data.edge_attr)
    with pytest.raises(ValueError, match=r"expected graph.atom \[42, 9\] .*got \[42, 6\]"):
        model(data.z, data.pos, data.batch, wrong)
    drop = torch.zeros(42, dtype=torch.bool)
    with pytest.raises(ValueError, match="atoms cannot be left out of a graph"):
        model.encoder(data.z, data.pos, data.batch, drop, graph=ogb_graph(data))


@pytest.mark.parametrize("gradients", [False, True])
def test_inputs_are_not_changed(gradients):
    model, data = corrected(), recorded_batch()
    before = {key: value.clone() for key, value in data.to_dict().items() if key != "num_graphs"}
    with torch.set_grad_enabled(gradients):
        first = model(data.z, data.pos_noisy, data.batch, ogb_graph(data))
        second = model(data.z, data.pos_noisy, data.batch, ogb_graph(data))
    assert all(torch.equal(data[key], value) for key, value in before.items())
    assert torch.equal(first.y, second.y)
    assert torch.equal(first.direction, second.direction)
