"""Small molecules from larger ones."""

import importlib
import sys

import pytest
from rdkit import Chem
from scripts import EXPERIMENTS, printed_by


@pytest.fixture
def fragments(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS / "data"))
    yield importlib.import_module("fragments").fragments
    sys.modules.pop("fragments", None)


def test_an_amide_is_cut_on_both_sides(fragments):
    """Benzanilide gives benzene, aniline and the amide between, with hydrogens at the cuts."""
    found = fragments("O=C(Nc1ccccc1)c1ccccc1", most=20)
    assert {"c1ccccc1", "Nc1ccccc1", "O=Cc1ccccc1", "NC=O"} <= found
    assert "O=C(Nc1ccccc1)c1ccccc1" in found  # uncut, where it is small enough


def test_size_and_form(fragments):
    found = fragments("COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C", most=12)
    sizes = [Chem.MolFromSmiles(smiles).GetNumHeavyAtoms() for smiles in found]
    assert min(sizes) >= 2
    assert max(sizes) <= 12
    assert all("*" not in smiles and "." not in smiles for smiles in found)
    assert found == {Chem.CanonSmiles(smiles) for smiles in found}


def test_an_unreadable_smiles_has_no_fragments(fragments):
    assert fragments("C1CC", most=12) == set()


def test_the_script(tmp_path):
    (tmp_path / "some.smi").write_text("O=C(Nc1ccccc1)c1ccccc1\nCCOC(C)=O\n")
    printed_by(tmp_path, "fragments.py", "some.smi", "out.smi", "--most", "9", "--workers", "1")
    lines = (tmp_path / "out.smi").read_text().split()
    assert lines == sorted(set(lines))
    assert "NC=O" in lines
