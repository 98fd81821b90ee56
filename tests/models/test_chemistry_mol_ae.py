"""Mol-AE with heads for chemistry targets: what is saved and read, and the scale of the targets."""

import math

import pytest
import torch

from molae_pyg import MolAE, MolAEEncoder
from molae_pyg.models import ChemistryMolAE

SIZE = {
    "hidden_channels": 16, "ffn_channels": 32, "heads": 4, "num_layers": 1, "num_decoder_layers": 1,
    "num_gaussians": 8,
}  # fmt: skip


def test_the_model_is_saved_with_its_scale_and_its_encoder_is_read(tmp_path):
    model = ChemistryMolAE(**SIZE, graph=True)
    model.set_scaling(torch.randn(20, 217))
    model.save_pretrained(tmp_path)
    again = ChemistryMolAE.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    encoder = MolAEEncoder.from_pretrained(tmp_path)
    assert torch.equal(encoder.embedding.weight, model.encoder.embedding.weight)
    assert encoder.config["graph"]


def test_the_model_starts_from_mol_ae(tmp_path):
    plain = MolAE(**SIZE, graph=True)
    plain.save_pretrained(tmp_path)
    model = ChemistryMolAE.from_pretrained(tmp_path)
    assert model.config == plain.config
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    new = model.state_dict().keys() - plain.state_dict().keys()
    assert {name.split(".")[0] for name in new} == {
        "descriptor_head", "bit_head", "descriptor_mean", "descriptor_std",
    }  # fmt: skip


def test_the_scale_leaves_out_missing_values_and_constants():
    values = torch.zeros(4, 217)
    values[:, 0] = torch.tensor([1.0, 3.0, math.nan, 5.0])
    values[:, 1] = 7.0  # the same for all
    values[:, 2] = torch.tensor([1.0, math.nan, math.nan, 2.0])  # unknown for half
    model = ChemistryMolAE(**SIZE)
    model.set_scaling(values)
    assert model.descriptor_mean[:2].tolist() == [3, 7]
    assert model.descriptor_std[0].item() == pytest.approx(math.sqrt(8 / 3))
    assert model.descriptor_std[1:].eq(0).all()


def test_targets_are_read_from_cls_and_the_mean_over_the_kept_atoms():
    torch.manual_seed(0)
    model = ChemistryMolAE(**SIZE).eval()
    z, pos = torch.tensor([6, 8, 6, 6, 7]), torch.randn(5, 3)
    batch = torch.tensor([0, 0, 0, 1, 1])
    drop = torch.tensor([False, True, False, False, False])
    with torch.no_grad():
        out = model(z, pos, batch, drop, pos)
        enc = model.encoder(z, pos, batch, drop)
        mean = torch.stack([enc.x[:2].mean(0), enc.x[2:].mean(0)])
        wanted = model.bit_head(torch.cat([enc.molecule, mean], 1))
    torch.testing.assert_close(out.targets.bit_logits, wanted)
    assert out.targets.descriptors.shape == (2, 217)
    assert out.atom_logits is None
