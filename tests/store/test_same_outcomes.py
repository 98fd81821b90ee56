"""Every way from a SMILES to a molecule gives the same outcome, and conformers that differ."""

import itertools

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from molae_pyg.chem import featurize, from_smiles
from molae_pyg.chem.featurizer import canonical_smiles, stream
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.records import work
from molae_pyg.datasets import ConformerStore, MoleculeTable, prepare

_TABLE = Chem.GetPeriodicTable()
SYMBOLS = [_TABLE.GetElementSymbol(number) for number in range(1, 119)]
ATOMS = [
    *(f"[{symbol}]" for symbol in SYMBOLS),
    *(f"[#{number}]" for number in (*range(131), 255, 256, 999, 1000, 99999)),
    *(f"[{symbol}H{count}]" for symbol in SYMBOLS[:20] for count in (1, 4, 9, 255)),
    *(f"[CH{count}]" for count in (*range(12), 99, 254, 256, 1000, 65536)),
    *(f"[{isotope}C]" for isotope in (0, 1, 13, 999, 1000, 65535, 65536, 99999999999)),
    *(
        f"[{symbol}{charge:+d}]"
        for symbol in ("C", "Fe", "O")
        for charge in (-255, -16, -1, 1, 255)
    ),
    *("[2H]", "[H+]", "[H-]", "*", "[*]", "[13*]", "[C:1]", "[CH3:999999]", "[", "[]", "[Xx]"),
]
SYSTEMATIC = [*ATOMS, *(f"C{atom}" for atom in ATOMS)]
FLEXIBLE = "CCCCOC(=O)CCN"  # its conformers are far from equal
COUNT = 6


@pytest.fixture(scope="module")
def account():
    """The layout alone, as it takes no time: every atom is still read, laid out and counted."""
    return featurize(SYSTEMATIC, 0, True, on_error="skip", workers=1, progress=False)


def test_no_odd_atom_ends_a_table(account):
    made, report = account
    assert len(report) == len(SYSTEMATIC)
    assert report.counts["invalid"] > 20
    assert report.counts["2d"] > 200
    assert len(made) == len(report.kept)


def test_featurize_and_prepare_agree_on_every_atom(account, tmp_path):
    made, report = account
    source = tmp_path / "atoms.smi"
    source.write_text("\n".join(SYSTEMATIC))
    prepare(source, tmp_path / "store", 0, workers=1, progress=False)
    store = ConformerStore(tmp_path / "store")
    rows = list(store.rows())
    assert [row.status for row in rows] == report.outcomes
    assert [row.reason for row in rows] == report.reasons
    assert [data.z.tolist() for data in store] == [data.z.tolist() for data in made]


def test_from_smiles_and_stream_agree_on_every_atom(account):
    _, report = account
    options = Options(0, True)
    streamed = list(stream(SYSTEMATIC, options, workers=1))
    for smiles, outcome, reason, found in zip(
        SYSTEMATIC, report.outcomes, report.reasons, streamed, strict=True
    ):
        if outcome == "invalid":
            assert isinstance(found, ValueError)
            assert reason in str(found)
            with pytest.raises(ValueError, match="cannot read SMILES"):
                from_smiles(smiles, 0, True)
            with pytest.raises(ValueError, match="cannot read SMILES"):
                canonical_smiles(smiles)
        else:
            assert found.smiles == smiles


@pytest.mark.parametrize("smiles", ["C[#119]", "[CH255]", "C[C@@](F)(Cl)[#119]"])
def test_conformers_of_odd_atoms_too(smiles):
    (first, second), report = featurize(["CCO", smiles, "CC"], on_error="skip", workers=1)
    assert (first.smiles, second.smiles) == ("CCO", "CC")
    assert report.outcomes == ["3d", "invalid", "3d"]
    (message,) = work(parse_smiles, smiles, Options(1).recipe)
    assert (message.kind, message.value) == ("invalid", report.reasons[1])


def test_stream_gives_a_value_error_for_a_string_that_cannot_be_read():
    good, bad, other = stream(["CCO", "C1CC", "CC"], Options(1), workers=1)
    assert (good.smiles, other.smiles) == ("CCO", "CC")
    assert isinstance(bad, ValueError)
    assert "C1CC" in str(bad)


def assert_all_differ(conformers: torch.Tensor) -> None:
    """No two of ``conformers [n, K, 3]`` are equal, not even after turning and moving."""
    distances = [torch.pdist(conformers[:, k]) for k in range(conformers.size(1))]
    for one, other in itertools.combinations(distances, 2):
        assert (one - other).abs().max() > 0.05  # Å


def test_no_two_conformers_are_equal(tmp_path):
    alone = from_smiles(FLEXIBLE, COUNT, add_2d=True)
    assert alone.num_distinct == COUNT
    assert_all_differ(alone.conformers)
    for workers in (1, 2):
        (data,), _ = featurize([FLEXIBLE], COUNT, add_2d=True, workers=workers, progress=False)
        assert torch.equal(data.conformers, alone.conformers)
    source = tmp_path / "one.smi"
    source.write_text(FLEXIBLE)
    prepare(source, tmp_path / "store", COUNT, workers=1, progress=False)
    table = {"num_conformers": COUNT, "workers": 1}
    for (data,) in (
        ConformerStore(tmp_path / "store"),
        MoleculeTable([FLEXIBLE], [1.0], **table),
        MoleculeTable([FLEXIBLE], [1.0], root=tmp_path, **table),
    ):
        assert data.conformers.shape == alone.conformers.shape
        assert (data.conformers - alone.conformers).abs().max() <= 0.00051  # of a store
        assert_all_differ(data.conformers)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_conformer_0_is_that_of_rdkit(seed):
    """With seed 0 it is what it was when conformer k was embedded with seed + k."""
    mol = Chem.AddHs(Chem.MolFromSmiles(FLEXIBLE))
    rdDistGeom.EmbedMolecule(mol, randomSeed=seed + 1)
    Chem.rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    expected = mol.GetConformer().GetPositions().astype(np.float32)
    made = from_smiles(FLEXIBLE, canonical=False, remove_hydrogens=False, seed=seed)
    np.testing.assert_allclose(made.pos, expected, atol=1e-3)
    if seed == 0:
        rdDistGeom.EmbedMolecule(mol, randomSeed=0)
        Chem.rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
        np.testing.assert_allclose(mol.GetConformer().GetPositions(), expected, atol=1e-3)


@pytest.mark.parametrize(("smiles", "num_distinct"), [("[Na+]", 1), ("[He]", 1), ("C#C", 4)])
def test_rigid_molecules_repeat_their_conformers(smiles, num_distinct):
    data = from_smiles(smiles, 4, remove_hydrogens=False)
    distances = [torch.pdist(data.conformers[:, k]) for k in range(4)]
    for one, other in itertools.combinations(distances, 2):
        assert torch.allclose(one.sort().values, other.sort().values, atol=0.02)
    assert data.num_distinct == num_distinct
