"""``molae explain``."""

import pandas as pd
import pytest
import torch
from pages import read_page

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.chem.options import Options
from molae_pyg.cli import main
from molae_pyg.inference import explain
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, fit

ATTACK = "<script>alert(1)</script>"


@pytest.fixture
def model(tmp_path) -> MolAEPredictor:
    torch.manual_seed(0)
    model = MolAEPredictor(MolAE.tiny().encoder, task_names=["logP"]).eval()
    model.recipe = Options(num_conformers=1).to_dict()
    model.save_pretrained(tmp_path / "model")
    return model


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text(f"name,smiles\na,CCO\nb,C1CC\nc,[H]OC\nd,{ATTACK}\n")
    return file


def test_a_page_and_a_table_of_a_saved_predictor(model, table, tmp_path, capsys):
    page = tmp_path / "out.html"
    assert main(["explain", str(tmp_path / "model"), str(table), str(page)]) == 0
    found = pd.read_csv(page.with_suffix(".csv"))
    assert found.columns.tolist() == ["row", "atom", "element", "logP"]
    assert found.row.tolist() == [0, 0, 0, 2, 2]
    assert "".join(found.element) == "CCOOC"
    expected = explain(model, ["CCO"])[0].values[:, 0]
    assert found.logP[:3].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    parsed = read_page(page)
    assert len(parsed.attributes("svg")) == 2 + 1
    assert parsed.row("1")[:2] == ["C1CC", "invalid"]
    assert parsed.row("3")[0] == ATTACK
    printed = capsys.readouterr().out
    assert printed.endswith(f"2 of 4 rows explained, 2 invalid: see the end of {page}\n")


def test_strict_and_the_number_that_is_drawn(model, table, tmp_path):
    words = ["explain", str(tmp_path / "model"), str(table), str(tmp_path / "out.html")]
    assert main([*words, "--strict", "--draw", "1", "--smiles", "smiles"]) == 2
    assert len(read_page(tmp_path / "out.html").attributes("svg")) == 1 + 1


def test_a_folder_of_molae_train(table, tmp_path):
    smiles = ["C" * n + end for n in range(1, 6) for end in ("O", "N")]
    y = torch.tensor([[float(len(s))] for s in smiles])
    fitted = Table(smiles, y, ["size"], ["regression"])
    fit(fitted, tmp_path / "fitted", FitSettings(folds=1, features="ecfp", weights="molae-small"))
    page = tmp_path / "out.html"
    assert main(["explain", str(tmp_path / "fitted"), str(table), str(page)]) == 0
    assert pd.read_csv(page.with_suffix(".csv"))["size"].notna().all()
    (facts,) = read_page(page).row("Predicted from")
    assert facts.startswith("encoder, ecfp (in descriptors and ECFP an atom that is left out is")


def test_a_file_that_the_user_did_not_name_is_not_replaced(model, table, tmp_path, capsys):
    predictions, page = tmp_path / "new.csv", tmp_path / "new.html"
    predictions.write_text("smiles,logP\nCCO,1\n")
    words = ["explain", str(tmp_path / "model"), str(table), str(page)]
    assert main(words) == 1
    assert f"{predictions} exists" in capsys.readouterr().err
    assert predictions.read_text() == "smiles,logP\nCCO,1\n"
    assert not page.exists()
    predictions.unlink()
    assert main(words) == 0
    assert main(words) == 0  # its own table is replaced


def test_faults_of_the_user_are_one_line(model, table, tmp_path, capsys):
    folder, out = str(tmp_path / "model"), str(tmp_path / "out.html")
    (tmp_path / "empty.csv").write_text("smiles\n")
    for words, message in (
        ([folder, str(table), "out.txt"], "the name must end in .html"),
        ([folder, str(table), str(tmp_path / "absent" / "out.html")], "no such folder"),
        ([folder, str(tmp_path / "absent.csv"), out], "absent.csv"),
        ([folder, str(tmp_path / "empty.csv"), out], "has no rows"),
        ([str(tmp_path / "absent"), str(table), out], "no folder"),
        ([folder, str(table), out, "--draw", "0"], "--draw must be at least 1"),
        ([folder, str(table), out, "--smiles", "name it"], "no column"),
    ):
        assert main(["explain", *words]) == 1
        error = capsys.readouterr().err
        assert error.startswith("molae explain: ")
        assert message in error
        assert error.count("\n") == 1
    model.recipe = None
    model.save_pretrained(folder)
    assert main(["explain", folder, str(table), out]) == 1
    assert "does not say how the molecules" in capsys.readouterr().err
