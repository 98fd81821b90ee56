r"""Contributions of atoms to the predictions of a fitted model.

As in :func:`~molae_pyg.inference.explain`, the contribution of an atom is the prediction for the
molecule minus that without the atom. The encoder, frozen or fine-tuned, really loses the atom.
Descriptors and fingerprints are computed for a molecule in which the atom is a dummy, ``*``: its
bonds remain, its element does not. Predictions are means over the folds. Those of classes are
log-odds of the calibrated probability, as ``molae predict`` writes it: of class 1 of two, of the
predicted class of several.
"""

from collections.abc import Sequence

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter

from molae_pyg.baselines.forest import ecfp4
from molae_pyg.baselines.job import DEVICE
from molae_pyg.chem.descriptors import NAMES, descriptors
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.inference.copies import Copies
from molae_pyg.inference.explain import Explanation, atoms_of, explanations_of
from molae_pyg.inference.graphs import Graphs
from molae_pyg.models import MolAEEncoder, MolAEPredictor
from molae_pyg.models.encoding import graph_input, sees_graph
from molae_pyg.workflow.features import DESCRIPTORS, ECFP, ENCODER
from molae_pyg.workflow.finetuned import FoldModel
from molae_pyg.workflow.model import FittedModel, Outcomes
from molae_pyg.workflow.molecules import Molecules

_AT_ONCE = 64  # molecules whose copies are in memory together
_MOST_ATOMS = 150  # of a molecule; the descriptors of the copies of a larger one take minutes
_BATCH, _PRECISION = 64, "32-true"  # contributions are small differences
_EPS = 1e-6  # probabilities are kept this far from 0 and 1
#: Descriptors by partial charges, which a dummy atom has not: they keep their values.
_CHARGES = ("BCUT2D", "MaxAbsPartial", "MaxPartial", "MinAbsPartial", "MinPartial", "PEOE")
_KEPT = np.array([name.startswith(_CHARGES) for name in NAMES])


def explain(
    model: FittedModel, given: Molecules, folds: Sequence[int] | None = None
) -> list[Explanation]:
    """Explains molecules; a row that gives no molecule has no atoms and a reason.

    Args:
        model: The model.
        given: The molecules ``[n]``. Those with coordinates need a SMILES whose atoms are known.
        folds: Fold of each molecule ``[n]``, whose model alone is explained. default: the mean of
            the models of all folds.
    """
    explanations = []
    for start in range(0, len(given.smiles), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        some = Molecules(*(rows[part] for rows in given))
        explanations += _explain(model, some, None if folds is None else folds[part])
    return explanations


def _explain(
    model: FittedModel, given: Molecules, folds: Sequence[int] | None
) -> list[Explanation]:
    smiles = given.smiles
    outcomes = _without_large(model.molecules(given.with_places(), with_coordinates=True))
    hydrogens = not model.info["recipe"]["remove_hydrogens"]
    parts: list[np.ndarray] = []
    if outcomes.molecules:
        copies = _copies(model, outcomes.molecules)
        with rdBase.BlockLogs():
            texts = _without_atoms(copies, [smiles[row] for row in outcomes.kept])
        own = None if folds is None else np.asarray(folds)[outcomes.kept]
        beside, number = model.extra.features(given.extra, outcomes.kept), copies.num_atoms + 1
        beside = {name: np.repeat(x, number, axis=0) for name, x in beside.items()}
        y = _predictions(model, copies, texts, own, beside)
        parts = copies.by_molecule(y)  # [n_i + 1, O] each
        parts = [_scores(model, part) for part in parts]  # [n_i + 1, T] each
    names, types = [t.name for t in model.targets], [t.kind for t in model.targets]
    blank = Explanation("", "", "", names, types, [], *[None] * 3)
    rows = zip(smiles, outcomes.status, outcomes.reason, strict=True)
    values = [part[0] - part[1:] for part in parts]
    predictions = [part[0] for part in parts]
    return explanations_of(blank, rows, outcomes.molecules, predictions, values, hydrogens)


def _without_large(outcomes: Outcomes) -> Outcomes:
    """Leaves out molecules that have too many atoms to explain, with a reason."""
    status, reason = list(outcomes.status), list(outcomes.reason)
    sizes = np.array([data.num_nodes for data in outcomes.molecules], int)
    for row, number in zip(outcomes.kept, sizes, strict=True):
        if number > _MOST_ATOMS:
            status[row] = "failed"
            reason[row] = f"{number} atoms: molecules of more than {_MOST_ATOMS} are not explained"
    is_small = sizes <= _MOST_ATOMS
    molecules = [outcomes.molecules[place] for place in np.flatnonzero(is_small)]
    return Outcomes(status, reason, outcomes.kept[is_small], molecules)


def _copies(model: FittedModel, molecules: list[Data]) -> Copies:
    return Copies(molecules, graphs=Graphs(sees_graph(model.encoder)))


def _predictions(
    model: FittedModel,
    copies: Copies,
    texts: list[str],
    folds: np.ndarray | None,
    beside: dict[str, np.ndarray],
) -> np.ndarray:
    """Returns the predictions of each copy ``[copies, O]``, by all models or by those of folds."""
    if folds is None:
        features = _features(model, model.models, copies, texts) | beside
        return np.mean([m.predict(features, copies, _by_copies) for m in model.models], axis=0)
    models = [model.models[fold] for fold in set(folds)]
    features = _features(model, models, copies, texts) | beside
    of_copies = np.repeat(folds, copies.num_atoms + 1)
    y = np.empty((len(texts), sum(model.labels.num_outputs)))
    for fold in set(folds):
        own = of_copies == fold
        some = _copies(model, [copies.items.molecules[i] for i in np.flatnonzero(folds == fold)])
        y[own] = model.models[fold].predict(
            {name: x[own] for name, x in features.items()}, some, _by_copies
        )
    return y


def _without_atoms(copies: Copies, smiles: Sequence[str]) -> list[str]:
    """Returns the SMILES of each copy, with a dummy in place of the atom that it lacks."""
    texts = []
    for text, data in zip(smiles, copies.items.molecules, strict=True):
        mol, places = atoms_of(text, data.atom_map.numpy())
        texts.append(text)
        texts += [text if place < 0 else with_dummy(mol, place) for place in places.tolist()]
    return texts


def with_dummy(mol: Chem.Mol, atom: int) -> str:
    """Returns the SMILES of a molecule with a dummy, ``*``, in place of an atom."""
    try:
        found = _replaced(mol, atom, mol.GetAtomWithIdx(atom).GetIsAromatic())
        plain_mol(found)
    except ValueError:  # a ring whose double bonds RDKit cannot place again: fix them before
        mol = Chem.Mol(mol)
        Chem.Kekulize(mol, clearAromaticFlags=True)
        found = _replaced(mol, atom, False)
    return found


def _replaced(mol: Chem.Mol, atom: int, is_aromatic: bool) -> str:
    edited, dummy = Chem.RWMol(mol), Chem.Atom(0)
    dummy.SetIsAromatic(is_aromatic)
    edited.ReplaceAtom(atom, dummy)
    return Chem.MolToSmiles(edited)


def _features(
    model: FittedModel, models: Sequence[FoldModel], copies: Copies, texts: list[str]
) -> dict[str, np.ndarray]:
    """Returns the blocks of features that the models need, of each copy ``[copies, F]``."""
    blocks = {name for fold in models for name in fold.blocks}
    found = {}
    if ENCODER in blocks:
        found[ENCODER] = _vectors(model.encoder.to(DEVICE), copies)
    if DESCRIPTORS in blocks:
        found[DESCRIPTORS] = values = descriptors(texts)[0]
        whole = np.repeat(copies.first[:-1], copies.num_atoms + 1)  # of each copy
        values[:, _KEPT] = values[np.ix_(whole, _KEPT)]
    if ECFP in blocks:
        found[ECFP] = np.log1p(ecfp4(texts, counts=True))
    return {name: x.astype(np.float32).astype(float) for name, x in found.items()}


def _vectors(encoder: MolAEEncoder, copies: Copies) -> np.ndarray:
    """Returns CLS and the mean over the atoms that are left, ``[copies, 2 C]``."""

    def function(batch: Batch, pos: Tensor) -> Tensor:
        number, left = batch.num_graphs, ~batch.drop_mask
        graph = graph_input(encoder, batch)
        out = encoder(batch.z, pos, batch.batch, batch.drop_mask, batch_size=number, **graph)
        mean = scatter(out.x, batch.batch[left], dim_size=number, reduce="mean")  # [B, C]
        return torch.cat([out.molecule, mean], dim=1)

    return copies.apply(encoder, function, _BATCH, _PRECISION)


def _by_copies(model: MolAEPredictor, copies: Copies) -> np.ndarray:
    """Returns values or probabilities of each copy ``[copies, O]``."""

    def function(batch: Batch, pos: Tensor) -> Tensor:
        graph = graph_input(model, batch)
        y = model(batch.z, pos, batch.batch, batch.num_graphs, batch.drop_mask, **graph)
        return model.probabilities(y)

    return copies.apply(model, function, _BATCH, _PRECISION)


def _scores(model: FittedModel, predicted: np.ndarray) -> np.ndarray:
    """Turns predictions of a molecule's copies ``[n + 1, O]`` into values or log-odds ``[., T]``.

    Log-odds are those of the calibrated probability of class 1, or of the class that is predicted
    for the whole molecule, the first copy.
    """
    columns = []
    for task, target in enumerate(model.targets):
        p = model.columns[task].calibrated(predicted[:, model.columns_of(task)])  # [n + 1, 1 or C]
        if target.kind == "regression":
            columns.append(p[:, 0])
            continue
        p = np.clip(p[:, p[0].argmax()], _EPS, 1 - _EPS)
        columns.append(np.log(p / (1 - p)))
    return np.stack(columns, axis=1)
