"""Conformers and atoms of molecules: one conformer drawn, hydrogens removed, size limited."""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.cloze import check_rows, elements_of, molecules_of

#: Fields that always have one entry per atom.
ATOM_FIELDS = ("z", "pos", "conformers", "x", "batch", "drop_mask", "pos_noisy", "z_noisy")

#: Fields of the molecule, whatever their length.
MOLECULE_FIELDS = ("y", "label", "labels", "target", "targets", "smiles", "name")


class SampleConformer(BaseTransform):
    """Draws one conformer of each molecule, evenly: ``conformers [N, K, 3]`` -> ``pos [N, 3]``.

    Applied on access, it gives another conformer each epoch. It works on a ``Data``, on a ``Data``
    with a ``batch`` vector and on a ``Batch`` (vectorised, one draw per molecule). Random numbers
    come from torch. Data with ``pos`` but without ``conformers`` stays as it is.
    """

    def forward(self, data: Data) -> Data:
        conformers = data.get("conformers")
        if conformers is None:
            if data.get("pos") is None:
                raise ValueError("the molecule has neither conformers nor pos")
            return data
        if conformers.dim() != 3 or conformers.size(1) == 0 or conformers.size(2) != 3:
            raise ValueError(
                f"expected conformers [N, K, 3] with K of at least 1, got {list(conformers.shape)}"
            )
        num_atoms, num_conformers, _ = conformers.shape
        batch, batch_size = molecules_of(data, conformers)
        choice = torch.randint(num_conformers, (batch_size,), device=conformers.device)  # [B]
        data.pos = conformers[torch.arange(num_atoms, device=batch.device), choice[batch]]
        return data


class RemoveHydrogens(BaseTransform):
    """Removes hydrogens (z = 1) and everything that belongs to them.

    Args:
        trailing_only: False (default) removes every hydrogen. True removes only those after the
            last heavy atom, as the "only polar" setting of the reference does.
        atom_fields: Names of the fields with one entry per atom, as in
            :class:`~molae_pyg.transforms.CropAtoms`.
    """

    def __init__(self, trailing_only: bool = False, atom_fields: Sequence[str] | None = None):
        self.trailing_only = trailing_only
        self.atom_fields = check_fields(atom_fields)

    def forward(self, data: Data) -> Data:
        heavy = one_molecule(data) != 1
        if not heavy.any():  # a molecule of hydrogens only keeps them: nothing else is left
            return data
        if self.trailing_only:
            last = int(heavy.nonzero().max())
            heavy = torch.arange(heavy.numel(), device=heavy.device) <= last
        return take_atoms(data, heavy, self.atom_fields)

    def __repr__(self) -> str:
        fields = shown(self.atom_fields)
        return f"{type(self).__name__}(trailing_only={self.trailing_only}{fields})"


class CropAtoms(BaseTransform):
    """Keeps at most ``max_atoms`` atoms, a random subset, in their order.

    The reference also shuffles the atoms that it keeps. Here they keep their order, which the
    decoder identifies them by. ``num_cropped`` becomes the number of atoms left out.

    Args:
        max_atoms: Largest number of atoms, default: 256, as published.
        atom_fields: Names of the fields with one entry per atom, besides ``z``, ``pos``,
            ``conformers``, ``x``, ``batch``, ``drop_mask``, ``pos_noisy`` and ``z_noisy``.
            Default: every field whose first dimension is the number of atoms, except ``y``,
            ``y_...``, ``label(s)``, ``target(s)``, ``smiles`` and ``name``, which belong to the
            molecule.
    """

    def __init__(self, max_atoms: int = 256, atom_fields: Sequence[str] | None = None):
        if isinstance(max_atoms, bool) or not isinstance(max_atoms, int) or max_atoms < 1:
            raise ValueError(f"max_atoms must be positive, not {max_atoms}; an integer is needed")
        self.max_atoms = max_atoms
        self.atom_fields = check_fields(atom_fields)

    def forward(self, data: Data) -> Data:
        z = one_molecule(data)
        num_atoms = z.numel()
        data.num_cropped = max(num_atoms - self.max_atoms, 0)
        if data.num_cropped == 0:
            return data
        keep = torch.zeros(num_atoms, dtype=torch.bool, device=z.device)
        keep[torch.randperm(num_atoms, device=keep.device)[: self.max_atoms]] = True
        return take_atoms(data, keep, self.atom_fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.max_atoms}{shown(self.atom_fields)})"


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
    """Returns atomic numbers ``[N]`` of a molecule; raises ValueError for several or none."""
    batch = data.get("batch")
    if isinstance(data, Batch) or (batch is not None and bool((batch != 0).any())):
        raise ValueError("atoms are removed before batching: pass the transform to the data set")
    return elements_of(data)


def shown(atom_fields: tuple[str, ...] | None) -> str:
    """How ``atom_fields`` is shown in a repr: not at all if it is the default."""
    return "" if atom_fields is None else f", atom_fields={atom_fields!r}"
