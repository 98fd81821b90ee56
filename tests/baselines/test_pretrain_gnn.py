"""Context prediction and attribute masking against recordings of the official code."""

import math

import competitors
import pytest
import torch
from goldens import assert_gradient_norms, assert_same_weights
from learning import course
from torch import nn
from torch_geometric.data import Batch
from torch_geometric.transforms import Compose

from molae_pyg.baselines.official_gnn import (
    edge_gin,
    edge_gin_from_official,
    edge_gin_name,
    edge_gin_to_official,
)
from molae_pyg.baselines.pretrain_gnn import (
    AttributeMasking,
    ContextPrediction,
    EdgePrediction,
    GraphInfomax,
    attribute_objective,
    context_objective,
    edge_objective,
    infomax_objective,
    mask_atoms,
)
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.hu_graph import HuGraphs, hu_graph
from molae_pyg.nn.gin import EdgeGIN
from molae_pyg.official_file import OfficialFile
from molae_pyg.training import Pretraining, pretrain
from molae_pyg.transforms import ContextRoot, MaskAtoms, NonBonds
from molae_pyg.transforms.graph_views import hops_from

RECORDED = competitors.arrays("hu_gin")


def tiny(name: str) -> EdgeGIN:
    weights = competitors.part(competitors.arrays("hu_tiny_weights"), f"{name}.")
    return edge_gin(OfficialFile(name, weights, {}))[0]


def context_model() -> ContextPrediction:
    model = ContextPrediction(16)
    model.encoder, model.context = tiny("tiny"), tiny("tiny_context")
    return model


def masking_model(bonds: bool) -> AttributeMasking:
    model = AttributeMasking(16, bonds=bonds)
    model.encoder, model.atom_head = tiny("tiny"), competitors.linear(119, 16, 2)
    if bonds:
        model.bond_head = competitors.linear(4, 16, 3)
    return model


def rooted() -> Batch:
    """The recorded molecules with the recorded roots."""
    batch = competitors.graphs()
    root = torch.zeros(batch.num_nodes, dtype=torch.bool)
    for start, known in zip(
        batch.ptr.tolist(), competitors.meta("hu_gin")["context_5_4_7"].values(), strict=False
    ):
        root[start + known["root"]] = True
    batch.hops = hops_from(root, batch.edge_index, 7)
    return batch


def masked(bonds: bool) -> Batch:
    batch = competitors.graphs()
    batch.masked = torch.zeros(batch.num_nodes, dtype=torch.bool)
    batch.masked[RECORDED[f"mask_edge{int(bonds)}_masked_atoms"]] = True
    return batch


@pytest.mark.parametrize("num_negatives", [1, 2])
def test_recorded_context_prediction(num_negatives):
    model, batch = context_model(), rooted()
    s, c = model(batch)
    assert competitors.off(s, RECORDED["context_substruct_rep"]) < 1e-4
    assert competitors.off(c, RECORDED["context_rep"]) < 1e-4
    assert competitors.off((s * c).sum(1), RECORDED["context_pos_score"]) < 1e-4
    terms = context_objective(context_model(), rooted(), num_negatives)
    found = [terms[name].item() for name in ("positive", "negative", "loss")]
    assert found == pytest.approx(RECORDED[f"context_neg{num_negatives}"].tolist(), rel=1e-5)


@pytest.mark.parametrize("bonds", [False, True])
def test_recorded_attribute_masking(bonds):
    model, batch, name = masking_model(bonds), masked(bonds), f"mask_edge{int(bonds)}"
    shown = mask_atoms(batch.x, batch.masked)
    assert torch.equal(shown, RECORDED[f"{name}_x"])
    handle = model.encoder.register_forward_hook(
        lambda _, args, out: torch.testing.assert_close(args[2], RECORDED[f"{name}_edge_attr"])
    )
    terms = attribute_objective(model, batch)
    handle.remove()
    for ours in ("atom", "bond", "loss") if bonds else ("atom", "loss"):
        theirs = RECORDED[f"{name}_loss" if ours == "loss" else f"{name}_{ours}_loss"].item()
        assert terms[ours].item() == pytest.approx(theirs, rel=1e-5), ours
    terms["loss"].backward()
    norms = {edge_gin_name(k): p.grad.norm().item() for k, p in model.encoder.named_parameters()}
    assert_gradient_norms(norms, competitors.meta("hu_gin")[f"{name}_grad_norms"])


def test_recorded_edge_prediction_and_infomax():
    batch, model = competitors.graphs(), EdgePrediction(16)
    model.encoder = tiny("tiny")
    batch.nonbond_index = RECORDED["edgepred_negative"]
    found = edge_objective(model, batch)["loss"].item()
    assert found == pytest.approx(RECORDED["edgepred_loss"].item(), rel=1e-5)
    model = GraphInfomax(16)
    model.encoder, model.weight.data = tiny("tiny"), RECORDED["infomax_weight"]
    found = infomax_objective(model, batch)["loss"].item()
    assert found == pytest.approx(RECORDED["infomax_loss"].item(), rel=1e-5)
    one = Batch.from_data_list(competitors.items(competitors.graphs())[:1])
    assert infomax_objective(model, one)["loss"].item() == 0


@pytest.mark.parametrize(
    ("model", "objective"),
    [(EdgePrediction(16, 3), edge_objective), (GraphInfomax(16, 3), infomax_objective)],
)
def test_edge_prediction_and_infomax_learn(tmp_path, model, objective):
    torch.manual_seed(0)
    found = learn(model, objective, NonBonds(), 100)
    assert found[-1]["loss"] < 0.5 * found[0]["loss"]
    assert found[-1]["loss"] < 1.2  # 2 ln 2 = 1.39: scores of 0
    assert all(p.grad is not None for p in model.parameters())
    batch = NonBonds()(competitors.graphs())
    given = batch.clone()
    objective(model, batch)["loss"].backward()
    assert competitors.same(batch, given)
    model.save_pretrained(tmp_path)
    assert_same_weights(type(model).from_pretrained(tmp_path), model)


def test_molecules_without_surroundings_are_left_out():
    torch.manual_seed(0)
    batch = rooted()
    small = hu_graph("CCO")
    small.hops = torch.tensor([0, 1, 2])
    items = competitors.items(batch)
    small.pop("smiles")
    items.insert(2, small)
    terms = context_objective(context_model(), Batch.from_data_list(items))
    assert terms["loss"].item() == pytest.approx(RECORDED["context_neg1"][2].item(), rel=1e-5)
    model = context_model()
    none = context_objective(model, Batch.from_data_list(items[1:3]))
    none["loss"].backward()  # one molecule has no other to be compared with
    assert none["loss"].item() == 0
    assert all(p.grad.abs().max() == 0 for p in model.parameters())
    with pytest.raises(ValueError, match="num_negatives must"):
        context_objective(model, batch, 0)


@pytest.mark.parametrize("bonds", [False, True])
def test_a_masked_atom_does_not_show_itself(bonds):
    model, batch = masking_model(bonds).eval(), masked(bonds)
    changed = batch.clone()
    changed.x[changed.masked] = torch.tensor([16, 2])
    if bonds:
        touched = changed.masked[changed.edge_index].any(0)
        changed.edge_attr[touched] = torch.tensor([2, 1])
    with torch.no_grad():
        assert torch.equal(model(changed)[0], model(batch)[0])


def test_unknown_atoms_and_lone_atoms_are_no_targets():
    items = [hu_graph("*CC"), hu_graph("[Na+]")]
    for item, chosen in zip(items, ([True, False, False], [True]), strict=True):
        item.masked = torch.tensor(chosen)
    items[0].masked[items[0].x[:, 0].argmax()] = True
    batch = Batch.from_data_list(items)
    terms = attribute_objective(masking_model(True), batch)
    assert all(value.isfinite() for value in terms.values())


def test_the_loss_without_a_target_is_zero():
    unknown = Batch.from_data_list([hu_graph("*"), hu_graph("*")])
    unknown.masked = torch.tensor([True, True])
    model = masking_model(True)
    terms = attribute_objective(model, unknown)
    assert {name: value.item() for name, value in terms.items()} == {
        "atom": 0,
        "bond": 0,
        "loss": 0,
    }
    terms["loss"].backward()
    assert all(p.grad.abs().max() == 0 for p in model.parameters() if p.grad is not None)
    full = NonBonds()(Batch.from_data_list([hu_graph("[Na+]"), hu_graph("CC")]))
    assert full.nonbond_index.shape == (2, 0)  # every pair of atoms is a bond
    assert edge_objective(EdgePrediction(8, 2), full)["loss"].isfinite()


@pytest.mark.parametrize(
    ("objective", "make", "batch"),
    [
        (context_objective, context_model, rooted),
        (attribute_objective, lambda: masking_model(True), lambda: masked(True)),
    ],
)
def test_inputs_are_not_changed_and_alone_is_batched(objective, make, batch):
    model, data = make().eval(), batch()
    before = data.clone()
    objective(model, data)["loss"].backward()
    assert competitors.same(data, before)
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        whole = model(data)[0]
        alone = [model(Batch.from_data_list([item]))[0] for item in competitors.items(data)]
    torch.testing.assert_close(torch.cat(alone), whole, atol=1e-5, rtol=0)


def learn(model: nn.Module, objective, transform, steps: int) -> list[dict[str, float]]:
    torch.manual_seed(0)
    smiles = [*competitors.meta("hu_gin")["smiles"].values(), "CCCCCCCCCCN", "OCCc1ccc(Br)cc1CCC"]
    batch = transform(Batch.from_data_list([hu_graph(s) for s in smiles]))
    return course(model, objective, batch, steps, lr=1e-2)


@pytest.mark.parametrize(
    ("model", "objective", "task"),
    [
        (ContextPrediction(8, 2, 1), context_objective, ContextRoot(2)),
        (AttributeMasking(8, 2), attribute_objective, MaskAtoms()),
    ],
)
def test_pre_trained_on_a_store(tmp_path, model, objective, task):
    train, valid = competitors.stores(tmp_path / "store")
    settings = Pretraining(steps=6, validate_every=3, lr=1e-2, warmup_steps=1, pair_budget=2000)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    transform = Compose([HuGraphs(), task])
    scores = pretrain(model, objective, train, valid, tmp_path / "run", settings, transform)
    assert 0 < scores["val_total"] < 10
    assert all(
        not torch.equal(v, before[k]) for k, v in model.state_dict().items() if "linear" in k
    )
    again = type(model).from_pretrained(tmp_path / "run" / "model")
    assert_same_weights(again, model)


def test_six_molecules_are_learned():
    torch.manual_seed(0)
    found = learn(ContextPrediction(16), context_objective, ContextRoot(), 60)
    assert found[-1]["loss"] < 0.2 * found[0]["loss"]
    assert found[-1]["accuracy"] == 1
    found = learn(AttributeMasking(16, 4, bonds=True), attribute_objective, MaskAtoms(), 60)
    assert found[-1]["loss"] < 0.2 * found[0]["loss"]
    assert found[-1]["atom_accuracy"] == 1


@pytest.mark.parametrize("model", [ContextPrediction(8, 2, 2), AttributeMasking(8, 2, bonds=True)])
def test_saved_and_read(tmp_path, model):
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.config == model.config
    batch = rooted()
    batch.masked = masked(False).masked
    assert torch.equal(again(batch)[0], model.eval()(batch)[0])
    assert repr(again) == repr(model)


@pytest.mark.parametrize("prefix", ["", "gnn.", "molecule_model."])
def test_official_encoders_are_read(tmp_path, prefix):
    weights = competitors.part(competitors.arrays("hu_tiny_weights"), "tiny.")
    content = {prefix + key: value for key, value in weights.items()}
    content["graph_pred_linear.weight"] = torch.zeros(3, 16)
    torch.save(content, tmp_path / "gin.pth")
    encoder = edge_gin_from_official(tmp_path / "gin.pth")
    assert not encoder.training
    back = edge_gin_to_official(encoder)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[key], weights[key]) for key in weights)


def test_official_files_that_do_not_fit_are_refused(tmp_path):
    weights = competitors.part(competitors.arrays("hu_tiny_weights"), "tiny.")
    key = "gnns.2.mlp.0.weight"
    for changed, message in (
        ({**weights, key: torch.zeros(16, 16)}, rf"{key} \[16, 16\] instead of \[32, 16\]"),
        ({k: v for k, v in weights.items() if k != key}, f"lacks {key}"),
        (
            {**weights, "x_embedding1.weight": torch.zeros(90, 16)},
            r"x_embedding1.weight \[90, 16\] instead of \[120, 16\]",
        ),
        ({**weights, "x_embedding2.weight": torch.zeros(16)}, "x_embedding2.weight has 1 dim"),
        ({"conv.weight": torch.zeros(2, 2)}, "is no GIN of Hu et al., MolCLR or GraphMVP"),
        ({**weights, "gnns.0.mlp.2.bias": torch.zeros(16).long()}, "no dense tensor of floating"),
    ):
        torch.save(changed, tmp_path / "gin.pth")
        with pytest.raises(CheckpointError, match=message):
            edge_gin_from_official(tmp_path / "gin.pth")


def test_surroundings_of_held_out_molecules_are_recognised():
    torch.manual_seed(0)
    model = ContextPrediction(64, 2, 3)
    before, after = competitors.learn(model, context_objective, ContextRoot(4), 200, 1e-3)
    assert before["accuracy"] < 0.55
    assert after["accuracy"] > 0.62
    assert after["loss"] < 2 * math.log(2)  # that of scores of 0


def test_masked_elements_of_held_out_molecules_are_recognised():
    torch.manual_seed(0)
    model = AttributeMasking(64)
    _, after = competitors.learn(model, attribute_objective, MaskAtoms(), 60, 2e-3)
    elements = torch.cat([graph.x[:, 0] for graph in competitors.corpus()[1]])
    share = elements.bincount() / len(elements)
    entropy = -(share * share.clamp(min=1e-9).log()).sum().item()
    assert after["loss"] < 0.8 * entropy  # the loss of knowing only how frequent they are
    assert after["atom_accuracy"] > share.max().item() + 0.05
