"""Many molecules: order, outcomes, failures and the report."""

import csv
import os
from pathlib import Path

import pytest
import torch
from rdkit import Chem, rdBase

from molae_pyg.chem import FeaturizeReport, featurize, featurizer, from_smiles
from molae_pyg.chem.rows import Row

# Why "C1CC" is no SMILES; older RDKit keeps its reason to itself.
UNCLOSED = "unclosed ring" if hasattr(rdBase, "CaptureErrorLog") else "RDKit cannot read the string"
ROWS = ["CCO", "C1CC", "OCC", "CC[C@H](C)O", None, "C[Pt]", "", "CCO"]


def test_every_row_is_accounted_for():
    data, report = featurize(ROWS, on_error="skip")
    assert report.outcomes == ["3d", "invalid", "3d", "3d", "invalid", "3d", "invalid", "3d"]
    assert len(report) == len(ROWS)
    assert report.kept == [0, 2, 3, 5, 7]
    assert [d.smiles for d in data] == [ROWS[row] for row in report.kept]
    assert report.counts == {"3d": 5, "2d": 0, "failed": 0, "invalid": 3}
    assert report.num_unknown == [0, 0, 0, 0, 0, 1, 0, 0]
    assert report.reasons[1] == UNCLOSED


def test_conformers_of_repeated_molecules_are_made_once(monkeypatch):
    calls = []
    row_in = featurizer.row_in
    monkeypatch.setattr(featurizer, "row_in", lambda *a: calls.append(1) or row_in(*a))
    data, _ = featurize(["CCO", "OCC", "CCO"], num_conformers=2, max_atoms=2, workers=1)
    assert len(calls) == 1
    assert torch.equal(data[0].conformers, data[1].conformers)
    assert data[0].conformers.data_ptr() != data[2].conformers.data_ptr()
    for d in data:
        assert torch.equal(d.atom_map, from_smiles(d.smiles, max_atoms=2).atom_map)
        assert d.num_cropped == 1


def test_results_do_not_depend_on_workers_or_order(monkeypatch):
    monkeypatch.setattr(featurizer, "_WINDOW", 2)
    options = {"num_conformers": 2, "add_2d": True, "on_error": "skip", "progress": False}
    alone, report = featurize(ROWS, workers=1, **options)
    shared, shared_report = featurize(ROWS, workers=2, **options)
    backwards, _ = featurize(ROWS[::-1], workers=2, **options)
    assert report == shared_report
    for first, second, third in zip(alone, shared, backwards[::-1], strict=True):
        assert first.to_dict().keys() == second.to_dict().keys()
        assert torch.equal(first.conformers, second.conformers)
        assert torch.equal(first.conformers, third.conformers)
        assert torch.equal(first.atom_map, second.atom_map)
        assert torch.equal(first.conformers, from_smiles(first.smiles, 2, True).conformers)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_invalid_row_is_named(workers):
    with pytest.raises(ValueError, match=f"row 1: cannot read SMILES 'C1CC': {UNCLOSED}"):
        featurize(ROWS, workers=workers)


def test_failures_are_counted_or_raised(monkeypatch):
    monkeypatch.setattr(featurizer, "row_in", lambda *_: Row("failed", "it broke", "CCO"))
    data, report = featurize(["CCO", "OCC"], on_error="skip")
    assert data == []
    assert report.outcomes == ["failed", "failed"]
    assert report.reasons == ["it broke", "it broke"]
    with pytest.raises(ValueError, match="row 0: no coordinates for 'CCO': it broke"):
        featurize(["CCO"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"smiles": "CCO"}, "use from_smiles for a single one"),
        ({"smiles": ["C"], "on_error": "ignore"}, "on_error must be 'raise' or 'skip'"),
        ({"smiles": ["C"], "workers": 0}, "workers must be at least 1, got 0"),
        ({"smiles": ["C"], "num_conformers": -1}, "num_conformers must be at least 1"),
    ],
)
def test_featurize_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        featurize(**arguments)


def test_nothing_to_do():
    data, report = featurize([])
    assert data == []
    assert len(report) == 0


def test_summary():
    report = FeaturizeReport()
    report.add("3d", "")
    report.add("2d", "time limit reached", num_unknown=2, num_cropped=5)
    for _ in range(4):
        report.add("invalid", "unclosed ring")
    assert str(report).splitlines() == [
        "6 molecules: 1 3d, 1 2d, 0 failed, 4 invalid",
        "  2 unknown atoms in 1 molecules",
        "  5 cropped atoms in 1 molecules",
        "       4  invalid  unclosed ring  (rows 2, 3, 4, …)",
        "       1  2d       time limit reached  (rows 1)",
    ]


def test_bbbp_has_eleven_invalid_rows():
    path = Path(os.environ.get("MOLAE_DATA", "")) / "moleculenet" / "BBBP.csv"
    if "MOLAE_DATA" not in os.environ or not path.exists():
        pytest.skip("MOLAE_DATA with moleculenet/BBBP.csv is not there")
    with path.open() as file:
        smiles = [row["smiles"] for row in csv.DictReader(file)]
    bad = [s for s in smiles if Chem.MolFromSmiles(s) is None]
    data, report = featurize(bad, on_error="skip")
    assert data == []
    assert report.counts["invalid"] == 11
    assert all("Explicit valence" in reason for reason in report.reasons)
