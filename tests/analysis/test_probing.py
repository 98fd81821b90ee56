"""Probes see the states after a layer that the official code has, and train new heads alone."""

from itertools import pairwise

import goldens
import pytest
import torch
from torch_geometric.data import Batch

from molae_pyg import CoordinateNoise, MolAE
from molae_pyg.analysis.probing import first_layers, num_layers, reconstruction_probe
from molae_pyg.models import AblatedMolAE, TransformerM, UniMol
from molae_pyg.official_checkpoint import OfficialFile, load_official_uni_mol
from molae_pyg.transforms import DenoiseAtoms

INPUTS = {k: v[:1, :15] for k, v in goldens.arrays("tiny/inputs").items()}  # aspirin, 13 atoms


@pytest.fixture(scope="module")
def data():
    return Batch.from_data_list([goldens.batch(INPUTS)])


def models():
    torch.manual_seed(0)
    return MolAE.tiny(), UniMol.tiny(position=True), TransformerM.tiny()


def test_states_are_those_of_the_official_code(data):
    file = OfficialFile("tiny", goldens.uni_mol_weights("tiny"), {})
    model = load_official_uni_mol(UniMol, file, "corrected").eval()
    recorded = goldens.arrays("objectives/ablations/layer_states_aspirin")["unimol_x"]
    for layer, theirs in enumerate(recorded):
        probe = reconstruction_probe(model, layer).model.eval()
        with torch.no_grad():
            out = probe.encoder(data.z_noisy, data.pos_noisy, origin=data.pos.mean(0)[None])
        theirs = goldens.tokens_in_our_order(theirs, INPUTS)
        assert (out.state.hidden - theirs).abs().max() < 2e-5


@pytest.mark.parametrize("number", range(3), ids=["mol-ae", "uni-mol-pe", "transformer-m"])
def test_an_encoder_ends_after_each_layer(data, number):
    model = models()[number].eval()
    encoder, decoder = num_layers(model)
    assert (encoder, decoder) == ((2, 1), (2, 0), (2, 0))[number]
    seen = []
    for layer in range(encoder + decoder + 1):
        found = first_layers(model, layer)
        assert not found.training
        trainable = [name for name, p in found.named_parameters() if p.requires_grad]
        assert all("final_norm" in name for name in trainable)
        assert bool(trainable) == (number < 2)
        with torch.no_grad():
            seen.append(found(data.z, data.pos).state.hidden)
    whole = model.encoder(data.z, data.pos).state.hidden
    assert (seen[encoder] - whole).abs().max() < 1e-6
    for one, other in pairwise(seen):
        assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize("number", range(3), ids=["mol-ae", "uni-mol-pe", "transformer-m"])
def test_only_new_heads_learn(data, number):
    model = models()[number].eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for layer in range(sum(num_layers(model)) + 1):
        probe = reconstruction_probe(model, layer, noise=0.5)
        probe.model.train()
        torch.manual_seed(0)
        batch = probe.transform(data.clone())
        again = probe.objective(probe.model, batch)["loss"]
        loss = probe.objective(probe.model, batch)["loss"]
        if number < 2:  # no dropout
            assert loss == again
        loss.backward()
        for name, parameter in probe.model.named_parameters():
            assert (parameter.grad is not None) <= parameter.requires_grad, name
            if not parameter.requires_grad:
                assert torch.equal(parameter, weights[name]), name
        heads = [name for name, p in probe.model.named_parameters() if p.grad is not None]
        assert any("head" in name for name in heads)


def test_transforms_fit_what_a_stack_sees():
    mol_ae, uni_mol, transformer_m = models()
    assert repr(reconstruction_probe(mol_ae, 2, 0.5).transform).startswith("CoordinateNoise(0.5")
    assert repr(reconstruction_probe(mol_ae, 3, 0.5).transform).startswith(
        "ClozeDrop(0.15, noise=0.5"
    )
    assert isinstance(reconstruction_probe(uni_mol, 1).transform, CoordinateNoise)
    assert isinstance(reconstruction_probe(transformer_m, 1).transform, DenoiseAtoms)
    noisy = AblatedMolAE(64, 128, 8, 2, 1, 32, ablation={"drop": False})
    assert isinstance(reconstruction_probe(noisy, 3).transform, CoordinateNoise)


def test_other_layers_and_models_are_refused():
    with pytest.raises(ValueError, match=r"layer must be in 0\.\.\.3, not 4"):
        first_layers(MolAE.tiny(), 4)
    with pytest.raises(ValueError, match="other positions cannot be probed"):
        reconstruction_probe(AblatedMolAE(64, 128, 8, 2, 1, 32, ablation={"position_layer": 1}), 1)
