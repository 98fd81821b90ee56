"""What is read out of representations: molecular properties, and pairs of atoms."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch_geometric.utils import segment

from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.dense import NUM_SPECIAL

Readout = Literal["cls", "mean", "sum", "max", "atomwise", "cls, mean", "cls, sum"]

#: Readouts that one linear layer reads; the others have a hidden layer.
LINEAR_READOUTS = ("cls, mean", "cls, sum")


class PropertyHead(ShowsArguments, nn.Module):
    """Molecular properties from the molecule token or from pooled atoms.

    The head is ``out(drop(tanh(dense(drop(h)))))``, where h is the CLS representation (as
    published) or the atoms pooled by :func:`torch_geometric.utils.segment` (which uses the kernels
    of torch-scatter if that package is installed). ``"atomwise"`` applies the head to each atom
    and adds up the results, for properties that grow with the molecule, such as energies
    (`SchNet <https://arxiv.org/abs/1706.08566>`_). ``"cls, mean"`` has no hidden layer: the head is
    ``out(drop(h))``, where h is CLS joined with the mean over the atoms; ``"cls, sum"`` has their
    sum, for properties that grow with the molecule. Both can begin as a linear model of the frozen
    encoder's vectors, see ``linear_start`` of :class:`~molae_pyg.training.Finetuning`.

    Args:
        channels: Width C.
        num_tasks: Number of tasks T.
        dropout: Dropout before each linear layer, default: 0.
        readout: ``"cls"`` (default), ``"mean"``, ``"sum"``, ``"max"``, ``"atomwise"``,
            ``"cls, mean"`` or ``"cls, sum"``.

    Shapes:
        x ``[N, C]``, molecule ``[B, C]``, ptr ``[B + 1]`` (first atom of each molecule) ->
        ``[B, T]``.
    """

    def __init__(
        self, channels: int, num_tasks: int, dropout: float = 0.0, readout: Readout = "cls"
    ):
        super().__init__()
        if readout not in get_args(Readout):
            raise ValueError(f"readout must be one of {get_args(Readout)}, not {readout!r}")
        self.channels, self.num_tasks, self.readout = channels, num_tasks, readout
        self.dropout = nn.Dropout(dropout)
        is_linear = readout in LINEAR_READOUTS
        self.dense = None if is_linear else nn.Linear(channels, channels)
        self.out = nn.Linear((1 + is_linear) * channels, size("num_tasks", num_tasks))

    def forward(self, x: Tensor, molecule: Tensor, ptr: Tensor) -> Tensor:
        if self.readout == "atomwise":
            return segment(self._head(x), ptr, reduce="sum")
        if self.readout == "cls":
            return self._head(molecule)
        pooled = segment(x, ptr, reduce=self.readout.removeprefix("cls, "))  # [B, C]
        return self._of_pooled(pooled, molecule)

    def of_padded(self, x: Tensor, molecule: Tensor, mask: Tensor) -> Tensor:
        """The same for padded molecules, of which no shape depends on values: it can be exported.

        Shapes:
            x ``[B, N, C]``, molecule ``[B, C]``, mask ``[B, N]`` (True = atom) -> ``[B, T]``.
        """
        if self.readout == "cls":
            return self._head(molecule)
        atom = mask[..., None]  # [B, N, 1]
        if self.readout == "atomwise":
            return (self._head(x) * atom).sum(1)
        if self.readout == "max":
            top = x.masked_fill(~atom, -torch.inf).amax(1)  # [B, C]
            return self._head(top.masked_fill(~atom.any(1), 0.0))
        pooled = (x * atom).sum(1)  # [B, C]
        if self.readout in ("mean", "cls, mean"):
            pooled = pooled / atom.sum(1).clamp(min=1)
        return self._of_pooled(pooled, molecule)

    def of_atoms(self, x: Tensor) -> Tensor:
        """The head of each atom, not added up: x ``[N, C]`` -> ``[N, T]``."""
        return self._head(x)

    def _of_pooled(self, pooled: Tensor, molecule: Tensor) -> Tensor:
        """The head of pooled atoms, joined with CLS if the readout has both: ``[B, T]``."""
        if self.readout in LINEAR_READOUTS:
            pooled = torch.cat([molecule, pooled], 1)  # [B, 2 C]
        return self._head(pooled)

    def _head(self, h: Tensor) -> Tensor:
        if self.dense is not None:
            h = torch.tanh(self.dense(self.dropout(h)))
        return self.out(self.dropout(h))


def flat_pairs(dense: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Takes all ordered atom pairs of each molecule, in PyG's edge layout.

    Shapes:
        dense ``[B, L, L, ...]``, mask ``[B, L]`` (True = token) -> pair_index ``[2, P]`` into the
        flat atoms and values ``[P, ...]``; P is the sum of the squared atom counts.
    """
    atom = mask[:, NUM_SPECIAL:]
    number = (atom.flatten().cumsum(0) - 1).view(atom.shape)  # [B, L - 2], flat number of an atom
    valid = atom[:, :, None] & atom[:, None, :]  # [B, L - 2, L - 2]
    molecule, first, second = valid.nonzero(as_tuple=True)  # [P] each
    index = torch.stack([number[molecule, first], number[molecule, second]])
    return index, dense[molecule, first + NUM_SPECIAL, second + NUM_SPECIAL]
