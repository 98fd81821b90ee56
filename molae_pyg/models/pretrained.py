"""Saved models: folders, weights that ship with the package, and the Hugging Face hub."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from torch import nn

from molae_pyg import checkpoint, model_files
from molae_pyg._version import __version__

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
    def from_pretrained(cls, name_or_path: str | os.PathLike) -> Self:
        """Reads a saved model, with its exact weights and in evaluation mode.

        Args:
            name_or_path: A folder of :meth:`save_pretrained`, the name of weights that ship with
                the package, or a repository of the Hugging Face hub, ``"hf://org/name"`` (``hf://``
                may be omitted if there is no such folder; ``"hf://org/name@v1"`` is a revision).

        Raises:
            CheckpointError: There is no such model, it is damaged or of another class, or the hub
                cannot be reached.
        """
        return checkpoint.load(cls, name_or_path).eval()

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


def load_encoder(cls: type[nn.Module], name_or_path: str | os.PathLike) -> nn.Module:
    """See :meth:`MolAEEncoder.from_pretrained <molae_pyg.models.MolAEEncoder.from_pretrained>`."""
    from molae_pyg import models  # they import the encoder

    folder = _of_training(model_files.find_folder(name_or_path))
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
