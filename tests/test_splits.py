"""Scaffold and random splits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from molae_pyg.splits import (
    Split,
    load_split,
    random_split,
    repeated_folds,
    save_split,
    scaffold_groups,
    scaffold_split,
)

DATA = os.environ.get("MOLAE_DATA")

# 6 benzenes, 2 cyclohexanes, 1 without a ring, 1 pyridine
SMILES = [
    *["CCO", "Cc1ccccc1", "CC1CCCCC1", "Clc1ccccc1", "Brc1ccccc1"],
    *["c1ccncc1", "Oc1ccccc1", "C1CCCCC1", "Nc1ccccc1", "c1ccccc1"],
]


def test_hand_made_case():
    # groups by (size, first row), descending: benzene 6, cyclohexane 2, pyridine (row 5), chain
    split = scaffold_split(SMILES, fractions=(0.6, 0.2, 0.2))
    assert split.train.tolist() == [1, 3, 4, 6, 8, 9]
    assert split.valid.tolist() == [2, 7]
    assert split.test.tolist() == [0, 5]
    assert all(part.dtype == np.int64 for part in split)


def test_a_group_that_does_not_fit_is_passed_on_and_a_smaller_one_may_still_fit():
    # train holds 7: benzene (6) fits, cyclohexane (2) does not, pyridine (1) does, the chain not
    split = scaffold_split(SMILES, fractions=(0.7, 0.2, 0.1))
    assert split.train.tolist() == [1, 3, 4, 5, 6, 8, 9]
    assert split.valid.tolist() == [2, 7]
    assert split.test.tolist() == [0]


def test_chirality_separates_scaffolds():
    # cis- and trans-1,2-diphenylcyclopropane: one scaffold or two
    pair = ["C1[C@H](c2ccccc2)[C@@H]1c1ccccc1", "C1[C@H](c2ccccc2)[C@H]1c1ccccc1"]
    split = scaffold_split(pair, (0.5, 0.0, 0.5), chirality=True)
    assert [part.tolist() for part in split] == [[1], [], [0]]
    with pytest.raises(ValueError, match="2 molecules in 1 scaffolds, the largest with 2"):
        scaffold_split(pair, (0.5, 0.0, 0.5), chirality=False)


def test_seeded_scaffold_split():
    rings = ["c1ccncc1", "C1CCCCC1", "c1ccoc1", "c1ccsc1", "C1CCOC1", "C1CC1", "C1CCC1", "C1CCNC1"]
    smiles = ["c1ccccc1" + "C" * n for n in range(4)] + [ring + "C" for ring in rings * 2]
    splits = [scaffold_split(smiles, (0.6, 0.2, 0.2), seed=seed) for seed in range(20)]
    for split in splits:
        assert {0, 1, 2, 3} <= set(split.train.tolist())  # four of twenty: too large for a test
        assert [len(part) for part in split] == [12, 4, 4]
    assert len({tuple(split.test) for split in splits}) > 10
    again = scaffold_split(smiles, (0.6, 0.2, 0.2), seed=7)
    assert all(map(np.array_equal, again, splits[7]))


def test_fraction_of_zero_leaves_a_part_empty():
    split = scaffold_split(SMILES, (0.8, 0.0, 0.2))
    assert [len(part) for part in split] == [8, 0, 2]


def test_unreadable_smiles_is_named():
    with pytest.raises(ValueError, match=r"row 1: RDKit reads no molecule from SMILES 'C1CC'"):
        scaffold_split(["CCO", "C1CC"])
    with pytest.raises(ValueError, match="row 0: RDKit reads no molecule from SMILES ''"):
        scaffold_split(["", "CCO"])


def test_too_small_a_set():
    with pytest.raises(ValueError, match=r"the valid part would be empty \(2 molecules in 2"):
        scaffold_split(["CCO", "c1ccccc1"])
    with pytest.raises(ValueError, match=r"the train part would be empty \(0 molecules"):
        scaffold_split([])
    with pytest.raises(ValueError, match=r"the valid part would be empty \(5 rows\)"):
        random_split(5)


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5)])
def test_unusable_fractions(fractions):
    with pytest.raises(ValueError, match="three numbers >= 0"):
        scaffold_split(SMILES, fractions)
    with pytest.raises(ValueError, match="three numbers >= 0"):
        random_split(100, fractions)


def test_random_split():
    split = random_split(100, seed=3)
    assert [len(part) for part in split] == [80, 10, 10]
    assert sorted(np.concatenate(split).tolist()) == list(range(100))
    assert all((np.diff(part) > 0).all() for part in split)
    again, other = random_split(100, seed=3), random_split(100, seed=4)
    assert all(map(np.array_equal, split, again))
    assert not np.array_equal(split.test, other.test)


def test_no_row_is_lost_to_rounding():  # (0.7 + 0.1) * 10 = 7.999999999999999
    assert [len(part) for part in random_split(10, (0.7, 0.1, 0.2))] == [7, 1, 2]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(SMILES), min_size=1, max_size=40),
    st.sampled_from([(0.6, 0.2, 0.2), (0.6, 0.4, 0.0), (0.6, 0.0, 0.4)]),
    st.booleans(),
    st.none() | st.integers(0, 9),
)
def test_scaffold_split_partitions_the_rows_and_separates_scaffolds(
    smiles, fractions, chirality, seed
):
    try:
        split = scaffold_split(smiles, fractions, chirality, seed)
    except ValueError as error:
        if "would be empty" not in str(error):
            raise
        return
    assert sorted(np.concatenate(split).tolist()) == list(range(len(smiles)))
    assert len(split.train) <= 0.6 * len(smiles) + 1e-9
    scaffolds = [{_scaffold(smiles[row]) for row in part} for part in split]
    assert not scaffolds[0] & scaffolds[1]
    assert not scaffolds[0] & scaffolds[2]
    assert not scaffolds[1] & scaffolds[2]


def _scaffold(smiles: str) -> str:
    return MurckoScaffold.MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(smiles))


@settings(max_examples=30)
@given(st.integers(20, 200), st.integers(2, 5), st.integers(1, 3), st.integers(0, 99))
def test_repeated_folds(n, num_folds, num_repeats, seed):
    splits = repeated_folds(n, num_folds, num_repeats, seed=seed)
    assert len(splits) == num_folds * num_repeats
    for split in splits:
        assert sorted(np.concatenate(split).tolist()) == list(range(n))
        assert len(split.valid) == (n - len(split.test)) // 10
    for repeat in range(num_repeats):
        folds = [split.test for split in splits[repeat * num_folds : (repeat + 1) * num_folds]]
        assert sorted(np.concatenate(folds).tolist()) == list(range(n))
        assert max(map(len, folds)) - min(map(len, folds)) <= 1
    again = repeated_folds(n, num_folds, num_repeats, seed=seed)
    assert all(map(np.array_equal, splits[-1], again[-1]))


def test_repeats_and_seeds_of_folds_differ():
    splits = repeated_folds(100)
    assert len({tuple(split.test) for split in splits}) == 25
    assert not np.array_equal(splits[0].test, repeated_folds(100, seed=1)[0].test)


def test_folds_that_cannot_be():
    with pytest.raises(ValueError, match="at least 2 folds"):
        repeated_folds(10, num_folds=1)
    with pytest.raises(ValueError, match="valid must be between 0 and 1"):
        repeated_folds(10, valid=0.0)
    with pytest.raises(ValueError, match="the valid part would be empty"):
        repeated_folds(10)


def test_save_and_load(tmp_path):
    split = scaffold_split(SMILES, (0.6, 0.2, 0.2))
    save_split(split, tmp_path / "split.json", SMILES)
    loaded = load_split(tmp_path / "split.json", SMILES)
    assert isinstance(loaded, Split)
    assert all(map(np.array_equal, split, loaded))
    assert all(part.dtype == np.int64 for part in loaded)
    with pytest.raises(ValueError, match="made for other molecules"):
        load_split(tmp_path / "split.json", SMILES[::-1])


@pytest.mark.skipif(DATA is None, reason="needs the official splits in $MOLAE_DATA/ogb")
@pytest.mark.parametrize("name", ["molesol", "molfreesolv", "molbace", "molbbbp"])
def test_official_ogb_split(name):
    folder = Path(DATA) / "ogb" / f"ogbg_{name}"
    smiles = pd.read_csv(folder / "mapping" / "mol.csv.gz")["smiles"].tolist()
    split = scaffold_split(smiles, chirality=True)
    for part in Split._fields:
        official = pd.read_csv(folder / "split" / "scaffold" / f"{part}.csv.gz", header=None)
        assert np.array_equal(getattr(split, part), official[0].to_numpy())


def test_import_loads_neither_rdkit_nor_scikit_learn():
    code = (
        "import sys, molae_pyg.splits, molae_pyg.metrics; "
        "sys.exit(bool({'rdkit', 'sklearn', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("smiles", ["CCO", b"CCO", {"CCO", "CC"}])
def test_one_string_is_no_sequence(smiles, tmp_path):
    split = random_split(10)
    for call in (
        lambda: scaffold_split(smiles),
        lambda: scaffold_groups(smiles),
        lambda: save_split(split, tmp_path / "a.json", smiles),
    ):
        with pytest.raises(ValueError, match=r"a sequence of SMILES is needed|has no order"):
            call()


def test_iterators_are_read_to_their_end(tmp_path):
    smiles = ["c1ccccc1", "C1CC1", "CCO", "Cc1ccccc1"]
    assert scaffold_groups(iter(smiles)) == scaffold_groups(smiles) == [[0, 3], [1], [2]]
    wanted = scaffold_split(smiles, (0.5, 0.25, 0.25))
    found = scaffold_split((text for text in smiles), (0.5, 0.25, 0.25))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    save_split(wanted, tmp_path / "a.json", map(str, smiles))
    assert load_split(tmp_path / "a.json", iter(smiles)).test.tolist() == wanted.test.tolist()


@pytest.mark.parametrize("text", ["C[#119]", "[CH255]", "C C", "", "C\xe9", None])
def test_scaffold_of_what_rdkit_cannot_handle_names_the_row(text):
    with pytest.raises(ValueError, match="row 1: RDKit reads no molecule from SMILES"):
        scaffold_groups(["CCO", text])


def damages() -> dict[str, object]:
    """What a file can look like after a kill, a full disk or an editor."""
    return {
        "empty": lambda whole: b"",
        "cut": lambda whole: whole[:-30],
        "a byte": lambda whole: whole.replace(b"[0, 1", b"[0, 2", 1),
        "a row moved": lambda whole: whole.replace(b'"valid": [', b'"valid": [0, ', 1),
        "zeros": lambda whole: b"\0" * len(whole),
        "no text": lambda whole: b"\xff\xfe" + whole,
        "a list": lambda whole: b"[1, 2]",
        "a key is missing": lambda whole: whole.replace(b'"valid"', b'"other"', 1),
        "deep": lambda whole: b"[" * 100_000,
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_split_is_named_with_the_remedy(tmp_path, damage):
    smiles, path = ["C" * k for k in range(1, 31)], tmp_path / "0-0.json"
    save_split(Split(*map(np.array, ([0, 1, *range(4, 30)], [2], [3]))), path, smiles)
    whole = path.read_bytes()
    assert [part.size for part in load_split(path, smiles)] == [28, 1, 1]
    changed = damages()[damage](whole)
    assert changed != whole
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=r"0-0\.json is damaged: .* Remove the file"):
        load_split(path, smiles)


def test_an_old_split_without_a_checksum_is_read_and_looked_at(tmp_path):
    smiles, path = ["C", "CC", "CCC"], tmp_path / "a.json"
    save_split(Split(*map(np.array, ([0], [1], [2]))), path, smiles)
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    assert load_split(path, smiles).test.tolist() == [2]
    path.write_text(json.dumps(content | {"test": [1]}))
    with pytest.raises(ValueError, match="its parts do not make up the 3 molecules"):
        load_split(path, smiles)


def test_a_split_is_replaced_as_a_whole(tmp_path, monkeypatch):
    smiles, path = ["C", "CC", "CCC"], tmp_path / "a.json"
    save_split(Split(*map(np.array, ([0], [1], [2]))), path, smiles)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        save_split(Split(*map(np.array, ([0], [2], [1]))), path, smiles)
    assert path.read_bytes() == before


def test_the_half_written_file_of_a_kill():
    path = Path(__file__).parent / "data" / "cases" / "split-empty.json"
    with pytest.raises(ValueError, match=r"split-empty\.json is damaged"):
        load_split(path, ["C"])
