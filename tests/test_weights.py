"""The weights that ship with the package."""

import configparser
import json
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

from molae_pyg import ClozeDrop, MolAE, cloze_loss, from_smiles
from molae_pyg.checkpoint import SHIPPED
from molae_pyg.durable import sha256_of

ROOT = Path(__file__).parents[1]
NAMES = sorted(folder.name for folder in SHIPPED.iterdir())
DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "CN1CCC[C@H]1c1cccnc1",
    "COc1ccc2[nH]c(nc2c1)S(=O)Cc1ncc(C)c(OC)c1C",
    "NS(=O)(=O)c1cc2c(cc1Cl)NCNS2(=O)=O",
]


def test_what_ships():
    assert NAMES == ["molae-graph", "molae-small"]
    for name in NAMES:
        files = {path.name: path.stat().st_size for path in (SHIPPED / name).iterdir()}
        assert set(files) == {"README.md", "config.json", "model.safetensors"}
        assert sum(files.values()) <= 30e6


@pytest.mark.parametrize("name", NAMES)
def test_they_know_molecules(name):
    """Cloze tests that carbon everywhere and the mean distance do not pass."""
    model = MolAE.from_pretrained(name)
    batch = Batch.from_data_list([from_smiles(smiles) for smiles in DRUGS] * 8)
    torch.manual_seed(0)
    batch = ClozeDrop()(batch)
    with torch.no_grad():
        out = model(batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy)
        random = MolAE(**model.config).eval()(
            batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy
        )
    learned, untrained = cloze_loss(out, batch), cloze_loss(random, batch)
    for term in ("token", "coordinate", "distance"):
        assert learned[term] < 0.7 * untrained[term]


def test_an_installed_package_has_them():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    packed = config["options.package_data"]["molae_pyg"].split()
    found = {path for pattern in packed for path in (ROOT / "molae_pyg").glob(pattern)}
    assert found >= {path for name in NAMES for path in (SHIPPED / name).iterdir()}


def test_they_are_checked_when_loaded():
    for name in NAMES:
        saved = json.loads((SHIPPED / name / "config.json").read_text())
        assert saved["sha256"] == sha256_of(SHIPPED / name / "model.safetensors")
        assert "config_sha256" in saved
