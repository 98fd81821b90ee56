"""Fits that no seed changes are made once for a split; weights that are missing."""

import numpy as np
import pytest
import torch
from tiny import tiny_model

from molae_pyg.baselines.graph_mvp import GraphMVP
from molae_pyg.baselines.grover import Grover
from molae_pyg.baselines.job import Job, digest_of
from molae_pyg.baselines.mol_clr import MolCLR
from molae_pyg.baselines.pretrain_gnn import ContextPrediction
from molae_pyg.cli import make_parser
from molae_pyg.datasets import MoleculeTable
from molae_pyg.evaluation import models
from molae_pyg.evaluation.config import config_path, read_yaml
from molae_pyg.evaluation.row_weights import check_weights
from molae_pyg.models import MolAE, MoleBlend, TransformerM, UniMol
from molae_pyg.splits import Split

SMILES = [f"{'C' * n}{end}" for n in range(1, 13) for end in "ON"]
SPLIT = Split(np.arange(16), np.arange(16, 20), np.arange(20, 24))
OTHER = Split(np.arange(8, 24), np.arange(4), np.arange(4, 8))


@pytest.fixture
def table() -> MoleculeTable:
    y = [float(len(smiles)) for smiles in SMILES]
    return MoleculeTable(SMILES, y, num_conformers=0, task_type="regression", workers=1)


@pytest.fixture
def fits(monkeypatch) -> list[str]:
    """Names of what was fitted."""
    found, timed = [], models._timed

    def counted(model, job):
        found.append(next(name for name, one in models.MODELS.items() if one is model))
        return timed(model, job)

    monkeypatch.setattr(models, "_timed", counted)
    return found


def test_the_seeds_of_a_split_share_a_fit(table, fits, tmp_path):
    def fit(name: str, seed: int, split: Split = SPLIT, **settings):
        identity = {"fit": name, "weights_sha256": None}
        return models.timed_fit(identity, Job(table, split, settings, seed, tmp_path))

    first = fit("descriptors-linear", 0)
    assert fit("descriptors-linear", 1) is first  # with its seconds
    assert fit("descriptors-linear", 1, OTHER) is not first
    assert fits == 2 * ["descriptors-linear"]
    assert first[0].test.shape == (4, 1)

    fit("ecfp-forest", 0, num_trees=2)
    fit("ecfp-forest", 1, num_trees=2)
    assert fits[2:] == 2 * ["ecfp-forest"]  # the seed draws the trees


def test_other_weights_in_the_same_place_are_another_fit(table, fits, tmp_path):
    place = str(tmp_path / "weights")
    predicted = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        tiny_model().save_pretrained(place)
        job = Job(table, SPLIT, {"weights": place, "readout": "cls"}, 0, tmp_path)
        identity = {"fit": "frozen-ridge", "weights_sha256": digest_of(job.settings)}
        predicted.append(models.timed_fit(identity, job)[0].test)
    assert len(fits) == 2
    assert not np.allclose(*predicted)


@pytest.mark.parametrize(
    ("model", "section"),
    [
        ("mol-clr", {"model": {"hidden_channels": 16}}),
        ("pretrain-gnn", {"head": "linear"}),
        ("grover-small", {"model": {"depth": 2}}),
        ("mole-blend", {"model": {"num_layers": 2}}),
    ],
)
def test_settings_beside_weights_that_have_their_own_are_refused(model, section):
    settings = {"training": {"epochs": 1}, **section}
    models.check_model(model, {**settings, "weights": "random"}, "models.x")
    with pytest.raises(ValueError, match=rf"models\.x\.{next(iter(section))} is not used: the wei"):
        models.check_model(model, {**settings, "weights": "runs/x/model"}, "models.x")


@pytest.mark.parametrize(
    ("row", "model", "fits"),
    [
        ("mol-ae", MolAE.tiny(), True),
        ("mol-ae", TransformerM.tiny(), False),
        ("uni-mol", UniMol.tiny(), True),
        ("uni-mol-random", MolAE.tiny(), False),
        ("uni-mol", UniMol.tiny(position=True), False),
        ("uni-mol-pe", UniMol.tiny(position=True), True),
        ("uni-mol-pe", UniMol.tiny(), False),
        ("transformer-m", UniMol.tiny(), False),
        ("pretrain-gnn", ContextPrediction(8, 2, 1), True),
        ("pretrain-gnn", MolCLR(8, 2, 16), False),
        ("mol-clr", GraphMVP(8, 2, 8, 1), False),
        ("graph-mvp", GraphMVP(8, 2, 8, 1, task="context"), False),
        ("graph-mvp-c-random", GraphMVP(8, 2, 8, 1, task="context"), True),
        ("grover-small", Grover(5, 5, 8, 2, 2), True),
        ("grover-small", MoleBlend.tiny(), False),
    ],
)
def test_a_row_takes_no_weights_of_another_system(tmp_path, row, model, fits):
    model.save_pretrained(tmp_path)
    if fits:
        check_weights(row, {"weights": str(tmp_path)})
        return
    with pytest.raises(ValueError, match=f"holds a {type(model).__name__}.*, not what --objective"):
        check_weights(row, {"weights": str(tmp_path)})


def test_official_files_of_rows(tmp_path):
    for name in ("model.pth", "model.pt"):
        (tmp_path / name).touch()
    check_weights("mol-clr", {"weights": str(tmp_path / "model.pth")})
    check_weights("mol-ae", {"weights": str(tmp_path / "model.pt")})
    for row in ("grover-small", "transformer-m", "mol-ae"):
        with pytest.raises(ValueError, match=f"{row} reads no .pth file: read an official file by"):
            check_weights(row, {"weights": str(tmp_path / "model.pth")})


def test_missing_weights_name_the_command_that_trains_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_yaml(config_path("moleculenet"))
    for name in config["models"]:
        settings = models.model_settings(config, name, "")
        if not settings.get("weights", "").startswith("runs/"):
            check_weights(name, settings)  # random, shipped or none
            continue
        with pytest.raises(ValueError, match=f"^{name}: there are no weights 'runs/") as error:
            check_weights(name, settings)
        command = str(error.value).partition("train them: molae ")[2].split()
        make_parser().parse_args(command)  # it knows the objective
        assert settings["weights"] == f"{command[2]}/model"
        (tmp_path / settings["weights"]).mkdir(parents=True)
        check_weights(name, settings)
        (tmp_path / settings["weights"]).rmdir()
