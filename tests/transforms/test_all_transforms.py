"""Tests of every transform: a complete repr, and the inputs of a PyG pipeline."""

import inspect

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from molae_pyg import transforms
from molae_pyg.transforms import (
    ClozeDrop,
    CoordinateNoise,
    CropAtoms,
    RemoveHydrogens,
    SampleConformer,
)

#: Arguments that differ from every default.
OTHER = {
    "ratio": 0.3, "noise": 0.25, "kind": "normal", "keep": 0.2, "random": 0.1,
    "max_atoms": 7, "trailing_only": True, "atom_fields": ("y", "charge"),
    "modes": (1, 1, 2), "mask": 0.15, "farthest": 3, "pairs": (1, 1, 2), "atoms": (1, 3),
}  # fmt: skip
KIND_OF_VIEWS = "subgraph"  # instead of the kind of noise
ALL = [getattr(transforms, name) for name in transforms.__all__]
CORRUPTING = [ClozeDrop, CoordinateNoise]
TAKING = [lambda **fields: CropAtoms(2, **fields), lambda **fields: RemoveHydrogens(**fields)]

Z = torch.tensor([6, 1, 8, 6, 7])
POS = torch.arange(15.0).view(5, 3)
BATCH = torch.tensor([0, 0, 0, 1, 1])


def arguments(cls: type[BaseTransform]) -> list[str]:
    if cls.__init__ is object.__init__:
        return []
    return list(inspect.signature(cls).parameters)


def other(cls: type[BaseTransform], name: str) -> object:
    return KIND_OF_VIEWS if (cls, name) == (transforms.GraphViews, "kind") else OTHER[name]


@pytest.mark.parametrize("cls", ALL)
def test_repr_shows_every_argument(cls):
    """The repr is part of what makes a pre-training run the same."""
    default = cls()
    for name in arguments(cls):
        assert repr(cls(**{name: other(cls, name)})) != repr(default), name
    whole = cls(**{name: other(cls, name) for name in arguments(cls)})
    again = eval(repr(whole), vars(transforms).copy())
    assert vars(again) == vars(whole)


def test_reprs_of_the_defaults_do_not_change():
    """Runs that were started with an earlier version are compared with them."""
    assert [repr(cls()) for cls in ALL] == [
        "BlendChannels(0.2, pairs=(0.2, 0.2, 0.6), atoms=(0.4, 0.6))",
        "ClozeDrop(0.15, noise=1.0, kind='uniform', keep=0.05)",
        "ConnectedPart(0.15)",
        "ContextRoot(7)",
        "CoordinateNoise(1.0, kind='uniform', ratio=0.15, keep=0.05, random=0.05)",
        "CropAtoms(256)",
        "DenoiseAtoms(0.2, modes=(0.2, 0.2, 0.6))",
        "GraphViews(0.25)",
        "MaskAtoms(0.15)",
        "NonBonds()",
        "RemoveHydrogens(trailing_only=False)",
        "SampleConformer()",
    ]


@pytest.mark.parametrize("cls", ALL)
def test_a_repr_builds_the_transform(cls):
    assert vars(eval(repr(cls()), vars(transforms).copy())) == vars(cls())


def seeded(transform: BaseTransform, data: Data) -> dict:
    torch.manual_seed(0)
    return transform(data).to_dict()


@pytest.mark.parametrize("cls", CORRUPTING)
def test_batch_vector_on_a_data_is_a_batch(cls):
    parts = [Data(z=Z[:3], pos=POS[:3]), Data(z=Z[3:], pos=POS[3:])]
    expected = seeded(cls(ratio=0.5), Batch.from_data_list(parts))
    for batch in (BATCH, BATCH.int()):
        found = seeded(cls(ratio=0.5), Data(z=Z, pos=POS, batch=batch))
        for key in ("drop_mask", "pos_noisy", "z_noisy"):
            assert (key in found) == (key in expected)
            assert key not in found or torch.equal(found[key], expected[key])


def test_a_conformer_for_each_molecule_of_a_batch_vector():
    conformers = torch.stack([POS, POS + 100], dim=1)
    data = Data(z=Z, conformers=conformers, batch=BATCH)
    seen = {tuple((SampleConformer()(data).pos[:, 0] >= 100).tolist()) for _ in range(60)}
    assert seen == {(a, a, a, b, b) for a in (True, False) for b in (True, False)}


@pytest.mark.parametrize("cls", CORRUPTING)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_elements_of_any_integer_type(cls, dtype):
    found = seeded(cls(ratio=0.6), Data(z=Z.to(dtype), pos=POS))
    expected = seeded(cls(ratio=0.6), Data(z=Z, pos=POS))
    assert torch.equal(found["drop_mask"], expected["drop_mask"])
    assert torch.equal(found["pos_noisy"], expected["pos_noisy"])
    if "z_noisy" in expected:
        assert torch.equal(found["z_noisy"], expected["z_noisy"])


@pytest.mark.parametrize("cls", CORRUPTING)
def test_coordinates_of_double_precision(cls):
    out = cls()(Data(z=Z, pos=POS.double()))
    assert out.pos_noisy.dtype == torch.float64


@pytest.mark.parametrize("cls", CORRUPTING)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"z": Z, "conformers": POS[:, None]}, "apply SampleConformer first"),
        ({"z": Z}, r"the data has no pos \[N, 3\]"),
        ({"pos": POS}, "the data has no z"),
        ({"z": Z.float(), "pos": POS}, "integer dtype .*float32"),
        ({"z": Z[:, None], "pos": POS}, r"atomic numbers z \[N\]"),
        ({"z": Z, "pos": POS.long()}, "floating-point dtype .*int64"),
        ({"z": Z, "pos": POS[:, None]}, r"expected pos \[N, 3\]"),
        ({"z": Z, "pos": POS[:4]}, r"pos \[4, 3\] must have one entry for each of 5 atoms"),
        ({"z": Z, "pos": POS, "batch": BATCH[:4]}, r"batch \[4\] must have one entry"),
        ({"z": Z, "pos": POS, "batch": BATCH.flip(0)}, "batch must be sorted"),
        ({"z": Z, "pos": POS, "batch": BATCH - 1}, "batch must be sorted"),
        ({"z": Z, "pos": POS, "batch": BATCH.float()}, "sorted integers"),
    ],
)
def test_an_error_names_the_remedy(cls, fields, message):
    with pytest.raises(ValueError, match=message):
        cls()(Data(**fields))


@pytest.mark.parametrize("shape", [(5, 3), (5, 0, 3), (5, 2, 2)])
def test_conformers_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"expected conformers \[N, K, 3\]"):
        SampleConformer()(Data(z=Z, conformers=torch.zeros(shape)))


@pytest.mark.parametrize("cls", CORRUPTING)
@pytest.mark.parametrize(
    "setting",
    [
        {"noise": float("nan")}, {"noise": float("inf")}, {"noise": "1"}, {"ratio": float("nan")},
        {"ratio": True}, {"keep": -0.5}, {"keep": "0.1"},
    ],
)  # fmt: skip
def test_settings_that_are_not_numbers(cls, setting):
    name = next(iter(setting))
    with pytest.raises(ValueError, match=f"{name} must"):
        cls(**setting)


def test_each_share_is_checked():
    with pytest.raises(ValueError, match="keep must be between 0 and 1"):
        CoordinateNoise(keep=-0.5, random=0.6)


# ------------------------------------------------------------------------ atoms taken away


def with_labels(**fields) -> Data:
    edges = torch.tensor([[0, 2, 2, 3], [2, 0, 3, 2]])
    return Data(z=Z, pos=POS, edge_index=edges, edge_attr=torch.arange(4), **fields)


@pytest.mark.parametrize("make", TAKING)
@pytest.mark.parametrize("length", [1, 4, 5])  # also the number of bonds, and of atoms
@pytest.mark.parametrize("name", ["y", "label", "labels", "target", "targets", "y_true"])
def test_labels_of_the_molecule_are_never_cut(make, name, length):
    torch.manual_seed(0)
    labels = torch.arange(float(length))
    for value in (labels, labels[:, None], labels[None]):
        out = make()(with_labels(**{name: value}))
        assert torch.equal(out[name], value)
        assert out.z.numel() < 5
        assert out.pos.shape == (out.z.numel(), 3)


@pytest.mark.parametrize("make", TAKING)
def test_bonds_follow_whatever_the_labels(make):
    torch.manual_seed(0)
    plain = make()(with_labels(number=torch.arange(5)))
    torch.manual_seed(0)
    labelled = make()(with_labels(number=torch.arange(5), y=torch.arange(5.0)))
    assert torch.equal(labelled.edge_index, plain.edge_index)
    assert torch.equal(labelled.edge_attr, plain.edge_attr)
    assert labelled.num_nodes == plain.num_nodes == plain.z.numel()
    assert torch.equal(plain.z, Z[plain.number])


def test_named_fields_are_cut_and_others_are_not():
    data = with_labels(y=torch.arange(5.0), charge=torch.arange(5), counts=torch.arange(5))
    out = RemoveHydrogens(atom_fields=["y", "charge"])(data)
    assert out.y.tolist() == out.charge.tolist() == [0, 2, 3, 4]
    assert out.counts.tolist() == [0, 1, 2, 3, 4]
    assert out.edge_attr.tolist() == [0, 1, 2, 3]
    assert out.edge_index.max() == 2
    with pytest.raises(TypeError, match="atom_fields takes a list"):
        RemoveHydrogens(atom_fields="y")
    with pytest.raises(ValueError, match=r"y \[3\] must have one entry for each of 5 atoms"):
        RemoveHydrogens(atom_fields=["y"])(with_labels(y=torch.zeros(3)))


@pytest.mark.parametrize("make", TAKING)
def test_several_molecules_are_refused(make):
    with pytest.raises(ValueError, match="before batching"):
        make()(Data(z=Z, pos=POS, batch=BATCH))
    out = make()(Data(z=Z, pos=POS, batch=torch.zeros(5, dtype=torch.long)))
    assert out.batch.numel() == out.z.numel()
    with pytest.raises(ValueError, match="the data has no z"):
        make()(Data(pos=POS))


@pytest.mark.parametrize("max_atoms", [0, -1, 2.5, True, "3", None])
def test_an_unusable_number_of_atoms(max_atoms):
    with pytest.raises(ValueError, match="max_atoms must be positive"):
        CropAtoms(max_atoms)
