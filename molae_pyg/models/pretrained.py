"""Saved models: folders, weights that ship with the package, and the Hugging Face hub."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from torch import nn

from molae_pyg import checkpoint, model_files
from molae_pyg._version import __version__
from molae_pyg.model_files import DEFAULT_WEIGHTS, CheckpointError

_CARD = """---
library_name: molae_pyg
tags: [chemistry, molecules, mol-ae]
---

A `{cls}` of [Mol-AE](https://proceedings.mlr.press/v235/yang24al.html), saved by
molae_pyg {version}.

```python
from molae_pyg.models import {cls}

model = {cls}.from_pretrained("{name}")
```
"""


class Pretrained:
    """What can be saved and read: a module with an attribute ``config``, its arguments."""

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes ``model.safetensors`` and ``config.json`` into a folder (made if absent)."""
        checkpoint.save(self, folder)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike | None = None) -> Self:
        """Reads a saved model, with its exact weights and in evaluation mode.

        Args:
            name_or_path: A folder of :meth:`save_pretrained`, the name of weights that ship with
                the package, or a repository of the Hugging Face hub, ``"hf://org/name"`` (``hf://``
                may be omitted if there is no such folder; ``"hf://org/name@v1"`` is a revision).
                (default: of :class:`MolAE` and :class:`MolAEEncoder` ``"molae-graph"``, which ships
                with the package; other classes need a name)

        Raises:
            CheckpointError: There is no such model, it is damaged or of another class, or the hub
                cannot be reached.
        """
        return checkpoint.load(cls, name_or_default(cls, name_or_path)).eval()

    def push_to_hub(self, name: str, private: bool = False) -> str:
        """Saves the model in a repository of the Hugging Face hub.

        Needs huggingface_hub (``pip install 'molae_pyg[hub]'``) and its login
        (``hf auth login`` or ``HF_TOKEN``). A model card is written if there is none.

        Args:
            name: Name of the repository, ``"org/name"``, made if absent.
            private: Whether a repository that is made is private, default: false.

        Returns:
            Address of the commit.

        Raises:
            ValueError: The name is not that of a repository, or the model cannot be saved.
            ModuleNotFoundError: huggingface_hub is not installed.
            OSError: The hub refuses, or it cannot be reached.
        """
        repository = name.removeprefix("hf://")
        card = _CARD.format(cls=type(self).__name__, version=__version__, name=repository)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return model_files.upload(folder, name, card, private)


def name_or_default(cls: type, name_or_path: str | os.PathLike | None) -> str | os.PathLike:
    """Returns the name that was given, or that of the shipped weights of a class."""
    if name_or_path is not None:
        return name_or_path
    if cls.__name__ not in ("MolAE", "MolAEEncoder"):
        raise CheckpointError(
            f"no weights of {cls.__name__} ship with the package: give from_pretrained the folder "
            "of a saved model, or the name of a repository"
        )
    return DEFAULT_WEIGHTS


def load_encoder(cls: type[nn.Module], name_or_path: str | os.PathLike | None) -> nn.Module:
    """See :meth:`MolAEEncoder.from_pretrained <molae_pyg.models.MolAEEncoder.from_pretrained>`."""
    from molae_pyg import models  # they import the encoder

    folder = _of_training(model_files.find_folder(name_or_default(cls, name_or_path)))
    having_one = {
        "MolAE": models.MolAE,
        "ChemistryMolAE": models.ChemistryMolAE,
        "AblatedMolAE": models.ReferenceMolAE,  # it reads both
        "ReferenceMolAE": models.ReferenceMolAE,
        "MolAEPredictor": models.MolAEPredictor,
        "MoleBlend": models.MoleBlend,
        "TransformerM": models.TransformerM,
        "UniMol": models.UniMol,
        "AtomPredictor": models.AtomPredictor,
    }
    saved = checkpoint.saved_class(folder)
    if saved in having_one:
        return checkpoint.load(having_one[saved], folder).encoder
    encoders = {
        name: getattr(models, name)
        for name in ("FullMolAE", "PositionedEncoder", "TransformerMEncoder")
    }
    return checkpoint.load(encoders.get(saved, cls), folder)


def _of_training(folder: Path) -> Path:
    """Returns the folder of the encoder in a folder of ``molae train``; any other as it is."""
    if not (folder / "model.json").is_file():
        return folder
    finetuned = folder / "fold-0" / "finetuned" / "model"
    return finetuned if finetuned.is_dir() else folder / "encoder"
