"""Reconstruction of the dropped atoms of one molecule."""

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.analysis.distance_geometry import place_dropped
from molae_pyg.chem.elements import SYMBOLS, atomic_number_table, token_table
from molae_pyg.inference.batches import evaluating
from molae_pyg.loss import distance_pairs
from molae_pyg.models import ClozeOutput, MolAE
from molae_pyg.nn.checks import ORDER, kept_atoms_moved
from molae_pyg.nn.dense import NUM_SPECIAL
from molae_pyg.nn.heads import DistanceHead
from molae_pyg.transforms import ClozeDrop


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The result of :func:`reconstruct`: a molecule, and its dropped atoms as rebuilt.

    N is the number of atoms and M that of the dropped ones, which are in the order of the molecule.
    All tensors are on the CPU. Coordinates are float64, in Å and in the frame of the input.
    """

    z: Tensor  #: True atomic numbers ``[N]``.
    pos: Tensor  #: True coordinates ``[N, 3]``.
    drop_mask: Tensor  #: True = dropped ``[N]``.
    pos_noisy: Tensor  #: Coordinates that the coordinate head starts from ``[N, 3]``.
    probability: Tensor  #: Probabilities of the 31 tokens for each dropped atom ``[M, 31]``.
    coordinate_pos: Tensor  #: Dropped atoms placed by the coordinate head ``[M, 3]``.
    distance_pos: Tensor  #: Dropped atoms placed by the distance head ``[M, 3]``.
    distance_mae: float  #: Mean error of the dropped atoms' distances in Å, as in training.
    smiles: str | None = None  #: SMILES of the molecule, if it has one.

    @property
    def index(self) -> Tensor:
        """Indices of the dropped atoms ``[M]``."""
        return self.drop_mask.nonzero().squeeze(1)

    @property
    def z_true(self) -> Tensor:
        """Atomic numbers of the dropped atoms ``[M]``."""
        return self.z[self.drop_mask]

    @property
    def z_predicted(self) -> Tensor:
        """Predicted atomic numbers ``[M]``; 0 for a token that is no element, such as [UNK]."""
        return atomic_number_table()[self.token_predicted]

    @property
    def token_predicted(self) -> Tensor:
        """Most probable token of each dropped atom ``[M]``, an index of
        ``molae_pyg.chem.elements.SYMBOLS``."""
        return self.probability.argmax(1)

    @property
    def correct(self) -> Tensor:
        """True = right element ``[M]``; [UNK] is right for an element outside the vocabulary."""
        return self.token_predicted == token_table()[self.z_true]

    @property
    def element_accuracy(self) -> float:
        """Share of the dropped atoms whose element is right."""
        return float(self.correct.double().mean())

    @property
    def coordinate_rmsd(self) -> float:
        """RMSD of ``coordinate_pos`` from the true coordinates, in Å."""
        return self._rmsd(self.coordinate_pos)

    @property
    def distance_rmsd(self) -> float:
        """RMSD of ``distance_pos`` from the true coordinates, in Å."""
        return self._rmsd(self.distance_pos)

    @property
    def noise_rmsd(self) -> float:
        """RMSD of ``pos_noisy`` from the true coordinates, dropped atoms only, in Å.

        It is the error of a model that returns its input.
        """
        return self._rmsd(self.pos_noisy[self.drop_mask])

    def _rmsd(self, pos: Tensor) -> float:
        return float((pos - self.pos[self.drop_mask]).square().sum(1).mean().sqrt())

    def __str__(self) -> str:
        symbol = token_table()[self.z_true]
        off = [
            (pos - self.pos[self.drop_mask]).norm(dim=1)
            for pos in (self.coordinate_pos, self.distance_pos)
        ]
        lines = ["atom  true   predicted      off in Å: coordinates  distances"]
        for i, atom in enumerate(self.index.tolist()):
            guess = int(self.token_predicted[i])
            lines.append(
                f"{atom:4}  {SYMBOLS[symbol[i]]:5}  {SYMBOLS[guess]:5} "
                f"{float(self.probability[i, guess]):6.1%}  {off[0][i]:21.2f}  {off[1][i]:9.2f}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        right, num_dropped = int(self.correct.sum()), self.correct.numel()
        return (
            f"{type(self).__name__}({num_dropped} of {self.z.numel()} atoms, "
            f"{right} {'element' if right == 1 else 'elements'} right, "
            f"coordinate_rmsd={self.coordinate_rmsd:.2f}, distance_rmsd={self.distance_rmsd:.2f})"
        )


@torch.no_grad()
def reconstruct(
    model: MolAE, molecule: Data, transform: BaseTransform | None = None, seed: int = 0
) -> Reconstruction:
    """Drops atoms of one molecule and lets the model rebuild them.

    The elements come from the token head. The coordinates are found in two ways: the coordinate
    head gives them directly; the distance head gives distances, and
    :func:`~molae_pyg.analysis.distance_geometry.place_dropped` finds the coordinates that fit them
    best. Both use only what the cloze test shows the model: the kept atoms, and the noisy
    coordinates of the dropped ones.

    The model runs in evaluation mode. It, the molecule and torch's global random state are not
    changed.

    Args:
        model: Model on any device and of any precision.
        molecule: Molecule with ``z [N]`` and ``pos [N, 3]``, or ``conformers [N, K, 3]``, of which
            the first is used.
        transform: Transform that makes the cloze test. (default: the test that the molecule has,
            ``drop_mask`` and ``pos_noisy``, else :class:`~molae_pyg.ClozeDrop` as published)
        seed: Seed of the transform. (default: :obj:`0`)

    Returns:
        The molecule, the rebuilt atoms and their errors.

    Raises:
        ValueError: The molecule has no coordinates; it is a batch; none or all of its atoms are
            dropped; a transform moved atoms after the cloze test; or the model gave numbers that
            are not finite.
    """
    test = _cloze_test(molecule, transform, seed)
    names = ("z", "pos", "drop_mask", "pos_noisy", "z_noisy")
    z, pos, *test_inputs = (_like(next(model.parameters()), test.get(name)) for name in names)
    with evaluating(model):
        out = model(z, pos, None, *test_inputs)
    return _result(out, test)


def _cloze_test(molecule: Data, transform: BaseTransform | None, seed: int) -> Data:
    """A copy on the CPU with one conformer, ``drop_mask`` and ``pos_noisy``."""
    if isinstance(molecule, Batch):
        raise ValueError("reconstruct takes one molecule, not a batch: give batch[0]")
    data = copy(molecule).to("cpu")
    data.z = data.z.long()  # as an index, bytes would be a mask
    if data.get("pos") is None:
        if data.get("conformers") is None:
            raise ValueError("the molecule has neither pos nor conformers: it has no coordinates")
        data.pos = data.conformers[:, 0]
    if transform is not None or data.get("drop_mask") is None or data.get("pos_noisy") is None:
        data.z_noisy = None  # it belongs to an earlier test
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            data = (transform or ClozeDrop())(data)
    if kept_atoms_moved(data.pos, data.drop_mask, data.pos_noisy):
        raise ValueError(ORDER)
    num_atoms, num_dropped = data.z.numel(), int(data.drop_mask.sum())
    if num_dropped == 0:
        raise ValueError(
            f"none of the {num_atoms} atoms is dropped, so there is nothing to rebuild: raise the "
            "ratio (ClozeDrop(0.5)), change the seed, or take a larger molecule"
        )
    if num_dropped == num_atoms:
        raise ValueError(
            f"all {num_atoms} atoms are dropped, so the frame of the molecule is not known: "
            "lower the ratio, or take a larger molecule"
        )
    return data


def _like(parameter: Tensor, value: Tensor | None) -> Tensor | None:
    """The value on the model's device; coordinates in its precision."""
    if value is None:
        return None
    dtype = parameter.dtype if value.is_floating_point() else value.dtype
    return value.to(parameter.device, dtype)


def _result(out: ClozeOutput, test: Data) -> Reconstruction:
    drop = test.drop_mask
    pos, pos_noisy = test.pos.double(), test.pos_noisy.double()
    logits, predicted, distance = (
        t.double().cpu() for t in (out.token_logits, out.pos, out.distance)
    )
    if not all(t.isfinite().all() for t in (logits, predicted, distance)):
        raise ValueError("the model gave numbers that are not finite: its weights are unusable")
    batch = torch.zeros_like(test.z)
    guess, true, valid = distance_pairs(distance, pos, batch, drop)  # [M, L], in units of sigma
    atoms = distance[:, NUM_SPECIAL : NUM_SPECIAL + drop.numel()]  # [N, N]
    placed = place_dropped(*(t.numpy() for t in (atoms, pos, drop, pos_noisy[drop])))
    return Reconstruction(
        z=test.z,
        pos=pos,
        drop_mask=drop,
        pos_noisy=pos_noisy,
        probability=logits.softmax(1),
        coordinate_pos=predicted[drop],
        distance_pos=torch.from_numpy(placed),
        distance_mae=float((guess - true)[valid].abs().mean() * DistanceHead.STD),
        smiles=test.get("smiles"),
    )
