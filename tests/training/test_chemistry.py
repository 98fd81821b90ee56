"""The objective ``chemistry``: its loss by hand, what it learns, what each view must not see."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from molae_pyg import MolAE
from molae_pyg.fingerprint import of_weights
from molae_pyg.models import ChemistryMolAE
from molae_pyg.seeds import seeded
from molae_pyg.store import ConformerStore, prepare
from molae_pyg.training import (
    ChemistryTargets,
    Pretraining,
    PretrainingModule,
    chemistry_objective,
    pretrain,
)

SMILES = [
    "CCO", "C[N+](C)(C)CC(=O)[O-]", "c1ccccc1O", "CC(C)CN", "OCC1CCCO1", "Clc1ccncc1", "CCCC(=O)O",
    "N#CC1CC1", "CS(=O)(=O)NC", "C1CCNC1", "FC(F)(F)CO", "CC(=O)NC",
]  # fmt: skip
FEW = Pretraining(steps=6, validate_every=2, pair_budget=800, lr=2e-3, warmup_steps=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ConformerStore:
    folder = tmp_path_factory.mktemp("store")
    (folder / "some.smi").write_text("\n".join(SMILES) + "\n")
    prepare(folder / "some.smi", folder / "store", num_conformers=2, add_2d=False, workers=1)
    return ConformerStore(folder / "store")


def model(graph: bool = True, seed: int = 0) -> ChemistryMolAE:
    torch.manual_seed(seed)
    return ChemistryMolAE(
        32, 64, 4, 2, 1, 8, dropout=0, attn_dropout=0, gaussian_init="intended", graph=graph
    )


def prepared(net: ChemistryMolAE, store: ConformerStore, **settings) -> ChemistryTargets:
    transform = ChemistryTargets(**settings)
    transform.prepare(net, store, store)
    return transform


def batch_of(net: ChemistryMolAE, store: ConformerStore, seed: int = 0, **settings):
    transform = prepared(net, store, **settings)
    with seeded(seed):
        return transform(store.gather(np.arange(len(store))))


def smooth_l1(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)


def test_the_loss_by_hand(store):
    net = model().eval()
    batch = batch_of(net, store)
    for head in (net.descriptor_head, net.bit_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, 0.25)
    batch.descriptors[3, 5] = math.nan
    net.descriptor_std[7] = 1e-6  # its standardised values are clipped
    with torch.no_grad():
        terms = {k: v.item() for k, v in chemistry_objective(net, batch).items()}
    mean, std, values = (
        x.double().numpy() for x in (net.descriptor_mean, net.descriptor_std, batch.descriptors)
    )
    wanted = np.clip((values[:, std > 0] - mean[std > 0]) / std[std > 0], -6, 6)
    assert 100 < wanted.shape[1] < 217
    error = smooth_l1(0.25 - wanted)
    assert terms["descriptors"] == pytest.approx(np.nanmean(error), rel=1e-5)
    some = batch.in_cloze.numpy()
    assert some.sum() == 6
    assert terms["descriptors_dropped"] == pytest.approx(np.nanmean(error[some]), rel=1e-5)
    bits = batch.bits.double().numpy()
    one, zero = np.log1p(np.exp(-0.25)), np.log1p(np.exp(0.25))
    cross = bits * one + (1 - bits) * zero
    assert terms["bits"] == pytest.approx(cross.mean(), rel=1e-5)
    assert terms["bits_dropped"] == pytest.approx(cross[some].mean(), rel=1e-5)
    norms = [
        terms[f"{part}_{kind}_norm"] for part in ("encoder", "decoder") for kind in ("x", "pair")
    ]
    cloze = terms["token"] + 5 * terms["coordinate"] + 10 * terms["distance"] + 0.01 * sum(norms)
    targets = 10 * terms["descriptors"] + 5 * terms["bits"]
    kept = 10 * terms["descriptors_dropped"] + 5 * terms["bits_dropped"]
    assert terms["atom"] > 0
    assert terms["loss"] == pytest.approx(cloze + terms["atom"] + targets + kept / 2, rel=1e-5)
    other = chemistry_objective(net, batch, descriptors=3.0, bits=0.0, dropped=0.0)["loss"].item()
    assert other == pytest.approx(cloze + terms["atom"] + 3 * terms["descriptors"], rel=1e-5)


def test_a_few_molecules_are_learned(store, tmp_path):
    net = model()
    settings = Pretraining(
        steps=300, validate_every=300, pair_budget=4000, lr=3e-3, warmup_steps=20, weight_decay=0
    )
    before = batch_of(net, store)
    with torch.no_grad():
        first = chemistry_objective(net.eval(), before)
    scores = pretrain(
        net.train(), chemistry_objective, store, store, tmp_path, settings,
        ChemistryTargets(hidden=0.0),
    )  # fmt: skip
    assert scores["val_descriptors"] < 0.1 * first["descriptors"]
    assert scores["val_bits"] < 0.1 * first["bits"]
    assert scores["val_descriptors_dropped"] < 0.5 * first["descriptors_dropped"]


def views(net, batch) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return chemistry_objective(net, batch)


def test_the_dropped_view_does_not_see_dropped_atoms(store):
    net = model().eval()
    for table in (net.encoder.graph_bias.atom, net.encoder.graph_bias.pair):
        torch.nn.init.normal_(table.weight)
    batch = batch_of(net, store, share=1.0, hidden=0.0)
    before = views(net, batch)
    seen = batch.clone()
    drop = batch.drop_mask
    seen.z = torch.where(drop, 9, batch.z)
    seen.atom = torch.where(drop[:, None], 1, batch.atom)
    is_dropped = drop[batch.edge_index].any(0)
    seen.bond_type = torch.where(is_dropped, 3, batch.bond_type)
    after = views(net, seen)
    for name in ("descriptors_dropped", "bits_dropped"):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["descriptors"], after["descriptors"])  # the whole view does
    kept = batch.clone()
    kept.atom = torch.where(drop[:, None], batch.atom, 1)
    assert not torch.equal(before["bits_dropped"], views(net, kept)["bits_dropped"])


def test_a_hidden_graph_is_not_seen(store):
    net = model().eval()
    batch = batch_of(net, store, hidden=1.0)
    other = batch.clone()
    other.atom, other.bond_type = torch.full_like(batch.atom, 1), torch.ones_like(batch.bond_type)
    names = ("descriptors", "bits", "descriptors_dropped", "bits_dropped", "distance")
    a, b = views(net, batch), views(net, other)
    assert all(torch.equal(a[name], b[name]) for name in names)
    shown = batch_of(net, store, hidden=0.0)
    assert shown.shows_graph.all()
    assert not torch.equal(a["bits"], views(net, shown)["bits"])


def test_an_encoder_without_a_graph_channel_has_the_targets_too(store, tmp_path):
    scores = pretrain(
        model(graph=False), chemistry_objective, store[:8], store[8:], tmp_path, FEW,
        ChemistryTargets(),
    )  # fmt: skip
    assert scores.keys() >= {"val_descriptors", "val_bits_dropped", "val_token"}
    assert "val_atom" not in scores


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_every_parameter_has_a_gradient(store, share):
    net = model()
    batch = batch_of(net, store, share=share)
    assert batch.in_cloze.sum() == share * len(store)
    chemistry_objective(net, batch)["loss"].backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


def test_without_the_cloze_test_the_targets_are_learned_alone(store):
    net = model().eval()
    terms = views(net, batch_of(net, store, share=0.0))
    assert terms.keys() == {"loss", "descriptors", "bits"}
    assert terms["loss"] > 10 * terms["descriptors"] + 5 * terms["bits"]  # norms of the encoder


def test_the_whole_molecule_has_another_conformer(store):
    batch = batch_of(model(), store, other_conformer=True)
    both = store.gather(np.arange(len(store)), np.zeros(len(store), int))
    for number in range(len(store)):
        part = batch.batch == number
        first = torch.equal(batch.pos[part], both.pos[part])
        other = torch.equal(batch.pos_other[part], both.pos[part])
        assert first != other
    net = model().eval()
    with torch.no_grad():  # so that distances show
        for weight in net.encoder.parameters():
            weight.mul_(10 if weight.dim() == 2 else 1)
    terms = views(net, batch)
    del batch.pos_other
    assert not torch.equal(terms["bits"], views(net, batch)["bits"])
    assert torch.equal(terms["bits_dropped"], views(net, batch)["bits_dropped"])


def test_a_killed_run_gives_what_an_uninterrupted_run_gives(store, tmp_path, monkeypatch):
    objective = partial(chemistry_objective, bits=4.0)
    call = objective, store[:8], store[8:]

    def run(folder: Path) -> tuple[dict, ChemistryMolAE]:
        net = model().train()
        return pretrain(net, *call, tmp_path / folder, FEW, ChemistryTargets()), net

    scores, whole = run("whole")
    step = PretrainingModule.training_step

    def killed(module, batch, index):
        if module.trainer.global_step == 3:
            raise KeyboardInterrupt
        return step(module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingModule, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            run("killed")
    again, resumed = run("killed")
    assert again == scores
    assert of_weights(resumed) == of_weights(whole)
    a, b = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "killed"))
    timed = ["seconds", "molecules_per_second"]
    pd.testing.assert_frame_equal(a.drop(columns=timed), b.drop(columns=timed))
    saved = ChemistryMolAE.from_pretrained(tmp_path / "killed/model")
    assert saved.descriptor_std.gt(0).sum() > 100
    with pytest.raises(ValueError, match=r"objective.settings.bits: 4.0 there, 5.0 now"):
        pretrain(
            model(), chemistry_objective, *call[1:], tmp_path / "killed", FEW, ChemistryTargets()
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.5}, "share must be at most 1"),
        ({"share": "half"}, "share must be a number"),
        ({"hidden": -0.1}, "hidden must be at least 0"),
        ({"other_conformer": 2}, "other_conformer must be True or False, got 2"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        ChemistryTargets(**settings)


def test_what_cannot_be_prepared(store, tmp_path):
    with pytest.raises(ValueError, match="needs a ChemistryMolAE, not a MolAE"):
        ChemistryTargets().prepare(MolAE.tiny(), store, store)
    (tmp_path / "one.smi").write_text("CCO\nCCN\n")
    prepare(tmp_path / "one.smi", tmp_path / "one", num_conformers=1, add_2d=False, workers=1)
    one = ConformerStore(tmp_path / "one")
    with pytest.raises(ValueError, match="must be one store"):
        ChemistryTargets().prepare(model(), store, one)
    with pytest.raises(ValueError, match="prepare it with num_conformers: 2"):
        ChemistryTargets(other_conformer=True).prepare(model(), one, one)
    with pytest.raises(ValueError, match="call prepare first"):
        ChemistryTargets()(one.gather([0]))
