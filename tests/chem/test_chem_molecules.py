"""One molecule: from a SMILES, or from an RDKit molecule with or without coordinates."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from torch_geometric.loader import DataLoader

from molae_pyg.chem import (
    featurize,
    from_mol,
    from_smiles,
    molecules,
    worker,
    workers,
)
from molae_pyg.chem.conformers import Coordinates
from molae_pyg.chem.rows import assembled

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
# Why "C1CC" is no SMILES; older RDKit keeps its reason to itself.
UNCLOSED = "unclosed ring" if hasattr(rdBase, "CaptureErrorLog") else "RDKit cannot read the string"


def test_fields():
    data = from_smiles("OCC")
    assert data.z.tolist() == [6, 6, 8]
    assert data.z.dtype == data.atom_map.dtype == torch.long
    assert data.pos.shape == (3, 3)
    assert data.pos.dtype == torch.float32
    assert data.atom_map.tolist() == [2, 1, 0]
    assert (data.smiles, data.status, data.reason) == ("OCC", "3d", "")
    assert (data.num_distinct, data.num_unknown, data.num_cropped) == (1, 0, 0)
    assert "conformers" not in data


def test_conformers():
    data = from_smiles(ASPIRIN, num_conformers=3, add_2d=True, seed=5)
    assert data.conformers.shape == (13, 4, 3)
    assert data.conformers.dtype == torch.float32
    assert "pos" not in data
    assert data.num_nodes == 13
    assert data.num_distinct == 3
    assert data.conformers[:, 3, 2].eq(0).all()  # the layout is flat
    assert torch.equal(data.conformers[:, 1], from_smiles(ASPIRIN, seed=6).pos)


def test_published_recipe_in_the_atom_order_of_the_string():
    """Hydrogens leave after the coordinates are made, so that the heavy atoms are unchanged."""
    mol = Chem.AddHs(Chem.MolFromSmiles(ASPIRIN))
    rdDistGeom.EmbedMolecule(mol, randomSeed=3)  # seed + 1
    Chem.rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    expected = torch.from_numpy(mol.GetConformer().GetPositions()).float()
    every = from_smiles(ASPIRIN, canonical=False, remove_hydrogens=False, seed=2)
    torch.testing.assert_close(every.pos, expected, atol=1e-3, rtol=0)
    assert every.atom_map.tolist() == list(range(13)) + [-1] * 8
    heavy = from_smiles(ASPIRIN, canonical=False, seed=2)
    assert torch.equal(heavy.pos, every.pos[:13])


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["CC(C)C[C@@H](C(=O)O)N", "C/C=C/C(=O)NC", "CC(=O)[O-].[Na+]", "Oc1ccccc1F"]),
    st.integers(0, 2**31 - 1),
)
def test_equivalent_smiles_give_equal_data(smiles, seed):
    other = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles), 1, randomSeed=seed)[0]
    first = from_smiles(smiles, num_conformers=2, add_2d=True)
    second = from_smiles(other, num_conformers=2, add_2d=True)
    assert torch.equal(first.z, second.z)
    assert torch.equal(first.conformers, second.conformers)


@pytest.mark.parametrize(
    ("smiles", "z", "reason"),
    [
        ("CC(=O)[O-].[Na+]", [6, 6, 8, 8, 11], ""),
        ("[2H]O[2H]", [8], ""),
        ("[H+].[Cl-]", [17], "no MMFF94 parameters: minimised with UFF"),
        (
            "[H][H]",
            [1, 1],
            "no MMFF94 parameters: minimised with UFF; hydrogen only: hydrogens kept",
        ),
    ],
)
def test_hydrogens_and_salts(smiles, z, reason):
    data = from_smiles(smiles)
    assert data.z.tolist() == z
    assert (data.status, data.reason) == ("3d", reason)


def test_unknown_elements_and_dummy_atoms_are_counted():
    data = from_smiles("*C[Pt]")
    assert sorted(data.z.tolist()) == [6, 78, 118]  # 0 would be read as [MASK]
    assert data.num_unknown == 2


def test_crop_keeps_the_order():
    whole = from_smiles(ASPIRIN)
    part = from_smiles(ASPIRIN, max_atoms=5)
    assert part.num_cropped == 8
    assert part.z.numel() == 5
    where = [whole.atom_map.tolist().index(a) for a in part.atom_map.tolist()]
    assert where == sorted(where)
    assert torch.equal(part.pos, whole.pos[where])
    assert from_smiles(ASPIRIN, max_atoms=13).num_cropped == 0


def test_default_collate():
    data = [from_smiles(s, num_conformers=2) for s in ("CCO", "OCCN")]
    batch = next(iter(DataLoader(data, batch_size=2)))
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert batch.conformers.shape == (7, 2, 3)
    assert batch.atom_map.tolist() == [*data[0].atom_map.tolist(), *data[1].atom_map.tolist()]
    assert batch.smiles == ["CCO", "OCCN"]
    assert batch.num_unknown.tolist() == [0, 0]
    assert batch[1].smiles == "OCCN"


def test_missing_conformers_are_repeated_in_turn(monkeypatch):
    a, b, layout = (np.full((9, 3), value, dtype=np.float32) for value in (1, 2, 0))
    made = Coordinates([a, b], layout, ["2 of 5 conformers"])
    monkeypatch.setattr(molecules, "row_of", lambda mol, options: assembled(mol, made, options))
    data = from_smiles("CCO", num_conformers=5, add_2d=True)
    assert data.conformers[0, :, 0].tolist() == [1, 2, 1, 2, 1, 0]
    assert (data.num_distinct, data.status, data.reason) == (2, "3d", "2 of 5 conformers")


def test_the_layout_replaces_conformers(monkeypatch):
    program = "from molae_pyg.chem import conformers, worker\n"
    program += "conformers.rdDistGeom.EmbedMolecule = lambda *_: -1\nworker.serve()"
    monkeypatch.setattr(worker, "_PROGRAM", program)
    monkeypatch.setattr(workers, "_spare", [])
    data = from_smiles("CCO", num_conformers=3, add_2d=True)
    assert data.conformers.shape == (3, 4, 3)
    assert data.conformers[..., 2].eq(0).all()
    assert (data.status, data.num_distinct) == ("2d", 1)
    assert data.reason == "ETKDG found no 3D embedding"


def test_layout_alone(monkeypatch):
    full = from_smiles("CC(=O)Oc1ccccc1", 1, add_2d=True)
    program = "from molae_pyg.chem import conformers, worker\n"
    program += "conformers.rdDistGeom.EmbedMolecule = None\nworker.serve()"  # nothing is embedded
    monkeypatch.setattr(worker, "_PROGRAM", program)
    monkeypatch.setattr(workers, "_spare", [])
    flat = from_smiles("CC(=O)Oc1ccccc1", 0, add_2d=True)
    assert torch.equal(flat.conformers, full.conformers[:, 1:])  # [n, 1, 3]
    assert (flat.status, flat.reason, flat.num_distinct) == ("2d", "", 0)
    (same,), _ = featurize(["CC(=O)Oc1ccccc1"], 0, add_2d=True)
    assert torch.equal(same.conformers, flat.conformers)


def test_no_coordinates_at_all(monkeypatch):
    broken = Coordinates(notes=["it broke"])
    monkeypatch.setattr(molecules, "row_of", lambda mol, options: assembled(mol, broken, options))
    with pytest.raises(ValueError, match="no coordinates for 'CCO': it broke"):
        from_smiles("CCO")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_conformers": 0}, "num_conformers must be at least 1, got 0"),
        ({"add_2d": True}, "add_2d=True needs num_conformers"),
        ({"max_atoms": 0}, "max_atoms must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"time_limit": 0.0}, "time_limit must be in"),
        ({"time_limit": math.inf}, "time_limit must be in"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_smiles("CCO", **arguments)


@pytest.mark.parametrize("value", ["C1CC", "", None, math.nan])
def test_invalid_smiles(value):
    with pytest.raises(ValueError, match=r"cannot read SMILES .*on_error='skip'"):
        from_smiles(value)


def test_rdkit_is_silent(capfd):
    with pytest.raises(ValueError, match=UNCLOSED):
        from_smiles("C1CC")
    from_smiles("B1OBO1")
    assert capfd.readouterr().err == ""


def given_mol(conformers: int = 2) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles("OCC"))
    rdDistGeom.EmbedMultipleConfs(mol, conformers, randomSeed=1)
    return mol


def positions(mol: Chem.Mol) -> torch.Tensor:
    frames = [torch.from_numpy(c.GetPositions()).float() for c in mol.GetConformers()]
    return torch.stack(frames, dim=1)  # [n, K, 3]


def test_given_coordinates_are_kept():
    mol = given_mol()
    data = from_mol(mol)
    assert data.z.tolist() == [8, 6, 6]
    assert torch.equal(data.pos, positions(mol)[:3, 0])
    assert data.atom_map.tolist() == [0, 1, 2]
    assert (data.smiles, data.status, data.reason) == ("CCO", "3d", "")
    several = from_mol(mol, num_conformers=3, add_2d=True, remove_hydrogens=False)
    assert several.conformers.shape == (9, 4, 3)
    assert torch.equal(several.conformers[:, :3], positions(mol)[:, [0, 1, 0]])
    assert several.conformers[:, 3, 2].eq(0).all()
    assert several.num_distinct == 2
    assert mol.GetNumConformers() == 2
    assert from_mol(given_mol(5), num_conformers=2).num_distinct == 2


def test_given_heavy_atoms_get_no_hydrogens():
    mol = Chem.RemoveHs(given_mol())
    data = from_mol(mol, num_conformers=1, add_2d=True, remove_hydrogens=False)
    assert torch.equal(data.conformers[:, 0], positions(mol)[:, 0])


def test_canonical_order_takes_given_coordinates_along():
    mol = given_mol()
    data = from_mol(mol, canonical=True)
    assert data.z.tolist() == [6, 6, 8]
    assert data.atom_map.tolist() == [2, 1, 0]
    assert torch.equal(data.pos, positions(mol)[[2, 1, 0], 0])
    every = from_mol(mol, canonical=True, remove_hydrogens=False)
    assert every.atom_map.tolist() == [2, 1, 0, 3, 4, 5, 6, 7, 8]  # hydrogens last


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_canonical_order_of_coordinates_is_that_of_smiles(seed):
    other = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(ASPIRIN), 1, randomSeed=seed)[0]
    mol = Chem.AddHs(Chem.MolFromSmiles(other))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    assert torch.equal(from_mol(mol, canonical=True).z, from_smiles(ASPIRIN).z)


def test_coordinates_are_made_where_there_are_none():
    mol = Chem.MolFromSmiles("OCC")
    data = from_mol(mol)
    assert data.z.tolist() == [8, 6, 6]
    assert torch.equal(data.pos, from_smiles("OCC", canonical=False).pos)
    canonical = from_mol(mol, canonical=True)
    assert torch.equal(canonical.pos, from_smiles("CCO").pos)
    assert canonical.atom_map.tolist() == [2, 1, 0]
    assert mol.GetNumAtoms() == 3


@pytest.mark.parametrize(
    ("mol", "message"),
    [
        (None, "there is no molecule"),
        (Chem.Mol(), "the molecule has no atoms"),
        (Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False), "RDKit cannot sanitise"),
    ],
)
def test_unusable_molecules(mol, message):
    with pytest.raises(ValueError, match=message):
        from_mol(mol)
