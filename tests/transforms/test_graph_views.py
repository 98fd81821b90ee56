"""Masks, roots, views and parts of graphs: how many, how they are drawn, and nothing in place."""

import competitors
import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg.transforms import ConnectedPart, ContextRoot, GraphViews, MaskAtoms, NonBonds
from molae_pyg.transforms.graph_views import FAR, hops_from

ALL = [MaskAtoms, ContextRoot, GraphViews, ConnectedPart, NonBonds]
SIZES = torch.tensor([13, 14, 15, 9])


def count(chosen: torch.Tensor, batch: Batch) -> list[int]:
    return torch.zeros(4, dtype=torch.long).index_add(0, batch.batch, chosen.long()).tolist()


@pytest.mark.parametrize("cls", ALL)
def test_fields_that_were_there_stay(cls):
    torch.manual_seed(0)
    batch = competitors.graphs()
    before = batch.clone()
    out = cls()(batch)
    assert all(torch.equal(out[key], before[key]) for key in before.keys())  # noqa: SIM118


@pytest.mark.parametrize("cls", ALL)
def test_a_molecule_a_lone_atom_and_a_batch_vector(cls):
    batch = competitors.graphs()
    fields = {k: batch[k] for k in ("x", "edge_index", "edge_attr", "batch")}
    torch.manual_seed(1)
    expected = cls()(batch)
    torch.manual_seed(1)
    found = cls()(Data(**fields))
    for key in set(expected.keys()) - set(fields) - {"ptr", "z"}:
        assert torch.equal(found[key], expected[key]), key
    none = {"edge_index": torch.zeros(2, 0).long(), "edge_attr": torch.zeros(0, 2).long()}
    lone = cls()(Data(torch.tensor([[5, 0]]), **none))
    for key in {"masked", "kept", "hops"} & set(lone.keys()):
        assert len(lone[key]) == 1


def test_numbers_of_masked_atoms():
    torch.manual_seed(0)
    batch = competitors.graphs()
    assert count(MaskAtoms()(batch).masked, batch) == [2, 3, 3, 2]  # int(0.15 n + 1)
    seen = sum(MaskAtoms()(batch).masked for _ in range(400)) / 400  # each atom equally likely
    expected = (torch.tensor([2, 3, 3, 2]) / SIZES)[batch.batch]
    assert (seen - expected).abs().max() < 0.12


def test_recorded_context():
    recorded, batch = competitors.meta("hu_gin")["context_5_4_7"], competitors.graphs()
    for data, known in zip(batch.to_data_list(), recorded.values(), strict=True):
        root = torch.zeros(data.num_nodes, dtype=torch.bool)
        root[known["root"]] = True
        hops = hops_from(root, data.edge_index, 7)
        assert (hops <= 5).nonzero().flatten().tolist() == known["substructure"]
        assert ((hops > 4) & (hops <= 7)).nonzero().flatten().tolist() == known["context"]
        assert (hops == 5).nonzero().flatten().tolist() == known["overlap"]


def test_roots():
    torch.manual_seed(0)
    batch, seen = competitors.graphs(), torch.zeros(51)
    for _ in range(300):
        root = ContextRoot()(batch).hops == 0
        assert count(root, batch) == [1, 1, 1, 1]
        seen += root
    assert (seen / 300 - (1 / SIZES)[batch.batch]).abs().max() < 0.08
    two = Data(torch.zeros(3, 2), torch.tensor([[0, 1], [1, 0]]))
    hops = {tuple(ContextRoot(2)(two).hops.tolist()) for _ in range(60)}
    assert hops == {(0, 1, FAR), (1, 0, FAR), (FAR, FAR, 0)}  # another fragment is far


def test_two_views():
    torch.manual_seed(0)
    batch = competitors.graphs()
    out = GraphViews()(batch)
    assert not torch.equal(out.masked[:, 0], out.masked[:, 1])
    for view in range(2):
        assert count(out.masked[:, view], batch) == [3, 3, 3, 2]
        deleted = out.deleted[:, view].view(-1, 2)
        assert torch.equal(deleted[:, 0], deleted[:, 1])  # both directions
        of_bond = batch.batch[batch.edge_index[0]]
        number = torch.zeros(4).index_add(0, of_bond, out.deleted[:, view].float()) / 2
        assert number.tolist() == [13 // 4, 15 // 4, 15 // 4, 8 // 4]


def test_views_without_a_subgraph():
    batch = competitors.graphs()
    for seed in range(20):
        torch.manual_seed(seed)
        out = GraphViews(kind="subgraph")(batch)
        for masked, deleted in zip(out.masked.T, out.deleted.T, strict=True):
            assert count(masked, batch) == [3, 3, 3, 2]
            assert torch.equal(deleted, masked[batch.edge_index].any(0))
            for number, size in enumerate([3, 3, 3, 2]):  # each part is connected
                part = masked & (batch.batch == number)
                root = torch.zeros_like(part)
                root[part.nonzero()[0]] = True
                inside = batch.edge_index[:, part[batch.edge_index].all(0)]
                assert (hops_from(root, inside, 5)[part] < FAR).sum() == size


def test_views_of_both_kinds():
    batch, several = competitors.graphs(), 0
    of_bond = batch.batch[batch.edge_index[0]]
    for seed in range(20):
        torch.manual_seed(seed)
        out = GraphViews(kind="mix")(batch)
        assert count(out.masked[:, 0], batch) == [3, 3, 3, 2]  # as many as "node" masks
        number = torch.zeros(4).index_add(0, of_bond, out.deleted[:, 0].float()) / 2
        assert (number >= torch.tensor([3, 3, 3, 2])).all()
        several += int((number > torch.tensor([3, 3, 3, 2])).any())
    assert 0 < several < 20  # a part may have more bonds
    assert repr(GraphViews(kind="mix")) == "GraphViews(0.25, kind='mix')"
    with pytest.raises(ValueError, match="kind must be one of node, subgraph, mix, got 'edge'"):
        GraphViews(kind="edge")


def test_a_part_of_a_small_fragment_goes_on_in_another():
    data = Data(torch.zeros(8, 2).long(), torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 2).long())
    torch.manual_seed(0)
    out = GraphViews(0.5, kind="subgraph")(data)  # the official code does not end
    assert out.masked.sum(0).tolist() == [4, 4]


@pytest.mark.parametrize("ratio", [0.15, 0.3])
def test_recorded_sizes_of_connected_parts(ratio):
    torch.manual_seed(0)
    batch = competitors.graphs()
    recorded = competitors.meta("graphmvp")["subgraph_kept_atoms"]
    expected = [kept for name, (_, kept) in recorded.items() if name.endswith(f" {ratio}")]
    for _ in range(5):
        kept = ConnectedPart(ratio)(batch).kept
        assert count(kept, batch) == expected
        first = torch.zeros_like(kept)
        for molecule in range(4):
            first[(kept & (batch.batch == molecule)).nonzero()[0]] = True
        own = kept[batch.edge_index].all(0)
        assert (hops_from(first, batch.edge_index[:, own], 50)[kept] <= 50).all()  # connected


def test_parts_of_molecules_of_several_fragments():
    salt = Data(torch.zeros(4, 2), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
    torch.manual_seed(0)
    kept = {tuple(ConnectedPart(0.5)(salt).kept.nonzero().flatten().tolist()) for _ in range(90)}
    assert kept == {(0, 1, 2), (0, 1, 3), (1, 2, 3)}  # not 0, 2, 3: a neighbour first
    assert ConnectedPart(0.0)(salt).kept.all()


def test_pairs_without_a_bond():
    torch.manual_seed(0)
    batch, seen = competitors.graphs(), set()
    bonds = set(map(tuple, batch.edge_index.T.tolist()))
    for _ in range(200):
        pairs = NonBonds()(batch).nonbond_index.T.tolist()
        found = set(map(tuple, pairs))
        assert len(found) == len(pairs) <= len(bonds) / 2
        assert all(i < j and batch.batch[i] == batch.batch[j] for i, j in found)
        assert not found & bonds
        seen |= found
    first = [(i, j) for i in range(13) for j in range(i + 1, 13) if (i, j) not in bonds]
    assert {pair for pair in seen if pair[1] < 13} == set(first)  # all pairs of the first molecule


@pytest.mark.parametrize("cls", [MaskAtoms, GraphViews, ConnectedPart])
@pytest.mark.parametrize("ratio", [-0.1, 1.0, "0.1", True])
def test_a_ratio_is_a_share(cls, ratio):
    with pytest.raises(ValueError, match="ratio must be"):
        cls(ratio)
