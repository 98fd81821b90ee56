"""The objective ``chemistry``: the cloze test, and descriptors and Morgan bits of molecules."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.models.chemistry_mol_ae import ChemistryMolAE, Targets
from molae_pyg.models.encoding import sees_graph
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.store import ConformerStore
from molae_pyg.training.objectives import rebuilt_terms
from molae_pyg.training.settings import check_number
from molae_pyg.training.store_targets import StoreTargets
from molae_pyg.transforms import ClozeDrop

CLIP = 6.0  #: Largest standardised descriptor.
NORM_WEIGHT = 0.01  # of the encoder's norms if no molecule takes the cloze test, as in that test


def chemistry_objective(
    model: nn.Module,
    batch: Batch,
    descriptors: float = 10.0,
    bits: float = 5.0,
    dropped: float = 0.5,
) -> dict[str, Tensor]:
    r"""The cloze test, and chemistry targets of whole molecules and of what the test left of them.

    .. math::
        L &= L_{cloze} + L_{atom} + L_{targets}(whole) + w_{dropped} L_{targets}(kept) \\
        L_{targets} &= w_d \, \mathrm{mean} \, \mathrm{Huber}(\hat d - d)
            + w_b \, \mathrm{mean} \, \mathrm{BCE}(\hat f, f)

    d are descriptors on a logarithmic scale, standardised and clipped at ±6; f are Morgan bits.
    :math:`L_{atom}`, charge and hydrogens of dropped atoms, needs an encoder with a graph channel.
    Where the graph is hidden, the encoder sees the coordinates alone; atoms that are dropped take
    their features and pairs along.

    Args:
        model: :class:`~molae_pyg.models.ChemistryMolAE`.
        batch: Molecules as :class:`ChemistryTargets` makes them.
        descriptors: Weight of the descriptors, default: 10.
        bits: Weight of the bits, default: 5.
        dropped: Share of these weights for molecules without their dropped atoms, default: 0.5.

    Returns:
        ``loss``; ``descriptors``, ``bits`` and, of the kept atoms, ``descriptors_dropped`` and
        ``bits_dropped``, unweighted; and the terms and metrics of
        :func:`~molae_pyg.training.cloze_objective`.
    """
    graph = _shown_graph(batch) if sees_graph(model) else None
    more = {} if graph is None else {"graph": graph}
    pos = batch.get("pos_other", batch.pos)
    enc = model.encoder(batch.z, pos, batch.batch, batch_size=batch.num_graphs, **more)
    whole = _target_terms(model, model.targets(enc, batch.batch), batch.descriptors, batch.bits)
    terms = {"descriptors": whole[0], "bits": whole[1]}
    loss = descriptors * whole[0] + bits * whole[1]
    if batch.in_cloze.any():
        some, shown = _of_molecules(batch, batch.in_cloze, graph)
        more = {} if shown is None else {"graph": shown}
        size = some.descriptors.size(0)
        out = model(
            some.z, some.pos, some.batch, some.drop_mask, some.pos_noisy, batch_size=size, **more
        )
        cloze = rebuilt_terms(out, some)
        kept = _target_terms(model, out.targets, some.descriptors, some.bits)
        loss = loss + cloze.pop("loss") + dropped * (descriptors * kept[0] + bits * kept[1])
        terms |= {"descriptors_dropped": kept[0], "bits_dropped": kept[1], **cloze}
    else:
        loss = loss + NORM_WEIGHT * sum(enc.state.norms())
        # Several processes need a gradient of every parameter, also of those that are not used.
        loss = loss + 0 * sum(p.sum() for p in model.parameters() if p.requires_grad)
    return terms | {"loss": loss}


def _target_terms(
    model: ChemistryMolAE, predicted: Targets, descriptors: Tensor, bits: Tensor
) -> tuple[Tensor, Tensor]:
    """Huber of descriptors ``[B, 217]`` and BCE of bits ``[B, 1024]``, means of those known."""
    std = model.descriptor_std
    is_read = ~descriptors.isnan()
    known = is_read & (std > 0)
    wanted = (descriptors - model.descriptor_mean) / std.where(std > 0, 1.0)
    wanted = wanted.clamp(-CLIP, CLIP).where(known, 0.0)
    error = F.smooth_l1_loss(predicted.descriptors.float(), wanted, reduction="none")
    logits = predicted.bit_logits.float()
    cross = F.binary_cross_entropy_with_logits(logits, bits, reduction="none").mean(1)  # [B]
    return _mean_of(error, known), _mean_of(cross, is_read.any(1))


def _mean_of(values: Tensor, known: Tensor) -> Tensor:
    return (values * known).sum() / known.sum().clamp(min=1)


def _shown_graph(batch: Batch) -> Graph:
    """The graph of a batch; molecules that do not show it have unknown features and pairs."""
    shown = batch.shows_graph[batch.batch]  # [N]
    return Graph(batch.atom * shown[:, None], batch.edge_index, batch.bond_type)


def _of_molecules(batch: Batch, chosen: Tensor, graph: Graph | None) -> tuple[Data, Graph | None]:
    """The chosen molecules ``[B]`` bool of a batch, and their graph."""
    atoms = chosen[batch.batch].nonzero().squeeze(1)  # [n]
    number = chosen.long().cumsum(0) - 1  # [B]
    fields = ("z", "pos", "drop_mask", "pos_noisy") + (() if graph is None else ("atom",))
    some = Data(**{name: batch[name][atoms] for name in fields})
    some.batch = number[batch.batch[atoms]]
    some.descriptors, some.bits = batch.descriptors[chosen], batch.bits[chosen]
    return some, None if graph is None else graph.of_atoms(atoms)


class ChemistryTargets(BaseTransform):
    """Makes the input of :func:`chemistry_objective` from a batch of a store.

    It adds descriptors, Morgan bits and the graph of each molecule, sets the cloze test as
    published (:class:`~molae_pyg.ClozeDrop`), and chooses molecules: ``in_cloze [B]``, those that
    take the test, and ``shows_graph [B]``, those whose graph the encoder sees.
    :func:`~molae_pyg.training.pretrain` calls :meth:`prepare` before the first batch.

    Args:
        share: Share of the molecules of a batch that take the cloze test, default: 0.5. 0: none
            does. Else at least one does.
        hidden: Probability that the graph of a molecule is hidden, default: 0.25.
        other_conformer: Whether the whole molecule has another conformer than the one that the
            cloze test is set in, so that the targets pull the vectors of both together; default:
            False. Needs a store with two conformers or more.
    """

    def __init__(self, share: float = 0.5, hidden: float = 0.25, other_conformer: bool = False):
        check_number("share", share, at_least=0, at_most=1)
        check_number("hidden", hidden, at_least=0, at_most=1)
        if not isinstance(other_conformer, bool):
            raise ValueError(f"other_conformer must be True or False, got {other_conformer!r}")
        self.share, self.hidden, self.other_conformer = share, hidden, other_conformer
        self.cloze = ClozeDrop()
        self.known: StoreTargets | None = None

    def prepare(self, model: ChemistryMolAE, train: ConformerStore, valid: ConformerStore) -> None:
        """Computes or reads the targets and sets the scale of the model's descriptors.

        Args:
            model: The model, which gets mean and standard deviation of the training molecules.
            train: Molecules to train on.
            valid: Held-out molecules of the same store.

        Raises:
            ValueError: The stores are not the same, no molecule has another conformer although
                ``other_conformer`` is set, or as :class:`StoreTargets`.
        """
        if not isinstance(model, ChemistryMolAE):
            raise ValueError(
                f"the objective chemistry needs a ChemistryMolAE, not a {type(model).__name__}"
            )
        if train.folder != valid.folder:
            raise ValueError(
                f"{train.folder} and {valid.folder} must be one store: merge them, and select"
            )
        if self.other_conformer and train.num_conformers.max() < 2:
            raise ValueError(
                f"other_conformer needs molecules with two conformers, {train.folder} has one of "
                "each: prepare it with num_conformers: 2, or leave the setting out"
            )
        places = np.unique(np.concatenate([np.asarray(s.indices()) for s in (train, valid)]))
        self.known = StoreTargets(ConformerStore(train.folder, verify=False)[places])
        model.set_scaling(self.known.descriptors_of(train.molecule_rows))

    def forward(self, batch: Batch) -> Batch:
        if self.known is None:
            raise ValueError("ChemistryTargets has no targets yet: call prepare first")
        if self.other_conformer:
            self._two_conformers(batch)
        batch = self.cloze(self.known.add(batch))
        size = batch.num_graphs
        number = max(1, round(self.share * size)) if self.share else 0
        batch.in_cloze = torch.rand(size).argsort().argsort() < number
        batch.shows_graph = torch.rand(size) >= self.hidden
        return batch

    def _two_conformers(self, batch: Batch) -> None:
        """Draws two conformers of each molecule, which differ if it has two."""
        store = self.known.whole
        places = self.known.places(batch.row.numpy())
        count = torch.from_numpy(store.num_conformers[places]).long()
        first = (torch.rand(len(count)) * count).long().clamp(max=count - 1)
        step = 1 + (torch.rand(len(count)) * (count - 1)).long()
        other = (first + step) % count
        batch.pos, batch.pos_other = (
            store.gather(places, chosen.numpy()).pos.to(batch.pos) for chosen in (first, other)
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.share}, hidden={self.hidden}, "
            f"other_conformer={self.other_conformer}, cloze={self.cloze})"
        )
