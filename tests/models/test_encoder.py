import goldens
import pytest
import torch
import torch_geometric.nn
from symmetry import assert_close
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.loader import DataLoader
from torch_geometric.utils import scatter

from molae_pyg import MolAE, MolAEEncoder
from molae_pyg.testing import assert_invariant


@pytest.fixture(scope="module")
def encoder():
    return goldens.model("tiny", []).encoder.double().requires_grad_(False)


@pytest.fixture
def data():
    """The recorded molecules of 13, 14 and 15 atoms, 2, 2 and 3 of them dropped."""
    data = goldens.batch(goldens.arrays("tiny/inputs"))
    data.pos = data.pos.double()
    return data


def flat(out):
    """What is comparable where padding differs."""
    return out.x, out.molecule, out.sep, out.state.x_norm(), out.state.pair_norm()


@pytest.mark.parametrize("dropped", [False, True])
def test_invariant_to_rotation_reflection_and_translation(encoder, data, dropped):
    drop_mask = data.drop_mask if dropped else None
    assert_invariant(lambda *inputs: encoder(*inputs, drop_mask), data.z, data.pos, data.batch)


def test_symmetries_in_single_precision(encoder, data):
    assert_invariant(encoder, data.z, data.pos, data.batch)


def test_molecules_do_not_depend_on_the_order_of_atoms(encoder, data):
    assert_invariant(
        lambda *inputs: encoder(*inputs).molecule,
        data.z,
        data.pos,
        data.batch,
        permutation="invariant",
    )


@pytest.mark.parametrize("dropped", [False, True])
def test_equivariant_to_the_order_of_atoms(encoder, data, dropped):
    torch.manual_seed(0)
    order = (data.batch + torch.rand(data.num_nodes)).argsort()  # shuffled within molecules
    drop_mask = data.drop_mask if dropped else torch.zeros_like(data.drop_mask)
    out = encoder(data.z, data.pos, data.batch, drop_mask)
    other = encoder(data.z[order], data.pos[order], data.batch, drop_mask[order])
    x = torch.full((data.num_nodes, 64), torch.nan, dtype=torch.float64)
    x[~drop_mask] = out.x
    assert_close(other.x, x[order][~drop_mask[order]])
    assert_close(flat(other)[1:], flat(out)[1:])


def test_a_batch_is_its_molecules_one_by_one(encoder, data):
    together = encoder(data.z, data.pos, data.batch)
    alone = []
    for b in range(3):
        mine = data.batch == b
        out = encoder(data.z[mine], data.pos[mine])
        alone.append(out)
        n = int(mine.sum()) + 2
        assert_close(together.state.pair[b, :, :n, :n], out.state.pair[0], atol=1e-12)
    for name in ("x", "molecule", "sep"):
        expected = torch.cat([getattr(out, name) for out in alone])
        assert_close(getattr(together, name), expected, name, atol=1e-12)


def test_dropped_atoms_are_equal_to_absent_atoms(encoder, data):
    keep = ~data.drop_mask
    origin = scatter(data.pos, data.batch, reduce="mean")
    out = encoder(data.z, data.pos, data.batch, data.drop_mask)
    absent = encoder(data.z[keep], data.pos[keep], data.batch[keep], origin=origin)
    assert_close(out, absent, atol=0)
    assert out.x.size(0) == keep.sum() == data.num_nodes - 7
    assert out.state.mask.sum(1).tolist() == [13, 14, 14]  # kept atoms, CLS and SEP


def test_only_the_centroid_depends_on_dropped_atoms(encoder, data):
    """CLS and SEP sit at the centroid of all atoms; nothing else of dropped atoms gets in."""
    origin = scatter(data.pos, data.batch, reduce="mean")
    z, pos = data.z.clone(), data.pos.clone()
    z[data.drop_mask] = 17
    pos[data.drop_mask] += torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    out = encoder(data.z, data.pos, data.batch, data.drop_mask)
    moved = encoder(z, pos, data.batch, data.drop_mask)
    assert (moved.molecule - out.molecule).abs().max() > 1e-3  # the centroid moved
    same_origin = encoder(z, pos, data.batch, data.drop_mask, origin)
    assert_close(same_origin, out, atol=0)


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_molecule_that_lost_all_its_atoms(encoder, data, empty):
    drop_mask = data.batch == empty
    out = encoder(data.z, data.pos, data.batch, drop_mask)
    whole = encoder(data.z, data.pos, data.batch)
    others = torch.arange(3) != empty
    assert_close(out.x, whole.x[~drop_mask], atol=1e-12)
    assert_close(out.molecule[others], whole.molecule[others], atol=1e-12)
    bare = encoder(data.z[:1], data.pos[:1], drop_mask=torch.tensor([True]))
    assert bare.x.shape == (0, 64)
    assert_close(out.molecule[empty], bare.molecule[0], atol=1e-12)
    assert_close(out.sep[empty], bare.sep[0], atol=1e-12)


def test_tokens_of_unknown_elements_and_of_mask(encoder, data):
    def encode(first: int):
        z = data.z.clone()
        z[0] = first
        return encoder(z, data.pos, data.batch).x

    assert torch.equal(encode(92), encode(118))  # uranium, oganesson: both [UNK]
    embedded = []
    hook = encoder.embedding.register_forward_pre_hook(lambda _, args: embedded.append(args[0]))
    for z in (92, 0, 6):
        encode(z)
    hook.remove()
    assert [int(token[0, 2]) for token in embedded] == [3, 30, 4]  # [UNK], [MASK], C
    assert embedded[0][0, :2].tolist() == [1, 2]  # [CLS], [SEP]


def test_gradient_of_coordinates_is_finite(encoder, data):
    pos = data.pos.clone()
    pos[1] = pos[0]  # two atoms in one place
    pos.requires_grad_()
    out = encoder(data.z, pos, data.batch)
    (out.x.pow(2).sum() + out.molecule.sum()).backward()
    assert pos.grad.isfinite().all()
    assert pos.grad.abs().max() > 1e-3


def test_gradient_of_coordinates_is_right():
    torch.manual_seed(0)
    small = MolAEEncoder(8, 8, 2, 1, num_gaussians=4, gaussian_init="intended").double().eval()
    pos = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    z = torch.tensor([6, 8, 1])
    assert torch.autograd.gradcheck(lambda x: small(z, x).molecule, pos)


@pytest.mark.parametrize(
    ("z", "pos"),
    [
        (torch.ones(4, dtype=torch.long), torch.zeros(5, 3)),
        (torch.ones(4, dtype=torch.long), torch.zeros(4, 2)),
        (torch.ones(4, dtype=torch.long), torch.zeros(4, 10, 3)),
        (torch.ones(4, 1, dtype=torch.long), torch.zeros(4, 3)),
    ],
)
def test_wrong_shapes(encoder, z, pos):
    shapes = rf"got \[{', '.join(map(str, z.shape))}\] and \[{', '.join(map(str, pos.shape))}\]"
    with pytest.raises(ValueError, match=shapes):
        encoder(z, pos)


@pytest.mark.parametrize("drop_mask", [torch.tensor([0, 1, 0, 0]), torch.tensor([True, False])])
def test_wrong_drop_mask(encoder, drop_mask):
    """``~`` of an integer mask would be indices, silently."""
    with pytest.raises(ValueError, match=r"expected a bool drop_mask \[4\], got tensor"):
        encoder(torch.ones(4, dtype=torch.long), torch.zeros(4, 3), drop_mask=drop_mask)


def test_empty_batch(encoder):
    with pytest.raises(ValueError, match="no atom in the batch"):
        encoder(torch.zeros(0, dtype=torch.long), torch.zeros(0, 3))


class Molecules(InMemoryDataset):
    """A data set with nothing but elements and coordinates, like QM9's core."""

    def __init__(self, molecules: list[Data]):
        super().__init__()
        self.data, self.slices = self.collate(molecules)


@pytest.fixture
def loader():
    torch.manual_seed(0)
    sizes = [1, 4, 2, 7, 5]
    molecules = [Data(z=torch.randint(1, 10, (n,)), pos=torch.randn(n, 3)) for n in sizes]
    return DataLoader(Molecules(molecules), batch_size=2)


def test_any_data_set_with_elements_and_coordinates(loader):
    encoder = MolAEEncoder(16, 32, 4, 2, num_gaussians=8)
    shapes = []
    for batch in loader:
        out = encoder(batch.z, batch.pos, batch.batch)
        assert out.x.shape == (batch.num_nodes, 16)
        shapes.append(tuple(out.molecule.shape))
    assert shapes == [(2, 16), (2, 16), (1, 16)]


def test_in_a_sequential_of_pyg(loader):
    encoder = MolAEEncoder(16, 32, 4, 1, num_gaussians=8)
    linear = torch.nn.Linear(16, 1)
    model = torch_geometric.nn.Sequential(
        "z, pos, batch",
        [
            (encoder, "z, pos, batch -> out"),
            (lambda out: out.molecule, "out -> h"),
            (linear, "h -> y"),
        ],
    ).eval()
    batch = next(iter(loader))
    y = model(batch.z, batch.pos, batch.batch)
    assert torch.equal(y, linear(encoder(batch.z, batch.pos, batch.batch).molecule))
    y.sum().backward()
    assert encoder.embedding.weight.grad.abs().max() > 0


def test_dropout_only_in_training(data):
    encoder = MolAEEncoder(16, 32, 4, 1, num_gaussians=8)
    pos = data.pos.float()
    assert not torch.equal(*(encoder(data.z, pos, data.batch).molecule for _ in range(2)))
    encoder.eval()
    assert torch.equal(*(encoder(data.z, pos, data.batch).molecule for _ in range(2)))


@pytest.mark.parametrize("batch", [[0, 1, 0], [0, 0]])
def test_a_batch_that_is_not_sorted_or_not_per_atom_is_an_error(batch):
    encoder = MolAE.tiny().encoder
    with pytest.raises(ValueError, match="batch must be sorted and have one entry per atom"):
        encoder(torch.tensor([6, 7, 8]), torch.randn(3, 3), torch.tensor(batch))
