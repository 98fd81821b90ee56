"""Recorded outputs of the official code of the paper's competitors, and weights by their rule."""

import json
from functools import cache

import goldens
import numpy as np
import torch
from torch import Tensor

FOLDER = goldens.FOLDER / "competitors"


@cache
def arrays(name: str) -> dict[str, Tensor]:
    return goldens.arrays(f"competitors/{name}")


@cache
def meta(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def by_rule(shapes: dict[str, list[int]], seed: int = 20240704) -> dict[str, Tensor]:
    """Weights of the rule that made the recorded models."""
    random, weights = np.random.RandomState(seed), {}
    for key in sorted(shapes):
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(0)
            continue
        r = random.standard_normal(shapes[key])
        if key.endswith("running_mean"):
            r = 0.1 * r
        elif key.endswith("running_var"):
            r = 1 + 0.1 * np.abs(r)
        elif "norm" in key and key.endswith(".weight"):
            r = 1 + 0.1 * r
        elif key.endswith("bias"):
            r = 0.05 * r
        elif "embedding" in key:
            r = 0.5 * r
        else:
            r = r / np.sqrt(shapes[key][-1])
        weights[key] = torch.from_numpy(np.asarray(r, np.float32))
    return weights


def off(mine: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert mine.shape == theirs.shape
    return ((mine - theirs).abs().max() / theirs.abs().max()).item()
