import json
import math

import goldens
import pytest
import torch
from symmetry import assert_close
from torch.nn.functional import one_hot

from molae_pyg import AblatedMolAE, MolAE, cloze_loss
from molae_pyg.models import Ablation
from molae_pyg.testing import assert_equivariant, assert_invariant


@pytest.fixture(scope="module")
def model():
    flags = ["encoder_unmasked_tokens_only"]
    return goldens.model("tiny", flags).double().requires_grad_(False)


@pytest.fixture
def data():
    """The recorded molecules of 13, 14 and 15 atoms, 2, 2 and 3 of them dropped."""
    data = goldens.batch(goldens.arrays("tiny/inputs"))
    data.pos, data.pos_noisy = data.pos.double(), data.pos_noisy.double()
    return data


def run(model, data, **changes):
    names = ("z", "pos", "batch", "drop_mask", "pos_noisy", "z_noisy")
    return model(*(changes[name] if name in changes else data[name] for name in names))


# ------------------------------------------------------------------------ shapes and sizes


def test_shapes(model, data):
    out = run(model, data)
    assert out.token_logits.shape == (7, 31)
    assert out.pos.shape == (42, 3)
    assert out.distance.shape == (42, 17)
    for norm in out[3:]:
        assert norm.shape == ()
    assert all(field.isfinite().all() for field in out)


def test_nothing_dropped_asks_for_every_token(model, data):
    out = model(data.z, data.pos, data.batch)
    assert out.token_logits.shape == (42, 31)
    assert out.pos.shape == (42, 3)


def test_no_atom_marked_asks_for_no_token(model, data):
    out = run(model, data, drop_mask=torch.zeros_like(data.drop_mask))
    assert out.token_logits.shape == (0, 31)


def test_molecule_that_lost_all_its_atoms(model, data):
    drop_mask = data.batch == 1
    out = run(model, data, drop_mask=drop_mask)
    alone = data.subgraph(drop_mask)
    single = run(model, alone, batch=None, drop_mask=torch.ones(14, dtype=torch.bool))
    assert_close(out.token_logits, single.token_logits, atol=1e-12)
    assert_close(out.pos[drop_mask], single.pos, atol=1e-12)
    assert_close(out.distance[drop_mask][:, :16], single.distance, atol=1e-12)


def test_published_size():
    with torch.device("meta"):
        model = MolAE()
    assert sum(p.numel() for p in model.parameters()) == 63_383_011
    assert len(model.state_dict()) == 277
    stacks = {"encoder.": 47_287_936, "decoder.": 15_764_096}
    for prefix, count in stacks.items():  # counted without embedding, Gaussians and pair norm
        official = model.to_official().items()
        assert sum(v.numel() for k, v in official if k.startswith(prefix)) == count


def test_official_keys_and_shapes():
    with torch.device("meta"):
        official = MolAE().to_official()
    shapes = json.loads((goldens.FOLDER / "base_state_dict_shapes.json").read_text())
    assert {k: list(v.shape) for k, v in official.items()} == shapes


@pytest.mark.parametrize(
    ("name", "million"), [("small", 7.3), ("tiny", 0.11)]
)  # as the docstrings say
def test_smaller_sizes(name, million):
    model = getattr(MolAE, name)()
    count = sum(p.numel() for p in model.parameters())
    assert count / 1e6 == pytest.approx(million, rel=0.1)


def test_initialisation_is_the_recorded_one():
    """Constants equal; spread within five sampling errors of both samples."""
    recorded = json.loads((goldens.FOLDER / "init_stats.json").read_text())
    torch.manual_seed(0)
    official = MolAE(num_layers=1, num_decoder_layers=1).to_official()
    assert recorded.keys() <= official.keys()
    for key, stats in recorded.items():
        x = official[key]
        error = 5 * math.sqrt(2) * stats["std"] / math.sqrt(2 * x.numel())
        assert x.std(unbiased=False).item() == pytest.approx(stats["std"], abs=error), key
        mean_error = 5 * math.sqrt(2) * stats["std"] / math.sqrt(x.numel())
        assert x.mean().item() == pytest.approx(stats["mean"], abs=mean_error), key
    uniform = official["lm_head.weight"]
    assert uniform.abs().max() <= 1 / math.sqrt(512)
    assert uniform.abs().max() > 0.99 / math.sqrt(512)
    assert torch.all(official["embed_tokens.weight"][0] == 0)


def test_intended_gaussians_survive_initialisation():
    gaussian = MolAE.tiny(gaussian_init="intended").encoder.pair_bias.gaussian
    assert torch.all(gaussian.scale.weight == 1)
    assert gaussian.mean.min() >= 0
    assert gaussian.mean.max() > 1


# ------------------------------------------------------------------------------ symmetries


def places(data) -> tuple[torch.Tensor, torch.Tensor]:
    """True and noisy places, which move together, as when a molecule turns before ClozeDrop."""
    return torch.cat([data.z, data.z]), torch.cat([data.pos, data.pos_noisy])


def test_coordinates_are_equivariant(model, data):
    def predicted(z, x):
        pos, pos_noisy = x.chunk(2)
        return run(model, data, pos=pos, pos_noisy=pos_noisy).pos

    assert_equivariant(predicted, *places(data), kind="position")


def test_all_else_is_invariant(model, data):
    def without_pos(z, x):
        pos, pos_noisy = x.chunk(2)
        out = run(model, data, pos=pos, pos_noisy=pos_noisy)
        return (out.token_logits, out.distance, *out[3:])

    assert_invariant(without_pos, *places(data))


def test_batch_is_its_molecules_one_by_one(model, data):
    out = run(model, data)
    for b in range(3):
        mine = data.batch == b
        single = run(model, data.subgraph(mine), batch=None)
        assert_close(out.pos[mine], single.pos, atol=1e-12)
        assert_close(out.token_logits[b * 2 : b * 2 + 2], single.token_logits[:2], atol=1e-12)
        length = int(mine.sum()) + 2
        assert_close(out.distance[mine][:, :length], single.distance, atol=1e-12)


def test_the_decoder_sees_the_order_of_atoms(model, data):
    """Positions are the atomic identifiers: the encoder has no order, the decoder has one."""
    torch.manual_seed(0)
    order = (data.batch + torch.rand(data.num_nodes)).argsort()
    shuffled = data.clone()
    for name in ("z", "pos", "drop_mask", "pos_noisy", "z_noisy"):
        shuffled[name] = data[name][order]
    assert (run(model, data).pos[order] - run(model, shuffled).pos).abs().max() > 1e-3
    blind = goldens.model("tiny", ["encoder_unmasked_tokens_only", "decoder_no_pe"]).double()
    assert_close(run(blind, shuffled).pos, run(blind, data).pos[order])


# ------------------------------------------------------------------------ nothing leaks


def on_a_grid(pos):
    """Multiples of 1/1024 Å: sums are exact, so that a centroid is the same or is not."""
    return (pos * 1024).round() / 1024


def test_dropped_atoms_leak_nothing(model, data):
    """Other elements, other places: every output is the same, bit for bit.

    The centroid of the molecule is held. ``pos_noisy``, the start of the coordinate head, is an
    input of its own and is held too.
    """
    data.pos, data.pos_noisy = on_a_grid(data.pos), on_a_grid(data.pos_noisy)
    out = run(model, data)
    z, pos = data.z.clone(), data.pos.clone()
    z[data.drop_mask] = 35
    for b in range(3):
        first, second = (data.drop_mask & (data.batch == b)).nonzero()[:2, 0]
        pos[first] += torch.tensor([1.5, -2.0, 0.25], dtype=torch.float64)
        pos[second] -= torch.tensor([1.5, -2.0, 0.25], dtype=torch.float64)
    z_noisy = torch.where(data.drop_mask, 53, data.z_noisy)
    other = run(model, data, z=z, pos=pos, z_noisy=z_noisy)
    for name, a, b in zip(out._fields, out, other, strict=True):
        assert torch.equal(a, b), name


def test_where_the_coordinate_head_starts_moves_coordinates_only(model, data):
    """Of kept atoms too: the encoder sees their true places."""
    torch.manual_seed(0)
    out = run(model, data)
    other = run(model, data, pos_noisy=data.pos_noisy + torch.randn_like(data.pos))
    assert (out.pos - other.pos).abs().max() > 0.1
    for name, a, b in zip(out._fields, out, other, strict=True):
        if name != "pos":
            assert torch.equal(a, b), name


def test_the_centroid_passes_dropped_atoms_on(model, data):
    """As in the reference. ``MolAEEncoder`` with the same ``origin`` shows it is the only way."""
    pos = data.pos + data.drop_mask[:, None] * 1.0
    moved, out = run(model, data, pos=pos), run(model, data)
    assert (moved.token_logits - out.token_logits).abs().max() > 1e-4


def test_the_answer_is_visible_if_nothing_is_dropped(data):
    """A check of the checks above: with drop=False the noised places do reach the encoder."""
    model = goldens.model("tiny", []).double()
    start = data.pos_noisy + data.drop_mask[:, None] * 0.7
    difference = run(model, data, pos_noisy=start).token_logits - run(model, data).token_logits
    assert difference.abs().max() > 1e-3


def test_what_enters_the_decoder(model, data):
    """[MASK] where dropped, and positions: CLS 1, atoms 2, 3, ..., SEP last, padding none."""
    seen = []
    hook = model.decoder.transformer.register_forward_pre_hook(lambda _, args: seen.append(args))
    run(model, data)
    hook.remove()
    x, pair, mask = seen[0]
    enc = model.encoder(data.z, data.pos, data.batch, data.drop_mask)
    full = model.encoder.embedding.weight[30].repeat(data.num_nodes, 1)
    full[~data.drop_mask] = enc.x
    for b, n in enumerate([13, 14, 15]):
        tokens = torch.cat([enc.molecule[b : b + 1], enc.sep[b : b + 1], full[data.batch == b]])
        position = torch.tensor([1, n + 2, *range(2, n + 2)])
        assert_close(x[b, : n + 2], tokens + model.decoder.position(position), f"molecule {b}")
    assert mask.sum(1).tolist() == [15, 16, 17]
    assert torch.all(x[~mask] == 0)
    assert pair is None  # zeros


# ------------------------------------------------------------------------------- encode


def test_encode(model, data):
    enc = model.encode(data.z, data.pos, data.batch)
    out = model.encoder(data.z, data.pos, data.batch)
    assert torch.equal(enc.molecule, out.molecule)
    assert torch.equal(enc.atom, out.x)
    assert enc.pair.shape == (13**2 + 14**2 + 15**2, 8)
    row, col = enc.pair_index
    assert torch.equal(data.batch[row], data.batch[col])
    assert one_hot(row * 42 + col, 42**2).sum(0).max() == 1  # no pair twice
    first = torch.tensor([0, 13, 27])[data.batch]
    slot = torch.arange(42) - first + 2  # behind CLS and SEP
    expected = out.state.pair[data.batch[row], :, slot[row], slot[col]]
    assert torch.equal(enc.pair, expected)


def test_encode_keeps_gradients(data):
    model = MolAE.tiny().double()
    pos = data.pos.requires_grad_()
    model.encode(data.z, pos, data.batch).molecule.sum().backward()
    assert pos.grad.isfinite().all()


# ------------------------------------------------------------------------------- errors


def test_drop_mask_alone(model, data):
    with pytest.raises(ValueError, match="drop_mask needs pos_noisy: apply ClozeDrop"):
        model(data.z, data.pos, data.batch, data.drop_mask)


def test_wrong_shapes(model, data):
    with pytest.raises(ValueError, match=r"got \[42\] and \[41, 3\]"):
        model(data.z, data.pos[:-1], data.batch)


@pytest.mark.parametrize(
    ("ablation", "message"),
    [
        ({"decoder_token": "zero"}, "'mask' or 'encoder': 'zero'"),
        ({"decoder_pair": "none"}, "'zero', 'noisy' or 'encoder': 'none'"),
        ({"decoder_token": "encoder"}, "needs drop=False: a dropped atom has no encoder output"),
    ],
)
def test_impossible_ablations(ablation, message):
    with pytest.raises(ValueError, match=message):
        AblatedMolAE(16, 16, 4, 1, 1, ablation=ablation)


def test_unknown_ablation():
    with pytest.raises(TypeError, match="encoder_noise"):
        AblatedMolAE(16, 16, 4, 1, 1, ablation={"encoder_noise": True})


def test_ablation_as_object_or_mapping():
    fields = {"drop": False, "decoder_pair": "noisy"}
    models = [AblatedMolAE(16, 16, 4, 1, 1, ablation=a) for a in (fields, Ablation(**fields))]
    assert models[0].ablation == models[1].ablation == Ablation(**fields)
    assert models[0].config == models[1].config


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="hidden_channels=16 is not divisible by heads=3"):
        MolAE(16, 16, 3, 1, 1)


# ------------------------------------------------------------------------------ learning


@pytest.fixture
def one_thread():
    """Many tiny operations: on a busy machine threads cost ten times what they give."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.mark.usefixtures("one_thread")
def test_overfits_one_batch(data):
    torch.manual_seed(0)
    size = {**MolAE.tiny().config, "dropout": 0.0, "attn_dropout": 0.0, "gaussian_init": "intended"}
    model = MolAE(**size)
    data.pos, data.pos_noisy = data.pos.float(), data.pos_noisy.float()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(300):
        losses = cloze_loss(run(model, data), data)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
    # from 3.2, 0.12 and 0.39 down to about 0.001, 0.0002 and 0.0001
    assert losses["token"] < 0.05
    assert losses["coordinate"] < 0.005
    assert losses["distance"] < 0.005
