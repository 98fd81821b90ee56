"""Where, and in which order, positions enter; decoder depth; both stacks as one encoder."""

import json
from collections.abc import Callable
from dataclasses import asdict

import chains
import goldens
import pytest
import torch
from learning import course
from torch_geometric.data import Batch

from molae_pyg import (
    AblatedMolAE,
    ClozeDrop,
    CoordinateNoise,
    MolAE,
    MolAEEncoder,
    MolAEPredictor,
    ReferenceMolAE,
)
from molae_pyg.fingerprint import of_weights
from molae_pyg.models import Ablation, FullMolAE, PositionedEncoder, ablations
from molae_pyg.nn.dense import atom_slots
from molae_pyg.nn.positions import Positions, number_tokens
from molae_pyg.official_checkpoint import OfficialFile, load_official
from molae_pyg.training import cloze_objective

ATOL = 2e-5
LAYERS, DECODER_LAYERS = 3, 2  # of the recorded model
LOSS_NAMES = {
    "token": "masked_token_loss",
    "coordinate": "masked_coord_loss",
    "distance": "masked_dist_loss",
    "encoder_x_norm": "encoder_x_norm_loss",
    "encoder_pair_norm": "encoder_delta_pair_repr_norm_loss",
    "decoder_x_norm": "decoder_x_norm_loss",
    "decoder_pair_norm": "decoder_delta_pair_repr_norm_loss",
    "loss": "loss",
}
META = json.loads((goldens.FOLDER / "objectives/ablations/meta.json").read_text())


def load(ablation: Ablation | None = None, depth: int = DECODER_LAYERS, cls=ReferenceMolAE):
    """The recorded weights, without the decoder layers from ``depth`` on."""
    gone = tuple(f"decoder.layers.{i}." for i in range(depth, DECODER_LAYERS))
    kept = {k: v for k, v in goldens.weights("tiny").items() if not k.startswith(gone)}
    plain = load_official(MolAE, OfficialFile("tiny", kept, {}))
    if cls is MolAE:
        return plain.eval()
    model = cls(**plain.config, ablation=ablation)
    model.load_state_dict(plain.state_dict())
    return model.eval()


def data():
    return goldens.batch(goldens.arrays("tiny/inputs"))


def outputs(model: MolAE, batch) -> dict:
    fields = "z", "pos", "batch", "drop_mask", "pos_noisy", "z_noisy"
    return model(*(batch[name] for name in fields))._asdict()


def assert_recorded(model: MolAE, name: str) -> None:
    """Outputs, every term of the loss and the norm of every gradient."""
    inputs, batch = goldens.arrays("tiny/inputs"), data()
    theirs = goldens.arrays(f"objectives/ablations/{name}")
    with torch.no_grad():
        out = outputs(model, batch)
    difference = {"logits": (out["token_logits"] - theirs["logits"]).abs().max().item()}
    valid = goldens.slots(inputs)[1]  # [B, L]
    origin = torch.stack([batch.pos[batch.batch == i].mean(0) for i in range(3)])
    coord = goldens.tokens_in_our_order(theirs["encoder_coord"], inputs)[:, 2:][valid[:, 2:]]
    difference["coord"] = (out["pos"] - origin[batch.batch] - coord).abs().max().item()
    head = model.distance_head
    distance = goldens.pairs_in_our_order(theirs["encoder_distance"], inputs)[:, 2:][valid[:, 2:]]
    mine = (out["distance"] - head.MEAN) / head.STD
    mine, distance = (x[valid[batch.batch]] for x in (mine, distance))
    difference["distance"] = (mine - distance).abs().max().item()
    print(name, difference)
    assert max(difference.values()) < ATOL, difference
    goldens.assert_losses_and_grads(model, cloze_objective(model, batch), META[name], LOSS_NAMES)


def placements() -> list[tuple[str, Ablation]]:
    once = [(f"pe_layer{k}", Ablation.at_layer(k, LAYERS, once=True)) for k in range(6)]
    both = [(f"pe_layer{k}_and_decoder", Ablation.at_layer(k, LAYERS)) for k in range(3)]
    return once + both


@pytest.mark.parametrize(("name", "ablation"), placements())
def test_positions_at_every_layer_are_as_recorded(name, ablation):
    assert_recorded(load(ablation), name)


@pytest.mark.parametrize("depth", [0, 1])
def test_fewer_decoder_layers_are_as_recorded(depth):
    assert_recorded(load(depth=depth), f"decoder_layers{depth}")


def test_relabelled_positions_are_as_recorded():
    assert_recorded(load(Ablation(order="relabelled")), "random_order_fixed_relabelling")


def test_random_positions_are_as_recorded(monkeypatch):
    official = goldens.arrays("objectives/ablations/positions")["random_per_molecule"]
    inputs = goldens.arrays("tiny/inputs")
    ours = goldens.tokens_in_our_order(official, inputs)  # [B, L]
    given = Positions(ours[:, 2:][goldens.slots(inputs)[1][:, 2:]], ours[:, :2])
    monkeypatch.setattr(ablations, "number_tokens", lambda slots, order: given)
    assert_recorded(load(Ablation(order="random")), "random_order_per_molecule")


def test_both_stacks_as_one_encoder_are_as_recorded():
    inputs, batch, model = goldens.arrays("tiny/inputs"), data(), FullMolAE.of(load(cls=MolAE))
    theirs = goldens.arrays("objectives/ablations/molae_full")["decoder_rep"]
    theirs = goldens.tokens_in_our_order(theirs, inputs)
    with torch.no_grad():
        out = model(batch.z, batch.pos, batch.batch)
    assert (out.molecule - theirs[:, 0]).abs().max() < ATOL
    assert (out.x - theirs[:, 2:][goldens.slots(inputs)[1][:, 2:]]).abs().max() < ATOL


def test_without_decoder_layers_no_gradient_reaches_the_encoder():
    """Only the norm terms do: the official code does not pre-train this encoder."""
    model = load(depth=0, cls=MolAE)
    terms = cloze_objective(model, data())
    (terms["token"] + terms["coordinate"] + terms["distance"]).backward()
    for name, parameter in model.encoder.named_parameters():
        if name != "embedding.weight":  # the row of [MASK]
            assert parameter.grad is None or parameter.grad.abs().max() == 0, name
    rows = model.encoder.embedding.weight.grad.abs().sum(1).nonzero().flatten()
    assert rows.tolist() == [30]


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_positions_once_below_the_decoder_leave_dropped_atoms_alike(layer):
    batch = data()
    for once, alike in ((True, True), (False, False)):
        with torch.no_grad():
            out = outputs(load(Ablation.at_layer(layer, LAYERS, once)), batch)
        first, second = out["token_logits"][:2]  # of one molecule
        assert torch.allclose(first, second, atol=1e-6) == alike


def test_table_10_is_one_constructor():
    assert Ablation.at_layer(2, 15) == Ablation(position_layer=2)
    assert Ablation.at_layer(15, 15) == Ablation(decoder_position=False, position_layer=15)
    assert Ablation.at_layer(20, 15) == Ablation(decoder_position=False, position_layer=20)
    assert Ablation.at_layer(2, 15, once=True).decoder_position is False
    at_border = load(Ablation.at_layer(LAYERS, LAYERS), cls=AblatedMolAE)
    with torch.no_grad():
        for mine, plain in zip(
            outputs(at_border, data()).values(), outputs(load(cls=MolAE), data()).values(),
            strict=True,
        ):  # fmt: skip
            assert torch.equal(mine, plain)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": "smiles"}, "order must be one of record, random, relabelled, not 'smiles'"),
        ({"position_layer": -1}, "position_layer must be an integer of at least 0"),
        ({"position_layer": 4, "decoder_position": False}, r"position_layer must be in 0\.\.\.3"),
        ({"position_layer": 2}, "position_layer=2 is the decoder's input: leave it out"),
    ],
)
def test_a_wrong_place_or_order_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        AblatedMolAE(16, 16, 4, 2, 1, ablation=fields)


@pytest.mark.parametrize("order", ["record", "relabelled"])
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_batching_does_not_matter(order, layer):
    model = load(Ablation(position_layer=layer, decoder_position=layer < 3, order=order))
    model = AblatedMolAE(**model.config).eval()
    batch, out = data(), None
    with torch.no_grad():
        out = outputs(model, batch)
        for i in range(3):
            mine = batch.batch == i
            alone = {k: batch[k][mine] for k in ("z", "pos", "drop_mask", "pos_noisy", "z_noisy")}
            pos = model(alone["z"], alone["pos"], None, *list(alone.values())[2:]).pos
            torch.testing.assert_close(pos, out["pos"][mine], atol=1e-5, rtol=0)


def test_dropped_atoms_do_not_leak_into_an_encoder_with_positions():
    torch.manual_seed(0)
    model = AblatedMolAE(32, 48, 4, 2, 1, 16, gaussian_init="intended", ablation={
        "position_layer": 1
    }).eval()  # fmt: skip
    batch = data()
    first, second = batch.drop_mask.nonzero().flatten()[:2]
    a = outputs(model, batch)
    batch.z[batch.drop_mask] = 9
    batch.pos[first] += 4  # the centroid stays
    batch.pos[second] -= 4
    b = outputs(model, batch)
    for name in ("token_logits", "distance", "encoder_x_norm"):
        torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=0)


def test_random_order_is_a_fresh_permutation_of_each_molecule():
    slots = atom_slots(torch.tensor([0] * 6 + [1] * 9 + [3]), 4)
    torch.manual_seed(0)
    first, second = number_tokens(slots, "random"), number_tokens(slots, "random")
    assert not torch.equal(first.atom, second.atom)
    record = number_tokens(slots)
    assert first.ends.tolist() == record.ends.tolist() == [[1, 8], [1, 11], [1, 2], [1, 3]]
    for i, n in ((0, 6), (1, 9), (3, 1)):
        assert sorted(first.atom[slots.batch == i].tolist()) == list(range(2, n + 2))
    counts = torch.zeros(6, 6)
    for _ in range(3000):
        counts[torch.arange(6), number_tokens(slots, "random").atom[:6] - 2] += 1
    assert (counts / 3000 - 1 / 6).abs().max() < 0.04


def test_too_many_atoms_to_relabel():
    with pytest.raises(ValueError, match=r"'relabelled' has 510 positions for atoms, .* has 600"):
        number_tokens(atom_slots(torch.zeros(600, dtype=torch.long), 1), "relabelled")


VARIANTS: dict[str, Callable[[], MolAE]] = {
    "encoder and decoder": lambda: ablated(position_layer=0),
    "inside the encoder": lambda: ablated(position_layer=1),
    "inside the decoder": lambda: ablated(position_layer=3, decoder_position=False),
    "behind the decoder": lambda: ablated(position_layer=4, decoder_position=False),
    "random": lambda: ablated(order="random"),
    "masked and moved": lambda: ablated(drop=False),
    "no decoder layers": lambda: MolAE(32, 64, 4, 2, 0, 16, 0.0, 0.0, "intended"),
}


def ablated(**fields) -> AblatedMolAE:
    return AblatedMolAE(32, 64, 4, 2, 2, 16, 0.0, 0.0, "intended", fields)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_falls_on_eight_molecules(variant):
    molecules = chains.molecules(8)
    for molecule in molecules:
        molecule.pos = molecule.conformers[:, 0]
    torch.manual_seed(0)
    transform = CoordinateNoise(ratio=0.3) if "moved" in variant else ClozeDrop(0.3)
    batch = transform(Batch.from_data_list(molecules))
    found = course(VARIANTS[variant](), cloze_objective, batch, 30, lr=1e-2)
    losses = [terms["loss"] for terms in found]
    assert min(losses[-3:]) < 0.7 * losses[0]


def test_saved_read_and_fine_tuned(tmp_path):
    model = ablated(position_layer=1, order="relabelled")
    model.save_pretrained(tmp_path / "model")
    again = AblatedMolAE.from_pretrained(tmp_path / "model")
    goldens.assert_same_weights(model, again)
    assert again.config == model.config
    assert again.ablation == Ablation(position_layer=1, order="relabelled")
    encoder = MolAEEncoder.from_pretrained(tmp_path / "model")
    assert type(encoder) is PositionedEncoder
    assert encoder.config["position_layer"] == 1
    full = FullMolAE.of(MolAE(32, 64, 4, 2, 1, 16, decoder_ffn_channels=48))
    batch = data()
    for name, stack in {"positioned": encoder, "full": full.eval()}.items():
        predictor = MolAEPredictor(stack).eval()
        predictor.save_pretrained(tmp_path / name)
        read = MolAEPredictor.from_pretrained(tmp_path / name)
        assert type(read.encoder) is type(stack)
        expected = predictor(batch.z, batch.pos, batch.batch)
        assert torch.equal(read(batch.z, batch.pos, batch.batch), expected)
        left = predictor(batch.z, batch.pos, batch.batch, drop_mask=batch.drop_mask)
        assert left.isfinite().all()
        stack.save_pretrained(tmp_path / f"{name}_encoder")
        assert type(MolAEEncoder.from_pretrained(tmp_path / f"{name}_encoder")) is type(stack)


def test_vectors_of_another_order_are_not_taken_from_the_cache():
    plain = MolAE.tiny().encoder
    found = [PositionedEncoder.like(plain, *place) for place in ((0, "record"), (1, "record"))]
    found += [plain, PositionedEncoder.like(plain, 0, "relabelled")]
    assert len({of_weights(encoder) for encoder in found}) == 4
    assert of_weights(found[0]) == of_weights(PositionedEncoder.like(plain, 0, "record"))


def test_both_stacks_are_fine_tuned():
    predictor = MolAEPredictor(FullMolAE.of(MolAE.tiny()))
    batch = data()
    predictor(batch.z, batch.pos, batch.batch).sum().backward()
    decoder = predictor.encoder.decoder
    assert all(p.grad is not None for p in decoder.parameters())


def test_an_ablation_saved_before_the_newer_fields_is_read():
    old = {"drop": False, "decoder_position": True, "decoder_token": "mask", "decoder_pair": "zero"}
    assert Ablation.of(old) == Ablation(drop=False)
    assert asdict(Ablation()).keys() > old.keys()


def test_recompute_gives_the_same_gradients():
    batch, grads = data(), []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = ablated(position_layer=1)
        model.encoder.transformer.recompute = recompute
        cloze_objective(model, batch)["loss"].backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("layer", [0, 1, 3, 5])
def test_inputs_are_not_changed(layer, gradients):
    model, batch = load(Ablation.at_layer(layer, LAYERS, once=True), cls=AblatedMolAE), data()
    before = {key: value.clone() for key, value in batch.to_dict().items() if key != "num_nodes"}
    with torch.set_grad_enabled(gradients):
        first, second = outputs(model, batch), outputs(model, batch)
    assert all(torch.equal(batch[key], value) for key, value in before.items())
    assert all(torch.equal(first[key], second[key]) for key in first)
