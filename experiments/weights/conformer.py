"""One conformer of a SMILES, by the published or the fast recipe. RDKit and NumPy only."""

from contextlib import suppress

import numpy as np
from chemistry import time_limit
from rdkit import Chem
from rdkit.Chem import AllChem, rdDepictor, rdDistGeom


def _parameters(recipe, seed):
    p = rdDistGeom.ETKDGv3() if recipe == "published" else rdDistGeom.EmbedParameters()
    if recipe != "published":
        p.useBasicKnowledge = p.useExpTorsionAnglePrefs = False
    p.randomSeed = seed
    p.maxIterations = 20
    p.timeout = 5  # seconds
    return p


STEPS = {"published": 200, "fast": 100}


def conformer(mol, recipe="published", seed=1):
    """Centred heavy-atom coordinates [n, 3] in Å of a molecule without hydrogens, or None.

    ``published``: ETKDGv3, MMFF94 for at most 200 steps; ``fast``: plain distance geometry, MMFF94
    for at most 100 steps. The atoms keep their order.
    """
    full = Chem.AddHs(mol)
    p = _parameters(recipe, seed)
    if rdDistGeom.EmbedMolecule(full, p) != 0:
        p.useRandomCoords = True
        if rdDistGeom.EmbedMolecule(full, p) != 0:
            return None
    with suppress(ValueError, RuntimeError):
        AllChem.MMFFOptimizeMolecule(full, maxIters=STEPS[recipe])
    pos = full.GetConformer().GetPositions()[: mol.GetNumAtoms()]  # AddHs puts hydrogens behind
    pos = pos - pos.mean(0)
    return pos if np.isfinite(pos).all() and np.abs(pos).max() < 32 else None


def flat_layout(mol):
    mol = Chem.Mol(mol)
    rdDepictor.Compute2DCoords(mol)
    pos = mol.GetConformer().GetPositions()
    return np.clip(pos - pos.mean(0), -32, 32)


def timed(mol, recipe, seed, seconds):
    """A conformer within seconds, else None."""
    time_limit(seconds)
    try:
        return conformer(mol, recipe, seed)
    except TimeoutError:
        return None
    finally:
        time_limit(0)
