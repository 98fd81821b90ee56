"""What a model rebuilds of one molecule, atom by atom."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.analysis.distance_geometry import place_dropped
from molae_pyg.chem.elements import SYMBOLS, atomic_number_table, token_table
from molae_pyg.loss import distance_pairs
from molae_pyg.models import ClozeOutput, MolAE
from molae_pyg.nn.checks import ORDER, kept_atoms_moved
from molae_pyg.nn.dense import NUM_SPECIAL
from molae_pyg.nn.heads import DistanceHead
from molae_pyg.transforms import ClozeDrop


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One molecule before and after the cloze test, see :func:`reconstruct`.

    N: its atoms, M: the dropped ones, in the order of the molecule. All tensors are on the CPU,
    coordinates float64 in Å, in the frame of the input.
    """

    z: Tensor  #: True atomic numbers ``[N]``.
    pos: Tensor  #: True coordinates ``[N, 3]``.
    drop_mask: Tensor  #: True = dropped ``[N]``.
    pos_noisy: Tensor  #: Where the coordinate head started ``[N, 3]``.
    probability: Tensor  #: Of the 31 tokens for each dropped atom ``[M, 31]``.
    coordinate_pos: Tensor  #: Dropped atoms by the coordinate head ``[M, 3]``.
    distance_pos: Tensor  #: Dropped atoms by the distance head ``[M, 3]``.
    distance_mae: float  #: Å, mean error of the dropped atoms' distances, as in training.
    smiles: str | None = None  #: Of the molecule, where it has one.

    @property
    def index(self) -> Tensor:
        """Numbers of the dropped atoms ``[M]``."""
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
        """The likeliest token of each dropped atom ``[M]``, an index of
        ``molae_pyg.chem.elements.SYMBOLS``."""
        return self.probability.argmax(1)

    @property
    def correct(self) -> Tensor:
        """Whether the element is right ``[M]``; for one outside the vocabulary, [UNK] is."""
        return self.token_predicted == token_table()[self.z_true]

    @property
    def element_accuracy(self) -> float:
        """Share of the dropped atoms whose element is right."""
        return float(self.correct.double().mean())

    @property
    def coordinate_rmsd(self) -> float:
        """Å, from the true places to ``coordinate_pos``, dropped atoms only."""
        return self._rmsd(self.coordinate_pos)

    @property
    def distance_rmsd(self) -> float:
        """Å, from the true places to ``distance_pos``, dropped atoms only."""
        return self._rmsd(self.distance_pos)

    @property
    def noise_rmsd(self) -> float:
        """Å, from the true places to ``pos_noisy``: what a model that learned nothing has."""
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
    """Drops atoms of one molecule and has the model rebuild them.

    The elements come from the token head. The places come by two routes: the coordinate head
    gives them directly; the distance head gives distances, and
    :func:`~molae_pyg.analysis.distance_geometry.place_dropped` finds the places that fit them
    best. Both use nothing but what the cloze test shows the model: the kept atoms, and the noisy
    places of the dropped ones.

    The model runs in evaluation mode and is left in the mode it was in; it and the molecule stay
    as they were, and so does torch's global random state.

    Args:
        model: On any device, of any precision.
        molecule: ``z [N]`` and ``pos [N, 3]``, or ``conformers [N, K, 3]``, of which the first is
            used.
        transform: Makes the cloze test. Default: the one that the molecule carries
            (``drop_mask`` and ``pos_noisy``), else :class:`~molae_pyg.ClozeDrop` as published.
        seed: Of the transform, default 0.

    Returns:
        :class:`Reconstruction`.

    Raises:
        ValueError: The molecule has no coordinates; it is a batch; no atom is dropped, or every
            atom is; a transform moved atoms after the cloze test; the model gave numbers that are
            not finite.
    """
    test = _cloze_test(molecule, transform, seed)
    names = ("z", "pos", "drop_mask", "pos_noisy", "z_noisy")
    z, pos, *test_inputs = (_like(next(model.parameters()), test.get(name)) for name in names)
    with _evaluating(model):
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
        data.z_noisy = None  # of an earlier test
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
            f"all {num_atoms} atoms are dropped, so nothing says how the molecule lies: "
            "lower the ratio, or take a larger molecule"
        )
    return data


def _like(parameter: Tensor, value: Tensor | None) -> Tensor | None:
    """On the model's device and, for coordinates, of its precision."""
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


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
