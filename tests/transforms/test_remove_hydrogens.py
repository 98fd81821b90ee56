import goldens
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg.chem.elements import ELEMENTS
from molae_pyg.transforms import RemoveHydrogens


def methanol() -> Data:
    return Data(
        z=torch.tensor([1, 6, 1, 8, 1, 1]),
        conformers=torch.arange(36.0).view(6, 2, 3),
        charge=torch.arange(6),
        edge_index=torch.tensor([[0, 1, 1, 3, 3, 4], [1, 0, 3, 1, 4, 3]]),
        edge_attr=torch.arange(6),
        y=torch.tensor([[0.5, float("nan")]]),
        smiles="CO",
        num_nodes=6,
    )


def test_all_hydrogens_and_what_belongs_to_them():
    data = methanol()
    out = RemoveHydrogens()(data)
    assert out.z.tolist() == [6, 8]
    assert torch.equal(out.conformers, data.conformers[[1, 3]])
    assert out.charge.tolist() == [1, 3]
    assert out.edge_index.tolist() == [[0, 1], [1, 0]]  # the C-O bond, renumbered
    assert out.edge_attr.tolist() == [2, 3]
    assert out.num_nodes == 2
    torch.testing.assert_close(out.y, data.y, atol=0, rtol=0, equal_nan=True)
    assert out.smiles == "CO"
    assert data.z.numel() == 6  # the input is not changed


def test_trailing_hydrogens_only():
    out = RemoveHydrogens(trailing_only=True)(methanol())
    assert out.z.tolist() == [1, 6, 1, 8]
    assert out.conformers.shape == (4, 2, 3)


def atoms_of(names: np.ndarray) -> torch.Tensor:
    return torch.tensor([ELEMENTS[str(name)] for name in names])


@pytest.mark.parametrize("name", ["aspirin", "caffeine", "ibuprofen"])
@pytest.mark.parametrize(
    ("trailing_only", "recording"), [(False, "remove_all"), (True, "trailing")]
)
def test_recorded_molecules(name, trailing_only, recording):
    with np.load(goldens.FOLDER / "data" / "transforms.npz") as file:
        before, after = (
            Data(
                z=atoms_of(file[f"H/{name}/{kind}/atoms"]),
                pos=torch.from_numpy(file[f"H/{name}/{kind}/coords"]),
            )
            for kind in ("none", recording)
        )
    out = RemoveHydrogens(trailing_only)(before)
    assert torch.equal(out.z, after.z)
    assert torch.equal(out.pos, after.pos)
    assert out.num_nodes < before.num_nodes


def test_recorded_interleaved_hydrogens():
    with np.load(goldens.FOLDER / "data" / "transforms.npz") as file:
        z = atoms_of(file["H/interleaved/in"])
        expected = atoms_of(file["H/interleaved/trailing/atoms"])
    out = RemoveHydrogens(trailing_only=True)(Data(z=z, pos=torch.zeros(6, 3)))
    assert torch.equal(out.z, expected)


@pytest.mark.parametrize("trailing_only", [False, True])
def test_hydrogen_molecule_stays(trailing_only):
    data = Data(z=torch.tensor([1, 1]), pos=torch.randn(2, 3))
    out = RemoveHydrogens(trailing_only)(data)
    assert torch.equal(out.z, data.z)
    assert torch.equal(out.pos, data.pos)


def test_result_can_be_batched():
    batch = Batch.from_data_list([RemoveHydrogens()(methanol()) for _ in range(3)])
    assert batch.batch.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.y.shape == (3, 2)


def test_not_on_a_batch():
    with pytest.raises(ValueError, match="before batching: pass the transform to the data set"):
        RemoveHydrogens()(Batch.from_data_list([methanol()] * 2))


def test_repr():
    assert str(RemoveHydrogens()) == "RemoveHydrogens(trailing_only=False)"
