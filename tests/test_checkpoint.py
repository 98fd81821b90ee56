"""Folders of weights: what was saved comes back, and damage is named."""

import json

import goldens
import pytest
import torch
from safetensors.torch import load_file, save_file

from molae_pyg import MolAE, MolAEPredictor, ReferenceMolAE
from molae_pyg.checkpoint import CheckpointError, save
from molae_pyg.fingerprint import of_weights
from molae_pyg.models import Ablation


def small(**arguments) -> MolAE:
    torch.manual_seed(0)
    return MolAE(16, 24, 4, 2, 1, num_gaussians=8, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ablation": {"drop": False, "decoder_token": "encoder", "decoder_pair": "noisy"}},
        {"ablation": {"decoder_position": False}, "gaussian_init": "intended", "dropout": 0.25},
    ],
)
def test_saved_model_is_the_same_model(tmp_path, arguments):
    model = small(**arguments)
    model.save_pretrained(tmp_path / "new" / "folder")
    loaded = MolAE.from_pretrained(tmp_path / "new" / "folder")
    goldens.assert_same_weights(loaded, model)
    assert loaded.config == model.config
    assert loaded.ablation == model.ablation == Ablation(**arguments.get("ablation", {}))
    assert not loaded.training
    data = goldens.batch(goldens.arrays("tiny/inputs"))
    names = ("z", "pos", "batch", "drop_mask", "pos_noisy", "z_noisy")
    inputs = [data[name] for name in names]
    for mine, theirs in zip(loaded(*inputs), model.eval()(*inputs), strict=True):
        assert torch.equal(mine, theirs)


@pytest.fixture
def folder(tmp_path):
    small().save_pretrained(tmp_path)
    return tmp_path


def test_files(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    saved = json.loads((folder / "config.json").read_text())
    assert saved["class"] == "MolAE"
    assert saved["config"]["heads"] == 4


def edit_config(folder, **changes):
    saved = json.loads((folder / "config.json").read_text())
    saved["config"].update(changes)
    (folder / "config.json").write_text(json.dumps(saved))


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"class": "MolAE"}', "\x00\xff"])
def test_unreadable_config(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        MolAE.from_pretrained(folder)


def test_missing_config(folder):
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read: FileNotFoundError"):
        MolAE.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_encoder_layers": 3}, "num_encoder_layers"),
        ({"ablation": {"encoder_noise": True}}, "encoder_noise"),
        ({"heads": 3}, "not divisible by heads=3"),
    ],
)
def test_config_that_does_not_fit_the_class(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=rf"config\.json does not fit MolAE: .*{message}"):
        MolAE.from_pretrained(folder)


def test_missing_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        MolAE.from_pretrained(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_weights(folder, share):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        MolAE.from_pretrained(folder)


def test_weights_of_another_size(folder):
    edit_config(folder, ffn_channels=32)
    message = r"(?s)model\.safetensors does not fit its config\.json: .*linear1\.weight"
    with pytest.raises(CheckpointError, match=message):
        MolAE.from_pretrained(folder)


def test_lost_and_additional_weights(folder):
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["surplus"] = weights.pop("token_head.out.bias")
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=r"(?s)Missing.*token_head\.out\.bias.*surplus"):
        MolAE.from_pretrained(folder)


def test_wrong_class(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds a MolAE: use MolAE\.from_pretrained"):
        MolAEPredictor.from_pretrained(folder)
    MolAEPredictor(small().encoder).save_pretrained(tmp_path / "predictor")
    message = r"predictor holds a MolAEPredictor: use MolAEPredictor\.from_pretrained"
    with pytest.raises(CheckpointError, match=message):
        MolAE.from_pretrained(tmp_path / "predictor")


def test_twin_of_a_saved_model(folder):
    goldens.assert_same_weights(
        ReferenceMolAE.from_pretrained(folder), MolAE.from_pretrained(folder)
    )


@pytest.mark.parametrize("name", ["no-such-weights", "../weights", "somewhere/else"])
def test_unknown_name(name):
    with pytest.raises(CheckpointError, match=f"no folder '{name}'.*save_pretrained writes such"):
        MolAE.from_pretrained(name)


def test_encoder_can_be_saved(tmp_path):
    encoder = small().encoder
    save(encoder, tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == encoder.state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_weights_make_another_run(dtype):
    torch.manual_seed(0)
    model = MolAE.tiny().to(dtype)
    digest = of_weights(model)
    assert digest == of_weights(model)
    model.encoder.embedding.weight.data[5, 0] += 1
    assert digest != of_weights(model)
