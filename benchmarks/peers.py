"""The models of others that speed is compared with, in their own code.

``unimol_tools`` has the encoder of Mol-AE, which is that of Uni-Mol. It is installed
without its dependencies, of which its model needs two: ``pip install --no-deps
unimol_tools`` and ``pip install addict omegaconf``. Its model class is used as it is, with random
weights and the token numbers of the official dictionary.
"""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from molae_pyg.chem.elements import CLS, PAD, SEP, SYMBOLS, token_table
from molae_pyg.nn.gaussian import token_pairs


def unimol_encoder() -> nn.Module:
    """Returns the model of unimol_tools with random weights; ``return_repr=True`` gives CLS."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # importing it makes a folder of logs
        try:
            from unimol_tools.models.unimol import UniMolModel
        finally:
            os.chdir(here)
        lines = [f"{symbol} 1\n" for symbol in SYMBOLS[:-1]]
        Path(folder, "dict.txt").write_text("".join(lines))
        weights = Path(folder, "none.pt")
        torch.save({"model": {}}, weights)  # it loads the weights that exist: none
        model = UniMolModel(pretrained_model_path=str(weights))
    model.padding_idx = PAD  # its dictionary numbers the special tokens in another order
    return model


def unimol_batch(molecules: list[Data]) -> dict[str, Tensor]:
    """Returns a batch in the form of its collater: CLS, atoms, SEP, padded with zeros."""
    table = token_table()
    longest = 2 + max(data.z.numel() for data in molecules)
    token = torch.full((len(molecules), longest), PAD)
    pos = torch.zeros(len(molecules), longest, 3)
    for row, data in enumerate(molecules):
        n = data.z.numel()
        token[row, : n + 2] = torch.cat([torch.tensor([CLS]), table[data.z], torch.tensor([SEP])])
        pos[row, 1 : n + 1] = data.pos - data.pos.mean(0)
    distance, pair_type = token_pairs(token, pos)
    real = (token != PAD)[:, :, None] & (token != PAD)[:, None, :]
    return {
        "src_tokens": token,
        "src_distance": distance * real,
        "src_coord": pos,
        "src_edge_type": pair_type * real,
    }
