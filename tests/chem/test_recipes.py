"""Conformer recipes: names, versions, and what they change for a user."""

import numpy as np
import pytest

from molae_pyg.chem import featurize, from_mol, from_sdf, from_smiles, recipes
from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.recipes import PUBLISHED, RECIPES, Recipe, recipe_named
from molae_pyg.fingerprint import differences, digest

SMILES = "CC(C)Cc1ccc(cc1)C(C)C(=O)O"


def test_every_recipe_has_a_key_of_its_own():
    assert len({recipe.key for recipe in RECIPES}) == len(RECIPES)
    for recipe in RECIPES:
        assert recipe_named(recipe.key) == recipe
    assert recipe_named("published") == recipe_named("published-1") == PUBLISHED
    assert [recipe.is_flat for recipe in RECIPES] == [False, False, True]


def test_a_name_alone_is_the_last_version(monkeypatch):
    later = Recipe("fast", 2, "DG", 7)
    monkeypatch.setattr(recipes, "RECIPES", (*RECIPES, later))
    assert recipe_named("fast") == later
    assert recipe_named("fast-1").steps != 7  # a model of the first version keeps it
    assert Options(recipe="fast").recipe == "fast-2"


@pytest.mark.parametrize("name", ["quick", "fast-9", "", None, 1])
def test_an_unknown_recipe_names_the_known(name):
    message = f"unknown recipe {name!r}; there are published, fast-1, flat-1"
    with pytest.raises(InputError, match=message):
        from_smiles("CCO", recipe=name)
    with pytest.raises(InputError, match=message):
        featurize(["CCO"], recipe=name)


def test_what_is_kept_of_the_published_recipe_stays_the_same():
    """The digests were recorded before there were recipes."""
    kept = Options(3, True, seed=5).to_dict()
    assert "recipe" not in kept
    assert digest(kept) == "ad7ae4234f8a6c79ca3418bd10e04210640a0be452ada81e95eecb2388be2850"
    assert Options.of(kept) == Options(3, True, seed=5)
    assert Options.of(None) == Options()


def test_what_is_kept_of_another_recipe_names_it():
    kept = Options(3, True, recipe="fast").to_dict()
    assert kept["recipe"] == "fast-1"
    assert Options.of({**kept, "source": "smiles"}) == Options(3, True, recipe="fast-1")
    published = Options(3, True).to_dict()
    assert differences(published, kept) == ["recipe: 'published' there, 'fast-1' now"]
    assert differences({"meta": kept}, {"meta": published}) == [
        "meta.recipe: 'fast-1' there, 'published' now"
    ]


def test_another_recipe_for_the_same_settings():
    options = Options(3, seed=5)
    assert options.with_recipe(None) is options
    assert options.with_recipe("fast") == Options(3, seed=5, recipe="fast-1")
    assert options.with_recipe("flat") == Options(1, seed=5, recipe="flat-1")
    with pytest.raises(InputError, match="unknown recipe 'quick'"):
        options.with_recipe("quick")


def test_fast_conformers_are_others_of_the_same_molecule():
    first, second = from_smiles(SMILES), from_smiles(SMILES, recipe="fast")
    assert (second.status, second.reason) == ("3d", "")
    assert first.z.tolist() == second.z.tolist()
    assert not np.allclose(first.pos, second.pos, atol=0.1)
    assert second.pos.tolist() == from_smiles(SMILES, recipe="fast-1").pos.tolist()


def test_flat_is_the_layout_alone():
    made = from_smiles(SMILES, recipe="flat")
    layout = from_smiles(SMILES, num_conformers=0, add_2d=True).conformers[:, 0]
    assert (made.status, made.reason, made.num_distinct) == ("2d", "", 1)
    assert made.pos.tolist() == layout.tolist()
    assert not made.pos[:, 2].any()
    one = from_smiles(SMILES, num_conformers=1, recipe="flat").conformers
    assert one[:, 0].tolist() == layout.tolist()
    with pytest.raises(InputError, match="makes one 2D layout: num_conformers must be at most 1"):
        from_smiles(SMILES, num_conformers=2, recipe="flat")


def test_given_coordinates_stay_unless_the_layout_is_asked_for(tmp_path):
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    given = mol.GetConformer().GetPositions()[:3].astype(np.float32)
    assert np.array_equal(from_mol(mol, recipe="fast").pos, given)
    assert not from_mol(mol, recipe="flat").pos[:, 2].any()
    path = tmp_path / "one.sdf"
    path.write_text(Chem.MolToMolBlock(mol) + "$$$$\n")
    assert from_sdf(path, recipe="fast")[0].pos[:, 2].any()
    assert not from_sdf(path, recipe="flat")[0].pos[:, 2].any()
