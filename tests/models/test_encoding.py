"""``encode`` takes tensors, or a batch of PyG with coordinates or conformers."""

import pytest
import torch
from torch.testing import assert_close
from torch_geometric.data import Batch, Data

from molae_pyg import MolAE, from_smiles
from molae_pyg.chem.graph import add_graph, batch_graph
from molae_pyg.models import Encoding


@pytest.fixture(scope="module")
def model() -> MolAE:
    torch.manual_seed(0)
    model = MolAE(16, 24, 4, 2, 1, 8, gaussian_init="intended").eval().requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.mul_(15)  # so that coordinates matter
    return model


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Batch.from_data_list([from_smiles(s, num_conformers=3) for s in ("CCCO", "CC", "CN")])


def same(mine: Encoding, theirs: Encoding, atol: float = 0.0) -> None:
    for one, other in zip(mine, theirs, strict=True):
        assert_close(one, other, rtol=0, atol=atol)


def test_coordinates_of_a_batch(model, batch):
    some = Batch.from_data_list([Data(z=d.z, pos=d.conformers[:, 0]) for d in batch.to_data_list()])
    expected = model.encode(some.z, some.pos, some.batch)
    same(model.encode(some), expected)
    same(model.encoder.encode(some), expected)
    one = some[0]
    same(model.encode(one), model.encode(one.z, one.pos))


def test_conformers_are_averaged(model, batch):
    found = model.encode(batch)
    each = [model.encode(batch.z, pos, batch.batch) for pos in batch.conformers.unbind(1)]
    assert (each[0].pair - each[1].pair).abs().max() > 1e-3
    means = (torch.stack(parts).mean(0) for parts in list(zip(*each, strict=True))[:3])
    same(found, Encoding(*means, each[0].pair_index), atol=1e-4)
    assert found.molecule.shape == (3, 16)
    assert found.pair.shape == (found.pair_index.size(1), 4) == (16 + 4 + 4, 4)


def test_gradients_reach_the_coordinates(model, batch):
    data = batch.clone()
    data.conformers.requires_grad_()
    model.encode(data).molecule[:, 0].sum().backward()
    assert (data.conformers.grad.abs().amax((0, 2)) > 0).all()


def test_batches_that_cannot_be_encoded(model, batch):
    z = torch.tensor([6, 6])
    with pytest.raises(ValueError, match=r"a Batch needs z \[N\] and either conformers"):
        model.encode(Data(z=z))
    with pytest.raises(ValueError, match=r"a Batch needs z \[N\] and either conformers"):
        model.encode(Data(pos=torch.rand(2, 3)))
    for shape in ((2, 3), (2, 0, 3)):
        with pytest.raises(ValueError, match=r"expected conformers \[N, K, 3\], got \[2"):
            model.encode(Data(z=z, conformers=torch.rand(shape)))
    with pytest.raises(ValueError, match="of its own: give it alone"):
        model.encode(batch, batch.conformers[:, 0])
    with pytest.raises(ValueError, match=r"pos \[N, 3\] is missing"):
        model.encode(z)


@torch.no_grad()
def test_the_graph_of_a_batch_is_seen(batch):
    torch.manual_seed(0)
    model = MolAE(16, 16, 4, 1, 1, 4, graph=True).eval()
    some = Batch.from_data_list([add_graph(d.clone()) for d in batch.to_data_list()])
    graph = batch_graph(some)
    each = [model.encode(some.z, pos, some.batch, graph=graph) for pos in some.conformers.unbind(1)]
    found = model.encode(some)
    assert_close(found.molecule, torch.stack([e.molecule for e in each]).mean(0))
    assert (found.molecule - model.encode(batch).molecule).abs().max() > 1e-3
    with pytest.raises(ValueError, match="give it alone"):
        model.encode(some, graph=graph)
