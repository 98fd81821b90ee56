"""Folders of weights: what was saved comes back, and damage is named."""

import json
import os
import sys

import goldens
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from molae_pyg import AblatedMolAE, MolAE, MolAEPredictor, ReferenceMolAE
from molae_pyg.checkpoint import PLAIN, CheckpointError, load, save
from molae_pyg.durable import sha256_of
from molae_pyg.fingerprint import of_weights
from molae_pyg.models import Ablation


def small(**arguments) -> MolAE:
    torch.manual_seed(0)
    cls = AblatedMolAE if "ablation" in arguments else MolAE
    return cls(16, 24, 4, 2, 1, num_gaussians=8, **arguments)


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
    loaded = type(model).from_pretrained(tmp_path / "new" / "folder")
    goldens.assert_same_weights(loaded, model)
    assert loaded.config == model.config
    if arguments:
        assert loaded.ablation == model.ablation == Ablation(**arguments["ablation"])
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
        ({"ablation": {"encoder_noise": True}}, "encoder_noise.*AblatedMolAE.from_pretrained"),
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
    with pytest.raises(
        CheckpointError, match=r"holds weights of MolAE: use MolAE\.from_pretrained"
    ):
        MolAEPredictor.from_pretrained(folder)
    MolAEPredictor(small().encoder).save_pretrained(tmp_path / "predictor")
    message = r"predictor holds weights of MolAEPredictor: use MolAEPredictor\.from_pretrained"
    with pytest.raises(CheckpointError, match=message):
        MolAE.from_pretrained(tmp_path / "predictor")


def test_twin_of_a_saved_model(folder):
    goldens.assert_same_weights(
        ReferenceMolAE.from_pretrained(folder), MolAE.from_pretrained(folder)
    )


def as_before(folder, **ablation):
    """The folder as versions before AblatedMolAE wrote it: each config had an ablation."""
    saved = json.loads((folder / "config.json").read_text())
    config = {**saved["config"], "ablation": {**PLAIN, **ablation}}
    (folder / "config.json").write_text(json.dumps({"class": "MolAE", "config": config}))
    return folder


def test_a_new_config_has_no_ablation(folder):
    assert "ablation" not in json.loads((folder / "config.json").read_text())["config"]


def test_a_default_ablation_in_an_old_config_is_accepted(folder):
    expected = MolAE.from_pretrained(folder)
    for cls in (MolAE, AblatedMolAE, ReferenceMolAE):
        model = cls.from_pretrained(as_before(folder))
        assert type(model) is cls
        goldens.assert_same_weights(model, expected)
    assert MolAE.from_pretrained(folder).config == expected.config


@pytest.mark.parametrize("ablation", [{"drop": False}, {"decoder_pair": "noisy"}])
def test_another_ablation_in_an_old_config_names_the_class_that_has_it(folder, ablation):
    as_before(folder, **ablation)
    with pytest.raises(CheckpointError, match=r"use AblatedMolAE\.from_pretrained"):
        MolAE.from_pretrained(folder)
    assert AblatedMolAE.from_pretrained(folder).ablation == Ablation(**ablation)


def test_an_ablated_model_is_read_by_its_class(tmp_path):
    small(ablation={"decoder_position": False}).save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"holds weights of AblatedMolAE: use AblatedMolAE\.from_"
    ):
        MolAE.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["no-such-weights", "../weights", "somewhere/else"])
def test_unknown_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # a name may be that of a repository
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


class Scaled(nn.Module):
    """A model of somebody else: a nested config, a buffer, a recipe."""

    recipe = None

    def __init__(self, settings: dict, names: list):
        super().__init__()
        self.config = {"settings": settings, "names": names}
        self.net = nn.Linear(settings["width"], len(names))
        self.register_buffer("mean", torch.zeros(len(names)))


def scaled(seed: int = 0, width: int = 3) -> Scaled:
    torch.manual_seed(seed)
    return Scaled({"width": width}, ["a", "ü"])


def same(one: nn.Module, other: nn.Module) -> bool:
    return one.config == other.config and of_weights(one) == of_weights(other)


@pytest.mark.parametrize("recipe", [None, {"seed": 3, "num_conformers": 11, "add_2d": True}])
def test_recipe_is_kept_beside_the_config(tmp_path, recipe):
    model = scaled()
    model.recipe = recipe
    save(model, tmp_path)
    assert ("recipe" in json.loads((tmp_path / "config.json").read_text())) == (recipe is not None)
    loaded = load(Scaled, tmp_path)
    assert loaded.recipe == recipe
    assert same(loaded, model)


def test_folder_without_checksums_loads_as_before(folder):
    expected = MolAE.from_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    assert saved["sha256"] == sha256_of(folder / "model.safetensors")
    for key in ("sha256", "config_sha256"):
        del saved[key]
    (folder / "config.json").write_text(json.dumps(saved))
    assert same(MolAE.from_pretrained(folder), expected)


class Killed(BaseException):
    """As a signal that ends the process: nothing catches it."""


def operations(monkeypatch, stop_at: int) -> list:
    """Counts what reaches the disk; ``Killed`` comes instead of operation number ``stop_at``."""
    done = []

    def watched(real):
        def call(*args, **kwargs):
            if len(done) == stop_at:
                raise Killed
            done.append(real)
            return real(*args, **kwargs)

        return call

    for name in ("replace", "fsync"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return done


@pytest.mark.parametrize("stop_at", range(7))
@pytest.mark.parametrize("with_checksum", [True, False])
def test_a_kill_while_saving_leaves_the_old_model_or_the_new(tmp_path, stop_at, with_checksum):
    old, new, newest = scaled(1), scaled(2, width=4), scaled(3)
    save(old, tmp_path)
    if not with_checksum:
        saved = json.loads((tmp_path / "config.json").read_text())
        kept = {key: saved[key] for key in ("class", "version", "config")}
        (tmp_path / "config.json").write_text(json.dumps(kept))
    with pytest.MonkeyPatch.context() as patch:
        done = operations(patch, stop_at)
        with pytest.raises(Killed):
            save(new, tmp_path)
        assert len(done) == stop_at
    found = load(Scaled, tmp_path)
    assert same(found, new if stop_at >= 5 else old)
    # Killed once more, at the first operation: what is there is not lost to the pending weights.
    with pytest.MonkeyPatch.context() as patch:
        operations(patch, 0)
        with pytest.raises(Killed):
            save(newest, tmp_path)
    assert same(load(Scaled, tmp_path), found)
    save(newest, tmp_path)
    assert same(load(Scaled, tmp_path), newest)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_again_after_two_kills_keeps_a_model(tmp_path):
    """The second save is killed when its own weights are written and its config is not."""
    save(scaled(1), tmp_path)
    for seed, stop_at in ((2, 6), (3, 4)):
        with pytest.MonkeyPatch.context() as patch:
            operations(patch, stop_at)
            with pytest.raises(Killed):
                save(scaled(seed), tmp_path)
    assert same(load(Scaled, tmp_path), scaled(2))


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(tmp_path):
    model = scaled()
    save(model, tmp_path)
    model.net.weight.data[0, 1] = float("nan")
    model.mean[0] = -float("inf")
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match=r"mean, net\.weight are NaN or infinite"):
        save(model, tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    edit_file(tmp_path, sha256=sha256_of(tmp_path / "model.safetensors"))
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be used: .*net\.weight"):
        load(Scaled, tmp_path)


def edit_file(folder, **changes):
    """As somebody who knows the format would."""
    saved = json.loads((folder / "config.json").read_text()) | changes
    saved = {k: v for k, v in saved.items() if k != "config_sha256" and v is not None}
    (folder / "config.json").write_text(json.dumps(saved))


def test_config_changed_by_hand_names_the_remedy(folder):
    edit_config(folder, dropout=0.3)
    with pytest.raises(CheckpointError, match="remove the line 'config_sha256'"):
        MolAE.from_pretrained(folder)
    edit_file(folder)
    assert MolAE.from_pretrained(folder).config["dropout"] == 0.3


def test_weights_of_another_run_are_noticed(folder, tmp_path):
    other = small()
    other.token_head.out.bias.data += 1
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors was damaged or replaced"):
        MolAE.from_pretrained(folder)


def test_integers_are_not_accepted_as_weights(folder):
    weights = load_file(folder / "model.safetensors")
    weights["token_head.out.bias"] = weights["token_head.out.bias"].long()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"token_head\.out\.bias of another type"):
        MolAE.from_pretrained(folder)
