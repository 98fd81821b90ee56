"""What is used if nothing is given: every entry point has the same weights and the same recipe."""

import inspect
from dataclasses import asdict

import pytest

from molae_pyg import (
    AblatedMolAE,
    MolAE,
    MolAEClassifier,
    MolAEEncoder,
    MolAEFeaturizer,
    MolAEPredictor,
    MolAERegressor,
    ReferenceMolAE,
    featurize,
    from_mol,
    from_sdf,
    from_smiles,
)
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.options import Options
from molae_pyg.chem.recipes import DEFAULT_RECIPE
from molae_pyg.cli import make_parser
from molae_pyg.cli.train import _settings
from molae_pyg.datasets import MoleculeTable, PCQM4Mv2
from molae_pyg.fingerprint import of_weights
from molae_pyg.inference import embed
from molae_pyg.inference.embed_file import _options
from molae_pyg.model_files import DEFAULT_WEIGHTS
from molae_pyg.models import PositionedEncoder, UniMol
from molae_pyg.store import prepare
from molae_pyg.workflow import FitSettings

ESTIMATORS = (MolAERegressor, MolAEClassifier, MolAEFeaturizer)


def argument(function: object, name: str) -> object:
    return inspect.signature(function).parameters[name].default


def flags(*words: str) -> dict:
    return vars(make_parser().parse_args([words[0], "in", "out", *words[1:]]))


def trained(*words: str) -> FitSettings:
    return _settings(flags("train", *words))[0]


WEIGHTS = {
    **{cls.__name__: argument(cls, "weights") for cls in ESTIMATORS},
    "fit": FitSettings().weights,
    "fit, fine-tuned": FitSettings(frozen=False).weights,
    "molae train": trained().weights,
    "molae train --finetune": trained("--finetune").weights,
    "molae embed": flags("embed")["weights"],
}


@pytest.mark.parametrize("found", WEIGHTS.values(), ids=WEIGHTS)
def test_weights(found):
    assert found == DEFAULT_WEIGHTS


@pytest.mark.parametrize("cls", [MolAE, MolAEEncoder])
def test_a_model_of_no_name_has_these_weights(cls):
    assert of_weights(cls.from_pretrained()) == of_weights(cls.from_pretrained(DEFAULT_WEIGHTS))


@pytest.mark.parametrize(
    "cls", [MolAEPredictor, AblatedMolAE, ReferenceMolAE, PositionedEncoder, UniMol]
)
def test_a_class_whose_weights_do_not_ship_needs_a_name(cls):
    with pytest.raises(CheckpointError, match=f"no weights of {cls.__name__} ship .*: give"):
        cls.from_pretrained()


DOCUMENTED = [FitSettings, *ESTIMATORS, MolAE.from_pretrained]


@pytest.mark.parametrize("of", DOCUMENTED, ids=lambda of: of.__qualname__)
def test_the_documentation_names_them(of):
    assert f'``"{DEFAULT_WEIGHTS}"``' in inspect.getdoc(of)


#: Where molecules are embedded, learned from and predicted.
USED = {
    **{cls.__name__: argument(cls, "recipe") for cls in ESTIMATORS},
    "embed": argument(embed, "recipe"),
    "MolAE.embed": argument(MolAE.embed, "recipe"),
    "molae embed": _options(None, None, flags("embed")["recipe"]).recipe,
    "fit": FitSettings().recipe,
    "molae train": trained().recipe,
}
#: Where molecules are data: their recipe is part of what is compared, kept or trained on.
DATA = {
    **{f.__name__: argument(f, "recipe") for f in (from_smiles, from_mol, from_sdf, featurize)},
    "prepare": argument(prepare, "recipe"),
    "molae prepare": flags("prepare")["recipe"],
    "PCQM4Mv2": argument(PCQM4Mv2, "recipe"),
    "MoleculeTable": Options.of(MoleculeTable(["CO"], [1.5]).recipe).recipe,
    "a saved model that names none": Options.of({"seed": 0}).recipe,
    "fit, coordinates of a file": FitSettings(coordinates="file").recipe,
    "molae train --coordinates file": trained("--coordinates", "file").recipe,
}


@pytest.mark.parametrize("found", USED.values(), ids=USED)
def test_recipe(found):
    assert Options(recipe=found).recipe == Options(recipe=DEFAULT_RECIPE).recipe == "fast-1"


@pytest.mark.parametrize("found", DATA.values(), ids=DATA)
def test_recipe_of_data(found):
    assert found == "published"


def test_settings_of_an_earlier_fit_keep_their_recipe():
    """What is kept names no recipe if it is the published one."""
    for recipe in ("published", "fast", "flat"):
        settings = FitSettings(recipe=recipe)
        assert FitSettings.of(settings.to_dict()) == settings
    before = FitSettings(recipe="published").to_dict()
    assert before == {k: v for k, v in asdict(FitSettings()).items() if k != "recipe"}
    assert FitSettings.of(before, seed=3).recipe == "published"
    assert FitSettings.of(before, recipe="flat").recipe == "flat-1"


def test_other_coordinates_than_those_of_an_earlier_fit_take_over_no_recipe():
    made, given = FitSettings().to_dict(), FitSettings(coordinates="file").to_dict()
    assert FitSettings.of(made, coordinates="file").to_dict() == given
    assert FitSettings.of(given, coordinates="generated").to_dict() == made
    assert FitSettings.of(given, coordinates="file").to_dict() == given
