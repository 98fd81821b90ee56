"""Times several ways of doing one thing in turns, so that a busy machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from tqdm import tqdm

Way = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)


def summary(values: list[float]) -> dict[str, float]:
    """Returns median, minimum and maximum, with four digits."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def seconds(way: Way) -> float:
    """Returns the wall-clock time of one call, including the work of a GPU."""
    start = time.perf_counter()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def take(ways: dict[Name, Way], turns: int, title: str = "turns") -> list[dict[Name, float]]:
    """Times the ways one after another, again and again; the first turn warms up.

    Args:
        ways: What to time, by name.
        turns: Counted turns.
        title: Title of the progress bar.

    Returns:
        For each counted turn the seconds of each way.
    """
    rows = []
    for _ in tqdm(range(turns + 1), title, leave=False, disable=None):
        rows.append({name: seconds(way) for name, way in ways.items()})
    return rows[1:]


def beside(rows: list[dict[str, float]], base: str) -> dict[str, dict]:
    """By way: ``seconds``, and ``speed-up over <base>``, the quotient of the times of one turn."""
    return {
        name: {
            "seconds": summary([row[name] for row in rows]),
            f"speed-up over {base}": summary([row[base] / row[name] for row in rows]),
        }
        for name in rows[0]
    }
