"""MoleBLEND against recordings of its official code, its corrections, and its symmetries."""

from functools import cache

import competitors
import goldens
import numpy as np
import pytest
import torch
from competitors import off
from learning import course
from symmetry import motions
from torch import Tensor
from torch_geometric.data import Batch, Data

from molae_pyg import MolAEEncoder, from_smiles
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.ogb_graph import add_ogb_graph
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.models import Blend, MoleBlend, TransformerMEncoder
from molae_pyg.models.encoding import ogb_graph
from molae_pyg.models.mole_blend import pair_targets
from molae_pyg.models.transformer_m_encoder import ONLY_2D
from molae_pyg.official_file import OfficialFile
from molae_pyg.official_transformer_m import load_transformer_m, official_names
from molae_pyg.training import mole_blend_objective
from molae_pyg.transforms import BlendChannels, SampleConformer

PREFIX = "encoder.molecule_encoder."
PADDED = ("atom_encoder", "degree_encoder", "edge_encoder", "spatial_pos_encoder", "gbf.mul",
          "gbf.bias")  # fmt: skip


def rule(name: str) -> dict[str, Tensor]:
    """Weights of the rule that made the recorded model, under its official keys."""
    shapes = competitors.meta("moleblend")[f"{name}_shapes"]
    random, weights = np.random.RandomState(20240704), {}
    for key in sorted(shapes):
        r = random.standard_normal(shapes[key])
        if key.endswith(("layer_norm.weight", "LayerNorm.weight")):
            r = 1 + 0.1 * r
        elif key.endswith("gbf.means.weight"):
            r = 1.5 + r
        elif key.endswith("gbf.stds.weight"):
            r = 1 + 0.3 * r
        elif key.endswith("gbf.mul.weight"):
            r = 1 + 0.1 * r
        elif key.endswith("gbf.bias.weight"):
            r = 0.1 * r
        elif "encoder.weight" in key or "graph_token" in key:
            r = 0.3 * r
        elif key.endswith("bias"):
            r = 0.05 * r
        else:
            r = r / np.sqrt(shapes[key][-1])
        if any(part in key for part in PADDED):
            r[0] = 0
        weights[PREFIX + key] = torch.from_numpy(r.astype(np.float32))
    return weights


@cache
def items() -> list[Data]:
    """The recorded molecules, their noise and what they are shown as."""
    arrays, found = competitors.arrays("moleblend"), []
    for b, smiles in enumerate(competitors.meta("moleblend")["smiles"].values()):
        z = torch.tensor([atom.GetAtomicNum() for atom in plain_mol(smiles).GetAtoms()])
        n = len(z)
        data = Data(z=z, smiles=smiles, atom_map=torch.arange(n), num_nodes=n)
        add_ogb_graph(data, canonical=False)
        data.pos = arrays["pos"][b, :n]
        data.pos_noisy = data.pos + arrays["noise"][b, :n]
        data.pair_channel = arrays["pair_choice"][:n, :n].flatten().long()
        data.atom_channel = arrays["atom_choice"][b, :n].long()
        found.append(data)
    return found


def recorded() -> Batch:
    return Batch.from_data_list(items())


def load() -> MoleBlend:
    return load_transformer_m(MoleBlend, OfficialFile("tiny", rule("pretrain"), {})).eval()


def corrected(**changes) -> MoleBlend:
    torch.manual_seed(0)
    model = MoleBlend(32, 32, 4, 2, 16, **changes).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # larger than 0.02, so that all parts matter
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def as_double(data: Data) -> Data:
    data = data.clone()
    data.pos_noisy = data.pos_noisy.double()
    return data


def run(model: MoleBlend, data: Data):
    batch = torch.zeros_like(data.z) if data.batch is None else data.batch
    blend = Blend(data.pair_channel, data.atom_channel)
    return model(data.z, data.pos_noisy, batch, ogb_graph(data), blend)


def test_recorded_outputs():
    arrays, model, data = competitors.arrays("moleblend"), load(), recorded()
    blend = Blend(data.pair_channel, data.atom_channel)
    with torch.no_grad():
        enc = model.encoder(data.z, data.pos_noisy, data.batch, graph=ogb_graph(data), blend=blend)
        out = run(model, data)
    mask, n = enc.state.mask, int((data.batch == 0).sum())
    found = {
        "states": off(enc.state.x[mask], arrays["pretrain_out"][mask]),
        "noise": off(out.noise, arrays["denoise_out"][mask[:, 1:]]),
        "length": off(out.length_logits[: n * n].view(n, n, -1), arrays["spd_logits"][:n, :n]),
        "bonds": off(out.bond_logits[: n * n].view(n, n, 5, -1), arrays["edge_logits"][:n, :n]),
        "direction": off(
            out.distance[: n * n].view(n, n, 3), arrays["direction_pred_molecule0"][:n, :n]
        ),
    }
    print(found)
    assert max(found.values()) < 1e-5, found


def test_recorded_losses():
    terms = mole_blend_objective(load(), recorded())
    recorded_losses = competitors.meta("moleblend")["losses"]
    names = {"length": "spd", "bond": "edge", "distance": "direction", "denoising": "denoise",
             "loss": "total_0.1_0.1_0.5_6"}  # fmt: skip
    for ours, official in names.items():
        assert terms[ours].item() == pytest.approx(recorded_losses[official], rel=1e-6), ours


def test_recorded_fine_tuning_encoder_sees_graphs_alone():
    encoder, weights = TransformerMEncoder(32, 32, 4, 2, 16, reference=True).eval(), {}
    official = rule("molnet_2d")
    for key in encoder.state_dict():
        names = official_names(f"encoder.{key}")
        if all(name in official for name in names):
            joined = torch.cat([official[name] for name in names])
            weights[key] = joined.view(encoder.state_dict()[key].shape)
    lacking = encoder.load_state_dict(weights, strict=False).missing_keys
    assert {key.split(".")[0] for key in lacking} == {"distance_bias"}
    data = recorded()
    with torch.no_grad():
        mode = torch.full((4,), ONLY_2D)
        enc = encoder(data.z, data.pos, data.batch, graph=ogb_graph(data), mode=mode)
    mask = enc.state.mask
    assert off(enc.state.x[mask], competitors.arrays("moleblend")["molnet_2d_out"][mask]) < 1e-5


def test_published_size():
    model = MoleBlend(reference=True)
    shapes = competitors.meta("moleblend")["pretrain_base_shapes"]
    assert sum(p.numel() for p in model.parameters()) == 49_527_209
    numbers = {k: sum(np.prod(shapes[n.removeprefix(PREFIX)]) for n in official_names(k))
               for k in model.state_dict()}  # fmt: skip
    assert numbers == {k: v.numel() for k, v in model.state_dict().items()}


def test_official_file_round_trip(tmp_path):
    weights = rule("pretrain")
    torch.save({"model": weights}, tmp_path / "file.pt")
    model = MoleBlend.from_official(tmp_path / "file.pt")
    back = model.to_official()
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)
    key = f"{PREFIX}blend_spd_pred_head.linear.weight"
    for content, message in (
        (weights | {"encoder.more": torch.zeros(1)}, "1 unknown keys: encoder.more"),
        ({k: v for k, v in weights.items() if k != key}, f"lacks {key} of MoleBLEND"),
        (weights | {key: torch.zeros(7, 7)}, rf"{key} \[7, 7\] instead of \[11, 1024\]"),
        ({"a": torch.zeros(1)}, "is no MoleBLEND model"),
    ):
        torch.save({"model": content}, tmp_path / "other.pt")
        with pytest.raises(CheckpointError, match=message):
            MoleBlend.from_official(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="only a model with reference=True"):
        MoleBlend.tiny().to_official()


def test_a_molecule_does_not_depend_on_its_batch():
    for model in (corrected(), corrected(reference=True)):
        model = model.double()
        with torch.no_grad():
            together = run(model, as_double(recorded()))
            alone = [run(model, as_double(item)) for item in items()]
        for name in together._fields:
            joined = torch.cat([getattr(out, name) for out in alone])
            torch.testing.assert_close(getattr(together, name), joined, atol=1e-9, rtol=0)


def test_atoms_in_another_order():
    model, data = corrected().double(), as_double(items()[1])
    n = len(data.z)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    place = order.argsort()
    other = data.clone()
    for key in ("z", "x", "pos_noisy", "atom_channel"):
        other[key] = data[key][order]
    other.edge_index = place[data.edge_index]
    pairs = (order[:, None] * n + order).flatten()
    other.pair_channel = data.pair_channel[pairs]
    # caffeine has several shortest paths between some atoms: their bonds depend on the order
    other.pair_channel[other.pair_channel == 1] = 0
    data.pair_channel = data.pair_channel.clone()
    data.pair_channel[data.pair_channel == 1] = 0
    with torch.no_grad():
        a, b = run(model, data), run(model, other)
    for name in ("length_logits", "bond_logits", "distance"):
        torch.testing.assert_close(getattr(b, name), getattr(a, name)[pairs], atol=1e-9, rtol=0)
    torch.testing.assert_close(b.noise, a.noise[order], atol=1e-9, rtol=0)


def test_distances_stay_and_noise_turns_with_the_molecule():
    model, data = corrected().double(), as_double(recorded())
    with torch.no_grad():
        out = run(model, data)
        for name, move in motions():
            moved = data.clone()
            moved.pos_noisy = move(data.pos_noisy)
            found = run(model, moved)
            torch.testing.assert_close(found.distance, out.distance, atol=1e-9, rtol=0, msg=name)
            turned = move(out.noise) - move(torch.zeros_like(out.noise))
            torch.testing.assert_close(found.noise, turned, atol=1e-9, rtol=0, msg=name)


def test_only_the_chosen_channel_has_an_influence():
    model, data = corrected(), recorded()
    data.atom_channel = torch.zeros_like(data.atom_channel)
    data.pair_channel = torch.zeros_like(data.pair_channel)
    changed = data.clone()
    changed.pos_noisy = 2 * data.pos_noisy
    changed.edge_attr = torch.zeros_like(data.edge_attr)
    with torch.no_grad():
        one, two = run(model, data), run(model, changed)
        assert torch.equal(one.length_logits, two.length_logits)
        for channel in (1, 2):
            data.pair_channel = changed.pair_channel = torch.full_like(data.pair_channel, channel)
            assert not torch.equal(run(model, data).distance, run(model, changed).distance)
        data.pair_channel = torch.zeros_like(data.pair_channel)
        data.atom_channel = torch.ones_like(data.atom_channel)
        other = data.clone()
        other.pos_noisy = 2 * data.pos_noisy
        assert not torch.equal(run(model, data).distance, run(model, other).distance)


def one(smiles: str) -> Data:
    return add_ogb_graph(SampleConformer()(from_smiles(smiles)))


def test_targets_by_hand():
    data = one("CC=O")
    batch = torch.zeros(3, dtype=torch.long)
    target = pair_targets(ogb_graph(data), batch, 1)
    assert target.ends.T.tolist() == [[i, j] for i in range(3) for j in range(3)]
    assert target.length.view(3, 3).tolist() == [[-1, 0, 1], [0, -1, 0], [1, 0, -1]]
    single, double = 0, (1 * 6 + 0) * 2
    assert target.bonds.view(3, 3, 5)[0, 2].tolist() == [single, double, -1, -1, -1]
    salt = pair_targets(ogb_graph(one("[Na+].[Cl-]")), torch.zeros(2, dtype=torch.long), 1)
    assert (salt.length == -1).all()
    assert (salt.bonds == -1).all()


def test_long_chains_and_other_bonds_are_errors_of_the_reference_only():
    for smiles in ("C" * 21, "N->[Fe]", r"CC=CC"):
        data = one(smiles)
        if smiles == "CC=CC":
            data.edge_attr[2, 1] = 5  # STEREOANY
        batch = torch.zeros_like(data.z)
        target = pair_targets(ogb_graph(data), batch, 1)
        assert target.length.max() < 11
        assert target.bonds.max() < 60
        with pytest.raises(ValueError, match="leave such molecules out, or use reference=False"):
            pair_targets(ogb_graph(data), batch, 1, reference=True)
    long = pair_targets(ogb_graph(one("C" * 21)), torch.zeros(21, dtype=torch.long), 1)
    assert long.length[20] == 10


@pytest.mark.parametrize("reference", [False, True])
def test_single_atoms_have_no_pairs(reference):
    data = Batch.from_data_list([BlendChannels()(one(s)) for s in ("O", "CCO")])
    terms = mole_blend_objective(corrected(reference=reference), data)
    assert all(value.isfinite() for value in terms.values())
    lonely = Batch.from_data_list([BlendChannels()(one("O"))])
    assert mole_blend_objective(corrected(), lonely)["length"] == 0


def molecules() -> list[Data]:
    smiles = ["CCO", "c1ccccc1O", "CC(=O)N", "C1CCOC1", "CCN(C)C", "OCC=O", "CC#N", "FC(F)C"]
    return [one(text) for text in smiles]


def test_the_loss_falls_on_eight_molecules_and_inputs_are_not_changed():
    torch.manual_seed(0)
    batch = BlendChannels()(Batch.from_data_list(molecules()))
    before = {key: value.clone() for key, value in batch.to_dict().items()
              if isinstance(value, Tensor)}  # fmt: skip
    model = MoleBlend(32, 64, 4, 2, 16, 0.0, 0.0, 0.0, 0.0)
    found = course(model, mole_blend_objective, batch, 200, lr=2e-3)
    for name in ("loss", "length", "bond", "distance", "denoising", "distance_mae"):
        assert found[-1][name] < 0.7 * found[0][name], (name, found[0], found[-1])
    assert all(p.grad is not None for p in model.parameters())  # data-parallel training needs it
    assert all(torch.equal(batch[key], value) for key, value in before.items())


def test_wrong_inputs_are_errors():
    model, data = corrected(), recorded()
    wrong = data.clone()
    wrong.pair_channel = data.pair_channel[:-1]
    with pytest.raises(ValueError, match=r"expected blend.pair \[\d+\] and blend.atom \[51\]"):
        run(model, wrong)
    bare = Batch.from_data_list([BlendChannels()(Data(z=m.z, pos=m.pos)) for m in items()])
    with pytest.raises(ValueError, match="MoleBLEND needs the graph of add_ogb_graph"):
        mole_blend_objective(model, bare)
    blend = Blend(bare.pair_channel, bare.atom_channel)
    with pytest.raises(ValueError, match="a blend of channels needs the graph"):
        model.encoder(bare.z, bare.pos, bare.batch, blend=blend)


def test_saved_and_read(tmp_path):
    model = MoleBlend.tiny()
    model.save_pretrained(tmp_path / "model")
    goldens.assert_same_weights(model, MoleBlend.from_pretrained(tmp_path / "model"))
    encoder = MolAEEncoder.from_pretrained(tmp_path / "model")
    assert type(encoder) is TransformerMEncoder
    goldens.assert_same_weights(encoder, model.encoder)
