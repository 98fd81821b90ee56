"""Coordinates of SD files in all verbs: those of the file, or generated ones."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sd_files import block, write_sdf

from molae_pyg.cli import main

SMILES = [f"{'C' * n}{end}" for n in range(3, 9) for end in ("O", "N")]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with SD files and a table."""
    place = tmp_path_factory.mktemp("coordinates")
    records = [(block(s), {"size": len(s) + 0.5}) for s in SMILES]
    records += [(block("CC(C)CO", kind), {"size": 5.5}) for kind in ("2d", "tagged")]
    write_sdf(place / "train.sdf", records)
    write_sdf(place / "same.sdf", [(block(s), {}) for s in SMILES])
    others = [(block(s, seed=99), {}) for s in SMILES]
    write_sdf(place / "other.sdf", [*others, (block("CCCCO", "2d"), {}), ("no molecule\n", {})])
    (place / "new.csv").write_text("smiles\n" + "\n".join(SMILES) + "\n")
    return place


def train(place: Path, name: str, *flags: str) -> int:
    words = ["train", str(place / "train.sdf"), str(place / name), "--targets", "size"]
    words += ["--folds", "2", "--split", "random", "--weights", "molae-small"]
    return main([*words, "--features", "none", *flags])


@pytest.fixture(scope="module")
def model(place) -> str:
    assert train(place, "model", "--coordinates", "file") == 0
    return str(place / "model")


def predicted(model: str, data: Path) -> pd.DataFrame:
    out = data.with_name("out.csv")
    assert main(["predict", model, str(data), str(out)]) == 0
    return pd.read_csv(out)


def test_records_without_coordinates_are_counted_and_reported(place, model, capsys):
    assert train(place, "model", "--coordinates", "file") == 0  # finished: it returns at once
    assert "2 of 14 records have no 3D coordinates: see molae_reason" in capsys.readouterr().out
    found = pd.read_csv(place / "model/predictions.csv")
    assert found.molae_status.tolist() == ["ok"] * 12 + ["failed"] * 2
    assert found.molae_reason[12] == "the record has no 3D coordinates"
    assert found.molae_reason[13] == "the coordinates are a flat drawing that is tagged 3D"
    content = json.loads((place / "model/model.json").read_text())
    assert content["identity"]["settings"]["coordinates"] == "file"
    assert train(place, "model") == 1
    assert "settings.coordinates: 'file' there, 'generated' now" in capsys.readouterr().err


def test_predictions_depend_on_the_coordinates_of_the_file(place, model, recwarn):
    same, other = predicted(model, place / "same.sdf"), predicted(model, place / "other.sdf")
    assert same.molae_status.tolist() == ["ok"] * 12
    assert other.molae_status.tolist() == ["ok"] * 12 + ["failed", "invalid"]
    assert other.molae_reason[12] == "the record has no 3D coordinates"
    assert not np.allclose(same.size_predicted, other.size_predicted[:12], rtol=1e-5)
    assert not [warning for warning in recwarn if "shifts predictions" in str(warning.message)]


def test_generated_coordinates_do_not(place):
    assert train(place, "generated") == 0
    same, other = (
        predicted(str(place / "generated"), place / f"{name}.sdf") for name in ("same", "other")
    )
    assert other.molae_status.tolist() == ["ok"] * 13 + ["invalid"]
    assert np.allclose(same.size_predicted, other.size_predicted[:12], rtol=1e-5)


def test_files_without_coordinates_are_refused(place, model, capsys):
    new = str(place / "new.csv")
    for words in (
        ["predict", model, new, str(place / "o.csv")],
        ["explain", model, new, str(place / "o.html")],
        ["embed", new, str(place / "o.npz"), "--weights", model],
        ["embed", new, str(place / "o.npz"), "--coordinates", "file"],
        ["train", new, str(place / "t"), "--targets", "smiles", "--coordinates", "file"],
    ):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"molae {words[0]}: ")
        assert words[0] == "train" or "has no 3D coordinates" in error
        assert error.count("\n") == 1
    assert not list(place.glob("o.*"))


def test_vectors_and_explanations_of_the_file(place, model):
    found = {}
    for name in ("same", "other"):
        out = place / f"{name}.npz"
        words = ["embed", str(place / f"{name}.sdf"), str(out), "--weights", model]
        assert main([*words, "--workers", "1"]) == 0
        found[name] = np.load(out)
    assert found["other"]["status"].tolist() == ["ok"] * 12 + ["failed", "invalid"]
    assert not np.allclose(found["same"]["x"], found["other"]["x"][:12], atol=1e-4)
    values = {}
    for name in ("same", "other"):
        page = place / f"{name}.html"
        assert main(["explain", model, str(place / f"{name}.sdf"), str(page)]) == 0
        values[name] = pd.read_csv(page.with_suffix(".csv"))
    assert values["other"].row.unique().tolist() == list(range(12))
    assert values["same"].element[:4].tolist() == [*"CCCO"]
    assert not np.allclose(values["same"]["size"], values["other"]["size"], atol=1e-6)
