"""Files that are damaged, hostile or made by hand: a CheckpointError at once, or as saved.

The changes are drawn from seeds, so that each run is the same.
"""

import json
import random
import struct
import time
from pathlib import Path

import goldens
import pytest
import torch
from torch import nn

from molae_pyg import MolAE, MolAEEncoder, MolAEPredictor
from molae_pyg.checkpoint import CheckpointError, load, save
from molae_pyg.fingerprint import digest, of_weights

CASES = Path(__file__).parent / "data" / "cases"
TINY = goldens.FOLDER / "tiny" / "tiny_checkpoint.pt"
NEAR = 20.0  # s that a refusal may take on a busy machine; unchecked, a file takes minutes or hours
VALUES = [
    None, True, -1, 0, 3, 10**9, 10**12, 10**400, 1e9, 0.5, float("nan"), float("inf"), "8", "",
    [], {}, [1, 2], {"a": 1},
]  # fmt: skip


def refused(read, path: Path, match: str = ".") -> None:
    """The error names the file and comes at once."""
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=match) as caught:
        read(path)
    assert time.perf_counter() - start < NEAR
    assert path.name in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert caught.value.__cause__ is None or "weights_only" not in str(caught.value.__cause__)


def read_or_refused(read, path: Path) -> nn.Module | None:
    """The model, or None after an error that names the place."""
    start = time.perf_counter()
    try:
        return read(path)
    except CheckpointError as error:
        text = str(error)
    finally:
        assert time.perf_counter() - start < NEAR
    assert str(path) in text
    return None


def identity(model: nn.Module) -> str:
    return digest(model.config, of_weights(model))


def damaged(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    place = draw.randrange(len(content))
    kind = draw.choice(["bit", "bit", "bit", "cut", "byte", "zeros", "insert"])
    if kind == "bit":
        changed[place] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del changed[place:]
    elif kind == "byte":
        changed[place] = draw.randrange(256)
    elif kind == "zeros":
        changed[place : place + 512] = bytes(len(changed[place : place + 512]))
    else:
        changed[place:place] = bytes([draw.randrange(256)])
    return bytes(changed)


# ------------------------------------------------------------------------ our folders


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[type, tuple[Path, str]]:
    torch.manual_seed(0)
    encoder = MolAEEncoder(8, 8, 2, 1, num_gaussians=4)
    models = [MolAE(8, 8, 2, 1, 1, num_gaussians=4), MolAEPredictor(encoder, 2)]
    found = {}
    for model in models:
        folder = tmp_path_factory.mktemp(type(model).__name__)
        model.save_pretrained(folder)
        found[type(model)] = folder, identity(model)
    return found


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("cls", [MolAE, MolAEPredictor])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damage_to_a_folder_is_noticed(saved, tmp_path, cls, name):
    source, expected = saved[cls]
    folder = copied(source, tmp_path / "model")
    content, draw, noticed = (source / name).read_bytes(), random.Random(0), 0
    for _ in range(80):
        (folder / name).write_bytes(damaged(content, draw))
        model = read_or_refused(cls.from_pretrained, folder)
        assert model is None or identity(model) == expected
        noticed += model is None
    assert noticed > 40


def edited(saved: dict, draw: random.Random) -> dict:
    """One value of a config.json set, removed or added, the checksums with or without it."""
    saved = json.loads(json.dumps(saved))
    place, keys = saved, []
    while not keys or (
        isinstance(place[keys[-1]], dict) and place[keys[-1]] and draw.random() < 0.8
    ):
        place = place[keys[-1]] if keys else place
        keys.append(draw.choice(sorted(place)))
    change = draw.choice(["set", "set", "remove", "add"])
    if change == "set":
        place[keys[-1]] = draw.choice(VALUES)
    elif change == "remove":
        del place[keys[-1]]
    else:
        place[draw.choice(["new", "heads"])] = draw.choice(VALUES)
    for key in ("config_sha256", "sha256"):
        if draw.random() < 0.6:
            saved.pop(key, None)
    return saved


@pytest.mark.parametrize("cls", [MolAE, MolAEPredictor])
def test_any_value_in_a_config_is_accepted_or_refused(saved, tmp_path, cls):
    source, _ = saved[cls]
    folder = copied(source, tmp_path / "model")
    content, draw, noticed = json.loads((source / "config.json").read_text()), random.Random(1), 0
    for _ in range(120):
        (folder / "config.json").write_text(json.dumps(edited(content, draw)))
        model = read_or_refused(cls.from_pretrained, folder)
        assert model is None or all(v.isfinite().all() for v in model.state_dict().values())
        noticed += model is None
    assert noticed > 60


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("config-layers1e9", "larger model than the"),
        ("config-heads0", "heads must be an integer of at least 1, got 0"),
    ],
)
def test_recorded_configs(config, message):
    refused(MolAE.from_pretrained, CASES / config, message)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_layers": 1e9}, {"num_layers": 10**9}, {"hidden_channels": 10**12},
        {"ffn_channels": 10**15}, {"num_gaussians": 10**10}, {"num_decoder_layers": 10**9},
        {"heads": 0}, {"heads": -2}, {"heads": 2.0}, {"heads": "2"}, {"heads": True},
        {"heads": None}, {"dropout": 1.0}, {"dropout": -0.1}, {"dropout": "0.1"},
        {"attn_dropout": None}, {"gaussian_init": 3}, {"gaussian_init": []},
        {"ablation": 3}, {"ablation": "none"}, {"ablation": {"decoder_position": "none"}},
        {"ablation": {"drop": 1}}, {"ablation": {"decoder_pair": []}},
        {"ablation": {"surplus": True}}, {"decoder_ffn_channels": 10**12}, {"surplus": 1},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_no_model_has(saved, tmp_path, changes):
    folder = copied(saved[MolAE][0], tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    content = {"class": "MolAE", "config": content["config"] | changes}
    (folder / "config.json").write_text(json.dumps(content))
    refused(MolAE.from_pretrained, folder, r"config\.json does not fit MolAE: ")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000, '{"a":' * 5000, "[]", "3", "null", '"text"', '{"class": "MolAE"}',
        '{"class": 1, "config": {}}', '{"class": "MolAE", "config": []}',
        '{"class": "MolAE", "config": {"dropout": NaN}}',
        '{"class": "MolAE", "config": {"dropout": -Infinity}}',
        '{"class": "MolAE", "config": {}, "surplus": 1}',
        '{"class": "MolAE", "config": {}, "recipe": []}',
        '{"class": "MolAE", "config": {"heads": ' + "9" * 5000 + "}}",
        "\ufeff{}", "", "\x00",
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_json_that_is_not_a_config(saved, tmp_path, text):
    folder = copied(saved[MolAE][0], tmp_path / "model")
    (folder / "config.json").write_text(text, encoding="utf-8")
    refused(MolAE.from_pretrained, folder, r"config\.json cannot be read: ")


def test_a_config_of_many_megabytes_is_not_parsed(saved, tmp_path):
    folder = copied(saved[MolAE][0], tmp_path / "model")
    (folder / "config.json").write_text(" " * (2**24 + 1))
    refused(MolAE.from_pretrained, folder, "it has more than")


@pytest.mark.parametrize("length", [0, 2**20, 2**40, 2**63, 2**64 - 1])
def test_header_of_another_length(saved, tmp_path, length):
    folder = copied(saved[MolAE][0], tmp_path / "model")
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:])
    refused(MolAE.from_pretrained, folder, r"model\.safetensors cannot be read")


class Stack(nn.Module):
    """A model of somebody else, whose config is not checked."""

    def __init__(self, width: int, depth: int = 1):
        super().__init__()
        self.config = {"width": width, "depth": depth}
        self.layers = nn.ModuleList()
        for _ in range(depth):
            self.layers.append(nn.Linear(width, width))


@pytest.mark.parametrize("config", [{"width": 10**6}, {"width": 4, "depth": 10**9}])
def test_nothing_is_built_that_is_larger_than_the_file(tmp_path, config):
    save(Stack(4), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"class": "Stack", "config": config}))
    refused(lambda path: load(Stack, path), tmp_path, "does not fit Stack")


def test_models_are_built_as_before_beside_a_load(tmp_path):
    """The watch over parameters ends with the load, however it ends."""
    save(Stack(4), tmp_path)
    load(Stack, tmp_path)
    (tmp_path / "config.json").write_text('{"class": "Stack", "config": {"width": "x"}}')
    with pytest.raises(CheckpointError):
        load(Stack, tmp_path)
    assert len(list(Stack(4, 400).parameters())) == 800


# ------------------------------------------------------------------------ official files


@pytest.mark.parametrize("name", ["layers1e9", "fc1-scalar", "embedding-1d", "dropout-text"])
def test_recorded_official_files(name):
    for cls in (MolAE, MolAEEncoder):
        refused(cls.from_official, CASES / f"{name}.pt")


def test_damage_to_an_official_file_is_noticed(tmp_path):
    expected, content = identity(MolAE.from_official(TINY)), TINY.read_bytes()
    draw, noticed = random.Random(2), 0
    for _ in range(60):
        (tmp_path / "file.pt").write_bytes(damaged(content, draw))
        model = read_or_refused(MolAE.from_official, tmp_path / "file.pt")
        assert model is None or identity(model) == expected
        noticed += model is None
    assert noticed > 30


def test_one_bit_of_a_weight(tmp_path):
    content = bytearray(TINY.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "file.pt").write_bytes(content)
    refused(MolAE.from_official, tmp_path / "file.pt", "checksum of its part .*/data/")


def overlapping(weights: dict) -> None:
    weights["lm_head.bias"] = torch.zeros(1).expand(10**13)


CHANGES = {
    "a number as a key": lambda w: w.update({5: torch.ones(2)}),
    "a tuple as a key": lambda w: w.update({("a",): torch.ones(2)}),
    "no tensor": lambda w: w.update({"lm_head.bias": 3}),
    "integers": lambda w: w.update({"lm_head.bias": torch.ones(31, dtype=torch.long)}),
    "complex numbers": lambda w: w.update({"lm_head.bias": torch.ones(31) * 1j}),
    "sparse": lambda w: w.update({"lm_head.bias": torch.ones(31).to_sparse()}),
    "NaN": lambda w: w.update({"lm_head.bias": torch.full((31,), float("nan"))}),
    "infinite": lambda w: w.update({"gbf.mul.weight": torch.full((961, 1), float("inf"))}),
    "of no dimension": lambda w: w.update({"gbf_proj.linear2.weight": torch.tensor(1.0)}),
    "larger than the file": overlapping,
    "a gap": lambda w: w.update({"decoder.layers.7.fc1.weight": torch.ones(2, 2)}),
    "digits": lambda w: w.update({f"encoder.layers.{'9' * 5000}.fc1.weight": torch.ones(2)}),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_that_no_model_has(tmp_path, name, zipped):
    content = torch.load(TINY, weights_only=False)
    CHANGES[name](content["model"])
    path = tmp_path / "file.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(MolAE.from_official, path)


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": "0.1"}, {"dropout": 1.5}, {"dropout": [0.1]}, {"attention_dropout": 10**400},
        {"dropout": torch.ones(2)}, {"decoder_no_pe": "False"}, {"decoder_no_pe": 2},
        {"activation_fn": "relu"}, {"activation_fn": 3}, {"decoder_attention_heads": 4},
        {"decoder_attention_heads": "8"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_followed(tmp_path, settings):
    content = torch.load(TINY, weights_only=False)
    vars(content["args"]).update(settings)
    torch.save(content, tmp_path / "file.pt")
    refused(MolAE.from_official, tmp_path / "file.pt")
