"""What to make of a molecule: checked, and equal whatever types the numbers have."""

import json

import numpy as np
import pytest

from molae_pyg.chem import from_smiles
from molae_pyg.chem.options import MAX_SEED, RECIPE_VERSION, InputError, Options
from molae_pyg.fingerprint import digest


def test_what_a_molecule_depends_on():
    assert Options(3, True, seed=5).to_dict() == {
        "num_conformers": 3,
        "add_2d": True,
        "remove_hydrogens": True,
        "max_atoms": None,
        "seed": 5,
        "time_limit": 30.0,
        "recipe_version": RECIPE_VERSION,
    }


def test_numbers_of_other_types_are_the_same():
    plain = Options(3, True, True, 7, 5, 30.0)
    other = Options(np.int32(3), np.bool_(True), 1, np.int64(7), np.uint8(5), 30)
    assert other == plain
    assert json.dumps(other.to_dict()) == json.dumps(plain.to_dict())
    assert digest(other.to_dict()) == digest(plain.to_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_conformers": 2.5}, "num_conformers must be a whole number, got 2.5"),
        ({"num_conformers": "3"}, "num_conformers must be a whole number, got '3'"),
        ({"max_atoms": 2.0}, "max_atoms must be a whole number"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": MAX_SEED}, r"seed \+ num_conformers must be at most 2147483647"),
        ({"seed": MAX_SEED - 3, "num_conformers": 4}, r"seed \+ num_conformers must be at most"),
        ({"time_limit": "soon"}, "time_limit must be a number, got 'soon'"),
        ({"time_limit": float("nan")}, "time_limit must be in"),
    ],
)
def test_values_that_are_none(settings, message):
    with pytest.raises(InputError, match=message):
        Options(**settings)
    with pytest.raises(ValueError, match=message):
        from_smiles("CCO", **settings)


def test_the_largest_seed():
    assert from_smiles("CCO", seed=MAX_SEED - 1).status == "3d"
