"""N-Gram Graph: sums over walks of atom embeddings, and a random forest on them."""

import os
from collections.abc import Sequence
from functools import cache, lru_cache

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from rdkit import Chem, RDConfig
from rdkit.Chem import ChemicalFeatures
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import scatter
from tqdm.auto import tqdm

from molae_pyg.baselines.forest import ForestBaseline
from molae_pyg.baselines.job import Fitted, Job, as_fitted, held_out_rows
from molae_pyg.chem.smiles import canonical_mol
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.nn.arguments import ShowsArguments, size

_ELEMENTS = ("C", "Cl", "I", "F", "O", "N", "P", "S", "Br")
#: Features of an atom and their values, each of which has a column. A value that is not listed has
#: the last column: another element, but also a charge below -2 that of +3, as published.
FEATURES = {
    "element": (*_ELEMENTS, "other"),
    "degree": tuple(range(7)),
    "hydrogens": tuple(range(7)),
    "implicit valence": tuple(range(6)),
    "charge": tuple(range(-2, 4)),
    "aromatic": (False, True),
    "acceptor": (False, True),
    "donor": (False, True),
}
SIZES = tuple(len(values) for values in FEATURES.values())
NUM_COLUMNS = sum(SIZES)  # 42
MAX_WALK = 6  # atoms


@cache
def _factory() -> ChemicalFeatures.MolChemicalFeatureFactory:
    path = os.path.join(RDConfig.RDDataDir, "BaseFeatures.fdef")
    return ChemicalFeatures.BuildFeatureFactory(path)


def _atoms_of(mol: Chem.Mol, family: str) -> set[int]:
    """The first atom of each donor or acceptor, as published."""
    found = _factory().GetFeaturesForMol(mol, includeOnly=family)
    return {feature.GetAtomIds()[0] for feature in found}


def n_gram_graph(mol: Chem.Mol) -> Data:
    """Returns ``x [n, 42]`` uint8, ones and zeros, and ``edge_index [2, 2 m]`` of a molecule.

    Columns are those of :data:`FEATURES`; bonds have no features, hydrogens are no atoms.
    """
    acceptors, donors = _atoms_of(mol, "Acceptor"), _atoms_of(mol, "Donor")
    places = []
    for atom in mol.GetAtoms():
        values = (
            atom.GetSymbol(),
            atom.GetDegree(),
            atom.GetTotalNumHs(),
            atom.GetValence(Chem.ValenceType.IMPLICIT),
            atom.GetFormalCharge(),
            atom.GetIsAromatic(),
            atom.GetIdx() in acceptors,
            atom.GetIdx() in donors,
        )
        known = zip(values, FEATURES.values(), strict=True)
        places.append([k.index(v) if v in k else len(k) - 1 for v, k in known])
    columns = zip(torch.tensor(places).T, SIZES, strict=True)
    x = torch.cat([F.one_hot(column, number) for column, number in columns], dim=1)
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
    one_way = torch.tensor(bonds, dtype=torch.long).view(-1, 2).T
    return Data(x=x.byte(), edge_index=torch.stack([one_way, one_way.flip(0)], -1).flatten(1))


class AtomEmbedding(ShowsArguments, nn.Module):
    r"""The embedding of atoms, with heads that tell an atom from its neighbours.

    .. math::
        e_i = \sum_{j \in N(i)} E f_j, \qquad
        \hat y_{ig} = W_g \, \mathrm{ReLU}(V_g \, e_i)

    for the features :math:`g` of the atom i, as continuous bags of words do for words.

    Args:
        channels: Width r of the embedding, default: 100.
    """

    HIDDEN = 20

    def __init__(self, channels: int = 100):
        super().__init__()
        self.channels = size("channels", channels)
        self.embedding = nn.Linear(NUM_COLUMNS, channels, bias=False)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, n))
            for n in SIZES
        )

    def forward(self, context: Tensor) -> list[Tensor]:
        """Sums over neighbours ``[n, 42]`` -> logits of each feature, ``[n, number of values]``."""
        e = self.embedding(context)  # [n, r], E is linear: it embeds the sum
        return [head(e) for head in self.heads]


def atoms_in_context(data: Data) -> Data:
    """Atoms that have a neighbour: ``x [n, 42]``, and ``context [n, 42]``, the neighbours' sum."""
    x = data.x.float()
    source, target = data.edge_index
    context = scatter(x[source], target, 0, len(x), "sum")
    bonded = context.any(1)
    return Data(x=x[bonded], context=context[bonded])


def n_gram_objective(model: nn.Module, batch: Data) -> dict[str, Tensor]:
    """Predicts the features of an atom from the sum of its neighbours' embeddings.

    Args:
        model: :class:`AtomEmbedding`.
        batch: Atoms as :func:`atoms_in_context` makes them.

    Returns:
        ``loss``, the sum of the cross-entropies of the eight features.
    """
    labels = [columns.argmax(1) for columns in batch.x.split(SIZES, dim=1)]
    pairs = zip(model(batch.context), labels, strict=True)
    return {"loss": sum(F.cross_entropy(logits, label) for logits, label in pairs)}


def train_embedding(
    graphs: Sequence[Data],
    channels: int = 100,
    epochs: int = 20,
    batch_size: int = 512,
    seed: int = 0,
) -> AtomEmbedding:
    """Trains an embedding on the atoms of molecules and returns that of the best epoch.

    Adam with learning rate 3e-3 and weight decay 1e-4, as published.

    Args:
        graphs: Molecules as :func:`n_gram_graph` makes them.
        channels: Width r, default: 100.
        epochs: Number of epochs, default: 20. The best one has the least training loss.
        batch_size: Number of atoms of an update, default: 512.
        seed: Seed of the initial weights and of the order, default: 0.

    Raises:
        ValueError: No atom has a neighbour.
    """
    atoms = atoms_in_context(Batch.from_data_list(list(graphs)))
    if len(atoms.x) == 0:
        raise ValueError("N-Gram Graph learns from bonded atoms, and the molecules have no bond")
    L.seed_everything(seed, verbose=False)
    model = AtomEmbedding(channels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
    best, weights = float("inf"), model.state_dict()
    for _ in tqdm(range(epochs), "atom embedding", delay=2.0, disable=None):
        total = 0.0
        for rows in torch.randperm(len(atoms.x)).split(batch_size):
            part = Data(x=atoms.x[rows], context=atoms.context[rows])
            loss = n_gram_objective(model, part)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        if total < best:
            best, weights = total, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    return model.eval()


@torch.no_grad()
def n_grams(data: Data, embedding: Tensor, most: int = MAX_WALK) -> Tensor:
    r"""Sums over the walks of 1 to 6 atoms, in which the embeddings are multiplied.

    .. math::
        w^1_i = E f_i, \qquad w^{t+1}_i = E f_i \odot \sum_{j \in N(i)} w^t_j, \qquad
        v^t = \sum_i w^t_i

    A walk may come back, and each of its two directions counts. Values grow like powers of the
    degree, which does not matter to a forest: do not scale them.

    Args:
        data: A molecule of :func:`n_gram_graph`, or a batch of them.
        embedding: E, ``[r, 42]``.
        most: Number of atoms of the longest walks, default: 6.

    Returns:
        ``[B, most, r]``.
    """
    batch = torch.zeros(len(data.x), dtype=torch.long) if data.batch is None else data.batch
    number = 1 if data.batch is None else data.num_graphs
    source, target = data.edge_index
    h = data.x.to(embedding.dtype) @ embedding.T  # [N, r]
    walks = [h]
    while len(walks) < most:
        walks.append(h * scatter(walks[-1][source], target, 0, len(h), "sum"))
    return torch.stack([scatter(w, batch, 0, number, "sum") for w in walks], dim=1)


@lru_cache(maxsize=1)  # all seeds need the same graphs
def _graphs(dataset: MoleculeTable) -> list[Data]:
    rows = tqdm(dataset.smiles, "atom features", unit="mol", delay=2.0, disable=None)
    return [n_gram_graph(canonical_mol(smiles)) for smiles in rows]


def n_gram_forest(job: Job) -> Fitted:
    """Fits random forests on N-Gram Graph, whose embedding learns from the training rows.

    Source: Liu, Demirel and Liang, `"N-Gram Graph: Simple Unsupervised Representation for Graphs,
    with Applications to Molecules" <https://arxiv.org/abs/1806.09206>`_ (NeurIPS 2019).

    The job's settings are ``num_trees`` of
    :class:`~molae_pyg.baselines.forest.ForestBaseline`, and ``channels``, ``epochs`` and
    ``batch_size`` of :func:`train_embedding`.
    """
    dataset, split, y = job.dataset, job.split, job.dataset.y.numpy()
    settings = dict(job.settings)
    trees = {name: settings.pop(name) for name in ("num_trees",) if name in settings}
    graphs = _graphs(dataset)
    model = train_embedding([graphs[i] for i in split.train.tolist()], **settings, seed=job.seed)
    weight = model.embedding.weight.detach()
    parts = [
        n_grams(Batch.from_data_list(graphs[start : start + 1024]), weight)
        for start in range(0, len(graphs), 1024)
    ]
    x: np.ndarray = torch.cat(parts).transpose(1, 2).flatten(1).numpy()  # [n, 6 r]
    forest = ForestBaseline(dataset.task_types, seed=job.seed, **trees)
    forest.fit_features(x[split.train], y[split.train])
    return as_fitted(forest.predict_features(x[held_out_rows(split)]), split)
