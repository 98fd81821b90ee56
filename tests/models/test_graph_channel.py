"""The graph channel of the encoder: what it sees and what it must not see."""

import pytest
import torch
from torch_geometric.data import Batch

from molae_pyg import ClozeDrop, MolAE, cloze_loss, from_smiles
from molae_pyg.chem.graph import add_graph, batch_graph
from molae_pyg.nn import Graph

SIZES = {
    "hidden_channels": 32,
    "ffn_channels": 48,
    "heads": 4,
    "num_layers": 2,
    "num_decoder_layers": 1,
}
SMILES = ["C[N+](C)(C)CC(=O)[O-]", "c1ccccc1O", "N[C@@H](C)C(=O)O"]


@pytest.fixture(scope="module")
def model() -> MolAE:
    torch.manual_seed(0)
    model = MolAE(**SIZES, num_gaussians=8, gaussian_init="intended", graph=True).eval()
    for table in (model.encoder.graph_bias.atom, model.encoder.graph_bias.pair):
        torch.nn.init.normal_(table.weight)  # larger than at the start, so that effects show
    return model


@pytest.fixture(scope="module")
def molecules() -> list:
    return [add_graph(from_smiles(smiles)) for smiles in SMILES]


def encoded(model: MolAE, data, **more):
    with torch.no_grad():
        return model.encoder(data.z, data.pos, data.get("batch"), graph=batch_graph(data), **more)


def permuted(graph: Graph, order: torch.Tensor) -> Graph:
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return Graph(graph.atom[order], place[graph.edge_index], graph.bond_type)


def test_graph_changes_the_result_and_without_it_the_encoder_answers_too(model, molecules):
    data = molecules[0]
    with torch.no_grad():
        plain = model.encoder(data.z, data.pos)
    assert not torch.allclose(encoded(model, data).x, plain.x, atol=1e-2)


def test_unknown_features_add_nothing_to_the_tokens(model, molecules):
    unknown = torch.zeros_like(molecules[0].atom)
    assert model.encoder.graph_bias.atoms(unknown).eq(0).all()


def test_invariant_to_rotation_and_reflection(model, molecules):
    data = molecules[2]
    q, _ = torch.linalg.qr(torch.randn(3, 3))
    moved = data.clone()
    moved.pos = data.pos @ q + 3
    torch.testing.assert_close(
        encoded(model, data).molecule, encoded(model, moved).molecule, atol=1e-4, rtol=1e-4
    )


def test_equivariant_to_the_order_of_the_atoms(model, molecules):
    data = molecules[0]
    order = torch.randperm(data.z.numel())
    with torch.no_grad():
        out = model.encoder(
            data.z[order], data.pos[order], graph=permuted(batch_graph(data), order)
        )
    torch.testing.assert_close(out.x, encoded(model, data).x[order], atol=1e-5, rtol=1e-5)


def test_molecule_alone_and_in_a_batch_are_equal(model, molecules):
    batch = Batch.from_data_list(molecules)
    together = encoded(model, batch)
    alone = [encoded(model, data) for data in molecules]
    torch.testing.assert_close(
        together.molecule, torch.cat([out.molecule for out in alone]), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        together.x, torch.cat([out.x for out in alone]), atol=1e-5, rtol=1e-5
    )


def test_one_direction_of_a_bond_suffices(model, molecules):
    data = molecules[1]
    half = data.edge_index.size(1) // 2
    graph = Graph(data.atom, data.edge_index[:, :half], data.bond_type[:half])
    with torch.no_grad():
        out = model.encoder(data.z, data.pos, graph=graph)
    assert torch.equal(out.x, encoded(model, data).x)


def test_features_of_a_dropped_atom_are_not_seen(model, molecules):
    batch = Batch.from_data_list(molecules)
    drop = torch.zeros(batch.z.numel(), dtype=torch.bool)
    drop[[1, 9, 12]] = True
    before = encoded(model, batch, drop_mask=drop)
    hidden = batch.clone()
    hidden.atom = torch.where(drop[:, None], 1, batch.atom)
    assert torch.equal(encoded(model, hidden, drop_mask=drop).x, before.x)
    shown = batch.clone()
    shown.atom = torch.where(drop[:, None], batch.atom, 1)
    assert not torch.equal(encoded(model, shown, drop_mask=drop).x, before.x)


def test_pairs_of_kept_atoms_have_the_codes_of_the_whole_molecule(model, molecules):
    """A chain whose middle is dropped: its ends are still two bonds apart."""
    data = add_graph(from_smiles("CCO"))
    drop = torch.tensor([False, True, False])
    pair = model.encoder.graph_bias.pair.weight.detach()
    with torch.no_grad():
        with_graph = encoded(model, data, drop_mask=drop).state.pair_in
        without = model.encoder(data.z, data.pos, drop_mask=drop).state.pair_in
    added = (with_graph - without)[0]  # [H, 4, 4]
    torch.testing.assert_close(added[:, 2, 3], pair[7], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(added[:, 2, 2], pair[1], atol=1e-5, rtol=1e-5)
    assert added[:, :2].abs().max() < 1e-6  # CLS and SEP have no code


def test_cloze_loss_has_charges_and_hydrogens(model, molecules):
    batch = ClozeDrop(0.4)(Batch.from_data_list(molecules))
    out = model(
        batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy, graph=batch_graph(batch)
    )
    terms = cloze_loss(out, batch)
    assert out.atom_logits.shape == (batch.drop_mask.sum(), 12)
    assert terms["atom"] > 0
    del batch.atom
    assert "atom" not in cloze_loss(out, batch)
    assert (terms["total"] - cloze_loss(out, batch)["total"]).item() == pytest.approx(
        terms["atom"].item(), rel=1e-4
    )


def test_encoder_without_channel_refuses_a_graph(molecules):
    data = molecules[0]
    with pytest.raises(ValueError, match="graph=True"):
        MolAE(**SIZES).encoder(data.z, data.pos, graph=batch_graph(data))


def test_graph_of_other_atoms_is_refused(model, molecules):
    data = molecules[0]
    with pytest.raises(ValueError, match=r"expected graph.atom \[8, 6\]"):
        model.encoder(data.z, data.pos, graph=batch_graph(molecules[1]))


def test_published_model_has_neither_channel_nor_key():
    model = MolAE(**SIZES)
    assert "graph" not in model.config
    assert not [key for key in model.state_dict() if "graph" in key or "atom_head" in key]


def test_saved_model_keeps_the_channel(model, molecules, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = MolAE.from_pretrained(tmp_path)
    assert torch.equal(encoded(loaded, molecules[0]).x, encoded(model, molecules[0]).x)
