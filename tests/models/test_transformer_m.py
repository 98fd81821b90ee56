"""Transformer-M against recordings of its official code, its corrections, and its symmetries."""

import goldens
import pytest
import torch
from learning import course
from recorded_transformer_m import (
    SMILES,
    corrected,
    load,
    meta,
    official_file,
    recorded_batch,
    small,
)
from symmetry import motions
from torch_geometric.data import Batch, Data

from molae_pyg import MolAEEncoder, MolAEPredictor, from_smiles
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.ogb_graph import add_ogb_graph
from molae_pyg.inference import embed
from molae_pyg.loss import denoising_loss
from molae_pyg.models import TransformerM, TransformerMEncoder
from molae_pyg.models.encoding import ogb_graph
from molae_pyg.official_transformer_m import official_names
from molae_pyg.training import transformer_m_objective
from molae_pyg.transforms import DenoiseAtoms, SampleConformer

VARIANTS = {
    "eval_clean": None, "eval_noise": None, "eval_nopos": None, "train_mixed": [0, 1, 2],
    "train_all3d": [2, 2, 2], "train_all2d": [1, 1, 1], "train_allboth": [0, 0, 0],
    **{f"single{i}_mode2": [2] for i in range(3)},
}  # fmt: skip
TARGETS = torch.tensor([1.25, -0.5, 2.0])


def losses(model: TransformerM, data: Data, mode: torch.Tensor | None, y: torch.Tensor) -> dict:
    """The recorded sums; in evaluation every molecule has a denoising loss."""
    if mode is not None:
        data.mode, data.y = mode, y
        terms = transformer_m_objective(model, data)
        return {k: terms[k] * len(y) for k in ("property", "denoising", "loss")}
    out = model(data.z, data.pos_noisy, data.batch, ogb_graph(data))
    noise = data.pos_noisy - data.pos
    denoising = denoising_loss(out.direction, noise, data.batch, len(y))[0].sum()
    if not data.pos_noisy.any():
        denoising = denoising * 0  # the official code has no such loss without positions
    terms = {"property": (out.y - y).abs().sum(), "denoising": denoising}
    return {**terms, "loss": sum(terms.values())}


def assert_recorded(size: str, variant: str, mode: list[int] | None, atol: float) -> None:
    model = load(size)
    single = int(variant[6]) if variant.startswith("single") else None
    data = recorded_batch("clean" not in variant, single)
    if variant == "eval_nopos":
        data.pos = data.pos_noisy = torch.zeros_like(data.pos)
    mode = None if mode is None else torch.tensor(mode)
    theirs = goldens.arrays(f"objectives/transformer_m/{variant}")
    out = model(data.z, data.pos_noisy, data.batch, ogb_graph(data), mode)
    difference = {"graph_out": (out.y - theirs["graph_out"][:, 0, 0]).abs().max().item()}
    if "atom_output" in theirs:
        shown = torch.ones(data.num_graphs) if mode is None else (mode == 2).float()
        valid = torch.zeros(theirs["atom_output"].shape[:2], dtype=torch.bool)
        for b, n in enumerate(data.batch.bincount().tolist()):
            valid[b, :n] = True
        direction = out.direction * shown[data.batch][:, None]
        difference["atom"] = (direction - theirs["atom_output"][valid]).abs().max().item()
    print(size, variant, difference)
    assert max(difference.values()) < atol, difference
    recorded = meta(size)["variants"][variant]
    y = TARGETS if single is None else TARGETS[single : single + 1]
    terms = losses(model, data, mode, y)
    assert terms["property"].item() == pytest.approx(recorded["losses"]["loss"], abs=2 * atol)
    half = recorded["losses"]["node_output_loss"]  # rounded to 16 bits there
    assert terms["denoising"].item() == pytest.approx(half, rel=1e-3)
    model.zero_grad()
    terms["loss"].backward()
    mine = {}
    for key, parameter in model.named_parameters():
        names = official_names(key)
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        mine.update(zip(names, gradient.chunk(len(names)), strict=True))
    norms = {name: gradient.norm().item() for name, gradient in mine.items()}
    goldens.assert_gradient_norms(norms, recorded["grad_norms"])


@pytest.mark.parametrize(("variant", "mode"), VARIANTS.items())
def test_recorded_outputs_losses_and_gradients(variant, mode):
    assert_recorded("tiny", variant, mode, 1e-5)


@pytest.mark.parametrize(
    ("variant", "mode"), [("base_eval_noise", None), ("base_train_mixed", [0, 1, 2])]
)
def test_recorded_at_the_published_size(variant, mode):
    assert_recorded("base", variant, mode, 1e-4)


@pytest.mark.parametrize("variant", ["eval_clean", "eval_noise", "train_mixed"])
def test_recorded_states_inside(variant):
    model, data, seen = load(), recorded_batch(variant != "eval_clean"), {}
    encoder = model.encoder
    for name, part in {
        "bias_2d": encoder.path_bias, "bias_3d": encoder.distance_bias, "norm": encoder.input_norm,
        **{f"layer{i}": layer for i, layer in enumerate(encoder.layers)},
    }.items():  # fmt: skip
        part.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args, out)}))
    mode = None if VARIANTS[variant] is None else torch.tensor(VARIANTS[variant])
    with torch.no_grad():
        enc = encoder(data.z, data.pos_noisy, data.batch, graph=ogb_graph(data), mode=mode)
    theirs = goldens.arrays(f"objectives/transformer_m/{variant}")
    mask = enc.state.mask  # [B, n + 1]
    pairs, inner = mask[:, :, None] & mask[:, None, :], mask[:, 1:]
    atoms = inner[:, :, None] & inner[:, None, :]
    shown = torch.ones(3, 2) if mode is None else torch.tensor([[1, 1], [1, 0], [0, 1]]).float()
    bias_2d, (bias_3d, node) = seen["bias_2d"][1], seen["bias_3d"][1]
    for name, mine, recorded, channel in (
        ("bias_2d", bias_2d, theirs["bias_2d"][..., 1:, 1:], 0),
        ("bias_3d", bias_3d, theirs["bias_3d"], 1),
    ):  # recorded before or after a channel is hidden
        place = atoms & shown[:, channel].bool()[:, None, None]
        a, b = (x.permute(0, 2, 3, 1)[place] for x in (mine, recorded))
        assert (a - b).abs().max() < 1e-5, name
    a, b = (x.permute(0, 2, 3, 1)[pairs] for x in (enc.state.pair, theirs["attn_bias"]))
    assert (a - b).abs().max() < 1e-5
    entered = [seen[f"layer{i}"][0][0] for i in range(2)] + [enc.state.x]
    assert (entered[0] - theirs["layer0_in"])[mask].abs().max() < 1e-5
    for ours, recorded in zip(entered, theirs["inner_states"], strict=True):
        assert (ours - recorded)[mask].abs().max() < 1e-5
    on = shown[:, 1].bool()[:, None] & inner
    scale = encoder.distance_bias.NODE_SCALE
    assert (node - scale * theirs["merged"])[on].abs().max() < 1e-5
    vector = enc.pos[:, None, :] - enc.pos[:, :, None]
    unit = vector / (vector.norm(dim=-1, keepdim=True) + 1e-5)
    on = atoms & shown[:, 1].bool()[:, None, None]
    assert (unit - theirs["delta_pos"])[on].abs().max() < 1e-5


@pytest.mark.parametrize("name", SMILES)
def test_features_are_those_of_the_benchmark(name):
    data, theirs = small(name)
    assert torch.equal(data.x, theirs["node_feat"])
    assert torch.equal(data.edge_index, theirs["edge_index"])
    assert torch.equal(data.edge_attr, theirs["edge_feat"])


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("name", ["tetrahydrofuran", "sodium_acetate", "butene", "chiral"])
def test_small_molecules_with_and_without_the_path_error(name, corrected):
    model, (data, _) = load(), small(name)
    model.encoder.path_bias.reference = not corrected
    arrays = goldens.arrays("objectives/transformer_m/extra_molecules")
    with torch.no_grad():
        out = model(data.z, arrays[f"{name}/pos"], None, ogb_graph(data))
    end = "_corrected_paths" if corrected else ""
    assert (out.y - arrays[f"{name}/graph_out{end}"][0]).abs() < 1e-5
    assert (out.direction - arrays[f"{name}/atom_output{end}"]).abs().max() < 1e-5


def test_published_sizes():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    assert count(TransformerM(reference=True)) == 49_574_628
    assert count(TransformerM(num_layers=18, reference=True)) == 70_854_372


def test_the_corrected_head_turns_and_that_of_the_reference_does_not():
    data = recorded_batch()
    z, pos, batch, graph = data.z, data.pos_noisy.double(), data.batch, ogb_graph(data)
    for model, turns in ((corrected().double(), True), (load().double(), False)):
        with torch.no_grad():
            out = model(z, pos, batch, graph)
            off = 0.0
            for name, move in motions():
                moved = model(z, move(pos), batch, graph)
                torch.testing.assert_close(moved.y, out.y, atol=1e-9, rtol=0, msg=name)
                turned = move(out.direction) - move(torch.zeros(1, 3).double())
                off = max(off, (moved.direction - turned).abs().max().item())
        assert (off < 1e-9) == turns, off


def test_true_coordinates_are_not_an_input():
    model, data = corrected(), recorded_batch()
    data.mode, seen = torch.full((3,), 2), []
    model.register_forward_hook(lambda _, args, out: seen.append(out.direction))
    transformer_m_objective(model, data)
    data.pos = torch.randn_like(data.pos)
    transformer_m_objective(model, data)
    assert torch.equal(*seen)


def molecules() -> list[Data]:
    smiles = ["CCO", "c1ccccc1O", "CC(=O)N", "C1CCOC1", "CCN(C)C", "OCC=O", "CC#N", "FC(F)C"]
    found = []
    for i, text in enumerate(smiles):
        data = add_ogb_graph(from_smiles(text))
        data.y = torch.tensor([float(i % 3 - 1)])
        found.append(data)
    return found


def test_the_loss_falls_on_eight_molecules():
    torch.manual_seed(1)
    batch = DenoiseAtoms(modes=(0.25, 0.25, 0.5))(Batch.from_data_list(molecules()))
    assert set(batch.mode.tolist()) == {0, 1, 2}
    model = TransformerM(32, 64, 4, 2, 16, 0.0, 0.0, 0.0, 0.0)
    found = course(model, transformer_m_objective, batch, 300, lr=1e-3)
    for name, share in (("loss", 0.5), ("property", 0.2), ("denoising", 0.6)):
        assert found[-1][name] < share * found[0][name], (name, found[0], found[-1])
    assert found[-1]["cosine"] > 0.5


def test_labels_and_graphs_may_be_missing():
    torch.manual_seed(0)
    batch = Batch.from_data_list(molecules())
    batch.y[2] = float("nan")
    batch = DenoiseAtoms()(batch)
    assert transformer_m_objective(TransformerM.tiny(), batch)["property"].isfinite()
    bare = Batch.from_data_list([Data(z=m.z, pos=m.pos) for m in molecules()])
    model = TransformerM.tiny()
    terms = transformer_m_objective(model, DenoiseAtoms(modes=(0, 0, 1))(bare))
    assert terms.keys() == {"loss", "denoising", "cosine"}
    assert terms["loss"] == terms["denoising"]
    terms["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())  # data-parallel training needs it
    with pytest.raises(ValueError, match=r"shown in 3D only \(mode 2\)"):
        transformer_m_objective(TransformerM.tiny(), DenoiseAtoms()(bare))


def test_saved_read_embedded_and_fine_tuned(tmp_path):
    model, data = TransformerM.tiny(), recorded_batch()
    model.save_pretrained(tmp_path / "model")
    again = TransformerM.from_pretrained(tmp_path / "model")
    goldens.assert_same_weights(model, again)
    encoder = MolAEEncoder.from_pretrained(tmp_path / "model")
    assert type(encoder) is TransformerMEncoder
    encoder.save_pretrained(tmp_path / "encoder")
    assert type(MolAEEncoder.from_pretrained(tmp_path / "encoder")) is TransformerMEncoder
    predictor = MolAEPredictor(encoder).eval()
    predictor.save_pretrained(tmp_path / "predictor")
    read = MolAEPredictor.from_pretrained(tmp_path / "predictor")
    expected = predictor(data.z, data.pos, data.batch)
    assert torch.equal(read(data.z, data.pos, data.batch), expected)
    left = torch.arange(42) % 3 == 0
    assert predictor(data.z, data.pos, data.batch, drop_mask=left).isfinite().all()
    vectors = embed(model.eval(), [Data(z=m.z, pos=m.pos) for m in molecules()])
    assert vectors.shape == (8, 128)


def test_official_file_round_trip(tmp_path):
    weights = official_file("tiny").weights
    torch.save({"model": weights}, tmp_path / "file.pt")
    model = TransformerM.from_official(tmp_path / "file.pt")
    assert model.config["reference"]
    back = model.to_official()
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)
    with pytest.raises(ValueError, match="only a model with reference=True"):
        TransformerM.tiny().to_official()
    for content, message in (
        (goldens.weights("tiny"), "is no Transformer-M model"),
        (weights | {"encoder.more": torch.zeros(1)}, "1 unknown keys: encoder.more"),
        ({k: v for k, v in weights.items() if "embed_out" not in k}, "lacks encoder.embed_out"),
        (weights | {"encoder.layer_norm.bias": torch.zeros(7)}, r"\[7\] instead of \[32\]"),
    ):
        torch.save({"model": content}, tmp_path / "other.pt")
        with pytest.raises(CheckpointError, match=message):
            TransformerM.from_official(tmp_path / "other.pt")


def shown(mode: int, mask: float | None = 0.15) -> Batch:
    smiles = ("CCO", "c1ccccc1O", "CC(=O)N")
    molecules = [add_ogb_graph(SampleConformer()(from_smiles(s))) for s in smiles]
    modes = [0.0, 0.0, 0.0]
    modes[mode] = 1.0
    torch.manual_seed(0)
    return DenoiseAtoms(modes=modes, mask=mask)(Batch.from_data_list(molecules))


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_masked_atoms_train_every_channel_without_labels(mode):
    torch.manual_seed(0)
    model = TransformerM(16, 16, 2, 1, 4, attn_dropout=0, act_dropout=0, drop_path=0, tokens=True)
    terms = transformer_m_objective(model, shown(mode))
    assert {"token", "token_accuracy"} <= terms.keys()
    torch.testing.assert_close(terms["loss"], terms["token"] + terms["denoising"])
    terms["loss"].backward()
    of = {
        "2D": model.encoder.path_bias.hop.grad,
        "3D": model.encoder.distance_bias.linear2.weight.grad,
    }
    seen = {name: bool(grad.abs().max() > 0) for name, grad in of.items()}
    assert seen == {"2D": mode != 2, "3D": mode != 1}


def test_the_encoder_does_not_see_masked_atoms():
    torch.manual_seed(0)
    model = TransformerM(16, 16, 2, 1, 4, tokens=True).eval()
    batch = shown(0)
    before = transformer_m_objective(model, batch)
    assert not (batch.x == 510).any()  # the batch stays as it is
    graph = ogb_graph(batch)
    changed = graph.atom.clone()
    changed[batch.masked] = 1
    z = torch.where(batch.masked, 9, batch.z)
    given = (batch.pos_noisy, batch.batch)
    with torch.no_grad():
        one = model(batch.z, *given, graph, masked=batch.masked)
        two = model(z, *given, graph._replace(atom=changed), masked=batch.masked)
        three = model(z, *given, graph._replace(atom=changed))
    assert torch.equal(one.token_logits, two.token_logits)
    assert not torch.equal(one.token_logits, three.token_logits)
    assert before["token"] > 0


def test_a_head_for_elements_is_an_extension(tmp_path):
    plain, more = TransformerM.tiny(), TransformerM(16, 16, 2, 1, 4, tokens=True)
    assert "tokens" not in plain.config
    assert more.config["tokens"] is True
    more.save_pretrained(tmp_path)
    assert TransformerM.from_pretrained(tmp_path).token_head is not None
    assert isinstance(MolAEEncoder.from_pretrained(tmp_path), TransformerMEncoder)
    with pytest.raises(ValueError, match="tokens=True is no part of the official model"):
        TransformerM(16, 16, 2, 1, 4, reference=True, tokens=True)
    with pytest.raises(ValueError, match=r"masked atoms need TransformerM\(tokens=True\)"):
        transformer_m_objective(plain, shown(0))
