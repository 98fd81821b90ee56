"""The page and the table of contributions."""

import io
import sys

import numpy as np
import pandas as pd
import pytest
from pages import assert_legible, needs_browser, read_page
from rdkit import Chem

from molae_pyg.analysis import explanation as module
from molae_pyg.analysis.explanation import (
    COLOURS,
    colour_of,
    contribution_svg,
    contribution_table,
    explain_page,
    scale_of,
    write_contributions,
)
from molae_pyg.inference import Explanation

ATTACK = "<script>alert('1')</script> & Größe"
LABEL = "*CC[C@H](N)F |$<script>alert(1)</script>;;;;;$|"


@pytest.fixture
def no_drawing_code(monkeypatch):
    """RDKit as on a server without X, where its drawing code cannot be loaded."""
    module._drawing_code.cache_clear()
    monkeypatch.setitem(sys.modules, "rdkit.Chem.Draw", None)
    yield
    module._drawing_code.cache_clear()


def explanation(smiles: str, values: list[float] | None = None, target: str = "logP"):
    mol = Chem.MolFromSmiles(smiles)
    targets, types = [target, "active"], ["regression", "classification"]
    if mol is None:
        nothing = np.full((1, 2), np.nan, np.float32)
        about = (smiles, "invalid", ATTACK, targets, types)
        return Explanation(*about, [], nothing[:0], nothing[0], None)
    elements = [atom.GetSymbol() for atom in mol.GetAtoms()]
    if values is None:
        values = np.linspace(-1, 1, len(elements)).tolist()
    both = np.array([values, np.negative(values) / 10], np.float32).T  # [n, 2]
    prediction = np.array([2.5, 0.0], np.float32)
    return Explanation(smiles, "ok", "", targets, types, elements, both, prediction, mol)


def test_atoms_have_the_colours_of_their_contributions():
    svg = contribution_svg(explanation("CCO", [-0.5, np.nan, 2.0]), 0, limit=0.5)
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")
    assert "<title>C0: \N{MINUS SIGN}0.5</title>" in svg
    assert "<title>O2: +2</title>" in svg
    assert svg.count("<title>") == svg.count("<ellipse") == 2  # an unseen atom has no colour
    low, _, high = (f"#{''.join(f'{int(255 * c):02X}' for c in colour)}" for colour in COLOURS)
    fills = [part.split(";")[0] for part in svg.split("fill:")[1:]]
    assert fills[:2] == [low, high]


def test_the_scale_is_symmetric_ends_at_its_limit_and_has_none_at_zero():
    assert colour_of(0) == COLOURS[1] == (1, 1, 1)
    assert colour_of(-1) == colour_of(-3) == pytest.approx(COLOURS[0])
    assert colour_of(1) == colour_of(3) == pytest.approx(COLOURS[2])
    assert colour_of(0.5)[0] > colour_of(0.5)[2]
    assert colour_of(-0.5)[0] < colour_of(-0.5)[2]


def test_one_scale_for_all_molecules():
    many = [explanation("CCO", [0.1, -0.2, np.nan]), explanation("CC", [0.3, -0.4])]
    assert scale_of(many, 0) == pytest.approx(0.39)
    assert scale_of(many, 1) == pytest.approx(0.039)
    assert scale_of([explanation("CC", [0.0, 0.0])], 0) == 1
    assert scale_of([explanation("CC", [np.nan, np.nan])], 0) == 1


def test_the_page_shows_everything_and_escapes_it(tmp_path):
    file = tmp_path / "page.html"
    some = [explanation(s, target=ATTACK) for s in ("CCO", ATTACK, LABEL, "C" * 150)]
    explain_page(some, file, ATTACK, {ATTACK: f"mg {ATTACK}"}, rows=[4, 5, 8, 9])
    page = read_page(file)
    assert len(page.attributes("svg")) == 2 * (3 + 1)  # three molecules and the scale
    assert page.words.count(ATTACK) == 3  # in the title, above the page and of the target
    assert f"Contribution to {ATTACK}, mg {ATTACK}" in page.words
    assert "Contribution to active, log-odds" in page.words
    assert f"Row 4: predicted 2.5 mg {ATTACK}" in page.words
    assert "Row 9: predicted 0 log-odds, probability 0.50" in page.words
    assert {"CCO", LABEL, "C" * 150} <= set(page.words)
    assert page.row("5") == [ATTACK, "invalid", ATTACK]
    assert page.row("Molecules") == ["3 of 4 rows, 159 atoms"]
    assert page.row("O") == ["1", "+1", "+1", "+1"]
    assert "<script" not in file.read_text()


def test_only_so_many_molecules_are_drawn(tmp_path):
    explain_page([explanation("CCO")] * 5, tmp_path / "page.html", most=2)
    page = read_page(tmp_path / "page.html")
    assert len(page.attributes("svg")) == 2 * (2 + 1)
    assert "The first 2 of 5 molecules are drawn." in page.words


def test_a_page_without_a_molecule(tmp_path):
    explain_page([explanation("C1CC")], tmp_path / "page.html")
    page = read_page(tmp_path / "page.html")
    assert page.row("Molecules") == ["0 of 1 rows, 0 atoms"]
    assert page.row("0")[:2] == ["C1CC", "invalid"]
    with pytest.raises(ValueError, match="no molecule to draw"):
        explain_page([], tmp_path / "page.html")
    with pytest.raises(ValueError, match="can be drawn"):
        contribution_svg(explanation("C1CC"), 0, 1.0)


def test_the_table_has_a_line_an_atom(tmp_path):
    some = [explanation("CO", [0.25, np.nan], "atom"), explanation("C1CC", target="atom")]
    some.append(explanation("N", [-3.0], "atom"))
    write_contributions(some, tmp_path / "table.csv", rows=[0, 1, 7])
    assert (tmp_path / "table.csv").read_text().splitlines() == [
        "row,atom,element,atom_contribution,active",
        "0,0,C,0.25,-0.025",
        "0,1,O,,",
        "7,0,N,-3,0.3",
    ]
    assert contribution_table([]).columns.tolist() == ["row", "atom", "element"]
    empty = contribution_table(some[1:2])
    assert empty.shape == (0, 5)
    found = pd.read_csv(io.StringIO((tmp_path / "table.csv").read_text()))
    assert found.row.tolist() == [0, 0, 7]


@needs_browser
def test_page_in_a_browser(tmp_path):
    some = [explanation(s, target=ATTACK) for s in ("CCO", LABEL, "C" * 150, "C1CC")]
    explain_page(some, tmp_path / "page.html", "a-name-without-any-space-" * 12)
    assert_legible(tmp_path / "page.html", tmp_path)


def test_without_the_code_that_draws_the_page_has_the_numbers(no_drawing_code, tmp_path):
    explanations = [explanation("CCO"), explanation("c1ccccc1")]
    with pytest.warns(UserWarning, match=r"libxrender1.*libXrender") as warned:
        explain_page(explanations, tmp_path / "page.html")
    assert len(warned) == 1  # not for every molecule
    text = (tmp_path / "page.html").read_text()
    assert text.count("RDKit cannot draw here.") == 4  # two targets
    assert "<ellipse" not in text
    assert "Contributions by element" in text
