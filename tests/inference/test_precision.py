import sys

import pytest
import torch

from molae_pyg import MolAE
from molae_pyg.inference.precision import autocast, precision


@pytest.mark.parametrize(
    ("amx", "avx512_bf16", "vendor", "is_faster"),
    [
        (True, True, "GenuineIntel", True),
        (False, True, "AuthenticAMD", True),
        (False, True, "GenuineIntel", False),  # its products are half as fast as those of fp32
        (False, False, "AuthenticAMD", False),
        (False, False, "", False),
    ],
)
def test_auto_follows_the_hardware(monkeypatch, amx, avx512_bf16, vendor, is_faster):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(sys.modules[precision.__module__], "processor_vendor", lambda: vendor)
    assert precision() == ("bf16-mixed" if is_faster else "32-true")
    assert precision("32-true") == "32-true"
    assert precision("bf16-mixed") == "bf16-mixed"


def test_bf16_embeddings_are_close_to_fp32():
    model = MolAE.from_pretrained("molae-small")
    smiles = ["CC(=O)Oc1ccccc1C(=O)O", "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "CCO"]
    exact = model.embed(smiles, precision="32-true")
    fast = model.embed(smiles, precision="bf16-mixed")
    assert not (exact == fast).all()  # the cache has both
    cosine = torch.cosine_similarity(torch.from_numpy(exact), torch.from_numpy(fast))
    assert cosine.min() > 0.999


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="must be one of auto, 32-true, bf16-mixed, got 'fp8'"):
        autocast(torch.device("cpu"), "fp8")
