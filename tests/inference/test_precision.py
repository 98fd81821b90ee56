import pytest
import torch

from molae_pyg import MolAE
from molae_pyg.inference.precision import autocast, precision


@pytest.mark.parametrize("has_bf16", [True, False])
def test_precision_follows_the_hardware(monkeypatch, has_bf16):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    assert precision() == ("bf16-mixed" if has_bf16 else "32-true")
    assert precision("32-true") == "32-true"


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
