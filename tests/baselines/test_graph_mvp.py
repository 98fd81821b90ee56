"""GraphMVP against recordings of its official code."""

from functools import partial

import competitors
import pytest
import torch
import torch.nn.functional as F
from goldens import assert_same_weights
from learning import course
from symmetry import motions
from torch_geometric.data import Batch
from torch_geometric.transforms import Compose

from molae_pyg.baselines.graph_mvp import (
    GraphMVP,
    Rebuild,
    contrast_loss,
    graph_mvp_objective,
)
from molae_pyg.baselines.official_gnn import (
    edge_gin_to_official,
    ogb_gin_from_official,
)
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.hu_graph import HuGraphs, hu_graph
from molae_pyg.nn.contrast import info_nce, noise_contrast, noise_contrast_loss
from molae_pyg.training import Pretraining, pretrain
from molae_pyg.transforms import ConnectedPart, ContextRoot, MaskAtoms

RECORDED, META = competitors.arrays("graphmvp"), competitors.meta("graphmvp")
VARIANTS = [name for name in META if name.startswith(("EBM", "InfoNCE"))]


@pytest.mark.parametrize("name", VARIANTS)
def test_recorded_contrast(name):
    kind, *settings = name.split()
    normalised, temperature, negatives = (text.split("=")[1] for text in settings)
    x, y, T, k = RECORDED["X"], RECORDED["Y"], float(temperature), int(negatives)
    if normalised == "True":
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
    contrast = "info-nce" if kind.startswith("Info") else "ebm-nce"
    both = contrast_loss(x, y, contrast, T, k).item()
    assert both == pytest.approx(META[name]["dual"], rel=1e-5)
    if contrast == "info-nce":
        one = info_nce(x, y, T)
    else:
        positive, negative = noise_contrast_loss(*noise_contrast(x, y, T, k))
        one = positive + k * negative
    assert one.item() == pytest.approx(META[name]["X_to_Y"], rel=1e-5)


@pytest.mark.parametrize("name", ["ae", "vae"])
def test_recorded_rebuilding(name):
    model = Rebuild(16, variational=name == "vae")
    names = {"fc_mu": "mean", "fc_var": "log_variance", "fc_layers": "decoder"}
    weights = competitors.part(RECORDED, f"{name}_weights.")
    weights = {
        key.replace(key.split(".")[0], names.get(key.split(".")[0], "decoder")): value
        for key, value in weights.items()
    }
    model.load_state_dict(weights)
    x, y = RECORDED["X"].clone().requires_grad_(), RECORDED["Y"].clone().requires_grad_()
    loss = model(x, y, 2.0, RECORDED["vae_eps"])
    assert loss.item() == pytest.approx(META[f"{name}_l2"], rel=1e-5)
    loss.backward()
    assert competitors.off(x.grad, RECORDED[f"{name}_grad_X"]) < 1e-4
    assert y.grad is None
    for difference in ("l1", "cosine"):
        model.load_state_dict(weights)  # batch norm has moved
        loss = model(x, y, 2.0, RECORDED["vae_eps"], difference)
        assert loss.item() == pytest.approx(META[f"{name}_{difference}"], rel=1e-5)


def complete(variational: bool = True) -> dict[str, dict[str, torch.Tensor]]:
    """An official file of the sizes of the recorded SchNet."""
    torch.manual_seed(0)
    model = GraphMVP(64, 2, 32, 3, variational)
    official = {"fc_mu": "mean", "fc_var": "log_variance"} if variational else {}
    decoder = "decoder" if variational else "fc_layers"
    rebuild = {
        part: {
            **{
                f"{theirs}.{leaf}": getattr(getattr(module, ours), leaf).detach()
                for theirs, ours in official.items()
                for leaf in ("weight", "bias")
            },
            **{f"{decoder}.{key}": value for key, value in module.decoder.state_dict().items()},
        }
        for part, module in {"2D_3D": model.to_conformer, "3D_2D": model.to_graph}.items()
    }
    shapes = META["schnet_shapes_64_32_3"]
    constants = {
        "atomic_mass": torch.ones(119),
        "distance_expansion.offset": torch.linspace(0, 10, 51),
    }
    schnet = {**competitors.part(RECORDED, "schnet_weights."), **constants}
    assert {key: list(value.shape) for key, value in schnet.items()} == shapes
    return {
        "model": edge_gin_to_official(model.encoder),
        "model_3D": schnet,
        "AE_2D_3D_model": rebuild["2D_3D"],
        "AE_3D_2D_model": rebuild["3D_2D"],
    }


@pytest.mark.parametrize("variational", [True, False])
def test_recorded_conformer_network_and_official_files(tmp_path, variational):
    content = complete(variational)
    torch.save(content, tmp_path / "complete.pth")
    model = GraphMVP.from_official(tmp_path / "complete.pth")
    assert model.config["variational"] == variational
    with torch.no_grad():
        found = model.conformer(
            RECORDED["schnet_z_index"], RECORDED["schnet_pos"], RECORDED["schnet_batch"]
        )
    assert competitors.off(found, RECORDED["schnet_out"]) < 1e-5
    back = edge_gin_to_official(model.encoder)
    assert all(torch.equal(back[key], value) for key, value in content["model"].items())
    decoder = "decoder" if variational else "fc_layers"
    theirs = content["AE_3D_2D_model"][f"{decoder}.3.weight"]
    assert torch.equal(model.to_graph.decoder[3].weight, theirs)


@pytest.mark.parametrize(
    ("part", "changed", "message"),
    [
        ("model_3D", {"lin1.weight": torch.zeros(3, 3)}, r"lin1.weight \[3, 3\] instead of"),
        ("AE_2D_3D_model", {"fc_mu.bias": torch.zeros(2)}, r"fc_mu.bias \[2\] instead of \[64\]"),
        ("AE_3D_2D_model", {"more": torch.zeros(2)}, r"unknown keys: more"),
        ("model", {"batch_norms.1.bias": torch.zeros(9)}, r"batch_norms.1.bias \[9\] instead of"),
        ("model_3D", {"interactions.0.conv.lin1.weight": torch.zeros(2)}, "has 1 dimensions"),
    ],
)
def test_other_files_are_refused(tmp_path, part, changed, message):
    content = complete()
    content[part] = {**content[part], **changed}
    torch.save(content, tmp_path / "complete.pth")
    with pytest.raises(CheckpointError, match=message):
        GraphMVP.from_official(tmp_path / "complete.pth")


def test_recorded_network_of_the_regression(tmp_path):
    weights = competitors.by_rule(META["gnn_complete_5x32_shapes"], seed=9)
    torch.save(weights, tmp_path / "model.pth")
    encoder = ogb_gin_from_official(tmp_path / "model.pth")
    fields = [RECORDED[f"ogb_{key}"] for key in ("x", "edge_index", "edge_attr")]
    with torch.no_grad():
        assert competitors.off(encoder(*fields), RECORDED["gnn_complete_5x32_out"]) < 1e-5
    weights["gnns.1.eps"] = torch.zeros(2)
    torch.save(weights, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"gnns.1.eps \[2\] instead of \[1\]"):
        ogb_gin_from_official(tmp_path / "model.pth")


def batch_of(smiles: tuple[str, ...] = competitors.SMILES) -> Batch:
    torch.manual_seed(0)
    molecules = [hu_graph(s) for s in smiles]
    for molecule in molecules:
        molecule.pos = 1.5 * torch.randn(molecule.num_nodes, 3)
    batch = Batch.from_data_list(molecules)
    return Compose([ConnectedPart(), MaskAtoms(), ContextRoot(3)])(batch)


def tiny(task: str | None = None) -> GraphMVP:
    torch.manual_seed(0)
    return GraphMVP(16, 2, 8, 2, task=task)


@pytest.mark.parametrize("task", [None, "attribute", "context"])
def test_inputs_are_not_changed_and_every_parameter_is_trained(task):
    model, batch = tiny(task), batch_of()
    before = batch.clone()
    terms = graph_mvp_objective(model, batch)
    terms["loss"].backward()
    assert competitors.same(batch, before)
    assert all(p.grad is not None for p in model.parameters())
    assert ("task" in terms) == (task is not None)


def test_batched_is_alone_and_neither_order_nor_motion_matters():
    model, batch = tiny().eval().double(), batch_of()
    batch.pos = batch.pos.double()
    with torch.no_grad():
        out = model(batch)
        for number, item in enumerate(competitors.items(batch)):
            alone = model(Batch.from_data_list([item]))
            for one, all_ in zip(alone, out, strict=True):
                torch.testing.assert_close(one[0], all_[number], atol=1e-9, rtol=0)
        order = torch.randperm(batch.num_nodes)
        order = order[batch.batch[order].argsort(stable=True)]  # molecules stay together
        permuted = batch.clone()
        for key in ("x", "z", "pos", "kept", "batch"):
            permuted[key] = batch[key][order]
        permuted.edge_index = order.argsort()[batch.edge_index]
        moved = batch.clone()
        for _, move in motions():
            moved.pos = move(batch.pos)
            for other in (permuted, moved):
                for a, b in zip(model(other), out, strict=True):
                    torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_atoms_that_leave_are_not_seen():
    model, batch = tiny().eval(), batch_of()
    with torch.no_grad():
        out = model(batch)
        batch.x[~batch.kept], batch.pos[~batch.kept], batch.z[~batch.kept] = 1, 0.0, 1
        for a, b in zip(model(batch), out, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("contrast", ["ebm-nce", "info-nce"])
def test_eight_molecules_are_learned(contrast):
    objective = partial(graph_mvp_objective, contrast=contrast)
    losses = course(tiny(), objective, batch_of(), 100, lr=1e-2)
    for key in ("contrast", "rebuild"):
        assert losses[-1][key] < 0.7 * losses[0][key], key
    if contrast == "info-nce":  # the other tells a molecule from the next one only
        assert losses[-1]["accuracy"] == 1


def test_one_molecule_has_no_other():
    model = tiny()
    terms = graph_mvp_objective(model, Batch.from_data_list(competitors.items(batch_of())[:1]))
    terms["loss"].backward()
    assert terms["loss"].item() == 0
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("task", [None, "attribute", "context"])
def test_pre_trained_on_a_store(tmp_path, task):
    train, valid = competitors.stores(tmp_path / "store")
    settings = Pretraining(steps=6, validate_every=3, lr=1e-3, warmup_steps=1, pair_budget=2000)
    model = tiny(task)
    transform = Compose([HuGraphs(), ConnectedPart(), MaskAtoms(), ContextRoot(3)])
    folder = tmp_path / "run"
    scores = pretrain(model, graph_mvp_objective, train, valid, folder, settings, transform)
    assert 0 < scores["val_total"] < 200
    again = GraphMVP.from_pretrained(folder / "model")
    assert_same_weights(again, model)
    assert repr(again) == repr(model)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="task must be 'attribute', 'context' or None, got 'g'"):
        GraphMVP(16, 2, 8, 2, task="g")
    with pytest.raises(ValueError, match="contrast must be 'ebm-nce' or 'info-nce', got 'x'"):
        graph_mvp_objective(tiny(), batch_of(), "x")
