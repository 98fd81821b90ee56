"""On the device machine: unpack RDKit and the data. python unpack.py SOURCE TARGET"""

import lzma
import shutil
import sys
import tarfile
from pathlib import Path

source, target = Path(sys.argv[1]), Path(sys.argv[2])
target.mkdir(parents=True, exist_ok=True)
if not (target / "rd").exists():
    with tarfile.open(source / "rdkit.tar.xz") as f:
        f.extractall(target / "rd", filter="fully_trusted")
for name in ("zincA", "zincB"):
    if not (target / f"{name}.npz").exists():
        with lzma.open(source / f"{name}.npz.xz") as a, open(target / f"{name}.npz", "wb") as b:
            shutil.copyfileobj(a, b)
