"""The report of a fitted model: what it shows, and that names and labels cannot break it."""

import json
import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from pages import BROWSER, assert_legible, needs_browser, read_page
from rdkit import Chem
from tiny import SMILES
from torch_geometric.data import Data

from molae_pyg.chem import from_smiles
from molae_pyg.inference.explain import element_of
from molae_pyg.tables.atom_lists import AtomTable
from molae_pyg.tables.formats import Cells
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, FittedModel, fit, fit_atoms, write_report
from molae_pyg.workflow.atoms.model import records_of
from molae_pyg.workflow.molecules import Molecules
from molae_pyg.workflow.report.estimate import METRICS, MODELS

ATTACK = "<script>alert('1')</script> & \"x\"\n$\\frac{1}$ Größe 溶解度"
LONG = "a-name-without-any-space-" * 12
YES, NO = "<b>yes</b> 'q'", 'no"</td>'


def table(smiles=SMILES) -> Table:
    numbers = torch.tensor([len(text) - 9.0 for text in smiles])
    classes = torch.tensor([float("N" in text) for text in smiles])
    numbers[::7], classes[1::6] = torch.nan, torch.nan
    y, kinds = torch.stack([numbers, classes], 1), ["regression", "classification"]
    return Table(list(smiles), y, [ATTACK, LONG], kinds)


def cells_with_words(of: Table) -> Cells:
    rows = [
        [smiles, "" if np.isnan(value) else f"{value}", "" if np.isnan(c) else (NO, YES)[int(c)]]
        for smiles, (value, c) in zip(of.smiles, of.y.tolist(), strict=True)
    ]
    return Cells(["smiles", ATTACK, LONG], rows)


def train(folder, weights, of=None, **settings):
    settings = FitSettings(**{"folds": 3, "split": "random", "weights": weights} | settings)
    of = table([*SMILES[:4], "C1CC", *SMILES[4:]]) if of is None else of
    return fit(
        of, folder, settings, cells_with_words(of), "data/<i>hostile</i>.csv".replace("</", "<")
    )


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory) -> FittedModel:
    return train(tmp_path_factory.mktemp("it's a") / "model", weights)


@pytest.fixture(scope="module")
def page(model):
    return read_page(model.folder / "report.html")


def test_names_are_escaped_and_whole(page, model):
    text = (model.folder / "report.html").read_text()
    assert "<script" not in text
    assert "<b>yes" not in text
    assert "<i>hostile<i>.csv: what the model can predict" in page.words
    assert page.words.count(ATTACK) == page.words.count(LONG) == 3  # box, contents, heading
    assert page.row(LONG)[0] == "2 classes"
    assert page.row(LONG)[3] == f"{NO}: 14, {YES}: 11"
    assert f"label {NO}" in [cell for row in page.rows for cell in row]


def test_it_loads_nothing_and_links_lead_somewhere(page):
    anchors = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = [attributes["href"] for attributes in page.attributes("a")]
    assert len(set(anchors)) == len(anchors)
    assert {link.removeprefix("#") for link in links} <= set(anchors)
    assert not [t for t, a in page.tags if "src" in a and not a["src"].startswith("data:")]


def test_every_target_is_drawn(page, model):
    titles = [picture["alt"] for picture in page.attributes("img")]
    assert titles == [
        *("Score of each fold, and the mean", "Predicted against measured"),
        *("Error by similarity (number of rows)", "Coverage of the intervals"),
        *("Score of each fold, and the mean", "ROC curve", f"Calibration, class {YES}"),
        "Error by similarity (number of rows)",
    ]
    assert len(page.attributes("svg")) == 2 * (10 + 1)  # rows, and the scale of their colours
    captions = [word for word in page.words if re.match(r"Row \d+: label ", word)]
    assert len(captions) == 20
    worst = int(np.nanargmax(np.abs(model.y[:, 0] - model.oof.iloc[:, 2].to_numpy())))
    label = f"{model.y[worst, 0]:g}".replace("-", "\N{MINUS SIGN}")
    assert captions[0].startswith(f"Row {model.rows[worst]}: label {label}, predicted ")
    assert captions[0].endswith(f"fold {model.fold[worst]}")


def test_scores_are_those_of_the_table(page, model):
    scores = pd.read_csv(model.folder / "metrics.csv", dtype={"fold": str})
    for target, (first, *_) in zip((ATTACK, LONG), (["rmse"], ["roc_auc"]), strict=True):
        table = next(place for place, row in enumerate(page.rows) if row[1:2] == [METRICS[first]])
        for shift, (key, name) in enumerate(list(MODELS.items())[:4], 1):
            some = scores[(scores["target"] == target) & (scores["model"] == key)]
            some = some.set_index("fold")[first]
            row = page.rows[table + shift]
            assert row[:2] == [name, f"{some['all']:.3f}"]
            parts = some.drop("all")
            assert row[2] == f"{parts.mean():.3f} ± {parts.std():.3f}"
    verdicts = scores["verdict"].dropna().tolist()
    answers = [word for word in page.words if word.startswith(("RMSE", "ROC-AUC"))][:2]
    assert len(verdicts) == 2
    assert all(f"The model is {v}." in answer for v, answer in zip(verdicts, answers, strict=True))


def test_rows_that_are_left_out(page):
    assert page.row("row 4") == ["invalid", "unclosed ring"]
    assert page.row("data")[0].endswith("31 rows, 30 with a molecule, 1 left out")


def test_the_command_can_be_copied(page, model):
    commands = [word for word in page.words if word.startswith("molae ")]
    quoted = "'" + str(model.folder).replace("'", "'\"'\"'") + "'"
    assert commands == [
        f"molae predict {quoted} NEW.csv OUT.csv",
        f"molae explain {quoted} NEW.csv OUT.html",
    ]


def test_a_run_killed_before_the_report_writes_the_same_page(model, weights):
    file, about = model.folder / "report.html", model.folder / "model.json"
    before, content = file.read_bytes(), json.loads(about.read_text())
    file.unlink()
    (model.folder / "metrics.csv").unlink()
    about.write_text(json.dumps(content | {"done": False}))
    train(model.folder, weights)
    assert file.read_bytes() == before


def test_one_fold_says_that_there_is_no_estimate(weights, tmp_path):
    found = train(tmp_path / "m", weights, folds=1, features="none")
    page = read_page(found.folder / "report.html")
    assert sum("there is no estimate of its error" in word for word in page.words) == 2
    assert page.attributes("img") == page.attributes("svg") == []
    assert page.row("fold 0") == ["30", "0", "encoder"]


def test_many_targets_have_fewer_drawings(weights, tmp_path):
    """Seven targets have no panel of the folds, and three drawn rows each."""
    of, copies = table(), [f"{number}" for number in range(7)]
    y = of.y[:, 1:].repeat(1, 7)
    many = Table(of.smiles, y, copies, ["classification"] * 7)
    settings = FitSettings(folds=2, split="random", weights=weights, features="none")
    found = fit(many, tmp_path / "m", settings)
    page = read_page(found.folder / "report.html")
    assert len(page.attributes("img")) == 7 * 3
    assert len(page.attributes("svg")) == 7 * (3 + 1)
    assert os.path.getsize(found.folder / "report.html") < 1_500_000


def test_molecules_that_are_too_large_to_be_explained_have_no_colours(model, monkeypatch, tmp_path):
    monkeypatch.setattr("molae_pyg.workflow.report.worst._ATOMS", 300)
    page = read_page(write_report(model, tmp_path / "page.html"))
    told = [word for word in page.words if "are explained; the others have no colours" in word]
    assert told
    assert len(page.attributes("svg")) == 2 * (10 + 1)


@needs_browser
def test_page_in_a_browser(model, tmp_path):
    file = model.folder / "report.html"
    assert_legible(file, tmp_path)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command = [BROWSER, *options, "--dump-dom", file.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<svg") == 2 * (10 + 1)
    assert "Predict new molecules" in done.stdout


def test_molecules_without_smiles_are_not_drawn(model, weights, tmp_path):
    """Models of given coordinates have no similarity and, without descriptors, no such baseline."""
    data = [from_smiles(smiles, num_conformers=1) for smiles in SMILES]
    found = Molecules.of([Data(z=item.z, pos=item.conformers[:, 0]) for item in data])
    of = table()._replace(smiles=[""] * len(SMILES))
    with pytest.warns(UserWarning, match="SMILES"):
        fitted = fit(of, tmp_path / "m", FitSettings(folds=3, weights=weights), molecules=found)
    page = read_page(fitted.folder / "report.html")
    titles = [picture["alt"] for picture in page.attributes("img")]
    assert len(titles) == 3 + 3
    assert not [title for title in titles if "similarity" in title]
    assert page.attributes("svg") == []
    assert len([word for word in page.words if re.match(r"Row \d+: label ", word)]) == 20


SHAPES = ["aryl <b>", "alkyl", "hetero 'x'"]


@pytest.fixture(scope="module")
def several(weights, tmp_path_factory):
    """Three classes, and numbers of which some are bounds."""
    shape = [0.0 if "c1cccc" in s else 1.0 if "CCCCC1" in s else 2.0 for s in SMILES]
    y = torch.tensor([[float(len(s)), c] for s, c in zip(SMILES, shape, strict=True)])
    bound = torch.zeros_like(y, dtype=torch.int8)
    bound[3, 0], bound[11, 0], bound[20, 0] = 1, 1, -1
    kinds = ["regression", "multiclass"]
    of = Table(SMILES, y, ["size", ATTACK], kinds, classes={ATTACK: SHAPES}, bound=bound)
    settings = FitSettings(folds=3, split="random", weights=weights)
    folder = tmp_path_factory.mktemp("several") / "m"
    return fit(of, folder, settings, name="several")


def test_several_classes_and_bounds(several, tmp_path):
    page = read_page(several.folder / "report.html")
    titles = [picture["alt"] for picture in page.attributes("img")]
    assert titles[-2] == "Calibration of the predicted class"
    counts = np.array([page.row(f"label {name}")[:3] for name in SHAPES], int)
    predicted = several.oof[f"{ATTACK}_predicted"].to_numpy()
    found = [
        [int(((several.y[:, 1] == label) & (predicted == name)).sum()) for name in SHAPES]
        for label in range(3)
    ]
    assert counts.tolist() == found
    assert page.row(ATTACK)[0] == "3 classes"
    assert page.row("size")[1] == "30, 3 of them bounds"
    (told,) = [word for word in page.words if "labels are bounds" in word]
    assert told.startswith("3 labels are bounds")
    assert "macro ROC-AUC" in [cell for row in page.rows for cell in row]


def test_many_classes_have_a_list_of_confusions(several, monkeypatch, tmp_path):
    monkeypatch.setattr("molae_pyg.workflow.report.target._CLASSES", 2)
    page = read_page(write_report(several, tmp_path / "page.html"))
    assert not [row for row in page.rows if row[:1] == [f"label {SHAPES[0]}"]]
    wrong = several.oof[f"{ATTACK}_predicted"] != np.array(SHAPES)[several.y[:, 1].astype(int)]
    listed = [int(row[1]) for row in page.rows if " predicted as " in row[0]]
    assert sum(listed) == wrong.sum()


def test_targets_of_atoms(weights, tmp_path):
    values = [
        np.array([[6.0 + a.GetAtomicNum() / a.GetDegree()] for a in mol.GetAtoms()])
        for mol in map(Chem.MolFromSmiles, SMILES)
    ]
    of = AtomTable(records_of(SMILES), values, ["<i>shell"])
    settings = FitSettings(folds=3, split="random", weights=weights)
    found = fit_atoms(of, tmp_path / "m", settings, name="atoms")
    page = read_page(found.folder / "report.html")
    titles = [picture["alt"] for picture in page.attributes("img")]
    assert titles == [
        *("Score of each fold, and the mean", "Predicted against measured"),
        "Coverage of the intervals",
    ]
    number = sum(len(x) for x in values)
    assert page.row("<i>shell")[:3] == ["numbers of atoms", f"{number}", "0"]
    assert page.row("C")[0] == f"{sum(s.upper().count('C') for s in SMILES)}"
    error = (found.oof["<i>shell_predicted"] - found.oof["<i>shell_label"]).abs()
    worst = found.oof.loc[error.idxmax()]
    name = f"row {worst['row']:.0f}, {element_of(int(worst['z']))} {worst['atom']:.0f}"
    first = next(row for row in page.rows if row[0].startswith("row "))
    assert first[0] == name
    assert not [word for word in page.words if word.startswith("molae explain")]
