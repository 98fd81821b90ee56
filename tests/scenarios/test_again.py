"""The same command again: nothing changes, interrupted work resumes, other work is refused."""

import shutil

import pytest
from tables_of_users import read_rows, write_rows

FILES = ("predictions.csv", "metrics.csv")


def test_the_same_command_elsewhere_gives_the_same_files(molae, solubility, model, quick, tmp_path):
    assert molae("train", solubility, tmp_path, "--targets", "logS,soluble", *quick).code == 0
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (model / name).read_bytes()


def test_another_seed_gives_other_folds(molae, solubility, model, quick, tmp_path):
    molae("train", solubility, tmp_path, "--targets", "logS,soluble", *quick, "--seed", 7)
    folds = [
        [row["molae_fold"] for row in read_rows(folder / "predictions.csv")]
        for folder in (tmp_path, model)
    ]
    assert folds[0] != folds[1]


def test_predictions_do_not_depend_on_order_or_neighbours(molae, model, solubility, tmp_path):
    smiles = [[row["smiles"]] for row in read_rows(solubility)]
    found = []
    for number, rows in enumerate((smiles, smiles[::-1], smiles[:1])):
        table = write_rows(tmp_path / "t.csv", ["smiles"], rows)
        molae("predict", model, table, tmp_path / f"{number}.csv")
        found.append({row["smiles"]: row for row in read_rows(tmp_path / f"{number}.csv")})
    assert found[0] == found[1]
    assert found[2].items() <= found[0].items()


def test_the_same_molecule_written_differently(molae, model, tmp_path):
    table = write_rows(tmp_path / "t.csv", ["smiles"], [["OCC"], ["CCO"], ["C(C)O"], ["[CH3]CO"]])
    molae("predict", model, table, tmp_path / "o.csv")
    assert len({row["logS_predicted"] for row in read_rows(tmp_path / "o.csv")}) == 1


def test_lost_results_are_made_again(molae, solubility, model, quick, tmp_path):
    """A run that was killed has some folds and no results."""
    shutil.copytree(model, tmp_path / "m")
    state = (tmp_path / "m" / "model.json").read_text()
    (tmp_path / "m" / "model.json").write_text(state.replace('"done": true', '"done": false'))
    (tmp_path / "m" / "fold-1" / "predicted.npz").unlink()
    for name in FILES:
        (tmp_path / "m" / name).unlink()
    said = molae("predict", tmp_path / "m", solubility, tmp_path / "o.csv")
    assert "has not ended: run the same command again" in said.err
    said = molae("train", solubility, tmp_path / "m", "--targets", "logS,soluble", *quick)
    assert said.code == 0
    for name in FILES:
        assert (tmp_path / "m" / name).read_bytes() == (model / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", 1], "settings.seed: 0 there, 1 now"),
        (["--folds", 4], "settings.folds: 3 there, 4 now"),
        (["--features", "both"], "settings.features: 'none' there, 'both' now"),
    ],
)
def test_other_settings_in_the_same_folder_say_what_differs(
    molae, solubility, model, quick, flags, message
):
    before = (model / "model.json").read_bytes()
    said = molae("train", solubility, model, "--targets", "logS,soluble", *quick, *flags)
    assert said.code == 1
    assert message in said.err
    assert (model / "model.json").read_bytes() == before


def test_settings_of_an_earlier_training(molae, solubility, model, quick, tmp_path):
    """A larger table is learned in the same way, with one setting changed."""
    assert molae("train", solubility, tmp_path / "m", "--like", model, "--seed", 3).code == 0
    words = ["--targets", "logS,soluble", *quick, "--seed", 3]
    said = molae("train", solubility, tmp_path / "m", *words)  # the same run: it is done
    assert said.code == 0, said.err
    said = molae("train", solubility, tmp_path / "n", "--like", tmp_path / "absent")
    assert (said.code, "absent holds no model of molae train" in said.err) == (1, True)


def test_training_goes_on_from_an_earlier_one(molae, solubility, model, tmp_path):
    """The encoder of a model is the start of another one."""
    words = ["--like", model, "--targets", "logS", "--weights", model]
    said = molae("train", solubility, tmp_path, *words)
    assert said.code == 0, said.err
    again, first = (read_rows(folder / "predictions.csv") for folder in (tmp_path, model))
    assert [row["molae_fold"] for row in again] == [row["molae_fold"] for row in first]
