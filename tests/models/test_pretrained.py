"""Saved models by folder, shipped name and name of a repository; no test opens a network."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from molae_pyg import AblatedMolAE, MolAE, MolAEEncoder, MolAEPredictor, ReferenceMolAE
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.fingerprint import of_weights
from molae_pyg.model_files import SHIPPED, as_repository

SIZES = {"hidden_channels": 16, "ffn_channels": 16, "heads": 4, "num_layers": 1, "num_gaussians": 4}


class FakeHub:
    """Repositories in a folder, in place of the package huggingface_hub."""

    def __init__(self, root: Path):
        self.root, self.calls = root, []
        self.HfApi = lambda: self

    def snapshot_download(self, repo_id, *, revision, allow_patterns):
        self.calls.append((repo_id, revision))
        if not (self.root / repo_id).is_dir():
            raise FileNotFoundError(f"404 for {repo_id}")
        assert set(allow_patterns) == {"config.json", "model.safetensors"}
        return str(self.root / repo_id)

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        self.calls.append((repo_id, private))
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)

    def file_exists(self, repo_id, filename):
        return (self.root / repo_id / filename).is_file()

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return fake


def models() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    ablation = {"decoder_position": False}
    ours = [MolAEEncoder(**SIZES), MolAE(**SIZES, num_decoder_layers=1)]
    ours.append(AblatedMolAE(**SIZES, num_decoder_layers=1, ablation=ablation))
    ours.append(ReferenceMolAE(**SIZES, num_decoder_layers=1))
    return [*ours, MolAEPredictor(MolAEEncoder(**SIZES), 2)]


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
def test_an_encoder_is_read_from_every_model_that_has_one(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    encoder = MolAEEncoder.from_pretrained(tmp_path / "model")
    assert type(encoder) is MolAEEncoder
    assert not encoder.training
    assert of_weights(encoder) == of_weights(getattr(model, "encoder", model))
    again = type(model).from_pretrained(str(tmp_path / "model"))
    assert of_weights(again) == of_weights(model)


@pytest.mark.parametrize("name", sorted(folder.name for folder in SHIPPED.iterdir()))
def test_an_encoder_is_read_from_weights_that_ship(hub, name):
    encoder = MolAEEncoder.from_pretrained(name)
    assert of_weights(encoder) == of_weights(MolAE.from_pretrained(name).encoder)
    assert not hub.calls


def test_a_model_without_our_encoder_is_refused(tmp_path):
    MolAE(**SIZES, num_decoder_layers=1).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text().replace('"MolAE"', '"SchNet"')
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match="holds weights of SchNet"):
        MolAEEncoder.from_pretrained(tmp_path)


# ------------------------------------------------------------------------------ the hub


@pytest.mark.parametrize("name", ["lab/my-model", "hf://lab/my-model"])
def test_a_model_goes_to_the_hub_and_back(hub, name):
    model = models()[-1]
    model.recipe = {"num_conformers": 3}
    assert model.push_to_hub(name) == "https://hub/lab/my-model/commit/1"
    again = MolAEPredictor.from_pretrained(name)
    assert of_weights(again) == of_weights(model)
    assert again.recipe == model.recipe
    assert of_weights(MolAEEncoder.from_pretrained(name)) == of_weights(model.encoder)
    assert hub.calls == [("lab/my-model", False), *[("lab/my-model", None)] * 2]
    card = (hub.root / "lab/my-model/README.md").read_text()
    assert "library_name: molae_pyg" in card
    code = card.split("```python\n")[1].split("```")[0]
    exec(code, namespace := {})
    assert of_weights(namespace["model"]) == of_weights(model)


def test_a_card_is_not_replaced(hub):
    card = hub.root / "lab/my-model/README.md"
    card.parent.mkdir(parents=True)
    card.write_text("mine")
    models()[0].push_to_hub("lab/my-model", private=True)
    assert card.read_text() == "mine"
    assert hub.calls == [("lab/my-model", True)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lab/model", ("lab/model", None)),
        ("hf://lab/model", ("lab/model", None)),
        ("lab/model-1.2@v1", ("lab/model-1.2", "v1")),
        ("hf://lab/model@refs/pr/1", ("lab/model", "refs/pr/1")),
        ("model", None),
        ("./lab/model", None),
        ("../model", None),
        ("/lab/model", None),
        ("runs/one/model", None),
        ("lab/", None),
        ("", None),
    ],
)
def test_names_of_repositories(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_repository(name) == expected


def test_local_names_never_reach_the_hub(hub, tmp_path):
    model = models()[1]
    model.save_pretrained("lab/model")
    assert of_weights(MolAE.from_pretrained("lab/model")) == of_weights(model)
    for absent in ("lab/other", "model", "./x/y", tmp_path / "x", Path("org/name"), "a/b/c"):
        with pytest.raises(CheckpointError, match=r"no folder .*save_pretrained writes such"):
            MolAE.from_pretrained(absent)
    assert not hub.calls


def test_what_the_hub_does_not_have_is_named(hub):
    message = "no folder 'lab/absent', and the Hugging Face hub gave no model 'lab/absent': 404"
    with pytest.raises(CheckpointError, match=message):
        MolAE.from_pretrained("lab/absent")
    with pytest.raises(CheckpointError, match="names no repository: give hf://organisation/name"):
        MolAE.from_pretrained("hf://absent")
    for name in ("absent", "lab/model@v1", "lab/my model"):
        with pytest.raises(ValueError, match="names no repository: give organisation/name"):
            models()[0].push_to_hub(name)


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"no folder 'a/b'.* pip install 'molae_pyg\[hub\]'"):
        MolAE.from_pretrained("a/b")
    with pytest.raises(ModuleNotFoundError, match=r"needs huggingface_hub: pip install 'molae"):
        models()[0].push_to_hub("a/b")
