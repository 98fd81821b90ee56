"""Models with a graph channel receive the graph, whatever form their molecules have."""

import warnings

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch_geometric.data import Batch, Data

from molae_pyg import (
    AtomPredictor,
    MolAEEncoder,
    MolAEPredictor,
    from_mol,
    from_smiles,
)
from molae_pyg.chem import featurize
from molae_pyg.chem.graph import GRAPH_FIELDS, add_graph, batch_graph
from molae_pyg.chem.options import Options
from molae_pyg.datasets import MoleculeTable
from molae_pyg.inference import embed, embed_atoms, explain, predict
from molae_pyg.inference.graphs import Graphs

SMILES = ["OCC[N+](C)(C)C", "c1ccccc1O", "C[C@H](N)C(=O)[O-]", "CC=CC#N"]
BOTH = {"precision": "32-true"}


def encoder(graph: bool = True) -> MolAEEncoder:
    """An encoder whose weights are large enough for coordinates and graph to matter."""
    torch.manual_seed(0)
    model = MolAEEncoder(16, 32, 4, 2, 8, 0.0, 0.0, "intended", graph=graph)
    for matrix in model.parameters():
        if matrix.dim() == 2 and matrix.size(0) > 1:
            torch.nn.init.normal_(matrix, std=0.4)
    return model.eval()


def predictor(graph: bool = True, **more) -> MolAEPredictor:
    model = MolAEPredictor(encoder(graph), 2, task_type=["regression", "classification"], **more)
    model.set_scaling(torch.tensor([[2.0, 0.0], [5.0, 1.0]]))
    return model.eval()


def without_graph(data: Data) -> Data:
    return Data(z=data.z, pos=data.pos)


@torch.no_grad()
def expected(model: MolAEPredictor, data: Data, **graph) -> np.ndarray:
    return model.probabilities(model(data.z, data.pos, **graph))[0].numpy()


def test_predictions_are_those_of_the_graph_whether_it_is_there_or_only_a_smiles():
    model = predictor()
    told = [add_graph(from_smiles(smiles)) for smiles in SMILES]
    wanted = [expected(model, data, graph=batch_graph(data)) for data in told]
    blind = [expected(model, data) for data in told]
    assert np.abs(np.subtract(wanted, blind)).max(1).min() > 1e-2
    only_smiles = [from_smiles(smiles) for smiles in SMILES]
    for molecules in (told, only_smiles):
        np.testing.assert_allclose(predict(model, molecules, **BOTH), wanted, atol=1e-5)
    assert "atom" not in only_smiles[0]  # the molecules of the caller stay as they are
    model.recipe = Options(num_conformers=1).to_dict()
    np.testing.assert_allclose(predict(model, SMILES, **BOTH), wanted, atol=1e-4)


def test_molecules_of_a_table_have_the_graph_also_if_they_are_cropped():
    model = predictor()
    table = MoleculeTable(SMILES, [[1.0, 0.0]] * 4, num_conformers=1, add_2d=False, workers=1)
    found = predict(model, table, **BOTH)
    np.testing.assert_allclose(found, predict(model, list(table), **BOTH), atol=1e-6)
    made, _ = featurize(SMILES, 1, workers=1)
    np.testing.assert_allclose(found, predict(model, made, **BOTH), atol=1e-3)
    some = {"num_conformers": 1, "add_2d": False, "max_atoms": 4, "seed": 5}
    table = MoleculeTable(SMILES, [[1.0, 0.0]] * 4, workers=1, **some)
    made, _ = featurize(SMILES, workers=1, **some)
    graphs = Graphs(True, table.recipe)
    for cropped, data in zip(table, made, strict=True):
        for name in GRAPH_FIELDS:
            assert torch.equal(graphs(cropped)[name], add_graph(data)[name])


def test_molecules_with_and_without_a_graph_in_one_batch_and_one_warning():
    model = predictor()
    data = [from_smiles(smiles) for smiles in SMILES]
    molecules = [data[0], without_graph(data[1]), data[2], without_graph(data[3])]
    with pytest.warns(UserWarning, match="not their graph; the first: it has neither") as noted:
        found = predict(model, molecules, **BOTH)
    assert len(noted) == 1
    told = [batch_graph(add_graph(from_smiles(smiles))) for smiles in SMILES]
    wanted = [expected(model, data[i], **({} if i % 2 else {"graph": told[i]})) for i in range(4)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_other_models_need_no_graph_and_nobody_is_warned():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = [without_graph(from_smiles(smiles)) for smiles in SMILES]
        predict(predictor(graph=False), data, **BOTH)
        assert "atom" not in Graphs(False)(from_smiles("CCO"))


def test_a_smiles_in_another_order_than_the_coordinates_gives_no_graph():
    data = from_smiles("Cc1ccccc1C")
    order = torch.tensor([2, 5, 0, 7, 1, 4, 3, 6])
    moved = Data(z=data.z, pos=data.pos[order], smiles=data.smiles)
    with pytest.warns(UserWarning, match="may have another order than its coordinates"):
        found = Graphs(True)(moved)
    assert found.atom.eq(0).all()
    assert found.edge_index.shape == (2, 0)
    other = Data(z=data.z, pos=data.pos, smiles="CCO")
    with pytest.warns(UserWarning, match="the atoms of 'CCO' are not those of z"):
        Graphs(True)(other)


def test_the_graph_does_not_depend_on_the_order_of_the_atoms():
    model = predictor()
    first = from_smiles(SMILES[0])
    place = torch.randperm(first.z.numel())
    moved = Data(z=first.z[place], pos=first.pos[place], smiles=SMILES[0])
    moved.atom_map = first.atom_map[place]
    found = [predict(model, [data], **BOTH)[0] for data in (first, moved)]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_vectors_of_molecules_and_atoms_see_the_graph():
    model = encoder()
    told = [add_graph(from_smiles(smiles)) for smiles in SMILES]
    batch = Batch.from_data_list(told)
    with torch.no_grad():
        out = model(batch.z, batch.pos, batch.batch, graph=batch_graph(batch))
    data = [from_smiles(smiles) for smiles in SMILES]
    found = embed(model, data, readout="cls", **BOTH)
    np.testing.assert_allclose(found, out.molecule, atol=1e-4)
    np.testing.assert_allclose(embed_atoms(model, data, **BOTH), out.x, atol=1e-4)
    atoms = AtomPredictor(model).eval()
    with torch.no_grad():
        wanted = atoms(batch.z, batch.pos, batch.batch, graph=batch_graph(batch))
    np.testing.assert_allclose(predict(atoms, data, **BOTH), wanted, atol=1e-4)


def test_rdkit_molecules_have_the_graph():
    mol = Chem.MolFromSmiles(SMILES[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Graphs(True)(from_mol(mol))
    charge = found.atom[:, 0].tolist()
    assert sorted(charge) == [3, 4, 4, 4, 4, 4]  # one atom of charge -1


@pytest.mark.parametrize("readout", ["cls", "mean", "atomwise", "cls, mean"])
def test_an_atom_that_is_left_out_takes_its_features_along(readout):
    model = predictor(readout=readout)
    data = add_graph(from_smiles(SMILES[0]))
    (found,) = explain(model, [from_smiles(SMILES[0])])
    graph, n = batch_graph(data), data.z.numel()
    with torch.no_grad():
        whole = model(data.z, data.pos, graph=graph)[0]
        rows = []
        for left_out in range(n):
            drop = torch.arange(n) == left_out
            hidden = graph._replace(atom=torch.where(drop[:, None], 1, graph.atom))
            rows.append(model(data.z, data.pos, drop_mask=drop, graph=hidden)[0])
    np.testing.assert_allclose(found.prediction, whole, atol=1e-5)
    np.testing.assert_allclose(found.values, whole - torch.stack(rows), atol=1e-4)


def test_a_saved_predictor_sees_the_graph(tmp_path):
    model = predictor()
    model.save_pretrained(tmp_path)
    data = [from_smiles(smiles) for smiles in SMILES]
    loaded = MolAEPredictor.from_pretrained(tmp_path)
    assert np.array_equal(predict(loaded, data, **BOTH), predict(model, data, **BOTH))
