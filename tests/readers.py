"""Readers of records that do harm, for worker processes to import: this module loads no torch."""

import os
import signal
import time

from molae_pyg.chem.items import Item, RecordRefused, read_smiles_record


def refusing(smiles: str) -> Item:
    """Refuses propane."""
    if smiles == "CCC":
        raise RecordRefused("CCC is refused")
    return read_smiles_record(smiles)


def deadly(smiles: str) -> Item:
    """On propane, kills the parent of the process that reads, which is the Ray worker."""
    if smiles == "CCC":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(10)
    return read_smiles_record(smiles)
