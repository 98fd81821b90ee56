"""Every shipped YAML file builds what it describes and agrees with the published settings."""

import os
import sys
from pathlib import Path

import pytest
import torch
import yaml

from molae_pyg import ClozeDrop, MolAE, MolAEEncoder, MolAEPredictor
from molae_pyg.datasets import MoleculeNet
from molae_pyg.evaluation import compare, leaderboard, models
from molae_pyg.evaluation.config import CONFIGS
from molae_pyg.evaluation.systems import SETTINGS, SYSTEMS, read_settings
from molae_pyg.training import Finetuning, Pretraining

PUBLISHED = Path(os.environ.get("MOLAE_DATA", "nowhere")).parent / "paper" / "published.yaml"
PATHS = [path for path in sorted(CONFIGS.glob("*.yaml")) if path.stem != "search"]
OGB = [path for path in PATHS if path.stem.startswith("ogb")]  # change others
FINETUNED = [
    path for path in PATHS if "models" in yaml.safe_load(path.read_text()) and path not in OGB
]
PAPER = [path for path in PATHS if path.stem.startswith("paper_")]  # test_paper.py reads them
OBJECTIVES = [path for path in PATHS if path.stem == SETTINGS]
PRETRAINED = [path for path in PATHS if path not in FINETUNED + OGB + PAPER + OBJECTIVES]


@pytest.mark.parametrize("path", PRETRAINED, ids=lambda p: p.stem)
def test_yaml_files_build(path):
    config = yaml.safe_load(path.read_text())
    with torch.device("meta"):  # the full size costs nothing here
        if "model" in config:
            MolAE(**config["model"])
            ClozeDrop(**config.get("cloze", {}))
            Pretraining(**config["training"])
            return
        for line in ({}, *config.get("datasets", {}).values()):
            MolAEPredictor(MolAEEncoder(), **config["head"])
            Finetuning(**{**config["training"], **line})


def test_the_recipe_of_molae_graph_is_that_of_its_weights():
    found = read_settings("pretrain_graph")
    assert found["objective"] == "chemistry"
    assert MolAE.from_pretrained("molae-graph").config == found["model"]


def test_every_objective_has_settings():
    (path,) = OBJECTIVES
    assert {"cloze", *yaml.safe_load(path.read_text())} == {"all", *SYSTEMS}
    for objective in SYSTEMS:
        assert read_settings(None, objective)["objective"] == objective


@pytest.mark.parametrize("path", FINETUNED, ids=lambda p: p.stem)
def test_models_of_yaml_files_build(path):
    config = yaml.safe_load(path.read_text())
    check_models(config, {"chembl2321810", *MoleculeNet.sources})


@pytest.mark.parametrize("path", OGB, ids=lambda p: p.stem)
def test_models_of_ogb_build(path):
    config = leaderboard.read_config(path.stem)
    assert config["entry"].keys() == {"conformers", "ensemble", "blend", "share"}
    names = {f"ogbg-mol{name}" for name in MoleculeNet.sources}
    for section in config["models"].values():
        lines = section.pop("datasets", {})
        section["datasets"] = {name: line for name, line in lines.items() if name in names}
    check_models(config, names)
    settings = leaderboard.settings_of(config, "molae-small", "ogbg-molhiv")
    assert settings["conformers"] == 1  # of a run; the averages of an entry are made of its model
    assert "external_data" not in settings
    assert "conformers" not in leaderboard.settings_of(config, "gin", "ogbg-molhiv")


def check_models(config: dict, names: set[str]) -> None:
    """Every model builds on every data set, and each line names a data set."""
    assert set(config["default"]) <= set(config["models"]) <= set(models.MODELS)
    assert "molae" in config["models"]  # stands for weights given by their path
    assert config["data"].keys() <= {"num_conformers", "add_2d", "seed", "max_atoms"}
    for model, section in config["models"].items():
        assert set(section.get("datasets", {})) <= names
        for name in names:
            settings = models.model_settings(config, model, name)
            Finetuning(**settings.get("training", {}))
            if "of" in settings:
                assert set(settings["of"]) < config["models"].keys()
            elif "molae" in model:
                assert settings["weights"] in ("random", "molae-small", "molae-graph")
                with torch.device("meta"):
                    encoder = MolAEEncoder(**settings.get("encoder", {}))
                    MolAEPredictor(encoder, **settings["head"])


def test_published_lines():
    config = yaml.safe_load((CONFIGS / "published.yaml").read_text())
    settings = models.model_settings(config, "molae", "freesolv")
    assert settings["head"]["pooler_dropout"] == 0.4
    assert settings["scale"] == "all"
    assert Finetuning(**settings["training"]) == Finetuning(160, 64, 8e-5, 0.1, "mse", 0.0, 20)
    with torch.device("meta"):
        encoder = MolAEEncoder(**settings["encoder"])
    assert encoder.config["num_layers"] == 15
    settings = models.model_settings(config, "molae", "qm8")
    assert (settings["encoder"], settings["training"]["epochs"]) == ({"dropout": 0.0}, 120)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs paper/published.yaml beside $MOLAE_DATA")
def test_published_lines_are_those_of_the_paper():
    ours = yaml.safe_load((CONFIGS / "published.yaml").read_text())
    theirs = yaml.safe_load(PUBLISHED.read_text())["finetune"]
    assert ours["models"]["molae"]["datasets"].keys() == theirs.keys()
    for name, sections in ours["models"]["molae"]["datasets"].items():
        line, published = sections["training"], theirs[name]
        for key in ("lr", "batch_size", "epochs", "warmup"):
            assert line[key] == published[key], (name, key)
        assert sections["head"]["pooler_dropout"] == published["pooler_dropout"]
        assert sections.get("encoder", {}).get("dropout", 0.1) == published["dropout"]
        loss = {"cross_entropy": "bce", "multi_task_bce": "bce"}
        assert line["loss"] == loss.get(published["loss"], published["loss"])


def test_an_unknown_key_is_an_error_before_the_work(tmp_path, monkeypatch):
    text = (CONFIGS / "quick.yaml").read_text().replace("lr:", "learning_rate:")
    (tmp_path / "typo.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["x", "--config", str(tmp_path / "typo.yaml")])
    monkeypatch.setattr(compare, "run_dataset", None)
    with pytest.raises(SystemExit, match=r"unknown key learning_rate in .*models\.molae-graph"):
        compare.main()
    with pytest.raises(ValueError, match="no model 'molea'"):
        models.model_settings({"models": {"molae": {}}}, "molea", "esol")


def test_weights_are_called_by_their_whole_path():
    assert models.name_of("molae-small") == "molae-small"
    assert models.name_of("runs/pretrain/model") == "runs-pretrain-model"
    assert models.name_of("/weights/checkpoint_7.pt") == "weights-checkpoint_7"
    assert models.name_of("../best.pt") == "best"
    assert models.name_of("../gin.pt") == "weights-gin"  # not taken for that model
