"""Lengths of bonds before and after noise: what is left of a structure whose atoms were moved."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.analysis.plots import COLOURS, Panel, Picture, log_scale, style
from molae_pyg.inference.graphs import Graphs
from molae_pyg.transforms.cloze import coordinate_noise

_INSIDE = (0.005, 0.995)  # quantiles of the range that 99 % of the true lengths are in


class BondNoise(NamedTuple):
    """Lengths in Å of m bonds."""

    clean: np.ndarray  #: ``[m]``
    one_end: dict[float, np.ndarray]  #: Noise in Å -> ``[m]``, with noise on one of the two atoms.
    both_ends: dict[float, np.ndarray]  #: Noise in Å -> ``[m]``, with noise on both.

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean and standard deviation in Å, and the share inside the range of 99 % of the clean."""
        low, high = np.quantile(self.clean, _INSIDE)
        named = {"clean": self.clean}
        for what, lengths in (("one end", self.one_end), ("both ends", self.both_ends)):
            named |= {f"{noise:g} Å, {what}": values for noise, values in lengths.items()}
        return {
            name: {
                "mean": float(values.mean()),
                "sd": float(values.std()),
                "inside": float(((values >= low) & (values <= high)).mean()),
            }
            for name, values in named.items()
        }


def bond_noise(molecules: Sequence[Data], noises: Sequence[float], seed: int = 0) -> BondNoise:
    """Measures the bonds of the first conformer of molecules, clean and with uniform noise.

    Args:
        molecules: With ``z, smiles`` and ``conformers [n, K, 3]`` or ``pos``, as in a store. Those
            whose only conformer is a drawing are skipped.
        noises: Half-widths of the uniform noise of each axis in Å.
        seed: Seed of the noise, default: 0.

    Raises:
        ValueError: There is no bond.
    """
    graphs = Graphs(wanted=True)
    real = [data for data in molecules if data.get("status") != "2d"]
    if not real:
        raise ValueError("no molecule has 3D coordinates")
    begin, end = (torch.cat(e) for e in zip(*(_ends(graphs(d.clone())) for d in real), strict=True))
    if len(begin) == 0:
        raise ValueError("the molecules have no bonds")
    one, both = {}, {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for noise in noises:
            first, second = (coordinate_noise(begin, noise, "uniform") for _ in range(2))
            one[noise] = _length(begin + first - end)
            both[noise] = _length(begin + first - end - second)
    return BondNoise(_length(begin - end), one, both)


def _ends(data: Data) -> tuple[Tensor, Tensor]:
    """Coordinates of both atoms of each bond ``[m, 3]``."""
    pos = data.pos if data.get("conformers") is None else data.conformers[:, 0]
    begin, end = data.edge_index[:, data.edge_index[0] < data.edge_index[1]]
    return pos[begin].double(), pos[end].double()


def _length(vector: Tensor) -> np.ndarray:
    return torch.linalg.vector_norm(vector, dim=1).numpy()


def bond_picture(lengths: BondNoise, longest: float = 4.0) -> Picture:
    """Draws the distribution of the lengths, with noise on one atom and on both.

    Args:
        lengths: As :func:`bond_noise` returns them.
        longest: End of the horizontal axis in Å, default: 4.
    """
    names = {"clean": COLOURS[0]}
    names |= {f"{n:g} Å": COLOURS[1 + i] for i, n in enumerate(lengths.one_end)}
    bins = np.linspace(0, longest, 161)

    def draw(noisy: dict[float, np.ndarray], axes) -> None:
        for colour, values in zip(names.values(), [lengths.clean, *noisy.values()], strict=True):
            share = np.histogram(values, bins)[0] / len(values) / np.diff(bins)  # 1 / Å
            axes.stairs(share, bins, color=colour, linewidth=1.2)
        log_scale(axes)
        axes.set_ylim(1e-2, None)
        axes.set_xlim(0, longest)
        style(axes, "length of a bond, Å", "density, 1/Å")

    panels = [
        Panel("noise on one atom", lambda axes: draw(lengths.one_end, axes)),
        Panel("noise on both atoms", lambda axes: draw(lengths.both_ends, axes)),
    ]
    caption = f"Lengths of {len(lengths.clean):,} bonds with uniform noise on each axis"
    return Picture(caption, panels, "large", names)
