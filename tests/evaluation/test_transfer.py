"""Pre-trained weights are compared with random ones, on molecules unseen in pre-training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts import SMILES, run
from torch_geometric.data import Data

from molae_pyg import MolAE
from molae_pyg.evaluation import protocols, transfer
from molae_pyg.splits import scaffold_split

CONFIG = """
data: {num_conformers: 2, max_atoms: 6}
head: {readout: mean}
training: {batch_size: 16, pair_budget: 400}
datasets:
  freesolv: {epochs: 1}
  bbbp: {epochs: 1}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two small data sets, settings and weights."""
    rows = "".join(f"x,{s},{len(s)},0\n" for s in SMILES)
    (tmp_path / "SAMPL.csv").write_text("iupac,smiles,expt,calc\n" + rows)
    rows = "".join(f"{i},{len(s) % 2},{s}\n" for i, s in enumerate([*SMILES, "C1CC"]))
    (tmp_path / "BBBP.csv").write_text("num,p_np,smiles\n" + rows)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    torch.manual_seed(0)
    MolAE.tiny().save_pretrained(tmp_path / "weights")
    return tmp_path


def test_planned_runs():
    runs = list(transfer.planned("esol", 3))
    assert len(set(runs)) == len(runs) == 2 * 2 * 3
    for method in transfer.METHODS:
        arms = [(r.weights, r.seed) for r in runs if r.method == method]
        assert sorted(arms) == [(w, s) for w in ("pre-trained", "random") for s in range(3)]


def test_encoders_of_the_arms(folder):
    weights = str(folder / "weights")
    given, again, random, other, same = (
        transfer.make_encoder(weights, transfer.Run("esol", "probe", arm, seed))
        for arm, seed in [
            ("pre-trained", 0),
            ("pre-trained", 1),
            ("random", 0),
            ("random", 1),
            ("random", 1),
        ]
    )
    assert given.config == random.config
    matrices = [e.transformer.state_dict() for e in (given, again, random, other, same)]
    name = next(name for name, value in matrices[0].items() if value.dim() == 2)
    first = [m[name] for m in matrices]
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[3], first[4])
    assert not torch.equal(first[0], first[2])
    assert not torch.equal(first[2], first[3])


def test_table_names_losers_too():
    def rows(dataset, metric, random, pretrained):
        shared = {"dataset": dataset, "method": "fine-tuned", "metric": metric}
        return [
            {**shared, "weights": arm, "seed": seed, "test": score}
            for arm, scores in (("random", random), ("pre-trained", pretrained))
            for seed, score in enumerate(scores)
        ]

    results = [
        *rows("esol", "rmse", [1.0, 1.2], [0.7, 0.9]),  # lower is better: a clear win
        *rows("bace", "roc_auc", [0.8, 0.7], [0.75, 0.79]),  # a win, but not a clear one
        *rows("qm7", "mae", [10.0, 12.0], [20.0, 22.0]),
        *rows("lipo", "rmse", [1.0], []),  # unfinished
    ]
    text = transfer.table(results, "fine-tuned")
    assert "| esol | rmse | 1.100 ± 0.141 | **0.800 ± 0.141** |" in text
    assert "| bace | roc_auc | 0.750 ± 0.071 | **0.770 ± 0.028** |" in text
    assert "| qm7 | mae | **11.000 ± 1.414** | 21.000 ± 1.414 |" in text
    assert "lipo" not in text
    assert "win 2 of 3; in 1 of them" in text


def test_other_weights_need_another_folder(tmp_path):
    for name in ("one", "two"):
        MolAE.tiny().save_pretrained(tmp_path / name)
    path = tmp_path / "output" / "settings.json"
    path.parent.mkdir()
    (tmp_path / "seen.smi").write_text("CCO\n")
    seen = [str(tmp_path / "seen.smi")]
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    transfer.check_settings(path, {"data": {}}, one, seen)
    transfer.check_settings(path, {"data": {}}, one, seen)
    for config, weights, files in (
        ({"data": {}}, two, seen),
        ({"data": {"seed": 1}}, one, seen),
        ({"data": {}}, one, []),
    ):
        with pytest.raises(ValueError, match=r"What differs: .*[Gg]ive another --output"):
            transfer.check_settings(path, config, weights, files)


class Molecules(list):
    """Molecules whose number of atoms is the length of their SMILES."""

    smiles = SMILES

    def __init__(self):
        super().__init__(Data(z=torch.zeros(len(smiles))) for smiles in SMILES)


def test_split_of_a_seed():
    molecules = Molecules()
    splits = [transfer.make_split(molecules, seed, set()) for seed in range(3)]
    assert len({tuple(sorted(split.test)) for split in splits}) > 1
    for seed, split in enumerate(splits):
        plain = scaffold_split(SMILES, seed=seed)
        for part, expected in zip(split, plain, strict=True):
            assert np.sort(part).tolist() == expected.tolist()
            assert (np.diff([len(SMILES[row]) for row in part]) >= 0).all()  # small ones first


def test_seen_molecules_are_not_tested_on(tmp_path):
    molecules = Molecules()
    whole = transfer.make_split(molecules, 0, set())
    known, new = whole.test[:2], whole.test[2:]
    (tmp_path / "seen.smi").write_text("".join(f"{SMILES[row]} id\n" for row in known) + "C1CC\n")
    (tmp_path / "other.csv").write_text("smiles\nC[C@H](F)[13CH3]\n")
    seen = transfer.read_seen([tmp_path / "seen.smi", tmp_path / "other.csv"])
    split = transfer.make_split(molecules, 0, seen)
    assert split.test.tolist() == new.tolist()
    assert split.train.tolist() == whole.train.tolist()
    assert protocols.without_stereo("CC(C)F") in seen  # neither stereo marks nor isotopes count


@pytest.mark.slow
def test_script(folder):
    args = ["--root", ".", "--weights", "weights", "--config", "tiny.yaml", "--seeds", "2"]
    done = run(folder, "transfer.py", *args, "--datasets", "freesolv")
    assert done.returncode == 0, done.stderr
    file = folder / "runs" / "transfer" / "results.jsonl"
    assert len(file.read_text().splitlines()) == 2 * 2 * 2

    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line}\n" for line in lines[:-1]))  # as if killed in the last run
    done = run(folder, "transfer.py", *args)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(results) == 2 * 2 * 2 * 2
    again = json.loads(lines[-1])  # the same seed gives the same run
    assert results[7]["test"] == pytest.approx(again["test"], rel=1e-5)
    assert {r["metric"] for r in results} == {"rmse", "roc_auc"}
    text = (folder / "runs" / "transfer" / "table.md").read_text()
    assert text in done.stdout
    assert "of 2" in text
    assert "cropped to 6 atoms, for all alike: " in text
    saved = np.load(folder / "runs" / "transfer" / "freesolv" / "random0" / "test.npz")
    assert len(saved["item"]) == len(saved["predicted"]) == 6


def test_test_molecules(folder):
    args = ["--datasets", "freesolv", "bbbp", "--seeds", "2"]
    done = run(folder, "test_molecules.py", "--root", ".", *args)
    assert done.returncode == 0, done.stderr
    splits = [scaffold_split(SMILES, seed=seed) for seed in (None, 0, 1)]
    expected = {SMILES[row] for split in splits for row in split.test}
    written = (folder / "test_molecules.smi").read_text().split()
    assert len(written) == len(expected)  # each once, though in two sets and several parts
    assert set(written) == expected
