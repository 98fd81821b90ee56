"""Uni-Mol's pre-training against recordings of its official code, and what it must not see."""

import argparse
import json
from functools import cache

import chains
import goldens
import pytest
import torch
from learning import course
from symmetry import motions
from torch_geometric.data import Batch

from molae_pyg import CoordinateNoise, MolAE, MolAEEncoder, MolAEPredictor, cloze_loss
from molae_pyg.baselines.job import load_encoder
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.models import PositionedEncoder, UniMol
from molae_pyg.official_checkpoint import OfficialFile, load_official_uni_mol, official_name
from molae_pyg.training import uni_mol_objective

ATOL = {"tiny": 1e-5, "base": 1e-4}
FILES = {"2022": "legacy", "2024": "current"}
LOSS_NAMES = {
    "token": "masked_token_loss",
    "coordinate": "masked_coord_loss",
    "distance": "masked_dist_loss",
    "encoder_x_norm": "x_norm_loss",
    "encoder_pair_norm": "delta_pair_repr_norm_loss",
    "loss": "loss",
}


@cache
def official_file(size: str) -> OfficialFile:
    return OfficialFile(size, goldens.uni_mol_weights(size), {})


def load(size: str, rule: str = "corrected") -> UniMol:
    return load_official_uni_mol(UniMol, official_file(size), rule).eval()


def inputs_of(molecule: int | None = None) -> dict:
    inputs = goldens.arrays("tiny/inputs")
    return (
        inputs if molecule is None else {k: v[molecule : molecule + 1] for k, v in inputs.items()}
    )


def run(model: UniMol, inputs: dict) -> tuple[dict, dict]:
    """Terms of the loss, and outputs in the names of the recordings and our order of tokens."""
    data, seen = goldens.batch(inputs), {}
    handle = model.encoder.register_forward_hook(lambda _, args, out: seen.update(state=out.state))
    terms = uni_mol_objective(model, data)
    handle.remove()
    state = seen["state"]
    out = model(data.z, data.pos, data.batch, data.drop_mask, data.pos_noisy, data.z_noisy)
    head = model.distance_head
    start = torch.zeros(*state.mask.shape, 3)
    start[:, 2:][state.mask[:, 2:]] = data.pos_noisy
    slots = type("Slots", (), {"mask": state.mask})
    delta = model.encoder.pair_norm(state.delta().permute(0, 2, 3, 1))
    pair = (state.pair * state.mask[:, None, None, :]).permute(0, 2, 3, 1)
    return terms, {
        "encoder_rep": state.x,
        "encoder_pair_rep": pair,
        "encoder_delta_pair_rep": delta,
        "logits": out.token_logits,
        "encoder_distance": (head(state.pair) - head.MEAN) / head.STD,
        "encoder_coord": model.move(state, start, slots),
        "x_norm": out.encoder_x_norm,
        "delta_norm": out.encoder_pair_norm,
    }


def assert_recorded(mine: dict, name: str, inputs: dict, atol: float) -> None:
    valid = goldens.slots(inputs)[1]  # [B, L]
    pairs = valid[:, :, None] & valid[:, None, :]
    for key, theirs in goldens.arrays(f"objectives/unimol/{name}").items():
        ours = mine[key]
        if key.endswith("pair_rep") or key == "encoder_distance":
            ours, theirs = ours[pairs], goldens.pairs_in_our_order(theirs, inputs)[pairs]
        elif theirs.dim() == 3:
            ours, theirs = ours[valid], goldens.tokens_in_our_order(theirs, inputs)[valid]
        difference = (ours - theirs).abs().max().item()
        print(f"{name} {key} max difference {difference:.1e}")
        assert difference <= atol * max(1.0, theirs.abs().max().item() * (theirs.dim() == 0)), key


def variants() -> list[tuple]:
    found = [("tiny", rule, f"pad{n}", None, n) for rule in FILES for n in (24, 18, 17)]
    found += [
        ("tiny", rule, f"single{i}_pad{16 + i}", i, 16 + i) for rule in FILES for i in range(3)
    ]
    found += [("tiny", "2022", f"single{i}_nopad", i, 15 + i) for i in range(3)]
    return found + [("base", rule, "base_pad24", None, 24) for rule in FILES]


@pytest.mark.parametrize(("size", "rule", "variant", "molecule", "length"), variants())
def test_recorded_outputs_losses_and_gradients(size, rule, variant, molecule, length):
    model, inputs = load(size, rule), inputs_of(molecule)
    model.pad_to_multiple = length
    terms, mine = run(model, inputs)
    assert_recorded(mine, f"{FILES[rule]}_{variant}", inputs, ATOL[size])
    meta = f"{FILES[rule]}_base_meta" if size == "base" else f"{FILES[rule]}_meta"
    recorded = json.loads((goldens.FOLDER / f"objectives/unimol/{meta}.json").read_text())
    goldens.assert_losses_and_grads(model, terms, recorded["variants"][variant], LOSS_NAMES)


@pytest.mark.parametrize("rule", FILES)
def test_recorded_gradients_entry_by_entry(rule):
    model = load("tiny", rule)
    uni_mol_objective(model, goldens.batch(inputs_of()))["loss"].backward()
    grads = {official_name(k): p.grad for k, p in model.named_parameters()}
    for name, grad in goldens.arrays(f"objectives/unimol/{FILES[rule]}_pad24_grads").items():
        assert torch.allclose(grads[name], grad, atol=1e-5, rtol=1e-3), name


def test_the_default_is_the_rule_of_2022_without_padding():
    model = load("tiny")
    file = goldens.FOLDER / "objectives/unimol/corrected_2022_batch.json"
    recorded = json.loads(file.read_text())
    terms, mine = run(model, inputs_of())
    goldens.assert_losses_and_grads(model, terms, recorded, LOSS_NAMES)
    for molecule in range(3):
        alone = {k: v[molecule : molecule + 1] for k, v in mine.items() if v.dim() > 2}
        alone = {k: alone[k][:, : 15 + molecule] for k in ("encoder_coord",)}
        theirs = goldens.arrays(f"objectives/unimol/legacy_single{molecule}_nopad")
        theirs = goldens.tokens_in_our_order(theirs["encoder_coord"], inputs_of(molecule))
        torch.testing.assert_close(alone["encoder_coord"], theirs, atol=1e-5, rtol=0)


def test_uni_mol_pe_is_recorded():
    """Positions in the encoder, with the heads of the rule of 2024."""
    positioned = UniMol(64, 128, 8, 3, 128, position=True, rule="2024").eval()
    positioned.load_state_dict(load("tiny").state_dict())
    terms, mine = run(positioned, inputs_of())
    meta = json.loads((goldens.FOLDER / "objectives/ablations/meta.json").read_text())
    goldens.assert_losses_and_grads(positioned, terms, meta["unimol_pe"], LOSS_NAMES)
    valid = goldens.slots(inputs_of())[1]
    theirs = goldens.arrays("objectives/ablations/unimol_pe")
    assert (mine["logits"] - theirs["logits"]).abs().max() < 2e-5
    for key in ("encoder_rep", "encoder_coord"):
        expected = goldens.tokens_in_our_order(theirs[key], inputs_of())[valid]
        assert (mine[key][valid] - expected).abs().max() < 2e-5, key


def test_published_size():
    model = UniMol()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 47_618_915
    assert len(model.to_official()) == 211


def test_every_parameter_is_trained():
    model = UniMol.tiny(gaussian_init="intended")
    uni_mol_objective(model, goldens.batch(inputs_of()))["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("position", [False, True])
def test_a_chosen_atom_leaks_neither_its_element_nor_its_place(position):
    """Only the centroid depends on the true places, as in the reference: it is kept fixed."""
    torch.manual_seed(0)
    model, data = UniMol.tiny("intended", position).eval().double(), goldens.batch(inputs_of())
    data.pos, data.pos_noisy = data.pos.double(), data.pos_noisy.double()
    data.z_noisy[data.drop_mask] = 0  # neither kept nor random: masked

    def outputs(z, pos):
        with torch.no_grad():
            return model(z, pos, data.batch, data.drop_mask, data.pos_noisy, data.z_noisy)

    first, second = data.drop_mask.nonzero().flatten()[:2]
    assert data.batch[first] == data.batch[second]
    z, pos = data.z.clone(), data.pos.clone()
    z[data.drop_mask] = 9
    pos[first] += 5
    pos[second] -= 5  # the centroid stays
    for a, b in zip(outputs(data.z, data.pos), outputs(z, pos), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    changed = data.pos_noisy.clone()
    changed[first] += 1
    data.pos_noisy = changed
    assert (outputs(z, pos).token_logits - outputs(data.z, data.pos).token_logits).abs().max() == 0


@pytest.mark.parametrize("rule", ["corrected", "2024"])
def test_batched_is_alone(rule):
    model, inputs = load("tiny", rule), inputs_of()
    with torch.no_grad():
        mine = run(model, inputs)[1]["encoder_coord"]
        for i in range(3):
            alone = run(model, inputs_of(i))[1]["encoder_coord"]
            torch.testing.assert_close(mine[i : i + 1, : 15 + i], alone, atol=1e-5, rtol=0)


def test_equivariant_and_permuted():
    torch.manual_seed(0)
    model, data = UniMol.tiny("intended").eval().double(), goldens.batch(inputs_of(0))
    data.pos, data.pos_noisy = data.pos.double(), data.pos_noisy.double()
    none = torch.zeros_like(data.batch)
    with torch.no_grad():
        out = model(data.z, data.pos, none, data.drop_mask, data.pos_noisy, data.z_noisy)
        for name, move in motions():
            moved = model(
                data.z, move(data.pos), none, data.drop_mask, move(data.pos_noisy), data.z_noisy
            )
            torch.testing.assert_close(moved.pos, move(out.pos), atol=1e-9, rtol=0, msg=name)
            torch.testing.assert_close(moved.token_logits, out.token_logits, atol=1e-9, rtol=0)
        order = torch.randperm(len(none))
        z, pos, drop, pos_noisy, z_noisy = (
            x[order] for x in (data.z, data.pos, data.drop_mask, data.pos_noisy, data.z_noisy)
        )
        permuted = model(z, pos, none, drop, pos_noisy, z_noisy)
        torch.testing.assert_close(permuted.pos, out.pos[order], atol=1e-9, rtol=0)
        positioned = UniMol.tiny("intended", position=True).eval().double()
        a = positioned(data.z, data.pos, none, data.drop_mask, data.pos_noisy, data.z_noisy)
        b = positioned(z, pos, none, drop, pos_noisy, z_noisy)
        assert (b.pos - a.pos[order]).abs().max() > 1e-4  # it sees the order


@pytest.mark.parametrize(("rule", "position"), [("corrected", False), ("2024", True)])
def test_the_loss_falls_on_eight_molecules(rule, position):
    torch.manual_seed(0)
    molecules = chains.molecules(8)
    for molecule in molecules:
        molecule.pos = molecule.conformers[:, 0]
    batch = CoordinateNoise(ratio=0.3)(Batch.from_data_list(molecules))
    model = UniMol(32, 64, 4, 2, 16, 0.0, 0.0, "intended", position, rule)
    losses = course(model, uni_mol_objective, batch, 100, lr=1e-2)
    for name in ("loss", "token", "coordinate", "distance"):
        assert losses[-1][name] < 0.7 * losses[0][name], (name, losses[0], losses[-1])


def test_self_distances_count_by_the_rule_of_2024():
    data = goldens.batch(inputs_of())
    model = load("tiny")
    with torch.no_grad():
        out = model(data.z, data.pos, data.batch, data.drop_mask, data.pos_noisy, data.z_noisy)
        with_self = cloze_loss(out, data, self_distances=True)["distance"]
    assert with_self.item() == pytest.approx(0.50683, abs=1e-5)
    assert cloze_loss(out, data)["distance"].item() == pytest.approx(0.45886, abs=1e-5)


def test_official_file_round_trip(tmp_path):
    weights = goldens.uni_mol_weights("tiny")
    args = argparse.Namespace(dropout=0.2, activation_fn="gelu")
    torch.save({"args": args, "model": weights}, tmp_path / "uni_mol.pt")
    model = UniMol.from_official(tmp_path / "uni_mol.pt")
    assert model.config["dropout"] == 0.2
    assert not model.training
    back = model.to_official()
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[k], weights[k]) for k in weights)
    encoder, report = MolAEEncoder.from_official(tmp_path / "uni_mol.pt")
    assert not report.missing
    assert all(
        torch.equal(p, model.encoder.state_dict()[k]) for k, p in encoder.state_dict().items()
    )


def test_other_official_files_are_refused(tmp_path):
    weights = goldens.uni_mol_weights("tiny")
    lacking = {k: v for k, v in weights.items() if "final_head_layer_norm" not in k}
    more = weights | {"classification_heads.a.dense.weight": torch.zeros(2, 2)}
    for content, message in (
        (lacking, "lacks encoder.final_head_layer_norm.bias"),
        (more, "unknown keys: classification_heads.a.dense.weight"),
        (goldens.weights("tiny"), "unknown keys: decoder"),
    ):
        torch.save({"model": content}, tmp_path / "file.pt")
        with pytest.raises(CheckpointError, match=message):
            UniMol.from_official(tmp_path / "file.pt")


@pytest.mark.parametrize("position", [False, True])
def test_saved_read_and_fine_tuned(tmp_path, position):
    model = UniMol.tiny("intended", position)
    model.save_pretrained(tmp_path / "uni_mol")
    again = UniMol.from_pretrained(tmp_path / "uni_mol")
    goldens.assert_same_weights(model, again)
    assert again.config == model.config
    encoder = MolAEEncoder.from_pretrained(tmp_path / "uni_mol")
    assert type(encoder) is (PositionedEncoder if position else MolAEEncoder)
    compared = load_encoder(str(tmp_path / "uni_mol"), {"dropout": 0.3})  # as in a comparison
    assert type(compared) is type(encoder)
    assert compared.config == encoder.config | {"dropout": 0.3}
    encoder.save_pretrained(tmp_path / "encoder")
    assert type(MolAEEncoder.from_pretrained(tmp_path / "encoder")) is type(encoder)
    predictor = MolAEPredictor(encoder).eval()
    predictor.save_pretrained(tmp_path / "predictor")
    data = goldens.batch(inputs_of())
    read = MolAEPredictor.from_pretrained(tmp_path / "predictor")
    assert type(read.encoder) is type(encoder)
    expected = predictor(data.z, data.pos, data.batch)
    assert torch.equal(read(data.z, data.pos, data.batch), expected)


def test_an_unknown_rule_is_an_error():
    with pytest.raises(ValueError, match="rule must be one of corrected, 2022, 2024, not '2023'"):
        UniMol(16, 16, 4, 1, rule="2023")


def test_mol_ae_and_uni_mol_have_the_same_encoder():
    mol_ae, uni_mol = MolAE.tiny(), UniMol.tiny()
    assert mol_ae.encoder.config == uni_mol.encoder.config


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("rule", ["corrected", "2022", "2024"])
def test_inputs_are_not_changed(rule, gradients):
    model, data = load("tiny", rule), goldens.batch(inputs_of())
    fields = ("z", "pos", "batch", "drop_mask", "pos_noisy", "z_noisy")
    before = {key: data[key].clone() for key in fields}
    with torch.set_grad_enabled(gradients):
        first, second = (model(*(data[key] for key in fields)) for _ in range(2))
    assert all(torch.equal(data[key], before[key]) for key in fields)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
