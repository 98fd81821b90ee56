"""molae embed and molae predict are killed at random moments and called again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import tiny_model

from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, fit

SMILES = ["C" * n + end for n in range(1, 9) for end in ("O", "N", "C1CC")]
KILLS = 5

#: Loads the modules once and forks a process for each call.
SCRIPT = """
import json, os, random, signal, sys, time
import torch
import molae_pyg.inference, molae_pyg.workflow.predicting
from molae_pyg.cli import main

torch.set_num_threads(1)

def call(words, limit=None):
    start, child = time.monotonic(), os.fork()
    if not child:
        os._exit(main(words))
    if limit is not None:
        time.sleep(limit)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start

whole, cut, kills = json.loads(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
status, seconds = call(whole)
assert status == 0
moments = random.Random(0)
killed = 0
for _ in range(10 * kills):
    killed += call(cut, moments.uniform(0.1, 0.9) * seconds)[0] == -signal.SIGKILL
    if killed == kills:
        break
assert killed == kills
status, _ = call(cut)
assert status == 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with molecules, an encoder and a fitted model."""
    place = tmp_path_factory.mktemp("killed")
    rows = "".join(f"{n},{smiles}\n" for n, smiles in enumerate(SMILES))
    (place / "new.csv").write_text("id,smiles\n" + rows)
    torch.manual_seed(0)
    model = tiny_model().eval()
    model.save_pretrained(place / "w")
    some = [smiles for smiles in SMILES if not smiles.endswith("1CC")]
    y = torch.tensor([[float(len(smiles))] for smiles in some])
    settings = FitSettings(folds=2, split="random", features="none", weights=str(place / "w"))
    fit(Table(some, y, ["size"], ["regression"]), place / "m", settings)
    return place


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("{}.csv", ["embed", "new.csv", "{}", "--weights", "w", "--conformers", "3"]),
        ("{}.tsv.gz", ["predict", "m", "new.csv", "{}"]),
    ],
)
def test_killed_at_random_moments(place, out, words):
    names = [out.format(name) for name in ("whole", "cut")]
    flags = ["--part-rows", "2", "--workers", "1"]
    calls = [json.dumps([word.format(name) for word in words] + flags) for name in names]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *calls, str(KILLS)],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (place / names[1]).read_bytes() == (place / names[0]).read_bytes()
    found = pd.read_csv(place / names[1], sep="\t" if ".tsv" in out else ",")
    assert found["id" if "id" in found else "row"].tolist() == list(range(len(SMILES)))
    assert found.molae_status.tolist() == ["ok", "ok", "invalid"] * 8
    assert not list(place.glob("*.parts"))
