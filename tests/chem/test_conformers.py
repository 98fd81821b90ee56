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
    Request,
    generate,
    layout_2d,
    layout_of,
)
from molae_pyg.chem.recipes import PUBLISHED, recipe_named

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


def make(mol: Chem.Mol, request: Request) -> Coordinates:
    """All conformers of a molecule and the layout, in this process."""
    made = Coordinates()
    for message in generate(mol, request):
        made.add(message)
    if made.lacks_layout(request):
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
    made = make(with_hydrogens(MOLECULES[name]), Request(count=10, layout=True))
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
    zero, one = make(mol, Request(count=2)).conformers
    for seed in (0, 1):  # RDKit takes them for the same
        np.testing.assert_allclose(zero, directly(mol, seed), atol=1e-3)
    np.testing.assert_allclose(one, directly(mol, 2), atol=1e-3)
    assert np.abs(zero - one).max() > 0.1


def test_conformer_k_depends_on_seed_plus_k_only():
    mol = with_hydrogens("CCOCCN")
    five = make(mol, Request(count=5, seed=3)).conformers
    one = make(mol, Request(count=1, seed=5)).conformers
    assert np.array_equal(five[2], one[0])
    assert not np.allclose(five[1], five[2], atol=0.1)
    assert mol.GetNumConformers() == 0  # the input is left alone


#: Molecules of every kind: rigid, chiral, charged, salts, without MMFF94, of few atoms, that fail.
REAL = [
    *MOLECULES.values(),
    "CCCCOCCN(CC)CC",
    "C[C@H](N)C(=O)N[C@@H](Cc1ccccc1)C(=O)O",
    "C[NH+](C)C[C@@H](O)Cn1cc(NC(=O)Nc2ccc(C#N)c(Cl)c2)cn1",
    "O=C([O-])c1ccccc1.[Na+]",
    "C1CC2CCC1C2",
    "C[C@]12CC[C@H]3[C@@H](CC[C@H]4CC(=O)CC[C@]34C)[C@@H]1CC[C@@H]2O",
    "O=C1CCCCCCCCCCCCCCN1",
    "FC(F)(F)C(F)(F)C(F)(F)F",
    "B1OBO1",
    "C[Pt](N)(N)Cl",
    "*CC",
    "[Na+]",
    "O",
    "[H][H]",
    "N#Cc1ccc(Br)cc1[Si](C)(C)C",
    "CC(C)(C)c1cc(C(C)(C)C)c(O)c(C(C)(C)C)c1",
    "C[NH+]1[C@@H]2CC[C@@H]1CC(C2)OC(c3ccccc3)c4ccccc4",  # fails: impossible stereo
]


def singly(mol: Chem.Mol, request: Request, monkeypatch: pytest.MonkeyPatch) -> Coordinates:
    """The conformers of a request, each made in a call of its own."""
    with monkeypatch.context() as patch:
        patch.setattr(conformers, "TOGETHER", 0.0)
        return make(mol, request)


@pytest.mark.parametrize("recipe", ["published", "fast"])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_conformers_of_one_call_are_those_of_single_calls(recipe, count, monkeypatch):
    calls = []
    real = conformers.rdDistGeom.EmbedMultipleConfs
    monkeypatch.setattr(
        conformers.rdDistGeom, "EmbedMultipleConfs", lambda *a: calls.append(a) or real(*a)
    )
    for smiles in REAL[:: 1 if count == 3 else 2]:
        mol, named = with_hydrogens(smiles), recipe_named(recipe)
        request = Request(count, seed=4, time_limit=5, recipe=named)
        together, one = make(mol, request), singly(mol, request, monkeypatch)
        assert together.notes == one.notes
        assert len(together.conformers) == len(one.conformers)
        for first, second in zip(together.conformers, one.conformers, strict=True):
            assert np.array_equal(first, second), smiles
    assert len(calls) >= (5 if count > 1 else 0)


@pytest.mark.parametrize("failure", ["fewer", "embedding", "minimisation"])
def test_what_fails_in_one_call_is_made_singly(failure, monkeypatch):
    mol, request = with_hydrogens(MOLECULES["ibuprofen"]), Request(4)
    expected = singly(mol, request, monkeypatch)
    real, number = conformers.rdDistGeom.EmbedMultipleConfs, []

    def fewer(mol, asked, params):
        number.append(asked)
        return real(mol, asked - 1, params)

    if failure == "minimisation":
        broken = conformers.rdForceFieldHelpers, "MMFFOptimizeMoleculeConfs", breaks
    else:
        other = fewer if failure == "fewer" else breaks
        broken = conformers.rdDistGeom, "EmbedMultipleConfs", other
    monkeypatch.setattr(*broken)
    found = make(mol, request)
    assert number in ([], [3])  # once
    assert (found.notes, len(found.conformers)) == ([], 4)
    assert all(map(np.array_equal, found.conformers, expected.conformers))


def breaks(*_, **__):
    raise RuntimeError("Invariant Violation")


def test_a_call_for_several_conformers_has_a_share_of_the_time(monkeypatch):
    """A process that is killed keeps the conformers of all earlier calls."""
    asked = []
    monkeypatch.setattr(
        conformers, "_generate_together", lambda *args: asked.append(args[3]) or [np.zeros((9, 3))]
    )
    clock = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(conformers.time, "monotonic", lambda: float(next(clock)))
    make(with_hydrogens("CCO"), Request(100, time_limit=1000))
    assert len(asked) > 3
    assert max(asked) < 100  # 0.5 s and more for the first: less than a tenth of the limit


def test_large_molecules_are_made_singly(monkeypatch):
    monkeypatch.setattr(conformers, "LARGE", 5)
    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMultipleConfs", breaks)
    monkeypatch.setattr(conformers, "_generate_together", None)  # calling it would be an error
    assert len(make(with_hydrogens("CCO"), Request(3)).conformers) == 3


def test_fast_is_distance_geometry_and_fewer_steps():
    mol, recipe = with_hydrogens(MOLECULES["ibuprofen"]), recipe_named("fast-1")
    (made,) = make(mol, Request(seed=2, recipe=recipe)).conformers
    params = rdDistGeom.DG()
    params.randomSeed = 3
    assert rdDistGeom.EmbedMolecule(mol, params) == 0
    Chem.rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=recipe.steps)
    assert np.array_equal(made, mol.GetConformer().GetPositions().astype(np.float32))


def test_notes_name_what_was_done(monkeypatch):
    fast = Request(recipe=recipe_named("fast"))
    notes = make(with_hydrogens("*CC"), fast).notes
    assert notes == ["no force field parameters: DG geometry as it is"]
    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMolecule", lambda mol, params: -1)
    made = make(with_hydrogens("CCO"), fast)
    assert (made.status, made.notes) == ("2d", ["DG found no 3D embedding"])


def test_layout_is_flat_and_made_on_request_only():
    mol = with_hydrogens("CCO")
    assert make(mol, Request()).layout is None
    layout = make(mol, Request(layout=True)).layout
    assert layout.shape == (9, 3)
    assert not layout[:, 2].any()
    only = make(mol, Request(count=0))
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
    made = make(with_hydrogens(smiles), Request())
    assert made.status == "3d"
    assert made.notes == ([note] if note else [])


def test_minimised_bond_lengths_are_physical():
    mol = with_hydrogens("CC")
    (pos,) = make(mol, Request()).conformers
    assert np.linalg.norm(pos[0] - pos[1]) == pytest.approx(1.51, abs=0.02)  # Å, MMFF94 ethane


def test_random_coordinates_come_second(monkeypatch):
    starts = []
    real = conformers.rdDistGeom.EmbedMolecule

    def first_fails(mol, params):
        starts.append(params.useRandomCoords)
        return real(mol, params) if params.useRandomCoords else -1

    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMolecule", first_fails)
    made = make(with_hydrogens("CCO"), Request())
    assert starts == [False, True]
    assert made.status == "3d"


def test_layout_comes_last_and_says_why(monkeypatch):
    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMolecule", lambda mol, params: -1)
    made = make(with_hydrogens("CCO"), Request(count=2))
    assert (made.status, made.notes) == ("2d", ["ETKDG found no 3D embedding"])


def raises(mol, *_):
    raise RuntimeError("\n\nInvariant Violation\nmore")


def test_errors_inside_rdkit_are_reasons(monkeypatch):
    monkeypatch.setattr(conformers.rdDistGeom, "EmbedMolecule", raises)
    monkeypatch.setattr(conformers.rdDepictor, "Compute2DCoords", raises)
    made = make(with_hydrogens("CCO"), Request())
    assert made.status == "failed"
    assert made.notes == ["RDKit: Invariant Violation", "no 2D layout: Invariant Violation"]


def test_failed_minimisation_keeps_the_geometry_of_etkdg(monkeypatch):
    class Broken:
        def Initialize(self):
            raise RuntimeError("Invariant Violation")

    name = "MMFFGetMoleculeForceField"
    monkeypatch.setattr(conformers.rdForceFieldHelpers, name, lambda *_: Broken())
    made = make(with_hydrogens("CCO"), Request())
    assert made.status == "3d"
    assert made.notes == ["minimisation failed, ETKDG geometry as it is (Invariant Violation)"]


def test_coordinates_that_are_not_finite_are_no_conformer(monkeypatch):
    def spoil(mol, recipe, deadline):
        mol.GetConformer().SetAtomPosition(0, (float("nan"), 0.0, 0.0))
        return ""

    monkeypatch.setattr(conformers, "_minimise", spoil)
    made = make(with_hydrogens("CCO"), Request())
    assert made.status == "2d"
    assert made.notes == ["RDKit made coordinates that are not finite"]


def test_time_limit_keeps_what_is_made(monkeypatch):
    clock = iter(range(0, 1000, 4))  # every look at the clock is 4 s later than the last
    monkeypatch.setattr(conformers.time, "monotonic", lambda: next(clock))
    made = make(with_hydrogens("CCO"), Request(count=10, time_limit=20))
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
    assert conformers._minimise(mol, PUBLISHED, late) == "minimisation cut short by the time limit"
    monkeypatch.setattr(conformers, "LARGE", 300)
    assert conformers._minimise(mol, PUBLISHED, late) == ""


def test_impossible_stereo_runs_into_the_time_limit():
    mol = with_hydrogens("C[NH+]1[C@@H]2CC[C@@H]1CC(C2)OC(c3ccccc3)c4ccccc4")
    made = make(mol, Request(count=3, time_limit=0.5))
    assert (made.status, made.notes) == ("2d", ["time limit reached"])


def test_a_note_is_kept_once():
    coordinates = Coordinates()
    for message in [Message("note", "a"), Message("note", "a"), Message("note", "b")]:
        coordinates.add(message)
    assert (coordinates.notes, coordinates.status) == (["a", "b"], "failed")


def test_layout_of_a_single_atom():
    assert layout_2d(with_hydrogens("[Na+]")).tolist() == [[0.0, 0.0, 0.0]]
