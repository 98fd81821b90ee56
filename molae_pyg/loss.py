"""Losses: the terms of the cloze test, and property losses that skip missing labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from molae_pyg.chem.elements import token_table
from molae_pyg.kinds import output_slices
from molae_pyg.nn.contrast import mean_or_zero
from molae_pyg.nn.dense import atom_slots
from molae_pyg.nn.graph_bias import ATOM_SIZES
from molae_pyg.nn.heads import DistanceHead

if TYPE_CHECKING:
    from molae_pyg.models.mol_ae import ClozeOutput
    from molae_pyg.models.uni_mol import UniMolOutput

#: Published weights of the terms.
CLOZE_WEIGHTS = {
    "token": 1.0,
    "coordinate": 5.0,
    "distance": 10.0,
    "encoder_x_norm": 0.01,
    "encoder_pair_norm": 0.01,
    "decoder_x_norm": 0.01,
    "decoder_pair_norm": 0.01,
}
NORMS = tuple(name for name in CLOZE_WEIGHTS if name.endswith("_norm"))


_HYDROGENS = ATOM_SIZES[1] - 1  # values of that feature, without "unknown"


def cloze_loss(
    out: ClozeOutput | UniMolOutput, data: Data, self_distances: bool = False
) -> dict[str, Tensor]:
    r"""The loss of the 3D Cloze Test, term by term.

    D are the dropped atoms of the batch, :math:`\sigma` is the distance scale, and SmoothL1 has
    :math:`\beta = 1`:

    .. math::
        L_{token} &= \mathrm{mean}_{i \in D} \, \mathrm{CE}(\mathrm{logits}_i, token_i) \\
        L_{coordinate} &= \mathrm{mean}_{i \in D, xyz} \,
            \mathrm{SmoothL1}(\hat{x}_i - x_i) \\
        L_{distance} &= \mathrm{mean}_{i \in D, \, j: d_{ij} > 0} \,
            \mathrm{SmoothL1}((\hat{d}_{ij} - d_{ij}) / \sigma) \\
        L &= 1 L_{token} + 5 L_{coordinate} + 10 L_{distance} + 0.01 \sum L_{norm}

    j runs over the atoms of the molecule, CLS and SEP. If a batch has no dropped atom, the first
    three terms are zero (the reference divides by zero).

    Args:
        out: Output of the model.
        data: The batch that the model received, with ``z [N]``, ``pos [N, 3]``, ``drop_mask [N]``
            and ``batch [N]`` (absent or None: one molecule).
        self_distances: See :func:`distance_pairs`; default: False.

    Returns:
        ``token, coordinate, distance, encoder_x_norm, encoder_pair_norm, decoder_x_norm,
        decoder_pair_norm`` (unweighted scalars; Uni-Mol has no decoder) and ``total``, their
        weighted sum. If the model has
        a graph channel and ``data`` the features ``atom [N, 6]``, also ``atom``: the cross-entropy
        of charges and that of hydrogens, with weight 1.
    """
    drop = data.drop_mask.nonzero().squeeze(1)  # [M]: a GPU waits once, not for each term
    batch = data.batch if data.batch is not None else torch.zeros_like(data.z)
    token = token_table().to(data.z.device)[data.z[drop].long()]  # [M]
    batch_size = getattr(data, "num_graphs", None)  # Data does not know it
    predicted, target, valid = distance_pairs(
        out.distance, data.pos, batch, drop, self_distances, batch_size
    )  # [M, L]
    terms = {
        "token": mean_or_zero(F.cross_entropy(out.token_logits, token, reduction="none")),
        "coordinate": mean_or_zero(
            F.smooth_l1_loss(out.pos[drop], data.pos[drop], reduction="none")
        ),
        "distance": F.smooth_l1_loss(predicted, target, reduction="none").where(valid, 0.0).sum()
        / valid.sum().clamp(min=1),
        **{name: getattr(out, name) for name in NORMS if hasattr(out, name)},
    }
    logits = getattr(out, "atom_logits", None)
    if logits is not None and data.get("atom") is not None:
        terms["atom"] = _atom_loss(logits, data.atom[drop])
    weighted = sum(weight * terms[name] for name, weight in CLOZE_WEIGHTS.items() if name in terms)
    terms["total"] = weighted + terms["atom"] if "atom" in terms else weighted
    return terms


def _atom_loss(logits: Tensor, features: Tensor) -> Tensor:
    """Cross-entropy of charge and hydrogens; logits ``[M, 12]``, features ``[M, 6]``, 0 unknown."""
    charge, hydrogens = features[:, :2].long().unbind(1)
    split = logits.size(1) - _HYDROGENS
    kinds = {"reduction": "none", "ignore_index": -1}
    return mean_or_zero(
        F.cross_entropy(logits[:, :split], charge - 1, **kinds)
        + F.cross_entropy(logits[:, split:], hydrogens - 1, **kinds)
    )


def distance_pairs(
    distance: Tensor,
    pos: Tensor,
    batch: Tensor,
    drop: Tensor,
    self_distances: bool = False,
    batch_size: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances of dropped atoms: predicted, true (both in units of sigma), and their validity.

    Args:
        distance: Predicted distances in Å ``[N, L]``, see :class:`~molae_pyg.models.ClozeOutput`.
        pos: True coordinates in Å ``[N, 3]``.
        batch: Molecule of each atom ``[N]``, sorted.
        drop: Numbers of the dropped atoms ``[M]``, or True where one is dropped ``[N]``.
        self_distances: Whether an atom's distance to itself, and to atoms at the same place,
            counts, as in Uni-Mol's code since 2024; default: False.
        batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.

    Returns:
        Three tensors ``[M, L]``, one row per dropped atom. The last is False for padding and,
        unless ``self_distances``, for distances of 0.
    """
    origin = scatter(pos, batch, dim_size=batch_size, reduce="mean")  # [B, 3]
    centred = pos - origin[batch]
    slots = atom_slots(batch, origin.size(0), length=distance.size(1))
    dense = slots.dense(centred, pos.new_zeros(2, 3))  # [B, L, 3]
    row = batch[drop]  # [M], molecule of each dropped atom
    target = torch.linalg.vector_norm(centred[drop][:, None] - dense[row], dim=-1)  # [M, L]
    valid = slots.mask[row]
    if not self_distances:
        valid = valid & (target > 0)
    return distance[drop] / DistanceHead.STD, target / DistanceHead.STD, valid


def denoising_loss(
    direction: Tensor, noise: Tensor, batch: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    r"""Transformer-M's denoising loss: one minus the cosine of predicted and true noise.

    .. math::
        L_b = \mathrm{mean}_{i \in b} \left( 1 - \cos(o_i, \epsilon_i) \right)

    Args:
        direction: Predicted direction ``[N, 3]``.
        noise: Noise that was added ``[N, 3]``; an atom without noise has cosine 0.
        batch: Molecule of each atom ``[N]``, sorted.
        batch_size: Number of molecules B.

    Returns:
        The loss of each molecule ``[B]``, and the cosine of each atom ``[N]``.
    """
    cosine = F.cosine_similarity(direction, noise, dim=1)  # [N]
    return scatter(1 - cosine, batch, dim_size=batch_size, reduce="mean"), cosine


PropertyLoss = Literal["mse", "mae", "smooth_l1", "bce", "cross_entropy"]

#: Elementwise losses by name; those of standardised values, and bce of logits and classes.
PROPERTY_LOSSES = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
    "bce": F.binary_cross_entropy_with_logits,
}


def property_loss(
    predicted: Tensor,
    y: Tensor,
    kind: PropertyLoss | Sequence[PropertyLoss] = "mse",
    bound: Tensor | None = None,
    num_outputs: Sequence[int] | None = None,
    class_weights: Sequence[Tensor | None] | None = None,
) -> Tensor:
    r"""Mean loss over all labels that are present, of all tasks together.

    A bound has no loss while the prediction is on its side, else that of a value (one-sided loss):

    .. math::
        L(\hat y, > y) = \ell(\min(\hat y, y), y), \qquad L(\hat y, < y) = \ell(\max(\hat y, y), y)

    Args:
        predicted: ``[B, O]``, standardised values or logits; O = T without cross entropy.
        y: ``[B, T]``, standardised values, 0/1, or the index of the class; NaN = missing.
        kind: ``"mse"`` (default), ``"mae"``, ``"smooth_l1"`` (beta 1), ``"bce"`` (a logit) or
            ``"cross_entropy"`` (a logit for each class) for all tasks, or a list with the loss of
            each task.
        bound: ``[B, T]``: 1 = the true value is at least y, -1 = it is at most y, 0 = it is y.
            Default: all labels are exact.
        num_outputs: Number of columns of each task in ``predicted``, default: 1.
        class_weights: Weights of the classes of each task ``[C]``, or None for tasks without.
            Default: none.

    Returns:
        A scalar; 0 if the batch has no label.

    Raises:
        ValueError: A name is unknown, or the number of names is not that of the tasks.
    """
    kinds = [kind] * y.size(1) if isinstance(kind, str) else list(kind)
    for name in kinds:
        if name not in (*PROPERTY_LOSSES, "cross_entropy"):
            raise ValueError(f"loss must be one of {', '.join(PROPERTY_LOSSES)}, not {name!r}")
    if len(kinds) != y.size(1):
        raise ValueError(f"{len(kinds)} losses for {y.size(1)} tasks")
    places = output_slices(num_outputs or [1] * len(kinds))
    valid = ~y.isnan()  # [B, T]
    label = y.where(valid, 0.0)  # a NaN label would make the gradient NaN, although masked below
    total = predicted.new_zeros(())
    for name in dict.fromkeys(kinds):
        tasks = [task for task, other in enumerate(kinds) if other == name]
        wanted = _columns(label, tasks)  # [B, t]
        if name == "cross_entropy":
            rows = [_cross_entropy(predicted[:, places[t]], label[:, t]) for t in tasks]
            loss = torch.stack(rows, 1)  # [B, t]
        else:
            values = _columns(predicted, [places[task].start for task in tasks])  # [B, t]
            if bound is not None:
                values = values.where(_columns(bound, tasks) * (values - wanted) <= 0, wanted)
            loss = PROPERTY_LOSSES[name](values, wanted, reduction="none")
        if class_weights is not None:
            loss = loss * _row_weights(wanted, [class_weights[task] for task in tasks])
        total = total + loss.where(_columns(valid, tasks), 0.0).sum()
    return total / valid.sum().clamp(min=1)


def _columns(x: Tensor, columns: list[int]) -> Tensor:
    """Takes columns ``[B, t]``; all of them as they are, as a GPU waits for a list of numbers."""
    return x if columns == list(range(x.size(1))) else x[:, columns]


def _row_weights(label: Tensor, weights: Sequence[Tensor | None]) -> Tensor:
    """Returns the weights of classes ``[B, t]``, 1 for tasks without."""
    columns = zip(label.unbind(1), weights, strict=True)
    return torch.stack(
        [torch.ones_like(c) if w is None else w.to(label)[c.long()] for c, w in columns], 1
    )


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy of each row ``[B]`` from logits ``[B, C]`` and classes ``[B]``."""
    return F.cross_entropy(logits, label.long(), reduction="none")
