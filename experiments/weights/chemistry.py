"""Chemistry targets of molecules: RDKit's descriptors, Morgan bits, and the graph.

RDKit and NumPy only: this file runs in worker processes, here and on the device machine.
"""

import signal

import numpy as np
from rdkit import RDLogger
from rdkit.Chem import Descriptors, rdFingerprintGenerator

RDLogger.DisableLog("rdApp.*")
NAMES = [name for name, _ in Descriptors._descList]
SKIPPED = ("qed", "SPS")  # a third of the time, and made of the others
FUNCTIONS = [None if n in SKIPPED else f for n, f in Descriptors._descList]
MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
LIMIT = 2  # seconds a molecule


def _ring(*_):
    raise TimeoutError


def time_limit(seconds):
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def descriptors(mol):
    """sign * log1p of RDKit's descriptors, float16 [217]; NaN where one fails or takes too long."""
    values = np.full(len(NAMES), np.nan, np.float64)
    time_limit(LIMIT)
    try:
        for k, function in enumerate(FUNCTIONS):
            if function is None:
                continue
            try:
                values[k] = function(mol)
            except (
                ValueError,
                RuntimeError,
                ZeroDivisionError,
                OverflowError,
                KeyError,
                IndexError,
            ):
                continue
    except TimeoutError:
        pass
    finally:
        time_limit(0)
    values[~np.isfinite(values)] = np.nan
    return (np.sign(values) * np.log1p(np.abs(values))).astype(np.float16)


def morgan(mol):
    """1,024 Morgan bits of radius 2, packed uint8 [128]."""
    return np.packbits(MORGAN.GetFingerprintAsNumPy(mol).astype(bool))


def flat(parts, dtype):
    return np.concatenate([np.asarray(p, dtype) for p in parts]) if parts else np.zeros(0, dtype)
