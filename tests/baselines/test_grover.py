"""GROVER against recordings of its official code, its corrections, and its symmetries."""

import argparse
from functools import cache

import competitors
import goldens
import pytest
import torch
from competitors import off
from learning import course
from torch import Tensor
from torch_geometric.data import Batch, Data

from molae_pyg.baselines.grover import (
    Grover,
    GroverEncoder,
    GroverOutput,
    grover_objective,
    official_name,
)
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.grover_graph import ChooseWords, Vocabulary, grover_graph
from molae_pyg.fingerprint import of_weights

VARIANTS = {False: ("corrected_", "corrected_pretrain_losses"), True: ("eval_", "pretrain_losses")}


@cache
def graphs() -> list[Data]:
    smiles = competitors.meta("grover")["smiles"].values()
    return [grover_graph(text, Vocabulary({}, {}), canonical=False) for text in smiles]


def recorded_weights() -> dict[str, Tensor]:
    arrays = competitors.arrays("grover")
    encoder = competitors.part(arrays, "weights.")
    return {f"grover.{k}": v for k, v in encoder.items()} | competitors.part(arrays, "heads.")


def load(tmp_path, reference: bool = False) -> Grover:
    content = {"args": argparse.Namespace(depth=3), "state_dict": recorded_weights()}
    torch.save(content, tmp_path / "file.pt")
    model = Grover.from_official(tmp_path / "file.pt")
    again = Grover(**model.config | {"reference": reference}).eval()
    again.load_state_dict(model.state_dict())
    return again


def encode(encoder: GroverEncoder, data: Data) -> GroverOutput:
    with torch.no_grad():
        return encoder(data.x, data.edge_index, data.edge_attr)


@pytest.mark.parametrize("reference", [False, True])
def test_recorded_outputs(tmp_path, reference):
    model, prefix = load(tmp_path, reference), VARIANTS[reference][0]
    out = encode(model.encoder, Batch.from_data_list(graphs()))
    found = {
        name: off(mine, competitors.arrays("grover")[prefix + name][1:])  # row 0 is padding
        for name, mine in zip(out._fields, out, strict=True)
    }
    print(found)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("reference", [False, True])
def test_recorded_losses(tmp_path, reference):
    model, (prefix, name) = load(tmp_path, reference), VARIANTS[reference]
    arrays, theirs = competitors.arrays("grover"), competitors.meta("grover")[name]
    batch = Batch.from_data_list(graphs())
    batch.atom_target, batch.bond_target = arrays["av_target"][1:], arrays["bv_target"][1:]
    with torch.no_grad():
        terms = {k: v.item() for k, v in grover_objective(model, batch).items()}
    pairs = {"atom": "av", "bond": "bv", "motif": "fg", "motif_distance": "fg_dist"}
    for ours, official in pairs.items():
        assert terms[ours] == pytest.approx(theirs[official], rel=1e-6), ours
    # The official distances are means over the padding row, too.
    padding = {k: arrays[prefix + k][:1] for k in GroverOutput._fields}
    heads = {
        "atom": {view: [head] for view, head in model.atom_words.items()},
        "bond": model.bond_words,
    }
    for ours, official in (("atom", "av_dist"), ("bond", "bv_dist")):
        with torch.no_grad():
            one, two = (
                sum(layer(padding[f"{ours}_from_{view}"]) for layer in layers).log_softmax(1)
                for view, layers in heads[ours].items()
            )
        square = (one - two).square().mean().item()
        mine = (51 * terms[f"{ours}_distance"] + square) / 52
        assert mine == pytest.approx(theirs[official], rel=1e-5), ours
    whole = sum(terms[k] for k in ("atom", "bond", "motif", "motif_distance"))
    whole += 0.1 * (terms["atom_distance"] + terms["bond_distance"])
    assert terms["loss"] == pytest.approx(whole, rel=1e-6)


def test_recorded_probabilities(tmp_path):
    model, arrays = load(tmp_path, reference=True), competitors.arrays("grover")
    batch = Batch.from_data_list(graphs())
    with torch.no_grad():
        out = model(batch.x, batch.edge_index, batch.edge_attr, batch.batch, 4)
    for mine, name in (
        (out.atom[0].log_softmax(1), "av_logprob_atom"),
        (out.bond[0].log_softmax(1), "bv_logprob_atom"),
    ):
        assert off(mine, arrays[name][1:]) < 1e-5, name
    for mine, name in ((out.motif[0], "fg_atom_from_atom"), (out.motif[3], "fg_bond_from_bond")):
        theirs = arrays[name]
        assert min(off(mine, theirs), off(mine.sigmoid(), theirs)) < 1e-5, name


@pytest.mark.parametrize("size", ["base_h800", "large_h1200"])
def test_published_shapes(size):
    shapes = competitors.meta("grover")[f"shapes_{size}_heads4"]
    wide = int(size.split("_h")[1])
    with torch.device("meta"):
        encoder = GroverEncoder(wide, 4, 6)
    mine = {official_name(k): list(v.shape) for k, v in encoder.state_dict().items()}
    unused = {"grover.encoders.act_func_node.weight", "grover.encoders.act_func_edge.weight"}
    assert {f"grover.{k}": v for k, v in shapes.items() if f"grover.{k}" not in unused} == mine


def test_official_files(tmp_path):
    weights = recorded_weights()
    model = load(tmp_path)
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[official_name(key)]), key
    encoder = GroverEncoder.from_official(tmp_path / "file.pt")
    goldens.assert_same_weights(encoder, model.encoder)
    assert encoder.config["depth"] == 3  # of the file
    assert GroverEncoder.from_official(tmp_path / "file.pt", depth=5).config["depth"] == 5
    torch.save({"state_dict": weights}, tmp_path / "bare.pt")
    assert GroverEncoder.from_official(tmp_path / "bare.pt").config["depth"] == 6
    key = "grover.encoders.node_blocks.0.heads.0.mpn_q.W_h.weight"
    for content, message in (
        (weights | {key: torch.zeros(7, 7)}, rf"{key} \[7, 7\] instead of \[16, 16\]"),
        ({k: v for k, v in weights.items() if k != key}, f"lacks {key} of GroverEncoder"),
        (
            weights | {"grover.encoders.node_blocks.1.W_o.weight": torch.zeros(1)},
            "1 unknown keys: grover.encoders.node_blocks.1",
        ),
        ({"a": torch.zeros(1)}, "lacks grover.encoders.node_blocks.0.W_i.weight"),
    ):
        torch.save({"state_dict": content}, tmp_path / "other.pt")
        with pytest.raises(CheckpointError, match=message):
            GroverEncoder.from_official(tmp_path / "other.pt")


def test_only_the_reference_depends_on_the_batch(tmp_path):
    # ibuprofen has atoms with four neighbours, neopentane an atom with four
    aspirin, other = graphs()[0], grover_graph("CC(C)(C)C", Vocabulary({}, {}))
    for reference in (False, True):
        encoder = load(tmp_path, reference).encoder
        alone = encode(encoder, aspirin).atom_from_atom
        together = encode(encoder, Batch.from_data_list([aspirin, other])).atom_from_atom
        moved = (together[: len(alone)] - alone).abs().max().item()
        assert (moved > 0.1) if reference else (moved < 1e-5), (reference, moved)


def test_weights_of_another_depth_are_other_weights():
    torch.manual_seed(0)
    one = GroverEncoder(16, 2, 3)
    for other in (GroverEncoder(16, 2, 4), GroverEncoder(16, 2, 3, reference=True)):
        other.load_state_dict(one.state_dict())
        assert of_weights(other) != of_weights(one)


def test_atoms_in_another_order():
    torch.manual_seed(0)
    encoder = GroverEncoder(16, 2, 3).eval().double()
    one, two = (grover_graph(s, canonical=False) for s in ("OCC(N)=O", "NC(=O)CO"))
    order = [4, 3, 1, 0, 2]  # atom of two at the place of each atom of one: O C C N O
    for data in (one, two):
        data.x, data.edge_attr = data.x.double(), data.edge_attr.double()
    assert torch.equal(one.x, two.x[order])
    a, b = encode(encoder, one), encode(encoder, two)
    for name in ("atom_from_atom", "atom_from_bond"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name)[order], atol=1e-9, rtol=0)
    place = torch.tensor(order)
    ends = place[one.edge_index]  # in the numbers of two
    same = [
        next(
            k
            for k in range(two.edge_index.size(1))
            if two.edge_index[:, k].tolist() == [int(source), int(target)]
        )
        for source, target in ends.T
    ]
    for name in ("bond_from_atom", "bond_from_bond"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name)[same], atol=1e-9, rtol=0)


def test_depth_is_drawn_in_training_only():
    torch.manual_seed(0)
    encoder, data = GroverEncoder(16, 2, 4, dropout=0.0), graphs()[0]
    first, second = (encode(encoder, data).atom_from_atom for _ in range(2))
    assert not torch.equal(first, second)
    encoder.eval()
    first, second = (encode(encoder, data).atom_from_atom for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("reference", [False, True])
def test_molecules_without_bonds(reference):
    items = [grover_graph(text, Vocabulary({}, {})) for text in ("O", "[Na+].[Cl-]")]
    for some in (items, [items[0], *graphs()[:1]]):
        batch = ChooseWords()(Batch.from_data_list(some))
        terms = grover_objective(Grover(5, 5, 16, 2, 3, reference=reference), batch)
        assert all(value.isfinite() for value in terms.values())


def test_the_loss_falls_on_eight_molecules_and_inputs_are_not_changed():
    torch.manual_seed(0)
    smiles = ["CCO", "c1ccccc1O", "CC(=O)N", "C1CCOC1", "CCN(C)C", "OCC=O", "CC#N", "FC(F)C"]
    vocabulary = Vocabulary.of(smiles, least=1)
    data = [grover_graph(text, vocabulary) for text in smiles]
    batch = ChooseWords()(Batch.from_data_list(data))
    before = {k: v.clone() for k, v in batch.to_dict().items() if isinstance(v, Tensor)}
    model = Grover(*vocabulary.sizes, 32, 4, 4, dropout=0.0)
    found = course(model, grover_objective, batch, 60, lr=3e-3)
    for name in ("loss", "atom", "bond", "motif"):
        assert found[-1][name] < 0.3 * found[0][name], (name, found[0], found[-1])
    assert all(p.grad is not None for p in model.parameters())  # data-parallel training needs it
    assert all(torch.equal(batch[key], value) for key, value in before.items())


def test_saved_and_read(tmp_path):
    for model in (Grover(7, 9, 16, 2, 3), GroverEncoder(16, 2, 3)):
        model.save_pretrained(tmp_path / type(model).__name__)
        again = type(model).from_pretrained(tmp_path / type(model).__name__)
        goldens.assert_same_weights(model, again)
        assert again.config == model.config


def test_arguments():
    shown = "GroverEncoder(16, heads=2, depth=3, dropout=0.2, reference=True)"
    assert repr(GroverEncoder(16, 2, 3, 0.2, reference=True)) == shown
    assert repr(Grover(7, 9)).startswith("Grover(7, bond_classes=9, hidden_channels=128, heads=4")
    with pytest.raises(ValueError, match="hidden_channels=10 is not divisible by heads=4"):
        GroverEncoder(10)
