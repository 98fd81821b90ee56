r"""Which atoms a prediction comes from: the model predicts again without each of them.

The encoder was pre-trained on molecules with missing atoms, so an atom can really be left out: the
sequence is shorter, and neither a substitute element nor a gradient is needed. The contribution of
atom i to target t is

.. math::
    c_{it} = y_t(\text{all atoms}) - y_t(\text{all atoms but } i)

Nothing else changes: the other atoms keep their places, and so does the origin, which is the
centroid of all atoms, the one left out included, as in the cloze test.
"""

import inspect
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from torch import Tensor
from torch_geometric.data import Batch, Data

from molae_pyg.chem.options import DUMMY_Z
from molae_pyg.chem.rows import status_of
from molae_pyg.chem.smiles import checked_smiles, plain_mol, sanitised
from molae_pyg.inference.copies import Copies
from molae_pyg.inference.graphs import Graphs
from molae_pyg.inference.molecules import Molecules, check_list
from molae_pyg.inference.predict import by_recipe
from molae_pyg.kinds import of_predicted_class
from molae_pyg.models import PropertyModel
from molae_pyg.models.encoding import graph_input, sees_graph
from molae_pyg.nn.arguments import size

_PLACE = "_molae_place"  # atom property: index with explicit hydrogens counted


class Explanation(NamedTuple):
    """Contributions of the atoms of one molecule to its predictions."""

    smiles: str  #: As given; empty for ``Data`` without one.
    status: str  #: ``"ok"``, ``"invalid"`` (no molecule) or ``"failed"`` (no coordinates).
    reason: str  #: Why there is no explanation, or what departed from the recipe; or empty.
    targets: list[str]  #: Names of the targets T.
    task_types: list[str]  #: Type of each target, see :mod:`molae_pyg.kinds`.
    elements: list[str]  #: Element symbols ``[n]``.
    #: Contributions ``[n, T]``: units of the target, or log-odds of class 1 of two, of the class
    #: that is predicted of several. NaN for an atom that the model does not see, such as deuterium
    #: if hydrogens are removed.
    values: np.ndarray
    #: Predictions for the whole molecule ``[T]``, in the same units.
    prediction: np.ndarray
    mol: Chem.Mol | None  #: The molecule, atoms in the order of ``values``; None for ``Data``.


def explain(
    model: PropertyModel | Sequence[PropertyModel],
    molecules: Sequence[str] | Molecules,
    batch_size: int = 64,
    precision: str = "32-true",
) -> list[Explanation]:
    """Returns how much each atom adds to the predictions: y(all atoms) - y(all but this one).

    Contributions are means over conformers. Those to a class are differences of logits (log-odds),
    because a difference of probabilities vanishes where the model is sure. Contributions do not
    add up to the prediction: atoms act together.

    Args:
        model: A predictor whose ``forward`` takes ``drop_mask``, such as
            :class:`~molae_pyg.MolAEPredictor`; or several with the same targets, such as those of
            the folds, whose mean is explained.
        molecules: SMILES, whose conformers are made by ``model.recipe``, or ``Data`` with
            ``conformers [n, K, 3]`` or ``pos [n, 3]``. A SMILES that gives no molecule has an
            explanation without atoms, and a warning names it.
        batch_size: Number of copies of molecules, each without one atom, of a forward pass,
            default: 64.
        precision: As in :func:`~molae_pyg.inference.predict`, but ``"32-true"`` is the default:
            contributions are small differences.

    Returns:
        One explanation for each molecule, in their order. The atoms of a SMILES are in the order
        that ``Chem.MolFromSmiles`` gives them; if the recipe keeps hydrogens, those of
        ``Chem.AddHs`` follow. The atoms of ``Data`` are in its own order.

    Raises:
        ValueError: A model, a molecule or an argument cannot be used.
    """
    models = [model] if isinstance(model, PropertyModel) else list(model)
    _check_models(models)
    size("batch_size", batch_size)
    check_list(molecules, "molecules", may_be_empty=True)
    if len(molecules) == 0:
        return []
    if isinstance(molecules[0], str):
        return _explain_smiles(models, molecules, batch_size, precision)
    predictions, values = leave_one_out(models, molecules, batch_size, precision)
    explanations = []
    for row, (prediction, value) in enumerate(zip(predictions, values, strict=True)):
        data = molecules[row]
        about = data.get("smiles") or "", "ok", "", models[0].task_names, models[0].task_types
        elements = [element_of(z) for z in data.z.tolist()]
        explanations.append(Explanation(*about, elements, value, prediction, None))
    return explanations


def element_of(z: int) -> str:
    """Returns the symbol of an element, ``"*"`` for a dummy atom."""
    return "*" if z == DUMMY_Z else Chem.GetPeriodicTable().GetElementSymbol(z)


def leave_one_out(
    models: Sequence[PropertyModel],
    molecules: Molecules,
    batch_size: int = 64,
    precision: str = "32-true",
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns predictions of whole molecules ``[n, T]`` and contributions of atoms ``[n_i, T]``.

    Arguments and errors are those of :func:`explain`, for ``Data``.
    """
    recipe = getattr(molecules, "recipe", None) or models[0].recipe
    graphs = Graphs(any(sees_graph(model) for model in models), recipe)
    copies = Copies(molecules, models[0].mean.dtype, graphs)

    def of_model(model: PropertyModel) -> np.ndarray:
        def without(batch: Batch, pos: Tensor) -> Tensor:
            graph = graph_input(model, batch)
            return model(batch.z, pos, batch.batch, batch.num_graphs, batch.drop_mask, **graph)

        return copies.apply(model, without, batch_size, precision)  # [copies, O]

    parts = copies.by_molecule(np.mean([of_model(model) for model in models], axis=0))
    parts = [of_predicted_class(part, models[0].num_outputs) for part in parts]  # [n_i + 1, T]
    return np.stack([part[0] for part in parts]), [part[0] - part[1:] for part in parts]


def _explain_smiles(
    models: list[PropertyModel], smiles: Sequence[str], batch_size: int, precision: str
) -> list[Explanation]:
    items, report = by_recipe(models[0], smiles)
    predictions, values = leave_one_out(models, items, batch_size, precision) if items else ([], [])
    status = [status_of(outcome) for outcome in report.outcomes]
    blank = Explanation("", "", "", models[0].task_names, models[0].task_types, [], *[None] * 3)
    rows = zip(smiles, status, report.reasons, strict=True)
    hydrogens = not models[0].recipe.get("remove_hydrogens", True)
    return explanations_of(blank, rows, items, predictions, values, hydrogens)


def explanations_of(
    blank: Explanation,
    rows: Iterable[tuple[str, str, str]],
    items: Sequence[Data],
    predictions: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    hydrogens: bool,
) -> list[Explanation]:
    """Puts the contributions of atoms of ``Data`` on the atoms that RDKit reads.

    Args:
        blank: An explanation with the targets.
        rows: SMILES, status and reason of each row.
        items: The molecules of the rows whose status is ``"ok"``.
        predictions: Their predictions, each ``[T]``.
        values: Contributions of their atoms, each ``[n, T]``.
        hydrogens: Whether the molecules have hydrogens.
    """
    num_targets, explanations = len(blank.targets), []
    made = zip(items, predictions, values, strict=True)
    for smiles, status, reason in rows:
        row = blank._replace(smiles=smiles, status=status, reason=reason)
        if status != "ok":
            nothing = np.full((1, num_targets), np.nan, np.float32)
            explanations.append(row._replace(values=nothing[:0], prediction=nothing[0]))
            continue
        data, prediction, value = next(made)
        mol, places = atoms_of(smiles, data.atom_map.numpy(), hydrogens)
        all_values = np.full((mol.GetNumAtoms(), num_targets), np.nan, np.float32)
        all_values[places[places >= 0]] = value[places >= 0]
        elements = [atom.GetSymbol() for atom in mol.GetAtoms()]
        explanations.append(
            row._replace(elements=elements, values=all_values, prediction=prediction, mol=mol)
        )
    return explanations


def atoms_of(
    smiles: str, atom_map: np.ndarray, hydrogens: bool = False
) -> tuple[Chem.Mol, np.ndarray]:
    """Returns a molecule as RDKit reads it, and where the atoms of its ``Data`` are in it.

    Args:
        smiles: The SMILES as given.
        atom_map: ``Data.atom_map`` of the featurizer ``[n]``.
        hydrogens: Whether the molecule gets explicit hydrogens, behind its other atoms.

    Returns:
        The molecule of ``Chem.MolFromSmiles`` (or of ``Chem.AddHs``, with hydrogens), and the
        index in it of each atom of ``Data`` ``[n]``; -1 for hydrogens that it does not hold and
        for those of a cropped molecule.
    """
    mol, written = plain_mol(smiles), sanitised(checked_smiles(smiles))
    for atom in written.GetAtoms():
        atom.SetIntProp(_PLACE, atom.GetIdx())
    bare = Chem.RemoveHs(written)  # what MolFromSmiles does to hydrogens such as [H]O
    index_of = {atom.GetIntProp(_PLACE): atom.GetIdx() for atom in bare.GetAtoms()}
    places = np.array([index_of.get(place, -1) for place in atom_map.tolist()], dtype=np.int64)
    if not hydrogens:
        return mol, places
    num_atoms, mol = mol.GetNumAtoms(), Chem.AddHs(mol)
    added = [  # the featurizer adds them atom by atom as well, in its own order of atoms
        neighbour.GetIdx()
        for place in places[places >= 0].tolist()
        for neighbour in mol.GetAtomWithIdx(place).GetNeighbors()
        if neighbour.GetIdx() >= num_atoms
    ]
    if len(added) == (places < 0).sum():
        places[places < 0] = added
    return mol, places


def _check_models(models: Sequence[PropertyModel]) -> None:
    if not models:
        raise ValueError("there is no model to explain")
    for model in models:
        if "drop_mask" not in inspect.signature(model.forward).parameters:
            raise ValueError(
                f"a {type(model).__name__} cannot leave atoms out: its forward takes no drop_mask"
            )
        if (model.task_names, model.task_types) != (models[0].task_names, models[0].task_types):
            raise ValueError(
                "the models have different targets: "
                f"{', '.join(models[0].task_names)}; {', '.join(model.task_names)}"
            )
