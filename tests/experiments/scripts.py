"""What tests of experiments/ share: molecules of several scaffolds, and how a script is started."""

import os
import subprocess
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RINGS = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1", "C1CCNC1", "c1ccoc1", "C1CC1"]
SMILES = [f"{tail}{ring}" for ring in RINGS for tail in ("", "C", "CC", "OC", "NC", "CCC")]


def run(
    folder: Path, script: str, *args: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script in ``folder``, whose files are the only data it finds."""
    inherited = {name: value for name, value in os.environ.items() if name != "MOLAE_DATA"}
    return subprocess.run(
        [sys.executable, EXPERIMENTS / script, *args],
        cwd=folder,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )


def printed_by(folder: Path, script: str, *args: str) -> str:
    """Runs a script and returns its output; fails with what it printed if it fails."""
    done = run(folder, script, *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
