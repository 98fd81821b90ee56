"""GROVER (Rong et al. 2020): message passing over atoms and over bonds, and attention of heads."""

import os
import re
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.utils import scatter

from molae_pyg.baselines.official_gnn import fill, refuse_unknown, shape_of
from molae_pyg.checkpoint import Model
from molae_pyg.chem.grover_graph import MOTIFS, NOT_CHOSEN, NUM_ATOM_FEATURES, NUM_BOND_FEATURES
from molae_pyg.models import Pretrained
from molae_pyg.nn.arguments import ShowsArguments, share, size
from molae_pyg.nn.grover import Output, View
from molae_pyg.official_file import OfficialFile, read_official


class GroverOutput(NamedTuple):
    """Output of :class:`GroverEncoder`: each of two views gives atoms and directed bonds."""

    atom_from_atom: Tensor  #: ``[N, C]``.
    atom_from_bond: Tensor  #: ``[N, C]``.
    bond_from_atom: Tensor | None = None  #: ``[2 M, C]``.
    bond_from_bond: Tensor | None = None  #: ``[2 M, C]``.


class GroverEncoder(ShowsArguments, Pretrained, nn.Module):
    """The encoder of GROVER, with one block.

    From `"Self-Supervised Graph Transformer on Large-Scale Molecular Data"
    <https://arxiv.org/abs/2007.02835>`_ (NeurIPS 2020). Attention is among the heads of one atom:
    atoms learn of others by message passing alone. Sums over neighbours have as many terms as there
    are neighbours; in the official code, padding adds to them, so that a molecule's vectors depend
    on the others in its batch. The published base has 800 channels, 4 heads and depth 6.

    Args:
        hidden_channels: Width C, default: 128.
        heads: Number of heads H, default: 4.
        depth: Number of layers of the message passing, default: 4, see :class:`Messages`.
        dropout: Dropout, default: 0.1.
        reference: Whether padding adds to the sums, as in the official code; default: False.
    """

    def __init__(
        self,
        hidden_channels: int = 128,
        heads: int = 4,
        depth: int = 4,
        dropout: float = 0.1,
        reference: bool = False,
    ):
        super().__init__()
        self.config = {
            "hidden_channels": size("hidden_channels", hidden_channels),
            "heads": size("heads", heads),
            "depth": size("depth", depth),
            "dropout": share("dropout", dropout),
            "reference": reference,
        }
        self.variant = {"depth": depth, "reference": reference}  # weights do not tell
        if hidden_channels % heads:
            raise ValueError(f"hidden_channels={hidden_channels} is not divisible by heads={heads}")
        C, atom, bond = hidden_channels, NUM_ATOM_FEATURES, NUM_ATOM_FEATURES + NUM_BOND_FEATURES
        self.atoms = View(atom, C, heads, depth, dropout)
        self.bonds = View(bond, C, heads, depth, dropout)
        self.atom_from_atom = Output(atom, C, dropout)
        self.atom_from_bond = Output(atom, C, dropout)
        self.bond_from_atom = Output(bond, C, dropout)
        self.bond_from_bond = Output(bond, C, dropout)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, of_bonds: bool = True
    ) -> GroverOutput:
        """Encodes graphs of :func:`~molae_pyg.chem.grover_graph.grover_graph`.

        Args:
            x: Features of atoms ``[N, 151]``.
            edge_index: Directed bonds ``[2, 2 M]``; the columns 2 b and 2 b + 1 are one bond.
            edge_attr: Features of directed bonds ``[2 M, 14]``.
            of_bonds: Whether to compute the vectors of bonds, default: True.
        """
        source, target = edge_index
        places = torch.arange(source.numel(), device=source.device)
        bond, back = torch.cat([x[source], edge_attr], dim=1), places ^ 1  # [2 M, 165], [2 M]
        missing = torch.zeros_like(x[:, :1])  # [N, 1]
        if self.config["reference"]:  # padding is the last atom and the last bond
            degree = target.bincount(minlength=len(x))
            missing = (degree.max() - F.pad(degree, (0, 1)))[:, None].to(x.dtype)
            x, bond = F.pad(x, (0, 0, 0, 1)), F.pad(bond, (0, 0, 0, 1))
            source = F.pad(source, (0, 1), value=len(x) - 1)
            target = F.pad(target, (0, 1), value=-1)
            back = F.pad(back, (0, 1), value=len(back))

        def into(m: Tensor) -> Tensor:  # directed bonds [2 M, C] -> atoms [N, C]
            if not self.config["reference"]:
                return scatter(m, target, 0, len(x), "sum")
            return scatter(m[:-1], target[:-1], 0, len(x), "sum") + missing * m[-1:]

        # index_select: on a CPU half the time of m[source]
        def around(m: Tensor) -> Tensor:  # atoms [N, C] -> atoms
            return into(m.index_select(0, source))

        def before(m: Tensor) -> Tensor:  # directed bonds -> directed bonds, without the way back
            return into(m).index_select(0, source) - m.index_select(0, back)

        atoms, bonds = self.atoms(x, around), self.bonds(bond, before)
        received = around(atoms)
        out = [self.atom_from_atom(x, received), self.atom_from_bond(x, into(bonds))]
        if of_bonds:
            sent = atoms[source] + received[source] - atoms[target]
            out += [self.bond_from_atom(bond, sent), self.bond_from_bond(bond, before(bonds))]
        if self.config["reference"]:
            out = [part[:-1] for part in out]
        return GroverOutput(*out)

    @classmethod
    def from_official(cls, path: str | os.PathLike, depth: int | None = None) -> Self:
        """Reads the encoder of an official file; weights of heads in it are not read.

        Args:
            path: The file.
            depth: Depth of the message passing; default: what the file says, or 6, as published.

        Raises:
            CheckpointError: The file cannot be read, has several blocks, or other keys or shapes.
        """
        file = _read(path)
        weights = {k: v for k, v in file.weights.items() if k.startswith(_ENCODER)}
        return _filled(cls(*_sizes(file, depth)), file._replace(weights=weights))


class GroverLogits(NamedTuple):
    """Output of :class:`Grover`."""

    atom: list[Tensor]  #: Words of the atoms ``[N, A]``, from atoms and from bonds.
    bond: list[Tensor]  #: Words of the bonds ``[M, K]``, from atoms and from bonds.
    motif: list[Tensor]  #: Motifs ``[B, 85]``, in the order of :class:`GroverOutput`.


class Grover(ShowsArguments, Pretrained, nn.Module):
    """GROVER with its heads: words of atoms and bonds, and motifs of molecules.

    Args:
        atom_classes, bond_classes: Sizes of the vocabularies, ``Vocabulary.sizes``.
        hidden_channels, heads, depth, dropout, reference: See :class:`GroverEncoder`.
    """

    def __init__(
        self,
        atom_classes: int,
        bond_classes: int,
        hidden_channels: int = 128,
        heads: int = 4,
        depth: int = 4,
        dropout: float = 0.1,
        reference: bool = False,
    ):
        super().__init__()
        self.encoder = GroverEncoder(hidden_channels, heads, depth, dropout, reference)
        self.config = {
            "atom_classes": size("atom_classes", atom_classes),
            "bond_classes": size("bond_classes", bond_classes),
            **self.encoder.config,
        }
        C, views = hidden_channels, ("atom", "bond")
        self.atom_words = nn.ModuleDict({view: nn.Linear(C, atom_classes) for view in views})
        self.bond_words = nn.ModuleDict(  # one layer for each direction
            {view: nn.ModuleList(nn.Linear(C, bond_classes) for _ in range(2)) for view in views}
        )
        names = GroverOutput._fields
        self.motifs = nn.ModuleDict({name: nn.Linear(C, len(MOTIFS)) for name in names})

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, batch_size: int
    ) -> GroverLogits:
        """See :meth:`GroverEncoder.forward`; ``batch [N]`` is the molecule of each atom."""
        out = self.encoder(x, edge_index, edge_attr)
        atoms = zip(self.atom_words.values(), out[:2], strict=True)
        bonds = zip(self.bond_words.values(), out[2:], strict=True)
        molecules = [batch, batch, batch[edge_index[0]], batch[edge_index[0]]]
        pooled = (scatter(e, b, 0, batch_size, "mean") for e, b in zip(out, molecules, strict=True))
        return GroverLogits(
            [head(e) for head, e in atoms],
            [there(e[::2]) + back(e[1::2]) for (there, back), e in bonds],
            [head(e) for head, e in zip(self.motifs.values(), pooled, strict=True)],
        )

    @classmethod
    def from_official(cls, path: str | os.PathLike, depth: int | None = None) -> Self:
        """Reads an official pre-training file with its heads, see :class:`GroverEncoder`."""
        file = _read(path)
        classes = (shape_of(file, f"{t}_task_atom.linear.weight", 2)[0] for t in ("av", "bv"))
        return _filled(cls(*classes, *_sizes(file, depth)), file)


def grover_objective(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    r"""GROVER's objective: words of chosen atoms and bonds, motifs, and views that agree.

    .. math::
        L = L_{atom} + L_{bond} + L_{motif} + 0.1 \, (D_{atom} + D_{bond}) + D_{motif}

    Args:
        model: :class:`Grover`.
        batch: Graphs of :func:`~molae_pyg.chem.grover_graph.grover_graph` with labels, after
            :class:`~molae_pyg.chem.grover_graph.ChooseWords`.

    Returns:
        ``loss`` and its unweighted terms: ``atom`` and ``bond``, cross-entropies, sums over both
        views; ``motif``, the binary cross-entropy, the sum over four vectors of a molecule; and
        ``atom_distance, bond_distance, motif_distance``, mean squares between the views'
        log-probabilities of all atoms and bonds, and between their probabilities of motifs.
    """
    out = model(batch.x, batch.edge_index, batch.edge_attr, batch.batch, batch.num_graphs)
    one, two, three, four = (logits.sigmoid() for logits in out.motif)
    terms = {
        "atom": sum(_cross_entropy(logits, batch.atom_target) for logits in out.atom),
        "bond": sum(_cross_entropy(logits, batch.bond_target) for logits in out.bond),
        "motif": sum(F.binary_cross_entropy_with_logits(m, batch.motifs) for m in out.motif),
        "atom_distance": _square(*(logits.log_softmax(1) for logits in out.atom)),
        "bond_distance": _square(*(logits.log_softmax(1) for logits in out.bond)),
        "motif_distance": _square(one, two) + _square(three, four),
    }
    weights = {"atom_distance": 0.1, "bond_distance": 0.1}
    terms["loss"] = sum(weights.get(name, 1.0) * term for name, term in terms.items())
    # Several processes need a gradient of every parameter, also where no layer was drawn.
    terms["loss"] = terms["loss"] + 0 * sum(p.sum() for p in model.parameters())
    return terms


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The mean over chosen rows; 0 without any."""
    total = F.cross_entropy(logits, target, ignore_index=NOT_CHOSEN, reduction="sum")
    return total / (target != NOT_CHOSEN).sum().clamp(min=1)


def _square(one: Tensor, two: Tensor) -> Tensor:
    return (one - two).square().sum() / max(one.numel(), 1)


_ENCODER = "grover.encoders."
#: Parts of official files that hold nothing learned, or that the official code does not call.
_UNUSED = re.compile(r"\.act_func_(node|edge)\.|cached_zero_vector")
#: Our name, as a pattern -> the official one.
_NAMES = {
    r"^atom_words\.(\w+)\.": r"av_task_\1.linear.",
    r"^bond_words\.(\w+)\.0\.": r"bv_task_\1.linear.",
    r"^bond_words\.(\w+)\.1\.": r"bv_task_\1.linear_rev.",
    r"^motifs\.": "fg_task_all.linear_",
}
_ENCODER_NAMES = {
    r"^atoms\.": "node_blocks.0.",
    r"^bonds\.": "edge_blocks.0.",
    r"^(\w+_from_\w+)\.norm": r"\1_sublayer.norm",
    r"^(\w+_from_\w+)\.(linear|act)": r"ffn_\1.\2",
    r"\.heads\.(\d+)\.([qkv])\.linear": r".heads.\1.mpn_\2.W_h",
    r"\.heads\.(\d+)\.([qkv])\.": r".heads.\1.mpn_\2.",
    r"\.attention\.inputs": ".attn.linear_layers",
    r"\.attention\.out": ".attn.output_linear",
    r"_blocks\.0\.linear": "_blocks.0.W_i",
    r"_blocks\.0\.input_norm": "_blocks.0.layernorm",
    r"_blocks\.0\.out": "_blocks.0.W_o",
    r"_blocks\.0\.norm": "_blocks.0.sublayer.norm",
    r"\.linear([12])": r".W_\1",
    r"\.act\.": ".act_func.",
}


def official_name(key: str) -> str:
    """Returns the official key of a key of :class:`Grover`, or of its encoder alone."""
    is_head = key.startswith(("atom_words.", "bond_words.", "motifs."))
    key = key.removeprefix("encoder.")
    for ours, official in (_NAMES if is_head else _ENCODER_NAMES).items():
        key = re.sub(ours, official, key)
    return key if is_head else _ENCODER + key


def _read(path: str | os.PathLike) -> OfficialFile:
    file = read_official(path, "state_dict")
    return file._replace(weights={k: v for k, v in file.weights.items() if not _UNUSED.search(k)})


def _sizes(file: OfficialFile, depth: int | None) -> tuple[int, int, int]:
    """Width, number of heads and depth, which no weight shows."""
    channels = shape_of(file, f"{_ENCODER}node_blocks.0.W_i.weight", 2)[0]
    wide = shape_of(file, f"{_ENCODER}node_blocks.0.W_o.weight", 2)[1]
    return channels, max(1, wide // channels), depth or file.args.get("depth", 6)


def _filled(model: Model, file: OfficialFile) -> Model:
    refuse_unknown(file._replace(weights=fill(model, file, official_name)))
    return model.eval()
