import math
from copy import copy, deepcopy
from pathlib import Path

import pytest
import torch
from symmetry import assert_close, motions
from test_docs import run
from torch import nn
from torch_geometric.data import Batch, Data

from molae_pyg import ClozeDrop, CoordinateNoise, MolAE, cloze_loss, from_smiles
from molae_pyg.analysis import reconstruct
from molae_pyg.chem.elements import CLS, MASK, UNK, token_table
from molae_pyg.models import AblatedMolAE, Ablation, ClozeOutput

DOCS = Path(__file__).parents[2] / "docs"
DROPPED = [1, 4, 7]


def molecule(num_atoms: int = 10, seed: int = 0) -> Data:
    """A chain in space with steps of 1.5 Å and mixed elements."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(num_atoms, 3, generator=generator, dtype=torch.float64)
    pos = (1.5 * steps / steps.norm(dim=1, keepdim=True)).cumsum(0)
    z = torch.tensor([6, 7, 8, 6, 16, 6, 6, 17, 6, 9])[:num_atoms]
    return Data(z=z, pos=pos, num_nodes=num_atoms)


def with_test(data: Data) -> Data:
    """The molecule with a fixed cloze test."""
    data.drop_mask = torch.zeros_like(data.z, dtype=torch.bool)
    data.drop_mask[DROPPED] = True
    generator = torch.Generator().manual_seed(1)
    noise = 2 * torch.rand(data.pos.shape, generator=generator, dtype=torch.float64) - 1
    data.pos_noisy = data.pos + noise * data.drop_mask[:, None]
    return data


class Oracle(nn.Module):
    """A model that knows the answer, but for ``shift`` (Å) and ``stretch``, and names ``token``."""

    def __init__(self, shift: float = 0.0, stretch: float = 1.0, token: int | None = None):
        super().__init__()
        self.shift, self.stretch, self.token = shift, stretch, token
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, z, pos, batch, drop_mask, pos_noisy, z_noisy):
        centre = pos.mean(0, keepdim=True)
        token = token_table()[z[drop_mask]]
        if self.token is not None:
            token = torch.full_like(token, self.token)
        distance = self.stretch * torch.cdist(pos, torch.cat([centre, centre, pos]))
        zero = pos.new_zeros(())
        logits = 50 * nn.functional.one_hot(token, 31).to(pos.dtype)
        shift = pos.new_tensor([self.shift, 0, 0])
        return ClozeOutput(logits, pos + shift, distance, zero, zero, zero, zero)


def tiny(cls: type[MolAE] = MolAE, **settings) -> MolAE:
    torch.manual_seed(0)
    return cls(64, 128, 8, 2, 1, num_gaussians=32, gaussian_init="intended", **settings).eval()


# ----------------------------------------------------------------------- the numbers are right


@pytest.mark.parametrize("mirror", [1, -1])
def test_right_answers_score_as_such(mirror):
    data = with_test(molecule())
    data.pos, data.pos_noisy = data.pos * mirror, data.pos_noisy * mirror
    result = reconstruct(Oracle(), data)
    assert result.index.tolist() == DROPPED
    assert result.z_true.tolist() == result.z_predicted.tolist() == [7, 16, 17]
    assert result.element_accuracy == 1
    assert result.coordinate_rmsd == 0
    assert result.distance_rmsd < 1e-7
    assert result.distance_mae < 1e-12
    assert result.noise_rmsd > 0.5


def test_errors_are_measured_in_angstrom():
    data = with_test(molecule())
    result = reconstruct(Oracle(shift=0.3, stretch=1.1), data)
    assert result.coordinate_rmsd == pytest.approx(0.3)
    assert result.distance_rmsd > 0.1
    centre = data.pos.mean(0, keepdim=True)
    true = torch.cdist(data.pos[DROPPED], torch.cat([centre, centre, data.pos]))
    assert result.distance_mae == pytest.approx(0.1 * float(true[true > 0].mean()))


def test_elements_and_tokens():
    data = with_test(molecule())
    data.z[4] = 78  # platinum, outside the vocabulary
    carbon, unknown, masked = (
        reconstruct(Oracle(token=token), data) for token in (token_table()[6], UNK, MASK)
    )
    assert carbon.z_predicted.tolist() == [6, 6, 6]
    assert carbon.element_accuracy == 0
    assert unknown.z_predicted.tolist() == [0, 0, 0]
    assert unknown.correct.tolist() == [False, True, False]
    assert masked.z_predicted.tolist() == [0, 0, 0]
    assert masked.element_accuracy == 0
    assert reconstruct(Oracle(token=CLS), data).token_predicted.tolist() == [CLS] * 3
    torch.testing.assert_close(carbon.probability.sum(1), torch.ones(3, dtype=torch.float64))


def test_numbers_are_those_of_the_loss():
    """Coordinates: SmoothL1 of errors below 1 Å is half their square, averaged over 3 axes."""
    model, data = tiny().double(), with_test(molecule())
    with torch.no_grad():
        out = model(data.z, data.pos, None, data.drop_mask, data.pos_noisy)
    result = reconstruct(model, data)
    assert_close(result.coordinate_pos, out.pos[DROPPED])
    error = result.coordinate_pos - data.pos[DROPPED]
    smooth = torch.where(error.abs() < 1, error**2 / 2, error.abs() - 0.5).mean()
    assert float(smooth) == pytest.approx(float(cloze_loss(out, data)["coordinate"]))
    assert_close(result.probability, out.token_logits.softmax(1))


def test_what_is_shown():
    result = reconstruct(Oracle(token=int(token_table()[7])), with_test(molecule()))
    assert repr(result) == (
        f"Reconstruction(3 of 10 atoms, 1 element right, coordinate_rmsd=0.00, "
        f"distance_rmsd={result.distance_rmsd:.2f})"
    )
    lines = str(result).splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["1", "N", "N", "100.0%", "0.00", "0.00"]
    assert lines[2].split() == ["4", "S", "N", "100.0%", "0.00", "0.00"]


# -------------------------------------------------------------------------------- properties


def test_turning_the_input_turns_the_output(learned):
    """With weights that learned something: random ones give all distances the same value."""
    model, data = deepcopy(learned).double(), with_test(molecule())
    before = reconstruct(model, data)
    for name, motion in motions():
        moved = data.clone()
        moved.pos, moved.pos_noisy = motion(data.pos), motion(data.pos_noisy)
        after = reconstruct(model, moved)
        assert_close(after.coordinate_pos, motion(before.coordinate_pos), name)
        assert_close(after.distance_pos, motion(before.distance_pos), name, atol=1e-5)
        assert_close(after.probability, before.probability, name)


def test_the_seed_decides_and_nothing_else_changes():
    model, data = tiny(dropout=0.5), molecule()
    model.train()
    model.encoder.eval()  # frozen, say
    modes = [module.training for module in model.modules()]
    keys = data.keys()
    state = torch.get_rng_state()
    first, again, other = (reconstruct(model, data, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert data.keys() == keys
    assert torch.equal(first.pos_noisy, again.pos_noisy)
    assert torch.equal(first.distance_pos, again.distance_pos)
    assert torch.equal(first.probability, again.probability)
    assert not torch.equal(first.pos_noisy, other.pos_noisy)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mode_comes_back_after_an_error():
    model = tiny().train()
    data = with_test(molecule())
    data.pos_noisy = data.pos_noisy[:3]
    with pytest.raises((RuntimeError, ValueError)):
        reconstruct(model, data)
    assert model.training


def test_which_test_is_used():
    model, data = Oracle(), with_test(molecule())
    assert reconstruct(model, data).index.tolist() == DROPPED
    drawn = reconstruct(model, data, ClozeDrop(0.5))
    assert drawn.index.numel() == 5
    assert data.drop_mask.nonzero().flatten().tolist() == DROPPED


def test_the_first_conformer_is_used():
    data = molecule()
    conformers = torch.stack([data.pos, 2 * data.pos], dim=1)
    result = reconstruct(Oracle(), Data(z=data.z, conformers=conformers, num_nodes=10))
    assert torch.equal(result.pos, data.pos)


def test_masked_instead_of_dropped():
    """A model that sees noised atoms gets the transform's ``z_noisy``."""
    model = tiny(AblatedMolAE, ablation=Ablation(drop=False, decoder_token="encoder"))
    result = reconstruct(model, molecule(), CoordinateNoise(ratio=0.3))
    assert result.index.numel() == 3
    assert math.isfinite(result.distance_rmsd)


# ---------------------------------------------------------------------------------- learning


@pytest.fixture(scope="module")
def learned() -> MolAE:
    """A tiny model after 300 steps on one molecule, always the same atoms dropped, other noise."""
    data, model = with_test(molecule()), tiny()  # in evaluation mode: without dropout
    data.pos = data.pos.float()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(2)
    for _ in range(300):
        noise = 2 * torch.rand(data.pos.shape, generator=generator) - 1
        data.pos_noisy = data.pos + noise * data.drop_mask[:, None]
        out = model(data.z, data.pos, None, data.drop_mask, data.pos_noisy)
        optimizer.zero_grad()
        cloze_loss(out, data)["total"].backward()
        optimizer.step()
    return model


def test_a_model_that_learned_one_molecule_rebuilds_it(learned):
    result = reconstruct(learned, with_test(molecule()))
    assert result.element_accuracy == 1
    assert result.noise_rmsd > 1
    assert result.coordinate_rmsd < 0.8 * result.noise_rmsd
    assert result.distance_rmsd < 0.6 * result.noise_rmsd
    assert result.distance_mae < 0.4


# ------------------------------------------------------------------------------------ errors


def test_no_coordinates():
    with pytest.raises(ValueError, match="has no coordinates"):
        reconstruct(tiny(), Data(z=torch.tensor([6, 6, 8]), num_nodes=3))


def test_no_atom_dropped():
    data = molecule(3)
    with pytest.raises(ValueError, match=r"none of the 3 atoms is dropped.*raise the ratio"):
        reconstruct(tiny(), data, ClozeDrop(0.0))


def test_no_atom_kept():
    with pytest.raises(ValueError, match="all 10 atoms are dropped"):
        reconstruct(tiny(), molecule(), ClozeDrop(1.0))


def test_a_batch():
    batch = Batch.from_data_list([molecule(), molecule()])
    with pytest.raises(ValueError, match="one molecule, not a batch"):
        reconstruct(tiny(), batch)


def test_unusable_weights():
    model = tiny()
    nn.init.constant_(model.distance_head.out.bias, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        reconstruct(model, molecule(), ClozeDrop(0.5))


# --------------------------------------------------------------------------------- the manual


def test_the_page_about_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(DOCS / "reconstruction.md", "python")
    assert (tmp_path / "aspirin.png").stat().st_size > 10_000


def test_elements_of_another_type_are_the_same_elements():
    torch.manual_seed(0)
    model, molecule = MolAE.tiny(), from_smiles("CC(=O)Oc1ccccc1C(=O)O")
    expected = reconstruct(model, molecule)
    for dtype in (torch.uint8, torch.int32):
        other = copy(molecule)
        other.z = molecule.z.to(dtype)
        found = reconstruct(model, other)
        assert torch.equal(found.correct, expected.correct)
        assert torch.equal(found.distance_pos, expected.distance_pos)
        assert str(found) == str(expected)
