"""MoleBLEND's objective: all pairs of atoms, each of which was shown in one channel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.utils import scatter

from molae_pyg.models.encoding import ogb_graph
from molae_pyg.models.mole_blend import pair_targets
from molae_pyg.models.transformer_m_encoder import Blend
from molae_pyg.nn.contrast import mean_or_zero

#: Published weights of the terms.
WEIGHTS = {"length": 0.1, "bond": 0.1, "distance": 0.5, "denoising": 6.0}


def mole_blend_objective(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    r"""MoleBLEND's objective: paths, bonds and distances of all pairs, and the noise of atoms.

    .. math::
        L = 0.1 \, L_{length} + 0.1 \, L_{bond} + 0.5 \, L_{distance} + 6 \, L_{denoising}

    Args:
        model: :class:`~molae_pyg.models.MoleBlend`.
        batch: Molecules with ``z, pos, batch``, the graph of
            :func:`~molae_pyg.chem.ogb_graph.add_ogb_graph`, and ``pos_noisy, pair_channel,
            atom_channel`` of :class:`~molae_pyg.transforms.BlendChannels`.

    Returns:
        ``loss`` and its unweighted terms: ``length`` and ``bond``, the mean cross-entropies of
        the pairs with a path and of the first five bonds on it; ``distance``, the mean SmoothL1 in
        Å of the pairs of a molecule, then of the molecules (reference: ``1 - cos`` of the
        direction); ``denoising``, the mean ``1 - cos`` of the atoms shown with distances.
        ``distance_mae`` is in Å.

    Raises:
        ValueError: The batch has no graph.
    """
    graph, size, reference = ogb_graph(batch), batch.num_graphs, model.config["reference"]
    if graph is None:
        raise ValueError("MoleBLEND needs the graph of add_ogb_graph: x, edge_index and edge_attr")
    blend = Blend(batch.pair_channel, batch.atom_channel)
    out = model(batch.z, batch.pos_noisy, batch.batch, graph, blend, size)
    target = pair_targets(graph, batch.batch, size, reference)
    first, second = target.ends
    two = first != second
    vector = (batch.pos[second] - batch.pos[first])[two]  # [P', 3]
    if reference:
        each = 1 - F.cosine_similarity(out.distance[two], vector, dim=1)
    else:
        true = torch.linalg.vector_norm(vector, dim=1)
        each = F.smooth_l1_loss(out.distance[two], true, reduction="none")
    molecules = scatter(each, batch.batch[first][two], 0, size, "mean")  # [B]
    noise = batch.pos_noisy - batch.pos
    cosine = F.cosine_similarity(out.noise, noise, dim=1)[batch.atom_channel == 1]
    terms = {
        "length": _cross_entropy(out.length_logits, target.length),
        "bond": _cross_entropy(out.bond_logits, target.bonds),
        "distance": molecules.mean(),
        "denoising": mean_or_zero(1 - cosine),
    }
    terms["loss"] = sum(weight * terms[name] for name, weight in WEIGHTS.items())
    if not reference:
        terms["distance_mae"] = mean_or_zero((out.distance[two] - true).abs().detach())
    return terms


def _cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """The mean over labels that are not -1; 0 without any."""
    return mean_or_zero(F.cross_entropy(logits[label >= 0], label[label >= 0], reduction="none"))
