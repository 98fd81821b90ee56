"""Records whose own 3D coordinates are used."""

import re

import numpy as np
import pytest
from rdkit import Chem
from sd_files import block

from molae_pyg.chem.given import read_given, row_of_record
from molae_pyg.chem.options import Options


def test_coordinates_and_numbers_are_those_of_the_record():
    text = block("OCCN")
    row = row_of_record(text.encode(), Options(num_conformers=2))
    pos = Chem.MolFromMolBlock(text).GetConformer().GetPositions()
    assert row.conformers.shape == (4, 2, 3)
    assert np.allclose(row.conformers[:, 0], pos[:4], atol=1e-6)
    assert np.array_equal(row.conformers[:, 0], row.conformers[:, 1])
    assert (row.z.tolist(), row.atom_map.tolist()) == ([8, 6, 6, 7], [0, 1, 2, 3])
    assert (row.status, row.reason, row.num_distinct) == ("3d", "", 1)


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (block("CC(C)CO", "2d"), "failed", "the record has no 3D coordinates"),
        (block("CC(C)CO", "tagged"), "failed", "the coordinates are a flat drawing that is tagged"),
        (block("c1ccccc1", "2d"), "failed", "the record has no 3D coordinates"),  # flat in truth
        ("no record", "invalid", "has no line 'M  END'"),
        (
            re.sub(r"^ {1,4}-?\d+\.\d{4}", "       nan", block("CCO"), count=1, flags=re.M),
            "invalid",
            "",
        ),
    ],
)
def test_records_without_coordinates_have_a_reason(text, status, reason):
    row = read_given(text.encode())
    assert (row.status, row.z) == (status, None)
    assert reason in row.reason
    assert "generated" not in row.reason
