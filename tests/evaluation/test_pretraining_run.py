"""Parts of a pre-training run by a configuration; test_scripts.py runs it as a whole."""

import json
from argparse import Namespace

import competitors
import goldens
import numpy as np
import pytest
import yaml
from chains import chain_store

from molae_pyg import AblatedMolAE, MolAE
from molae_pyg.baselines.gin_predictor import EdgeGINPredictor
from molae_pyg.baselines.graph_heads import pre_trained
from molae_pyg.baselines.graph_mvp import GraphMVP
from molae_pyg.baselines.grover import Grover
from molae_pyg.baselines.mol_clr import MolCLR
from molae_pyg.baselines.pretrain_gnn import AttributeMasking, ContextPrediction
from molae_pyg.evaluation import pretraining, systems
from molae_pyg.evaluation.pretraining import hold_out, pretrain_as_asked
from molae_pyg.evaluation.systems import build_model
from molae_pyg.models import ChemistryMolAE, MoleBlend, TransformerM, UniMol
from molae_pyg.store import ConformerStore
from molae_pyg.transforms import ContextRoot

SIZE = {
    "hidden_channels": 32, "ffn_channels": 64, "heads": 4, "num_layers": 1, "num_decoder_layers": 1,
}  # fmt: skip


def test_an_ablation_in_the_settings_builds_the_class_that_has_it(tmp_path):
    assert type(build_model(SIZE, None)) is MolAE
    ablated = build_model({**SIZE, "ablation": {"decoder_position": False}}, None)
    assert type(ablated) is AblatedMolAE
    assert ablated.config["ablation"]["decoder_position"] is False
    ablated.save_pretrained(tmp_path / "ablated")
    again = build_model(
        {**SIZE, "ablation": {"decoder_position": False}}, str(tmp_path / "ablated")
    )
    assert type(again) is AblatedMolAE
    assert again.config == ablated.config


def test_molecules_are_held_out_of_the_first_ones(tmp_path):
    store = ConformerStore(chain_store(tmp_path / "store"))
    for first, eligible in ((None, 80), (20, 20), (500, 80)):
        train, valid = hold_out(store, "chains", 0.1, first, seed=3)
        rows = np.concatenate([train.molecule_rows, valid.molecule_rows])
        assert sorted(rows.tolist()) == list(range(80))
        assert len(valid) == eligible // 10
        assert valid.molecule_rows.max() < eligible
    assert len(hold_out(store, "chains", 0.001, None, seed=3)[1]) == 1
    with pytest.raises(ValueError, match="chains: 1 molecules, pre-training needs two"):
        hold_out(store[:1], "chains", 0.1, None, seed=3)


SECTIONS = {"data": {"num_conformers": 1}, "training": {"steps": 2, "pair_budget": 2000}}
TINY = {"hidden_channels": 16, "ffn_channels": 16, "heads": 2, "num_layers": 1, "num_gaussians": 4}


def run(folder, config: dict, store) -> None:
    """Pre-trains by settings; the results are in ``folder / "out"``."""
    (folder / "settings.yaml").write_text(yaml.safe_dump(config))
    args = Namespace(
        config=str(folder / "settings.yaml"), input=str(store), output=str(folder / "out"),
        held_out=0.3, held_out_of=None, weights=None, seed=0, objective=None,
    )  # fmt: skip
    pretrain_as_asked(args)


@pytest.mark.parametrize(
    ("name", "sections", "cls"),
    [
        ("uni-mol", {"noise": {"noise": 0.5}}, UniMol),
        ("uni-mol-pe", {}, UniMol),
        ("transformer-m", {"noise": {"modes": [0, 0, 1]}}, TransformerM),
        ("cloze", {"model": {**TINY, "ablation": {"drop": False}}, "noise": {}}, AblatedMolAE),
    ],
)
def test_the_objective_is_chosen_in_the_settings(tmp_path, name, sections, cls):
    config = {"objective": name, "model": TINY, **SECTIONS, **sections}
    run(tmp_path, config, chain_store(tmp_path / "store"))
    model = cls.from_pretrained(tmp_path / "out/model")
    assert model.config.get("position", False) == (name == "uni-mol-pe")
    identity = json.loads((tmp_path / "out/run.json").read_text())["identity"]
    shown = "DenoiseAtoms" if name == "transformer-m" else "CoordinateNoise"
    assert identity["transform"].startswith(shown)
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("name", "settings", "cls"),
    [
        ("pretrain-gnn", {"num_layers": 2, "num_context_layers": 1}, ContextPrediction),
        ("pretrain-gnn-masking", {"num_layers": 2}, AttributeMasking),
        ("mol-clr", {"num_layers": 2}, MolCLR),
        ("graph-mvp", {"num_filters": 8}, GraphMVP),
        ("graph-mvp-g", {"num_filters": 8}, GraphMVP),
        ("graph-mvp-c", {"num_filters": 8}, GraphMVP),
    ],
)
def test_a_competitor_is_pre_trained(tmp_path, name, settings, cls):
    model = {"hidden_channels": 16, **settings}
    training = {"steps": 3, "pair_budget": 2000, "lr": 1e-3}
    competitors.stores(tmp_path / "store")
    config = {"objective": name, "data": {}, "model": model, "training": training}
    run(tmp_path, config, tmp_path / "store")
    found = cls.from_pretrained(tmp_path / "out/model")
    assert found.config.items() >= model.items()
    tasks = {"graph-mvp-g": "attribute", "graph-mvp-c": "context"}
    assert found.config.get("task") == tasks.get(name)
    assert (tmp_path / "out/report.html").is_file()
    assert not list((tmp_path / "out").glob("reconstruction*"))
    predictor = EdgeGINPredictor.from_pretraining(tmp_path / "out/model", 1)
    goldens.assert_same_weights(predictor.encoder, found.encoder)


def test_chemistry_targets_are_computed_beside_the_store(tmp_path):
    competitors.stores(tmp_path / "store")
    config = {"objective": "chemistry", "model": {**TINY, "graph": True}, **SECTIONS}
    config |= {"loss": {"bits": 2.0}, "noise": {"share": 0.25, "hidden": 0.5}}
    run(tmp_path, config, tmp_path / "store")
    model = ChemistryMolAE.from_pretrained(tmp_path / "out/model")
    assert model.config.items() >= {**TINY, "graph": True}.items()
    assert model.descriptor_std.gt(0).sum() > 50
    assert list((tmp_path / "store-targets").glob("part-*.npz"))
    identity = json.loads((tmp_path / "out/run.json").read_text())["identity"]
    assert identity["objective"]["settings"] == {"descriptors": 10.0, "bits": 2.0, "dropped": 0.5}
    assert identity["transform"].startswith("ChemistryTargets(0.25, hidden=0.5")
    terms = json.loads((tmp_path / "out/metrics.json").read_text())
    assert terms.keys() >= {"val_descriptors", "val_bits_dropped", "val_atom", "val_distance"}
    assert (tmp_path / "out/report.html").is_file()


def test_mole_blend_is_pre_trained(tmp_path):
    competitors.stores(tmp_path / "store")
    run(tmp_path, {"objective": "mole-blend", "model": TINY, **SECTIONS}, tmp_path / "store")
    assert MoleBlend.from_pretrained(tmp_path / "out/model").config.items() >= TINY.items()
    terms = json.loads((tmp_path / "out/metrics.json").read_text())
    assert terms.keys() >= {"val_length", "val_bond", "val_distance", "val_denoising"}


def test_grover_keeps_its_vocabulary(tmp_path, monkeypatch):
    model = {"hidden_channels": 8, "heads": 2, "depth": 2}
    config = {"objective": "grover", "model": model, **SECTIONS}
    competitors.stores(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "pretrain", None)  # a kill after the vocabulary
        with pytest.raises(TypeError):
            run(tmp_path, config, tmp_path / "store")
    words = json.loads((tmp_path / "out/vocabulary.json").read_text())
    assert "C_C-SINGLE1_O-SINGLE1" in words["atoms"]
    with monkeypatch.context() as patch:
        patch.setattr(systems.Vocabulary, "of", None)  # it is read
        run(tmp_path, config, tmp_path / "store")
    found = Grover.from_pretrained(tmp_path / "out/model")
    assert found.config["atom_classes"] == len(words["atoms"]) + 2
    assert isinstance(pre_trained(str(tmp_path / "out/model")), Grover)

    store = ConformerStore(tmp_path / "store")
    more = systems.assemble(config, store[:4], tmp_path / "more", str(tmp_path / "out/model"))
    assert more.model.config == found.config  # with the words of its own run
    with pytest.raises(ValueError, match=r"vocabulary\.json is missing"):
        systems.assemble(config, store[:4], tmp_path / "more", str(tmp_path / "none/model"))
    assert json.loads((tmp_path / "more/vocabulary.json").read_text()) == words
    more.model.save_pretrained(tmp_path / "more/model")
    third = systems.assemble(config, store[:4], tmp_path / "third", str(tmp_path / "more/model"))
    assert third.model.config == found.config
    other = systems.assemble(config, store[:16], tmp_path / "out")  # of other molecules
    assert other.model.config != found.config
    assert json.loads((tmp_path / "out/vocabulary.json").read_text()) == words


def test_a_vocabulary_without_a_run_is_that_of_the_next_one(tmp_path):
    """A kill can leave the words of molecules that are then others."""
    config = {"objective": "grover", "model": {"hidden_channels": 8, "heads": 2, "depth": 2}}
    store = competitors.stores(tmp_path / "store")[0]
    systems.assemble(config, store[:4], tmp_path / "out")
    model = systems.assemble(config, store, tmp_path / "out").model
    words = json.loads((tmp_path / "out/vocabulary.json").read_text())
    assert model.config["atom_classes"] == len(words["atoms"]) + 2
    model.save_pretrained(tmp_path / "out/model")
    (tmp_path / "out/vocabulary.json").write_text(json.dumps({**words, "atoms": {"C": 2}}))
    with pytest.raises(ValueError, match=r"has atom_classes=\d+, but grover needs 3"):
        systems.assemble(config, store, tmp_path / "more", str(tmp_path / "out/model"))


def test_weights_of_another_objective_are_refused(tmp_path):
    GraphMVP(8, 2, 8, 1).save_pretrained(tmp_path / "model")
    store = competitors.stores(tmp_path / "store")[0]
    config = {"objective": "graph-mvp-c", "model": {}}
    with pytest.raises(ValueError, match="has task=None, but graph-mvp-c needs 'context'"):
        systems.assemble(config, store, tmp_path / "out", str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("config", "farthest"),
    [
        ({"objective": "pretrain-gnn", "model": {"num_layers": 6, "num_context_layers": 2}}, 7),
        ({"objective": "pretrain-gnn", "model": {"num_layers": 7}}, 9),
        ({"objective": "pretrain-gnn", "model": {}, "noise": {"farthest": 12}}, 12),
        ({"objective": "graph-mvp-c", "model": {"num_layers": 6, "num_filters": 8}}, 8),
    ],
)
def test_bonds_are_counted_as_far_as_the_model_reads(tmp_path, config, farthest):
    config["model"]["hidden_channels"] = 8
    store = competitors.stores(tmp_path / "store")[0]
    transform = systems.assemble(config, store, tmp_path / "out").transform
    (root,) = (part for part in transform.transforms if isinstance(part, ContextRoot))
    assert root.farthest == farthest


def test_losses_are_means_over_molecules_that_have_one(tmp_path):
    model = {"hidden_channels": 8, "num_layers": 3, "num_context_layers": 1}
    training = {"steps": 2, "pair_budget": 100}  # small batches: some have no surroundings
    config = {"objective": "pretrain-gnn", "model": model, **SECTIONS, "training": training}
    competitors.stores(tmp_path / "store")
    run(tmp_path, config, tmp_path / "store")
    found = json.loads((tmp_path / "out/metrics.json").read_text())
    assert found["val_total"] == pytest.approx(found["val_positive"] + found["val_negative"])


def test_weights_of_another_size_than_the_settings_say(tmp_path, capsys):
    UniMol.tiny().save_pretrained(tmp_path / "model")
    store = competitors.stores(tmp_path / "store")[0]
    config = {"objective": "uni-mol", "model": {"num_layers": 7}}
    systems.assemble(config, store, tmp_path / "out", str(tmp_path / "model"))
    assert capsys.readouterr().out == "model.num_layers: 7 is not used: the weights have 2\n"
    with pytest.raises(ValueError, match="has position=False, but uni-mol-pe needs True"):
        systems.assemble({**config, "objective": "uni-mol-pe"}, store, "x", str(tmp_path / "model"))


def test_every_setting_of_a_loss_can_be_given(tmp_path):
    losses = {
        "graph-mvp": {"contrast": "info-nce", "temperature": 0.5, "beta": 1.0, "difference": "l1"},
        "graph-mvp-c": {"task_weight": 0.0},
        "mol-clr": {"temperature": 0.5},
        "pretrain-gnn": {"num_negatives": 2},
    }
    for objective, loss in losses.items():
        file = tmp_path / "settings.yaml"
        file.write_text(
            yaml.safe_dump({"objective": objective, "model": {}, **SECTIONS, "loss": loss})
        )
        assert systems.read_settings(file)["loss"] == loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "bert"}, "objective must be one of cloze, chemistry, uni-mol, uni"),
        ({"objective": "uni-mol", "cloze": {}}, "unknown key cloze"),
        ({"objective": "uni-mol-pe", "model": {"position": False}}, "unknown key position"),
        ({"cloze": {}, "noise": {}}, "both cloze and noise"),
        ({"noise": {"noise": 1.0}}, r"noise needs model: {ablation: {drop: false}}"),
        ({"objective": "uni-mol", "model": {"position": True}}, "unknown key position"),
        ({"loss": {"bits": 1.0}}, r"unknown key bits in .*: loss"),
        ({"objective": "chemistry", "loss": {"bits": "high"}}, r"loss\.bits must be a number"),
        ({"objective": "chemistry", "noise": {"share": 2.0}}, "share must be at most 1"),
        ({"objective": "pretrain-gnn", "noise": {"farthest": 0}}, "farthest must be an integer"),
        ({"model": {"num_layers": "4"}}, r"settings\.yaml: model: num_layers must be an integer"),
        ({"objective": "mol-clr", "model": {"dropout": 2}}, r"settings\.yaml: model: dropout must"),
        (
            {"objective": "pretrain-gnn", "loss": {"num_negatives": 1.5}},
            r"loss\.num_negatives must",
        ),
        (
            {"objective": "mol-clr", "loss": {"temperature": 0}},
            r"loss\.temperature must be above 0",
        ),
        ({"objective": "graph-mvp", "loss": {"contrast": "ebm"}}, r"loss\.contrast must be one of"),
        ({"objective": "graph-mvp-g", "loss": {"difference": 1}}, r"loss\.difference must be one"),
    ],
)
def test_settings_that_do_not_fit_the_objective(tmp_path, change, message):
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"model": {}, **SECTIONS, **change}))
    with pytest.raises(ValueError, match=message):
        pretrain_as_asked(Namespace(config=str(tmp_path / "settings.yaml"), objective=None))
