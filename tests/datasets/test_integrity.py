"""The account of a data set, counted by hand."""

import warnings

import pytest

from molae_pyg.datasets import MoleculeTable, check_integrity

NAN = float("nan")


def table(rows: list[tuple], **settings) -> MoleculeTable:
    smiles, y = zip(*rows, strict=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gave no molecule")
        return MoleculeTable(smiles, y, num_conformers=1, workers=1, **settings)


def test_hand_made_case():
    found = check_integrity(
        table(
            [
                ("CCO", [1, 0]),
                ("OCC", [1, NAN]),  # repeats row 0 and agrees with it
                ("C(C)O", [1, 1]),  # repeats it and contradicts it
                ("C[C@H](F)Cl", [0, 0]),
                ("C[C@@H](F)Cl", [1, 0]),  # another molecule
                ("[Na+].[Cl-]", [0, 0]),  # two fragments, one element outside the vocabulary
                ("C1CC", [0, 0]),  # no molecule
            ],
            max_atoms=3,
        )
    )
    assert (found.rows, found.invalid, found.conformers_3d, found.conformers_2d) == (7, 1, 6, 0)
    assert (found.conformers_failed, found.multi_fragment) == (0, 1)
    assert (found.duplicates, found.contradicting) == (2, 1)
    assert found.cropped == 2
    assert found.out_of_vocabulary == 0
    assert found.missing_labels == pytest.approx(1 / 12, abs=1e-4)
    assert "contradicting" in str(found)


def test_elements_outside_the_vocabulary():
    found = check_integrity(table([("C[Se]C", 1.0), ("CC", 2.0), ("C[Xe]C", 3.0)]))
    assert found.out_of_vocabulary == 1


def test_a_smiles_that_rdkit_cannot_read_loses_nothing(monkeypatch):
    """Such as one of a record that an older RDKit wrote."""
    dataset = table([("CCO", 1.0), ("OCC", 2.0), ("c1ccccc1", 3.0), ("CN", 2.0)])
    odd = ["CCO", "OCC", "C[#119]", "C[#119]"]
    monkeypatch.setattr(type(dataset), "smiles", property(lambda _: odd))
    found = check_integrity(dataset)
    assert (found.rows, found.duplicates, found.contradicting) == (4, 2, 2)
    assert found.multi_fragment == 0
