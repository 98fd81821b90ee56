"""The model of atom targets: the encoder and a head that reads each atom."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from molae_pyg.chem.elements import MAX_Z
from molae_pyg.models.encoder import MolAEEncoder
from molae_pyg.models.full import build_encoder
from molae_pyg.models.predictor import PropertyModel
from molae_pyg.nn.arguments import ShowsArguments
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.readout import PropertyHead


class AtomPredictor(ShowsArguments, PropertyModel):
    r"""Predicts a number for each atom, such as a partial charge or a chemical shift.

    With the representation :math:`x_i` of atom i from the encoder and its element :math:`z_i`,

    .. math::
        \hat y_i = \mu_{z_i} + \sigma \, \mathrm{head}(x_i)

    where :math:`\mu_z` is the mean over the training atoms of the element (of an element without
    a value: over all training atoms) and :math:`\sigma` the standard deviation of what is left.
    The network learns how an atom differs from others of its element.

    Args:
        encoder: A :class:`MolAEEncoder`, used as it is, not copied; or a mapping of its arguments.
        num_tasks: Number of values of an atom T, default: 1.
        pooler_dropout: Dropout in the head, default: 0.
        task_names: Names of the values, default: ``task0`` ...

    Attributes:
        mean: Mean over all training atoms ``[T]``.
        std: Standard deviation :math:`\sigma` ``[T]``.
        element_mean: Means of the elements ``[119, T]``, by atomic number.
    """

    level = "atom"

    def __init__(
        self,
        encoder: MolAEEncoder | Mapping,
        num_tasks: int = 1,
        pooler_dropout: float = 0.0,
        task_names: Sequence[str] | None = None,
    ):
        super().__init__(num_tasks, task_names)
        self.register_buffer("element_mean", torch.zeros(MAX_Z + 1, num_tasks))
        self.encoder = encoder if isinstance(encoder, nn.Module) else build_encoder(encoder)
        self.head = PropertyHead(
            self.encoder.config["hidden_channels"], num_tasks, pooler_dropout, "atomwise"
        )
        self.config = {
            "encoder": self.encoder.config,
            "num_tasks": num_tasks,
            "pooler_dropout": pooler_dropout,
            "task_names": self.task_names,
        }

    def more_inputs(self, batch: Batch) -> dict[str, Any]:
        size = getattr(batch, "num_graphs", None)  # Data with a field batch does not know it
        return {"batch_size": size, **super().more_inputs(batch)}

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        graph: Graph | None = None,
    ) -> Tensor:
        """Predicts values in the units of the targets.

        Args:
            z: Atomic numbers ``[N]``.
            pos: Coordinates in Å ``[N, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.
            graph: Bonds and features of the atoms, which needs an encoder with a graph channel;
                default: unknown.

        Returns:
            ``[N, T]``, in the order of the atoms.
        """
        out = self.encoder(z, pos, batch, batch_size=batch_size, graph=graph)
        return self.head.of_atoms(out.x) * self.std + self.element_mean[z.long()]

    def set_scaling(self, y: Tensor, z: Tensor) -> None:
        """Sets the means of the elements, and the standard deviation of what is left.

        Args:
            y: Values of the training atoms ``[N, T]``, NaN = missing.
            z: Their atomic numbers ``[N]``.

        Raises:
            ValueError: A target has fewer than two values, or all its values are equal.
        """
        super().set_scaling(y)
        for task, column in enumerate(y.T):
            known = ~column.isnan()
            value, element = column[known].double(), z[known].long()
            number = torch.bincount(element, minlength=MAX_Z + 1)  # [119]
            total = torch.zeros(MAX_Z + 1, dtype=torch.double, device=y.device)
            total = total.index_add(0, element, value)
            mean = torch.where(number > 0, total / number.clamp(min=1), value.mean())
            rest = value - mean[element]
            self.element_mean[:, task] = mean
            if rest.abs().max() > 1e-6 * self.std[task]:  # else each element has one value
                self.std[task] = rest.square().mean().sqrt()
