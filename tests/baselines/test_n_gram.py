"""N-Gram Graph against recordings of its official code, its symmetries, and the forest on it."""

import competitors
import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from molae_pyg.baselines.job import Job
from molae_pyg.baselines.n_gram import (
    FEATURES,
    SIZES,
    AtomEmbedding,
    atoms_in_context,
    n_gram_forest,
    n_gram_graph,
    n_gram_objective,
    n_grams,
    train_embedding,
)
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.datasets import MoleculeTable
from molae_pyg.splits import Split

ALCOHOLS = ["CO", "CCO", "CCCO", "CCCCO", "CC(C)O", "CCCCCO", "OCC(C)C", "CCC(O)C"]
ALKANES = ["CC", "CCC", "CCCC", "CCCCC", "CC(C)C", "CCCCCC", "CCC(C)C", "CC(C)(C)C"]


def graphs(smiles: list[str]) -> list[Data]:
    return [n_gram_graph(plain_mol(text)) for text in smiles]


def recorded() -> tuple[Batch, dict[str, Tensor]]:
    smiles = competitors.meta("ngram")["smiles"].values()
    return Batch.from_data_list(graphs(list(smiles))), competitors.arrays("ngram")


def recorded_model() -> AtomEmbedding:
    model = AtomEmbedding(50)
    ours = {"embeddings": "embedding", "layers": "heads"}
    weights = competitors.by_rule(competitors.meta("ngram")["cbow_50_shapes"])
    parts = {key: key.partition(".") for key in weights}
    names = {key: f"{ours[first]}.{rest}" for key, (first, _, rest) in parts.items()}
    model.load_state_dict({names[key]: value for key, value in weights.items()})
    return model


def bonds(edge_index: Tensor) -> list[list[int]]:
    return sorted(edge_index.T.tolist())


def test_recorded_features():
    batch, theirs = recorded()
    assert torch.equal(batch.x, theirs["features"].byte())
    assert bonds(batch.edge_index) == bonds(theirs["edge_index"])
    assert torch.equal(batch.batch, theirs["batch"])


def test_recorded_objective():
    batch, theirs = recorded()
    model, atoms = recorded_model(), atoms_in_context(batch)
    labels = torch.stack([part.argmax(1) for part in atoms.x.split(SIZES, 1)], 1)
    assert torch.equal(labels, theirs["cbow_labels"].long())
    assert torch.equal(model.embedding.weight, theirs["embedding_weight"])
    loss = n_gram_objective(model, atoms)["loss"].item()
    assert loss == pytest.approx(theirs["cbow_loss"].item(), rel=1e-6)


def test_recorded_n_grams():
    batch, theirs = recorded()
    found = n_grams(batch, theirs["embedding_weight"])  # [4, 6, 50]
    assert competitors.off(found, theirs["ngram"]) < 1e-6
    assert competitors.off(found.mT.flatten(1), theirs["forest_columns"]) < 1e-6
    for one, own in zip(batch.to_data_list(), found, strict=True):  # alone
        assert competitors.off(n_grams(one, theirs["embedding_weight"])[0], own) < 1e-6


def test_walks_of_a_path_by_hand():
    path = Data(torch.eye(3, 42).byte(), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
    values = torch.zeros(1, 42)
    values[0, :3] = torch.tensor([1.0, 2.0, 3.0])
    expected = competitors.meta("ngram")["path_1_2_3"]
    assert n_grams(path, values).flatten().tolist() == expected
    one = Data(torch.eye(1, 42).byte(), torch.zeros(2, 0, dtype=torch.long))
    assert n_grams(one, values).flatten().tolist() == [1, 0, 0, 0, 0, 0]


def test_the_order_of_the_atoms_does_not_matter():
    embedding = AtomEmbedding(8).double().embedding.weight
    for text, other in (("OCC(N)=O", "NC(=O)CO"), ("Cn1cccc1", "c1n(C)ccc1")):
        one, two = graphs([text, other])
        assert not torch.equal(one.x, two.x)
        torch.testing.assert_close(n_grams(one, embedding), n_grams(two, embedding))


def test_values_that_are_not_listed_have_the_last_column():
    start = np.cumsum([0, *SIZES])
    column = dict(zip(FEATURES, start, strict=False))
    assert n_gram_graph(plain_mol("[B-](F)(F)(F)F")).x[0, column["element"] + 9] == 1
    # a charge of -3 counts as +3, as published
    x = n_gram_graph(plain_mol("[N-3]")).x[0]
    assert x[column["charge"] + 5] == 1
    assert x.sum() == len(SIZES)
    # a degree above 6
    assert n_gram_graph(plain_mol("[Fe](C)(C)(C)(C)(C)(C)C")).x[0, column["degree"] + 6] == 1


def test_all_bonded_atoms_are_learned_from():
    salt = atoms_in_context(Batch.from_data_list(graphs(["[Na+].CC(=O)[O-]", "O"])))
    assert len(salt.x) == 4  # without the ion, and without water
    with pytest.raises(ValueError, match="the molecules have no bond"):
        train_embedding(graphs(["O", "[Na+].[Cl-]"]))


def test_the_loss_falls_and_inputs_are_not_changed():
    molecules = graphs(ALCOHOLS + ALKANES)
    before = [data.clone() for data in molecules]
    atoms = atoms_in_context(Batch.from_data_list(molecules))
    first = n_gram_objective(train_embedding(molecules, 16, epochs=0), atoms)["loss"].item()
    model = train_embedding(molecules, 16, epochs=200, batch_size=32)
    n_grams(molecules[0], model.embedding.weight)
    assert n_gram_objective(model, atoms)["loss"].item() < 0.5 * first
    for data, old in zip(molecules, before, strict=True):
        assert torch.equal(data.x, old.x)
        assert torch.equal(data.edge_index, old.edge_index)


def test_embeddings_are_seeded():
    one, again, other = (
        train_embedding(graphs(ALCOHOLS), 8, epochs=2, seed=seed).embedding.weight
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_forest_learns_and_sees_only_training_rows(tmp_path):
    smiles = [text for pair in zip(ALCOHOLS, ALKANES, strict=True) for text in pair]
    y = [[1.0], [0.0]] * 8
    table = MoleculeTable(smiles, y, task_type="classification", num_conformers=1, workers=1)
    split = Split(np.arange(10), np.arange(10, 12), np.arange(12, 16))
    settings = {"num_trees": 50, "channels": 16, "epochs": 5}
    fitted = n_gram_forest(Job(table, split, settings, 0, tmp_path))
    assert fitted.valid.shape == (2, 1)
    assert fitted.test[::2].min() > fitted.test[1::2].max()  # alcohols above alkanes
    changed = MoleculeTable(
        [*smiles[:15], "c1ccccc1N"], y, task_type="classification", num_conformers=1, workers=1
    )
    again = n_gram_forest(Job(changed, split, settings, 0, tmp_path))
    assert np.array_equal(again.valid, fitted.valid)
    assert np.array_equal(again.test[:3], fitted.test[:3])


def test_an_embedding_shows_its_argument():
    assert repr(AtomEmbedding(7)) == "AtomEmbedding(7)"
    with pytest.raises(ValueError, match="channels must be an integer of at least 1"):
        AtomEmbedding(0)
