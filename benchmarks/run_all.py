"""Runs every benchmark one after another, and draws the plots: python benchmarks/run_all.py

It needs an idle machine and MOLAE_DATA, and takes hours on two cores. A benchmark that fails does
not stop the others; it is named at the end.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MODULES = {"record.py", "zinc.py", "turns.py", "machine.py", "peers.py", "report.py", "run_all.py"}


def main() -> None:
    scripts = sorted(path for path in HERE.glob("*.py") if path.name not in MODULES)
    smiles = str(Path(os.environ["MOLAE_DATA"], "pretrain", "zinc250k.smi.gz"))
    arguments = {"preparation.py": [smiles]}
    failed = []
    for script in [*scripts, HERE / "report.py"]:
        print(f"== {script.name}", flush=True)
        if subprocess.run([sys.executable, script, *arguments.get(script.name, [])]).returncode:
            failed.append(script.name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
