"""Featurized molecules on disk: numbers as safetensors, text as JSON, nothing pickled."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file, save
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.collate import collate as pyg_collate
from torch_geometric.data.separate import separate as pyg_separate

from molae_pyg.chem import FeaturizeReport


class Molecules(NamedTuple):
    """The storage of a PyTorch Geometric ``InMemoryDataset``, and where it came from.

    ``data`` holds the atoms of all molecules one after another, ``slices`` for each of its
    entries the bounds of the molecules, ``report`` the outcome of every row of the source.
    """

    data: Data
    slices: dict[str, Tensor]
    report: FeaturizeReport


def collate(items: list[Data]) -> tuple[Data, dict[str, Tensor]]:
    """Joins molecules end to end, without shifting their indices."""
    data, slices, _ = pyg_collate(Data, items, increment=False, add_batch=False)
    return data, slices


def separate(data: Data, slices: dict[str, Tensor], index: int = 0) -> Data:
    """Takes one molecule out again."""
    return pyg_separate(Data, data, index, slices, decrement=False)


def save_molecules(molecules: Molecules, path: Path) -> None:
    """Writes ``path`` (JSON) and, beside it, a ``.safetensors`` file.

    Each is written under another name and then moved, the JSON file last: where it is, both
    are whole.
    """
    data, slices, report = molecules
    tensors = {f"slices.{key}": value.contiguous() for key, value in slices.items()}
    text = {}
    for key in slices:  # everything but num_nodes, which follows from z
        if isinstance(data[key], Tensor):
            tensors[key] = data[key].contiguous()
        else:
            text[key] = data[key]
    words = {"keys": list(slices), "text": text, "report": asdict(report)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        numbers_file, words_file = Path(folder, "numbers"), Path(folder, "words")
        numbers_file.write_bytes(save(tensors))  # save_file would make it private to the user
        words_file.write_text(json.dumps(words))
        os.replace(numbers_file, path.with_suffix(".safetensors"))
        os.replace(words_file, path)


def load_molecules(path: Path) -> Molecules:
    """Reads what :func:`save_molecules` has written."""
    words = json.loads(path.read_text())
    tensors = load_file(path.with_suffix(".safetensors"))
    slices = {key: tensors[f"slices.{key}"] for key in words["keys"]}
    data = Data(**{key: words["text"].get(key, tensors.get(key)) for key in words["keys"]})
    sizes = slices["z"].diff().tolist()
    data.num_nodes = sum(sizes)
    data._store._num_nodes = sizes  # as PyTorch Geometric's collate leaves it
    return Molecules(data, slices, FeaturizeReport(**words["report"]))
