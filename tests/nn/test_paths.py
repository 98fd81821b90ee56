"""Shortest paths against a breadth-first search, and against recorded official path features."""

import goldens
import networkx as nx
import pytest
import torch

from molae_pyg.nn.paths import path_bonds, shortest_paths

NAMES = ["tetrahydrofuran", "dimethyl_ether_middle", "sodium_acetate", "butene", "fluoro_aniline",
         "chiral", "methane"]  # fmt: skip


def linked_of(edge_index: torch.Tensor, n: int) -> torch.Tensor:
    linked = torch.zeros(1, n, n, dtype=torch.bool)
    linked[0, edge_index[0], edge_index[1]] = True
    return linked


@pytest.mark.parametrize("seed", range(4))
def test_lengths_and_bonds_of_random_graphs(seed):
    graph = nx.gnm_random_graph(12, 13, seed=seed)
    linked = torch.from_numpy(nx.to_numpy_array(graph, dtype=bool))[None]
    batch = torch.cat([linked, torch.zeros_like(linked)])  # and a molecule without bonds
    paths = shortest_paths(batch)
    assert (paths.length[1] == torch.eye(12) - 1).all()
    lengths = dict(nx.all_pairs_shortest_path_length(graph))
    places = path_bonds(paths, most=12)
    assert (places[1] == -1).all()
    for i in range(12):
        for j in range(12):
            expected = lengths[i].get(j, -1)
            assert paths.length[0, i, j] == expected
            bonds = [divmod(place, 12) for place in places[0, i, j].tolist() if place >= 0]
            assert len(bonds) == max(expected, 0)
            assert all(graph.has_edge(*bond) for bond in bonds)
            atoms = [i] + [second for _, second in bonds]
            assert [first for first, _ in bonds] == atoms[:-1]  # each begins where the last ended
            assert expected < 1 or atoms[-1] == j


@pytest.mark.parametrize("name", NAMES)
def test_paths_are_those_of_the_official_code(name):
    """Also its error: a path through atom 0 is one hop, though its ends are not bonded."""
    arrays = goldens.arrays("objectives/transformer_m/data_extra")
    theirs = {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{name}/")}
    n = len(theirs["node_feat"])
    linked = linked_of(theirs["edge_index"], n)
    features = torch.zeros(1, n, n, 3, dtype=torch.long)
    features[0, theirs["edge_index"][0], theirs["edge_index"][1]] = theirs["edge_feat"]
    rows = torch.where(linked[..., None], features + torch.tensor([3, 515, 1027]), 1)
    paths = shortest_paths(linked, reference=True)
    length = torch.where(paths.length < 0, 510, paths.length)
    assert torch.equal(length[0], theirs["spd"])
    recorded = theirs["batch/edge_input"]  # [1, n, n, hops, 3]
    places = path_bonds(paths)[0]  # [n, n, 5]
    for k in range(5):
        mine = rows[0].flatten(0, 1)[places[..., k]] * (places[..., k, None] >= 0)
        if k < recorded.size(3):
            assert torch.equal(mine, recorded[0, :, :, k])
        else:
            assert not mine.any()
    assert torch.equal(shortest_paths(linked).length, paths.length)


def test_the_path_error_of_the_reference_by_hand():
    """Tetrahydrofuran, atoms 1 and 4: both are bonded to atom 0, and not to each other."""
    ring = torch.tensor([[0, 1, 2, 3, 4, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 0, 1, 2, 3, 4]])
    linked = linked_of(ring, 5)
    assert shortest_paths(linked).hops[0, 1, 4] == 2
    assert shortest_paths(linked, reference=True).hops[0, 1, 4] == 1
