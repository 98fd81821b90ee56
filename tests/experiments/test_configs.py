"""Every YAML file builds what it describes, and agrees with the published figures."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
import yaml

from molae_pyg import ClozeDrop, MolAE, MolAEEncoder, MolAEPredictor
from molae_pyg.training import Finetuning, Pretraining

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CONFIGS = sorted((EXPERIMENTS / "configs").glob("*.yaml"))


@pytest.fixture
def moleculenet(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    yield importlib.import_module("moleculenet")
    for name in ("moleculenet", "baselines"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_yaml_files_build(path, moleculenet):
    config = yaml.safe_load(path.read_text())
    with torch.device("meta"):  # the full size costs nothing here
        if "model" in config:
            MolAE(**config["model"])
            ClozeDrop(**config.get("cloze", {}))
            Pretraining(**config["training"])
            return
        assert config.get("weights", "random") in ("random", "molae-small")
        for dataset in ("chembl2321810", *config.get("datasets", {})):
            merged = moleculenet.read_config(path, dataset)
            encoder = MolAEEncoder(**merged.get("encoder", {}))
            MolAEPredictor(encoder, **merged["head"])
            Finetuning(**merged["training"])


def test_published_lines(moleculenet):
    config = moleculenet.read_config(EXPERIMENTS / "configs" / "published.yaml", "freesolv")
    assert config["head"]["pooler_dropout"] == 0.4
    settings = Finetuning(**config["training"])
    assert settings == Finetuning(160, 64, 8e-5, 0.1, "mse", 0.0, 20)
    with torch.device("meta"):
        encoder = MolAEEncoder(**config["encoder"])
    assert encoder.config["num_layers"] == 15


def test_an_unknown_key_is_an_error(moleculenet, tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text("data: {}\nencoder: {}\nhead: {}\ntraining: {learning_rate: 1.0e-3}\n")
    with pytest.raises(TypeError, match="learning_rate"):
        Finetuning(**moleculenet.read_config(path, "esol")["training"])
