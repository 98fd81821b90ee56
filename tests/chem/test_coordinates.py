"""Coordinates that cannot be those of their molecule."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom

from molae_pyg.chem import from_mol, from_sdf
from molae_pyg.chem.parsing import FLAT, ONE_PLACE, TWO_AT_ONE_PLACE, problem_of
from molae_pyg.store import ConformerStore, prepare

FORCED = ["CC(C)CO", "CC1CCCCC1", "CC(=O)Oc1ccccc1C(=O)O", "NCC(=O)O", "C1CCCCC1", "OCCCCO"]
PLANAR = ["c1ccccc1", "c1ccc2ccccc2c1", "O=C=O", "C#N", "c1ccncc1", "C=CC=C", "O", "[Na+]", "CC"]


def drawn(smiles: str, with_hydrogens: bool = False, scale: float = 1.0) -> Chem.Mol:
    """A drawing that is tagged 3D."""
    mol = Chem.MolFromSmiles(smiles)
    mol = Chem.AddHs(mol) if with_hydrogens else mol
    rdDepictor.Compute2DCoords(mol)
    conformer = mol.GetConformer()
    conformer.SetPositions(conformer.GetPositions() * scale)
    conformer.Set3D(True)
    return mol


def embedded(smiles: str, with_hydrogens: bool = True) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    return mol if with_hydrogens else Chem.RemoveHs(mol)


def placed(smiles: str, positions: list) -> Chem.Mol:
    mol = Chem.MolFromSmiles(smiles)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.array(positions, dtype=float))
    conformer.Set3D(True)
    mol.AddConformer(conformer)
    return mol


@pytest.mark.parametrize("smiles", FORCED)
@pytest.mark.parametrize("with_hydrogens", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.55, 0.95, 20.0])
def test_drawings_are_not_used(smiles, with_hydrogens, scale):
    data = from_mol(drawn(smiles, with_hydrogens, scale))
    assert (data.status, data.reason) == ("3d", f"{FLAT}: coordinates generated")
    assert float(np.ptp(data.pos[:, 2])) > 0.1


@pytest.mark.parametrize("smiles", FORCED + PLANAR)
@pytest.mark.parametrize("with_hydrogens", [True, False])
def test_3d_coordinates_are_used(smiles, with_hydrogens):
    mol = embedded(smiles, with_hydrogens)
    assert problem_of(mol, mol.GetConformer().GetPositions()) == ""
    data = from_mol(mol, remove_hydrogens=False)
    assert data.reason == ""
    np.testing.assert_allclose(data.pos, mol.GetConformer().GetPositions(), atol=1e-4)


def test_flat_molecules_are_honestly_flat():
    angle = np.arange(6) * np.pi / 3
    ring = 1.39 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    assert from_mol(placed("c1ccccc1", ring)).reason == ""
    zigzag = [(0, 0, 0), (1.27, 0.83, 0), (2.54, 0, 0), (3.81, 0.83, 0)]
    assert from_mol(placed("CCCC", zigzag)).reason == ""
    platinum = [(2.3, 0, 0), (0, 0, 0), (0, 2.3, 0), (-2.05, 0, 0), (0, -2.05, 0)]
    assert from_mol(placed("Cl[Pt](Cl)([NH3])[NH3]", platinum)).reason == ""


@pytest.mark.parametrize(
    ("positions", "problem"),
    [
        ([(0, 0, 0)] * 3, ONE_PLACE),
        ([(1.5, 2, 3)] * 3, ONE_PLACE),
        ([(0, 0, 0), (1.5, 0, 0), (0, 0, 0)], TWO_AT_ONE_PLACE),
    ],
)
def test_atoms_at_one_place(positions, problem):
    data = from_mol(placed("CCO", positions))
    assert (data.status, data.reason) == ("3d", f"{problem}: coordinates generated")
    distances = np.linalg.norm(data.pos[:, None] - data.pos[None], axis=-1)
    assert distances[np.triu_indices(3, 1)].min() > 1


def test_the_good_conformers_of_several_are_kept():
    mol = embedded("CCO")
    flat = Chem.Conformer(mol.GetConformer())
    flat.SetPositions(np.zeros((mol.GetNumAtoms(), 3)))
    mol.AddConformer(flat, assignId=True)
    data = from_mol(mol, num_conformers=2)
    assert data.reason == f"1 of 2 conformers left out: {ONE_PLACE}"
    assert data.num_distinct == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coordinates_that_are_not_finite(value):
    mol = placed("CCO", [(0, 0, 0), (1.5, 0, 0), (2, 1, value)])
    with pytest.raises(ValueError, match="conformer 0: the coordinates of atom 2 are not finite"):
        from_mol(mol)


def test_sdf_and_store_say_the_same(tmp_path):
    mols = [drawn("CC(C)CO"), placed("CCO", [(0, 0, 0)] * 3), embedded("CCO"), drawn("c1ccccc1")]
    blocks = [Chem.MolToMolBlock(mol) for mol in mols]
    # RDKit writes 3D only where a z is not 0: the tag is put in by hand.
    blocks = [text.replace("          2D", "          3D") for text in blocks]
    (tmp_path / "a.sdf").write_text("".join(f"{text}$$$$\n" for text in blocks))
    prepare(tmp_path / "a.sdf", tmp_path / "store", workers=1, progress=False)
    reasons = [reason for _, _, reason in ConformerStore(tmp_path / "store").rows()]
    data = from_sdf(tmp_path / "a.sdf")
    assert [d.reason for d in data] == reasons
    assert reasons[0] == f"{FLAT}: coordinates generated"
    assert reasons[1] == f"{ONE_PLACE}: coordinates generated"
    assert reasons[2] == ""
