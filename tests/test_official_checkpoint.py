"""Official checkpoint files: read without running code, named, sized, and written again."""

import argparse
import os
import pickle
import traceback

import goldens
import pytest
import torch

from molae_pyg import AblatedMolAE, MolAE, MolAEEncoder
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.models import Ablation
from molae_pyg.official_checkpoint import official_name, read_official

TINY = goldens.FOLDER / "tiny" / "tiny_checkpoint.pt"
FAIRSEQ = goldens.FOLDER / "tiny" / "tiny_checkpoint_fairseq012.pt"


def write(path, weights, **args):
    torch.save({"args": argparse.Namespace(**args), "model": weights}, path)
    return path


@pytest.fixture
def weights():
    """Official tensors, free to be changed."""
    return dict(read_official(TINY).weights)


def test_old_and_new_official_files():
    new, old = MolAE.from_official(TINY), MolAE.from_official(FAIRSEQ)
    goldens.assert_same_weights(new, old)
    content = torch.load(FAIRSEQ, weights_only=False)["model"]
    assert "embed_positions._float_tensor" in content  # else this file tests nothing
    assert not new.training


def test_official_round_trip_is_exact():
    model, official = MolAE.from_official(TINY), read_official(TINY).weights
    back = model.to_official()
    assert back.keys() == official.keys()
    for key, weight in official.items():
        assert torch.equal(back[key], weight), key
        assert back[key].dtype == weight.dtype


def test_sizes_come_from_the_file():
    config = MolAE.from_official(TINY).config
    expected = goldens.meta("tiny")["config"]
    assert config["hidden_channels"] == expected["encoder_embed_dim"]
    assert config["ffn_channels"] == expected["encoder_ffn_embed_dim"]
    assert config["heads"] == expected["encoder_attention_heads"]
    assert config["num_layers"] == expected["encoder_layers"]
    assert config["num_decoder_layers"] == expected["decoder_layers"]
    assert config["num_gaussians"] == goldens.meta("tiny")["K"]


def test_encoder_alone_of_a_full_size_file(tmp_path):
    """15 + 5 layers, though narrow: the published number of keys."""
    model = MolAE(16, 16, 4, num_gaussians=8)
    path = write(tmp_path / "full.pt", model.to_official())
    encoder, report = MolAEEncoder.from_official(path)
    assert report.missing == []
    assert len(report.unexpected) == 82
    prefixes = {key.split(".")[0] for key in report.unexpected}
    assert prefixes == {"decoder", "lm_head", "pair2coord_proj", "dist_head"}
    goldens.assert_same_weights(encoder, model.encoder)


def test_uni_mol_file(tmp_path, weights):
    """Its heads, no decoder, no pair norm."""
    unimol = {k: v for k, v in weights.items() if not k.startswith("decoder.")}
    del unimol["encoder.final_head_layer_norm.weight"]
    del unimol["encoder.final_head_layer_norm.bias"]
    path = write(tmp_path / "unimol.pt", unimol)
    encoder, report = MolAEEncoder.from_official(path)
    assert len(report.missing) == 2
    assert {key.split(".")[0] for key in report.unexpected} == {
        "lm_head", "pair2coord_proj", "dist_head",
    }  # fmt: skip
    full = MolAE.from_official(TINY).encoder
    data = goldens.batch(goldens.arrays("tiny/inputs"))
    with torch.no_grad():
        mine, theirs = (e.eval()(data.z, data.pos, data.batch).x for e in (encoder, full))
    assert torch.equal(mine, theirs)
    message = r"unimol\.pt has no decoder.*MolAEEncoder\.from_official reads its encoder"
    with pytest.raises(CheckpointError, match=message):
        MolAE.from_official(path)


def test_missing_key(tmp_path, weights):
    del weights["encoder.layers.1.fc2.bias"], weights["dist_head.dense.weight"]
    path = write(tmp_path / "file.pt", weights)
    message = r"lacks 2 keys of MolAE: dist_head\.dense\.weight, encoder\.layers\.1\.fc2\.bias"
    with pytest.raises(CheckpointError, match=message):
        MolAE.from_official(path)
    message = r"lacks 1 keys of MolAEEncoder: encoder\.layers\.1\.fc2\.bias"
    with pytest.raises(CheckpointError, match=message):
        MolAEEncoder.from_official(path)


def test_unknown_key(tmp_path, weights):
    weights["encoder.relative_bias"] = torch.zeros(2)
    path = write(tmp_path / "file.pt", weights)
    with pytest.raises(CheckpointError, match=r"1 unknown keys: encoder\.relative_bias"):
        MolAE.from_official(path)
    assert "encoder.relative_bias" in MolAEEncoder.from_official(path)[1].unexpected


def test_wrong_shape(tmp_path, weights):
    weights["gbf.mul.weight"] = torch.zeros(900, 1)
    with pytest.raises(CheckpointError, match=r"(?s)does not fit: .*scale\.weight.*900"):
        MolAE.from_official(write(tmp_path / "file.pt", weights))


def test_other_vocabulary(tmp_path, weights):
    weights["embed_tokens.weight"] = torch.zeros(120, 64)
    path = write(tmp_path / "file.pt", weights)
    for cls in (MolAE, MolAEEncoder):
        with pytest.raises(CheckpointError, match="has 120 tokens, Mol-AE has 31"):
            cls.from_official(path)


def test_some_other_model(tmp_path):
    path = write(tmp_path / "file.pt", torch.nn.Linear(2, 2).state_dict())
    with pytest.raises(CheckpointError, match="no Mol-AE or Uni-Mol model: no 'embed_tokens"):
        MolAEEncoder.from_official(path)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"encoder_unmasked_tokens_only": True}, {}),
        ({}, {}),
        ({"encoder_unmasked_tokens_only": False}, {"drop": False}),
        ({"decoder_no_pe": True}, {"decoder_position": False}),
        ({"decoder_noise": True}, {"decoder_pair": "noisy"}),
        ({"feed_pair_rep_to_decoder": True}, {"decoder_pair": "encoder"}),
        (
            {"feed_token_rep_to_decoder": True, "encoder_unmasked_tokens_only": False},
            {"decoder_token": "encoder", "drop": False},
        ),
    ],
)
def test_flags_of_the_official_run(tmp_path, weights, args, expected):
    path = write(tmp_path / "file.pt", weights, **args)
    assert AblatedMolAE.from_official(path).ablation == Ablation(**expected)
    if expected:
        with pytest.raises(CheckpointError, match=r"AblatedMolAE\.from_official reads the file"):
            MolAE.from_official(path)
    else:
        assert type(MolAE.from_official(path)) is MolAE


def test_dropout_of_the_official_run(tmp_path, weights):
    path = write(tmp_path / "file.pt", weights, dropout=0.2, attention_dropout=0.3)
    config = MolAE.from_official(path).config
    assert (config["dropout"], config["attn_dropout"]) == (0.2, 0.3)


@pytest.mark.parametrize("args", [None, {"dropout": 0.2}, "absent"])
def test_settings_in_other_forms(tmp_path, weights, args):
    """A mapping, nothing, or a bare state dict: the weights are read all the same."""
    content = weights if args == "absent" else {"args": args, "model": weights}
    torch.save(content, tmp_path / "file.pt")
    model = MolAE.from_official(tmp_path / "file.pt")
    goldens.assert_same_weights(model, MolAE.from_official(TINY))
    assert model.config["dropout"] == (0.2 if isinstance(args, dict) else 0.1)


@pytest.mark.parametrize("content", [[1, 2], {"model": None}, {"model": {"x": 3}}, torch.ones(2)])
def test_file_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=r"file\.pt holds no 'model' with named tensors"):
        read_official(tmp_path / "file.pt")


@pytest.mark.parametrize(
    "content", [b"", b"hello world\n" * 20, b"PK\x03\x04", b"\x80\x02.", TINY.read_bytes()[:90_000]]
)
def test_file_that_is_not_a_checkpoint(tmp_path, content):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file\.pt"):
        MolAE.from_official(tmp_path / "file.pt")


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pt cannot be read"):
        MolAE.from_official(tmp_path / "none.pt")


class Hostile:
    """Unpickling one makes a folder."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_file_is_refused_and_does_not_run(tmp_path, weights, zipped):
    target, path = tmp_path / "harm", tmp_path / "file.pt"
    content = {"args": Hostile(target), "model": weights}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    for cls in (MolAE, MolAEEncoder):
        with pytest.raises(CheckpointError, match="was not loaded"):
            cls.from_official(path)
    assert not target.exists()
    pickle.loads(pickle.dumps(Hostile(target)))
    assert target.exists()  # it would have


def test_every_key_has_an_official_name():
    names = [official_name(key) for key in MolAE(16, 24, 4, 2, 1, num_gaussians=8).state_dict()]
    assert len(set(names)) == len(names)
    assert (
        official_name("decoder.transformer.layers.11.linear2.bias") == "decoder.layers.11.fc2.bias"
    )
    assert official_name("encoder.pair_bias.gaussian.mean") == "gbf.means.weight"
    with pytest.raises(KeyError):
        official_name("encoder.novelty.weight")


def test_settings_of_the_reference_only_name_the_remedy():
    flags = ["encoder_unmasked_tokens_only", "feed_token_rep_to_decoder"]
    with pytest.raises(CheckpointError, match=r"ReferenceMolAE.from_official"):
        goldens.model("tiny", flags)


@pytest.mark.parametrize("ffn_channels", [8, 40])
def test_decoder_with_a_width_of_its_own(tmp_path, ffn_channels):
    """The official code has encoder_ffn_embed_dim and decoder_ffn_embed_dim."""
    torch.manual_seed(0)
    model = MolAE(16, 24, 4, 2, 2, num_gaussians=8, decoder_ffn_channels=ffn_channels)
    official = model.to_official()
    assert official["encoder.layers.1.fc1.weight"].shape == (24, 16)
    assert official["decoder.layers.1.fc1.weight"].shape == (ffn_channels, 16)
    loaded = MolAE.from_official(write(tmp_path / "file.pt", official))
    assert loaded.config == model.config
    back = loaded.to_official()
    assert back.keys() == official.keys()
    assert all(torch.equal(back[key], weight) for key, weight in official.items())
    loaded.save_pretrained(tmp_path / "ours")
    goldens.assert_same_weights(MolAE.from_pretrained(tmp_path / "ours"), model)


def test_a_model_with_a_graph_channel_cannot_be_written():
    with pytest.raises(ValueError, match="the official code has no graph channel: only models"):
        MolAE(16, 24, 4, 1, 1, num_gaussians=8, graph=True).to_official()


@pytest.mark.parametrize("given", [None, 24])
def test_decoder_as_wide_as_the_encoder_leaves_the_config_as_it_was(given):
    model = MolAE(16, 24, 4, 1, 1, num_gaussians=8, decoder_ffn_channels=given)
    assert "decoder_ffn_channels" not in model.config
    assert model.decoder.transformer.layers[0].linear1.out_features == 24


def test_the_advice_of_torch_is_not_passed_on(tmp_path, weights):
    torch.save({"args": Hostile(tmp_path / "harm"), "model": weights}, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=r"posix\.mkdir|nt\.mkdir") as caught:
        MolAE.from_official(tmp_path / "file.pt")
    text = "".join(traceback.format_exception(caught.value))
    assert "weights_only" not in text.replace("weights_only=True", "")
