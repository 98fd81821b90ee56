"""Reads and writes tables as users have them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Writes a table and returns its path."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """Reads a table, a dict a row."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
