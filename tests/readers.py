"""Readers of records that do harm, for worker processes to import: this module loads no torch."""

import os
import signal
import time

from molae_pyg.chem.parsing import Molecule, parse_smiles
from molae_pyg.chem.records import RecordRefused


def refusing(smiles: str) -> Molecule:
    """Refuses propane."""
    if smiles == "CCC":
        raise RecordRefused("CCC is refused")
    return parse_smiles(smiles)


def deadly(smiles: str) -> Molecule:
    """On propane, kills the parent of the process that reads, which is the Ray worker."""
    if smiles == "CCC":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(10)
    return parse_smiles(smiles)
