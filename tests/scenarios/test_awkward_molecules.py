"""Molecules of real files: each row has a prediction or a reason, and none stops a run."""

import csv

import pytest
from tables_of_users import read_rows, write_rows

MOLECULES = {
    "salt": "CC(=O)[O-].[Na+]",
    "mixture": "CCO.O.c1ccccc1",
    "ions alone": "[Na+].[Cl-]",
    "deuterium": "[2H]OC",
    "isotope": "[13CH4]",
    "radical": "[CH3]",
    "oxygen": "[O][O]",
    "ammonium": "C[N+](C)(C)C",
    "platin": "[Pt](Cl)(Cl)(N)N",
    "dative bond": "N->[Pt](<-N)(Cl)Cl",
    "metal": "[Fe]",
    "uranium": "[U]",
    "hydrogen": "[H][H]",
    "proton": "[H+]",
    "helium": "[He]",
    "boron cage": "B1BB1",
    "anion": "F[P-](F)(F)(F)(F)F",
    "atom numbers": "[CH3:1][CH2:2][OH:3]",
    "extended": "CCO |$a;b;c$|",
    "attachment": "*CCO",
    "double bond": "C/C=C/C",
    "stereo": "C[C@H](O)C(=O)O",
    "nitro, old": "COc1ccccc1N(=O)=O",
}
LARGE = {"large": ".".join(["[Na+].[Cl-]"] * 80)}  # its coordinates take no time
NONE = {
    "empty": ("", "the string is empty"),
    "blank": ("   ", "the string is empty"),
    "word": ("ethanol", "syntax error"),
    "ring": ("c1ccccc", "unclosed ring"),
    "parenthesis": ("CC(C", "extra open parentheses"),
    "valence": ("CC(C)(C)(C)C", "valence for atom # 1 C, 5, is greater than permitted"),
    "kekulé": ("c1cccc1", "Can't kekulize"),
    "element": ("[Xx]", "syntax error"),
    "reaction": ("CC=O>>CCO", "a reaction (with >), not a molecule"),
    "reaction with agent": ("CC=O.O>[Pd]>CCO", "a reaction (with >), not a molecule"),
    "inchi": ("InChI=1S/CH4/h1H4", "an InChI, not a SMILES"),
    "name": ("CCO ethanol", "'ethanol' follows a blank"),
    "polymer": ("{[][$]CC[$][]}", "syntax error"),
    "dash": ("CC–O", "no SMILES"),
    "charge": ("[Fe+300]", "too large"),
}


@pytest.fixture
def table(tmp_path):
    rows = list(MOLECULES.items()) + [(name, smiles) for name, (smiles, _) in NONE.items()]
    return write_rows(tmp_path / "awkward.csv", ["what", "smiles"], rows)


def check(rows):
    """Checks status and reason of each row."""
    status = {row["what"]: row["molae_status"] for row in rows}
    assert [what for what, found in status.items() if found == "ok"] == list(MOLECULES)
    for row in rows:
        if row["what"] in NONE:
            assert row["molae_status"] == "invalid"
            assert NONE[row["what"]][1] in row["molae_reason"]


def test_predict(molae, model, table, tmp_path):
    said = molae("predict", model, table, tmp_path / "out.csv")
    assert said.code == 0
    assert said.err == ""
    assert said.out.splitlines()[-1] == "23 of 38 rows predicted, 15 invalid: see molae_reason"
    rows = read_rows(tmp_path / "out.csv")
    check(rows)
    for row in rows:
        values = [row[name] for name in ("logS_predicted", "logS_low", "soluble_probability")]
        assert all(values) == any(values) == (row["what"] in MOLECULES)


def test_embed(molae, weights, table, tmp_path):
    said = molae("embed", table, tmp_path / "out.csv", "--weights", weights, "--workers", 1)
    assert said.out.strip().endswith("15 invalid: see molae_reason")
    names = [row["what"] for row in read_rows(table)]
    rows = read_rows(tmp_path / "out.csv")
    check([row | {"what": what} for row, what in zip(rows, names, strict=True)])


def test_explain(molae, model, table, tmp_path):
    said = molae("explain", model, table, tmp_path / "out.html")
    assert said.code == 0
    assert said.err == ""
    assert "23 of 38 rows explained, 15 invalid" in said.out
    with open(tmp_path / "out.csv", newline="") as file:
        atoms = list(csv.DictReader(file))
    for number, row in enumerate(read_rows(table)):
        found = [atom["element"] for atom in atoms if int(atom["row"]) == number]
        assert bool(found) == (row["what"] in MOLECULES)
    page = (tmp_path / "out.html").read_text()
    assert "a reaction (with &gt;), not a molecule" in page


def test_a_molecule_too_large_to_explain_is_predicted(molae, model, tmp_path):
    rows = [*LARGE.items(), ("small", "CCO")]
    table = write_rows(tmp_path / "large.csv", ["what", "smiles"], rows)
    assert molae("predict", model, table, tmp_path / "o.csv", "--strict").code == 0
    said = molae("explain", model, table, tmp_path / "page.html")
    assert "1 of 2 rows explained, 1 failed" in said.out
    assert (
        "160 atoms: molecules of more than 150 are not explained"
        in (tmp_path / "page.html").read_text()
    )


def test_a_table_with_awkward_rows_is_learned(molae, solubility, quick, tmp_path):
    rows = [[row["smiles"], row["logS"]] for row in read_rows(solubility)]
    rows += [[smiles, "-1.5"] for smiles, _ in NONE.values()]
    rows += [[MOLECULES[what], "-1.5"] for what in ("salt", "deuterium", "platin", "metal")]
    table = write_rows(tmp_path / "t.csv", ["smiles", "logS"], rows)
    said = molae("train", table, tmp_path / "m", *quick)
    assert said.code == 0
    assert "15 of 55 rows gave no molecule and are left out" in said.out
    found = read_rows(tmp_path / "m" / "predictions.csv")
    assert [row["molae_status"] for row in found].count("ok") == 40


def test_a_table_of_reactions_says_so(molae, solubility, quick, tmp_path):
    rows = [[f"{row['smiles']}>>O", row["logS"]] for row in read_rows(solubility)]
    table = write_rows(tmp_path / "t.csv", ["smiles", "logS"], rows)
    said = molae("train", table, tmp_path / "m", *quick)
    assert said.code == 1
    assert "none of 36 rows gave a molecule" in said.err
    assert "a reaction (with >), not a molecule" in said.err
