"""Protocols: which rows are tested how often, and the files of the splits."""

import json

import numpy as np
import pytest
from scripts import SMILES

from molae_pyg.evaluation import protocols
from molae_pyg.splits import Split, save_split, scaffold_split


class Molecules:
    """The part of a data set that a protocol needs."""

    def __init__(self, smiles=SMILES):
        self.smiles = smiles

    def __len__(self):
        return len(self.smiles)


def test_scaffold_is_one_split_for_all_seeds(tmp_path):
    found = protocols.make_trials(Molecules(), "scaffold", None, tmp_path)
    assert [(trial.seed, trial.fold) for trial, _ in found] == [(0, 0), (1, 0), (2, 0)]
    assert len({checksum for _, checksum in found}) == 1
    expected = scaffold_split(SMILES)
    assert all(map(np.array_equal, found[2][0].split, expected))


def test_stereo_marks_make_another_split(tmp_path):
    # two scaffolds that differ in stereo marks alone
    smiles = [f"{tail}C1C[C@H](C1)C1CC1" for tail in "CNOF"] + [
        f"{tail}C1C[C@@H](C1)[C@H]1C[C@H]1C" for tail in "CNOF"
    ]
    smiles += SMILES
    plain = protocols.make_trials(Molecules(smiles), "scaffold", 1, tmp_path / "a")[0][0].split
    chiral = protocols.make_trials(Molecules(smiles), "scaffold-chiral", 1, tmp_path / "b")
    assert all(map(np.array_equal, plain, scaffold_split(smiles)))
    expected = scaffold_split(smiles, chirality=True)
    assert all(map(np.array_equal, chiral[0][0].split, expected))


def test_published_takes_the_split_of_the_records(tmp_path):
    molecules = Molecules()
    molecules.split = Split(np.arange(40), np.arange(40, 44), np.arange(44, 48))
    trials = protocols.make_trials(molecules, "published", None, tmp_path)
    assert len(trials) == 3
    assert trials[0][0].split.test.tolist() == [44, 45, 46, 47]
    del molecules.split
    (trial, _), *_ = protocols.make_trials(molecules, "published", 1, tmp_path / "other")
    expected = scaffold_split(SMILES, chirality=True)
    assert all(map(np.array_equal, trial.split, expected))


@pytest.mark.parametrize(("name", "number"), [("random", 3), ("cv5x5", 25)])
def test_random_splits_differ(tmp_path, name, number):
    found = protocols.make_trials(Molecules(), name, None, tmp_path)
    assert len(found) == len({checksum for _, checksum in found}) == number
    assert len(list(tmp_path.iterdir())) == number
    if name == "cv5x5":
        assert [(trial.seed, trial.fold) for trial, _ in found][4:6] == [(0, 4), (1, 0)]


def test_an_existing_split_is_read(tmp_path):
    ((trial, checksum),) = protocols.make_trials(Molecules(), "scaffold", 1, tmp_path)
    file = tmp_path / "0-0.json"
    other = trial.split._replace(test=trial.split.valid, valid=trial.split.test)
    save_split(other, file, SMILES)
    ((again, changed),) = protocols.make_trials(Molecules(), "scaffold", 1, tmp_path)
    assert np.array_equal(again.split.test, trial.split.valid)
    assert changed != checksum
    with pytest.raises(ValueError, match="made for other molecules"):
        protocols.make_trials(Molecules(SMILES[::-1]), "scaffold", 1, tmp_path)


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_an_incomplete_split_is_made_again_by_the_same_rule(tmp_path, capsys, size):
    ((trial, checksum),) = protocols.make_trials(Molecules(), "scaffold", 1, tmp_path)
    file = tmp_path / "0-0.json"
    file.write_bytes(file.read_bytes()[:size])
    ((again, same),) = protocols.make_trials(Molecules(), "scaffold", 1, tmp_path)
    assert same == checksum
    assert all(map(np.array_equal, again.split, trial.split))
    assert "0-0.json is damaged; the split is made anew" in capsys.readouterr().out


def test_a_split_that_was_edited_is_refused(tmp_path):
    protocols.make_trials(Molecules(), "scaffold", 1, tmp_path)
    file = tmp_path / "0-0.json"
    content = json.loads(file.read_text())
    content["train"].append(content["test"].pop())
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"0-0\.json is damaged: its checksum"):
        protocols.make_trials(Molecules(), "scaffold", 1, tmp_path)
