"""Taking some atoms of a molecule."""

from collections.abc import Sequence
from copy import copy

from torch import Tensor
from torch_geometric.data import Batch, Data

from molae_pyg.transforms.corrupt import check_rows, elements_of

#: Fields that always have one entry per atom.
ATOM_FIELDS = ("z", "pos", "conformers", "x", "batch", "drop_mask", "pos_noisy", "z_noisy")

#: Fields of the molecule, whatever their length.
MOLECULE_FIELDS = ("y", "label", "labels", "target", "targets", "smiles", "name")


def check_fields(atom_fields: Sequence[str] | None) -> tuple[str, ...] | None:
    """Returns ``atom_fields`` as a tuple; raises TypeError for a single string."""
    if isinstance(atom_fields, str):
        raise TypeError(f"atom_fields takes a list of names; for one give [{atom_fields!r}]")
    return None if atom_fields is None else tuple(atom_fields)


def take_atoms(data: Data, keep: Tensor, atom_fields: tuple[str, ...] | None = None) -> Data:
    """Keeps the atoms where ``keep [N]`` is True, with what belongs to them and their bonds.

    Args:
        data: One molecule.
        keep: bool ``[N]``.
        atom_fields: Names of the fields that have one entry per atom, besides
            :data:`ATOM_FIELDS`. None: every field whose first dimension is N, except
            :data:`MOLECULE_FIELDS` and names that begin with ``y_``: a label of N tasks is not a
            label of N atoms. ``edge_index`` and fields with ``edge`` in their names follow the
            bonds.

    Raises:
        ValueError: ``data`` is a batch (such a transform belongs before batching), or a field of
            the atoms has another length.
    """
    one_molecule(data)
    check_rows(data, keep.numel(), (*ATOM_FIELDS, *(atom_fields or ())))
    held = {key: data[key] for key in data.keys() if not _may_be_cut(key, atom_fields)}  # noqa: SIM118
    inner = copy(data)
    for key in held:
        del inner[key]
    inner.num_nodes = keep.numel()
    out = inner.subgraph(keep)
    for key, value in held.items():
        out[key] = value
    return out


def _may_be_cut(key: str, atom_fields: tuple[str, ...] | None) -> bool:
    if key in ATOM_FIELDS or "edge" in key or key == "num_nodes":
        return True
    if atom_fields is not None:
        return key in atom_fields
    return key not in MOLECULE_FIELDS and not key.startswith("y_")


def one_molecule(data: Data) -> Tensor:
    """Atomic numbers ``[N]`` of a molecule; raises ValueError for several or none."""
    batch = data.get("batch")
    if isinstance(data, Batch) or (batch is not None and bool((batch != 0).any())):
        raise ValueError("atoms are removed before batching: pass the transform to the data set")
    return elements_of(data)


def shown(atom_fields: tuple[str, ...] | None) -> str:
    """What a repr says of ``atom_fields``: nothing for the default."""
    return "" if atom_fields is None else f", atom_fields={atom_fields!r}"
