"""Exported models compute what the models compute, for every number of molecules and atoms."""

import importlib.util
import json
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.utils import to_dense_adj, to_dense_batch

from molae_pyg import MolAE, MolAEEncoder, MolAEPredictor, from_smiles
from molae_pyg.chem.graph import add_graph, batch_graph
from molae_pyg.inference import export_onnx, export_program
from molae_pyg.inference.export import dense
from molae_pyg.models import PositionedEncoder, PropertyModel
from molae_pyg.nn.readout import Readout

READOUTS = get_args(Readout)
#: One molecule, one atom, one atom and molecules of several sizes.
SIZES = [[5], [1], [1, 7], [4, 1, 12, 9]]
ATOL = 1e-4

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs onnx, onnxscript and onnxruntime: pip install 'molae_pyg[onnx]'",
)


def encoder(graph: bool = False) -> MolAEEncoder:
    torch.manual_seed(0)
    model = MolAEEncoder(16, 32, 4, 2, 8, gaussian_init="intended", graph=graph)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(30)  # so that coordinates matter
    return model


def predictor(readout: str = "mean") -> MolAEPredictor:
    types = ["regression", "classification", "regression"]
    model = MolAEPredictor(encoder(), 3, 0.5, readout, ["a", "b", "c"], types)
    model.set_scaling(torch.tensor([[-40.0, 0, 1], [60.0, 1, 1.5]]))
    model.recipe = {"num_conformers": 1}
    return model


def molecules(sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(sizes))
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    z = torch.tensor([6, 7, 8, 1, 26])[torch.randint(5, batch.shape, generator=generator)]
    return z, 10 + 2 * torch.randn(len(z), 3, generator=generator), batch


def padded(z: Tensor, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    return to_dense_batch(z, batch)[0], to_dense_batch(pos, batch, torch.nan)[0]


@torch.no_grad()
def test_coordinates_matter_here():
    z, pos, batch = molecules([4, 5])
    model = predictor().eval()
    change = (model(z, 0.5 * pos, batch) - model(z, pos, batch)).abs()
    assert (change / model.std > 10 * ATOL).all()


@pytest.mark.parametrize("readout", READOUTS)
@torch.no_grad()
def test_padded_molecules_give_the_predictions_of_flat_ones(readout):
    model = predictor(readout).eval()
    for sizes in SIZES:
        z, pos, batch = molecules(sizes)
        expected = model.predict(z, pos[:, None], batch)
        assert torch.allclose(dense(model)(*padded(z, pos, batch)), expected, atol=1e-5)


@pytest.mark.parametrize("readout", READOUTS)
@torch.no_grad()
def test_a_row_without_atoms_is_an_empty_molecule(readout):
    model = predictor(readout).eval()
    z, pos, batch = molecules([3, 4])
    expected = model.probabilities(model(z, pos, batch, batch_size=3))
    z, pos = padded(z, pos, batch)
    z, pos = torch.cat([z, 0 * z[:1]]), torch.cat([pos, pos[:1]])
    assert torch.allclose(dense(model)(z, pos), expected, atol=1e-5)


@torch.no_grad()
def test_padded_atoms_are_in_their_places():
    model = encoder().eval()
    z, pos, batch = molecules([4, 1, 9])
    expected, found = model(z, pos, batch), dense(model)(*padded(z, pos, batch))
    _, mask = to_dense_batch(z, batch)
    assert torch.allclose(found.molecule, expected.molecule, atol=1e-5)
    assert torch.allclose(found.atom[mask], expected.x, atol=1e-5)
    assert (found.atom[~mask] == 0).all()


@torch.no_grad()
def test_a_program_takes_any_number_of_molecules_and_atoms(tmp_path):
    model = predictor().train()
    torch.export.save(export_program(model), tmp_path / "model.pt2")
    assert model.training
    program = torch.export.load(tmp_path / "model.pt2").module()
    model.eval()
    for sizes in SIZES:
        z, pos, batch = molecules(sizes)
        expected = model.predict(z, pos[:, None], batch)
        assert torch.allclose(program(*padded(z, pos, batch)), expected, atol=ATOL)


@torch.no_grad()
def test_the_encoder_of_an_auto_encoder_is_exported():
    torch.manual_seed(0)
    model = MolAE(16, 16, 4, 1, 1, num_gaussians=4).double().eval()
    z, pos, batch = molecules([3, 6])
    found = export_program(model).module()(*padded(z, pos, batch))
    assert found.molecule.dtype == torch.float32
    expected = model.encoder(z, pos, batch).molecule.float()
    assert torch.allclose(found.molecule, expected, atol=ATOL)


def session(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@needs_onnx
@torch.no_grad()
@pytest.mark.parametrize("readout", ["cls", "max"])
def test_onnx_predicts_the_same_in_real_units(tmp_path, readout):
    model = predictor(readout)
    export_onnx(model, tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]  # weights are inside
    runtime, model, std = session(tmp_path / "model.onnx"), model.eval(), model.std.numpy()
    for sizes in SIZES:
        z, pos, batch = molecules(sizes)
        inputs = dict(zip(("z", "pos"), map(Tensor.numpy, padded(z, pos, batch)), strict=True))
        (found,) = runtime.run(["prediction"], inputs)
        expected = model.predict(z, pos[:, None], batch).numpy()
        assert found.shape == (len(sizes), 3)
        np.testing.assert_allclose(found / std, expected / std, rtol=0, atol=ATOL)
    shapes = {value.name: value.shape for value in runtime.get_inputs()}
    assert shapes == {"z": ["molecules", "atoms"], "pos": ["molecules", "atoms", 3]}
    metadata = runtime.get_modelmeta().custom_metadata_map
    known = {name: json.loads(metadata[name]) for name in ("task_names", "task_types", "recipe")}
    assert known["task_names"] == ["a", "b", "c"]
    assert known["task_types"] == model.task_types
    assert known["recipe"] == {"num_conformers": 1}


def graphs() -> tuple[MolAEEncoder, Batch, dict[str, Tensor]]:
    """An encoder with a graph channel, molecules with graphs, and the padded input of both."""
    model = encoder(graph=True).eval()
    with torch.no_grad():
        for layer in (model.graph_bias.atom, model.graph_bias.pair):
            layer.weight.mul_(20)  # so that the graph matters
    smiles = ["CC(=O)Oc1ccccc1C(=O)O", "C", "C[C@H](N)C#N", "[NH3+]CC=CCCCCCCC"]
    batch = Batch.from_data_list([add_graph(from_smiles(s)) for s in smiles])
    z, pos = padded(batch.z, batch.pos, batch.batch)
    features = to_dense_batch(batch.atom.long(), batch.batch)[0]
    bonds = to_dense_adj(batch.edge_index, batch.batch, batch.bond_type.long())
    return model, batch, {"z": z, "pos": pos, "features": features, "bonds": bonds}


@torch.no_grad()
def test_the_graph_is_an_input_of_encoders_that_see_it():
    model, batch, inputs = graphs()
    expected = model(batch.z, batch.pos, batch.batch, graph=batch_graph(batch))
    blind = model(batch.z, batch.pos, batch.batch)
    assert (expected.molecule - blind.molecule).abs().amax(1).min() > 100 * ATOL
    for module in (dense(model), export_program(model).module()):
        found = module(*inputs.values())
        assert torch.allclose(found.molecule, expected.molecule, atol=ATOL)
        unknown = {**inputs, "features": 0 * inputs["features"]}
        assert torch.allclose(module(*unknown.values()).molecule, blind.molecule, atol=ATOL)
    assert torch.allclose(
        dense(model)(inputs["z"], inputs["pos"]).molecule, blind.molecule, atol=ATOL
    )
    told = MolAEPredictor(model).eval()
    wanted = told(batch.z, batch.pos, batch.batch, graph=batch_graph(batch))
    assert (wanted - told(batch.z, batch.pos, batch.batch)).abs().min() > ATOL
    assert torch.allclose(export_program(told).module()(*inputs.values()), wanted, atol=ATOL)
    other = MolAEPredictor(encoder()).eval()  # without a graph channel, in the same mean
    mean = (wanted + other(batch.z, batch.pos, batch.batch)) / 2
    assert torch.allclose(export_program([told, other]).module()(*inputs.values()), mean, atol=ATOL)


@needs_onnx
@torch.no_grad()
def test_onnx_sees_the_graph(tmp_path):
    model, batch, inputs = graphs()
    export_onnx(model, tmp_path / "encoder.onnx")
    runtime = session(tmp_path / "encoder.onnx")
    found = runtime.run(["molecule"], {name: value.numpy() for name, value in inputs.items()})[0]
    expected = model(batch.z, batch.pos, batch.batch, graph=batch_graph(batch)).molecule
    np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)
    one = {name: value[1:2, :1].numpy() for name, value in inputs.items()}
    one["bonds"] = one["bonds"][:, :, :1]  # methane: one atom
    np.testing.assert_allclose(runtime.run(["molecule"], one)[0], expected[1:2], rtol=0, atol=ATOL)


@needs_onnx
@torch.no_grad()
def test_onnx_encodes_the_same(tmp_path):
    model = encoder()
    export_onnx(model, str(tmp_path / "encoder.onnx"))
    runtime, model = session(tmp_path / "encoder.onnx"), dense(model).eval()
    for sizes in SIZES:
        z, pos = padded(*molecules(sizes))
        found = runtime.run(["molecule", "atom"], {"z": z.numpy(), "pos": pos.numpy()})
        for mine, theirs in zip(found, model(z, pos), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=ATOL)


@torch.no_grad()
def test_the_mean_of_several_predictors():
    models = [predictor("mean").eval(), predictor("cls").eval()]
    models[1].mean.add_(3)
    z, pos, batch = molecules([4, 9])
    each = [model.predict(z, pos[:, None], batch) for model in models]
    found = export_program(models).module()(*padded(z, pos, batch))
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=ATOL)
    assert (each[0] - each[1]).abs().min() > ATOL
    for wrong in ([], [encoder()], [*models, encoder()]):
        with pytest.raises(ValueError, match="must hold one MolAEPredictor or more"):
            export_program(wrong)
    models[1].task_names = ["a", "b", "d"]
    with pytest.raises(ValueError, match=r"of other tasks have no mean: .*'c'.* and .*'d'"):
        export_program(models)


class Other(PropertyModel):
    def __init__(self):
        super().__init__(1, None)


def test_other_models_cannot_be_exported():
    for model in (Other(), torch.nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=r"Other|Linear.* cannot be exported: give a MolAEPre"):
            export_program(model)


@needs_onnx
def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot write .*there is no folder .*absent"):
        export_onnx(encoder(), tmp_path / "absent" / "model.onnx")


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"need onnx and onnxscript: .*molae_pyg\[onnx\]"):
        export_onnx(encoder(), tmp_path / "model.onnx")


def test_an_encoder_with_another_forward_is_refused(tmp_path):
    encoder = PositionedEncoder(16, 16, 4, 1, num_gaussians=8).eval()
    with pytest.raises(ValueError, match="a PositionedEncoder cannot be exported"):
        export_onnx(encoder, tmp_path / "encoder.onnx")
