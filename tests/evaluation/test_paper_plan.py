"""Rows of the tables of the paper, at each size, and the published figures beside them."""

import os
from pathlib import Path

import pytest
import torch
import yaml

from molae_pyg.datasets import MoleculeNet
from molae_pyg.evaluation.paper_plan import (
    SECTIONS,
    SIZES,
    SYSTEM_ROWS,
    curve_rows,
    datasets_of,
    pretraining_settings,
    published_rows,
    read_plan,
    rows_of,
)
from molae_pyg.evaluation.systems import SYSTEMS, build_model, make_transform
from molae_pyg.models import AblatedMolAE, UniMol
from molae_pyg.training import Pretraining

SOURCE = Path(os.environ.get("MOLAE_DATA", "nowhere")).parent / "paper" / "published.yaml"


@pytest.mark.parametrize("size", SIZES)
def test_every_row_builds(size):
    plan = read_plan(size)
    rows = [row for table in SECTIONS for row in rows_of(plan, table)[0]]
    rows += [*SYSTEM_ROWS, *(row for of in curve_rows(plan).values() for row in of.values())]
    changes_of = {}
    for row in rows:
        # One folder has one pre-training.
        settings = pretraining_settings(plan, row.changes)
        is_new = row.variant not in changes_of
        assert changes_of.setdefault(row.variant, settings) == settings, row.variant
        if not is_new:
            continue
        system = SYSTEMS[settings["objective"]]
        # The full size costs nothing on "meta", where only Uni-Mol and Mol-AE can be built.
        on_meta = system.model in (AblatedMolAE, UniMol)
        with torch.device("meta" if on_meta else "cpu"):
            model = build_model(settings["model"], None, system)
        shown = repr(make_transform(settings, system))
        Pretraining(**settings["training"])
        if row.variant.startswith("noise-"):
            size_of_noise = float(row.variant.removeprefix("noise-"))
            assert shown.startswith(f"CoordinateNoise({size_of_noise}")
            assert isinstance(model, AblatedMolAE)
            assert not model.ablation.drop
        if row.variant == "mol-ae":
            assert shown.startswith("ClozeDrop(0.15, noise=1.0")
    for table in SECTIONS:
        found, reference, _ = rows_of(plan, table)
        names = [row.name for row in found]
        assert reference in names
        assert len(set(names)) == len(names)
        (compared,) = (row for row in found if row.name == reference)
        assert compared.fitted == ("uni-mol" if table == "fig-pe" else "mol-ae")
    if size != "smoke":
        assert {d for t in SECTIONS for d in datasets_of(plan, t)} <= set(MoleculeNet.sources)


def test_full_has_the_rows_of_the_paper():
    plan = read_plan("full")
    for table in (name for name, section in SECTIONS.items() if section):
        rows, _, missing = rows_of(plan, table)
        names = {row.name for row in rows} | {name.split(" ")[0] for name in missing}
        measured = {name for name in names if not name.endswith(", random")}
        if SECTIONS[table] == "scores":
            measured.remove("transformer-m")  # the paper probes it, and has no scores of it
        assert measured == set(published_rows(table)[0]), table
        columns = {name for row in published_rows(table)[0].values() for name in row}
        assert columns == set(datasets_of(plan, table))


def test_layers_of_table_10():
    plan = read_plan("full")
    ablations = {
        row.name: row.changes.get("model", {}).get("ablation")
        for row in rows_of(plan, "table10")[0]
    }
    assert ablations["15"] is None  # Mol-AE
    assert ablations["5"]["decoder_position"]
    assert not ablations["16"]["decoder_position"]
    assert [ablations[k]["position_layer"] for k in ("0", "10", "20")] == [0, 10, 20]


def test_baselines_of_the_paper_are_not_mixed():
    notes = {table: published_rows(table)[1] for table in SECTIONS}
    assert notes["table3"] == notes["table4"] == notes["table10"] != notes["table5"]
    assert notes["table5"] == notes["table9"]
    of = {t: published_rows(t)[0] for t in ("table3", "table4", "table5", "table9", "table10")}
    short = of["table3"]["5"]
    assert short == of["table4"]["smiles-decoder"] == of["table10"]["15"]
    assert of["table5"]["drop"] == of["table9"]["encoder"] != short


@pytest.mark.skipif(not SOURCE.is_file(), reason="needs paper/published.yaml beside $MOLAE_DATA")
def test_published_figures_are_those_of_the_paper():
    theirs = yaml.safe_load(SOURCE.read_text())
    for table, section in SECTIONS.items():
        rows = published_rows(table)[0]
        if section == "scores":
            kind = "classification" if table == "table1" else "regression"
            expected = theirs[kind]["scores"]
            expected = {
                name: {d: v for d, v in row.items() if d != "mean"}
                for name, row in expected.items()
            }
        else:
            ablations = theirs["ablations"] | {"": {}}
            expected = {str(name): row for name, row in ablations[section].items()}
        assert rows == expected, table


def test_settings_are_checked(tmp_path, monkeypatch):
    from molae_pyg.evaluation import paper_plan

    plan = yaml.safe_load(paper_plan.config_path("paper_smoke").read_text())
    for change, message in (
        ({"protocol": "chance"}, "protocol must be one of scaffold"),
        ({"probes": {}}, "unknown key probes"),
        ({"training": {"steps": 0}}, "steps"),
    ):
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump({**plan, **change}))
        monkeypatch.setattr(paper_plan, "config_path", lambda name: tmp_path / "plan.yaml")
        with pytest.raises(ValueError, match=message):
            read_plan("smoke")
