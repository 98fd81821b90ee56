import time
from pathlib import Path

import numpy as np
import pytest
import rdkit
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from molae_pyg.chem import conformers
from molae_pyg.chem.conformers import (
    Coordinates,
    Message,
    Recipe,
    generate,
    layout_2d,
    layout_of,
)

GOLDENS = Path(__file__).parents[1] / "data" / "goldens" / "data" / "molecules.npz"
MOLECULES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "caffeine": "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
}
SAME_RDKIT = pytest.mark.skipif(
    rdkit.__version__ != "2026.09.1",
    reason="recorded with RDKit 2026.09.1, and ETKDG differs between releases",
)


def make(mol: Chem.Mol, recipe: Recipe) -> Coordinates:
    """All conformers of a molecule and the layout, in this process."""
    made = Coordinates()
    for message in generate(mol, recipe):
        made.add(message)
    if made.lacks_layout(recipe):
        made.add(layout_of(mol))
    return made


def with_hydrogens(smiles: str) -> Chem.Mol:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


@SAME_RDKIT
@pytest.mark.parametrize("name", MOLECULES)
def test_published_recipe(name):
    """EmbedMolecule(randomSeed=k) and MMFFOptimizeMolecule, recorded for seeds 0 to 9.

    RDKit gives the same for the seeds 0 and 1: conformer k has seed k + 1.
    """
    goldens = np.load(GOLDENS)
    made = make(with_hydrogens(MOLECULES[name]), Recipe(count=10, layout=True))
    assert made.status == "3d"
    assert made.notes == []
    recorded = goldens[f"{name}/coordinates"]  # [10, n, 3]
    np.testing.assert_allclose(recorded[0], recorded[1], atol=1e-3)
    np.testing.assert_allclose(made.conformers[:9], recorded[1:], atol=1e-3)
    np.testing.assert_allclose(made.layout, goldens[f"{name}/coordinates_2d"], atol=1e-3)


def directly(mol: Chem.Mol, seed: int) -> np.ndarray:
    """The published recipe, called without any code of ours."""
    mol = Chem.Mol(mol)
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=seed) == 0
    Chem.rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    return mol.GetConformer().GetPositions().astype(np.float32)


def test_conformer_0_of_seed_0_is_that_of_rdkit():
    mol = with_hydrogens(MOLECULES["ibuprofen"])
    zero, one = make(mol, Recipe(count=2)).conformers
    for seed in (0, 1):  # RDKit takes them for the same
        np.testing.assert_allclose(zero, directly(mol, seed), atol=1e-3)
    np.testing.assert_allclose(one, directly(mol, 2), atol=1e-3)
    assert np.abs(zero - one).max() > 0.1


def test_conformer_k_depends_on_seed_plus_k_only():
    mol = with_hydrogens("CCOCCN")
    five = make(mol, Recipe(count=5, seed=3)).conformers
    one = make(mol, Recipe(count=1, seed=5)).conformers
    assert np.array_equal(five[2], one[0])
    assert not np.allclose(five[1], five[2], atol=0.1)
    assert mol.GetNumConformers() == 0  # the input is left alone


def test_layout_is_flat_and_made_on_request_only():
    mol = with_hydrogens("CCO")
    assert make(mol, Recipe()).layout is None
    layout = make(mol, Recipe(layout=True)).layout
    assert layout.shape == (9, 3)
    assert not layout[:, 2].any()
    only = make(mol, Recipe(count=0))
    assert only.status == "2d"
    assert np.array_equal(only.layout, layout)


@pytest.mark.parametrize(
    ("smiles", "note"),
    [
        ("CC(=O)[O-].[Na+]", ""),
        ("B1OBO1", "no MMFF94 parameters: minimised with UFF"),
        ("C[Pt](N)(N)Cl", "no force field parameters: ETKDG geometry as it is"),
        ("*CC", "no force field parameters: ETKDG geometry as it is"),
    ],
)
def test_force_fields(smiles, note):
    made = make(with_hydrogens(smiles), Recipe())
    assert made.status == "3d"
    assert made.notes == ([note] if note else [])


def test_minimised_bond_lengths_are_physical():
    mol = with_hydrogens("CC")
    (pos,) = make(mol, Recipe()).conformers
    assert np.linalg.norm(pos[0] - pos[1]) == pytest.approx(1.51, abs=0.02)  # Å, MMFF94 ethane


def test_random_coordinates_come_second(monkeypatch):
    starts = []
    real = conformers.rdDistGeom.EmbedMolecule

    def first_fails(mol, params):
        starts.append(params.useRandomCoords)
        return real(mol, params) if params.useRandomCoords else -1

    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMolecule", first_fails)
    made = make(with_hydrogens("CCO"), Recipe())
    assert starts == [False, True]
    assert made.status == "3d"


def test_layout_comes_last_and_says_why(monkeypatch):
    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMolecule", lambda mol, params: -1)
    made = make(with_hydrogens("CCO"), Recipe(count=2))
    assert (made.status, made.notes) == ("2d", ["ETKDG found no 3D embedding"])


def raises(mol, *_):
    raise RuntimeError("\n\nInvariant Violation\nmore")


def test_errors_inside_rdkit_are_reasons(monkeypatch):
    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMolecule", raises)
    monkeypatch.setattr(conformers.rdDepictor, "Compute2DCoords", raises)
    made = make(with_hydrogens("CCO"), Recipe())
    assert made.status == "failed"
    assert made.notes == ["RDKit: Invariant Violation", "no 2D layout: Invariant Violation"]


def test_failed_minimisation_keeps_the_geometry_of_etkdg(monkeypatch):
    class Broken:
        def Initialize(self):
            raise RuntimeError("Invariant Violation")

    name = "MMFFGetMoleculeForceField"
    monkeypatch.setattr(conformers.rdForceFieldHelpers, name, lambda *_: Broken())
    made = make(with_hydrogens("CCO"), Recipe())
    assert made.status == "3d"
    assert made.notes == ["minimisation failed, ETKDG geometry as it is (Invariant Violation)"]


def test_coordinates_that_are_not_finite_are_no_conformer(monkeypatch):
    def spoil(mol, deadline):
        mol.GetConformer().SetAtomPosition(0, (float("nan"), 0.0, 0.0))
        return ""

    monkeypatch.setattr(conformers, "_minimise", spoil)
    made = make(with_hydrogens("CCO"), Recipe())
    assert made.status == "2d"
    assert made.notes == ["RDKit made coordinates that are not finite"]


def test_time_limit_keeps_what_is_made(monkeypatch):
    clock = iter(range(0, 1000, 4))  # every look at the clock is 4 s later than the last
    monkeypatch.setattr(conformers.time, "monotonic", lambda: next(clock))
    made = make(with_hydrogens("CCO"), Recipe(count=10, time_limit=20))
    assert made.status == "3d"
    assert 1 <= len(made.conformers) < 10
    assert made.notes == [
        "time limit reached",
        f"{len(made.conformers)} of 10 conformers",
    ]


def test_large_molecules_are_minimised_under_the_clock(monkeypatch):
    monkeypatch.setattr(conformers, "LARGE", 10)
    mol = with_hydrogens(MOLECULES["ibuprofen"])
    conformers.rdDistGeom.EmbedMolecule(mol, 0)
    late = time.monotonic() - 1
    assert conformers._minimise(mol, late) == "minimisation cut short by the time limit"
    monkeypatch.setattr(conformers, "LARGE", 300)
    assert conformers._minimise(mol, late) == ""


def test_impossible_stereo_runs_into_the_time_limit():
    mol = with_hydrogens("C[NH+]1[C@@H]2CC[C@@H]1CC(C2)OC(c3ccccc3)c4ccccc4")
    made = make(mol, Recipe(count=3, time_limit=0.5))
    assert (made.status, made.notes) == ("2d", ["time limit reached"])


def test_a_note_is_kept_once():
    coordinates = Coordinates()
    for message in [Message("note", "a"), Message("note", "a"), Message("note", "b")]:
        coordinates.add(message)
    assert (coordinates.notes, coordinates.status) == (["a", "b"], "failed")


def test_layout_of_a_single_atom():
    assert layout_2d(with_hydrogens("[Na+]")).tolist() == [[0.0, 0.0, 0.0]]
