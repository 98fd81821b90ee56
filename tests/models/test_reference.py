import json

import goldens
import pytest
import torch

from molae_pyg import AblatedMolAE, MolAE, ReferenceMolAE
from molae_pyg.models.reference import official_order, reorder_pairs


@pytest.fixture(scope="module")
def data():
    return goldens.batch(goldens.arrays("tiny/inputs"))


def load(cls):
    return goldens.model("tiny", ["encoder_unmasked_tokens_only"], cls)


@torch.no_grad()
def run(model, data, molecule=None):
    if molecule is None:
        return model(data.z, data.pos, data.batch, data.drop_mask, data.pos_noisy, data.z_noisy)
    mine = data.batch == molecule
    data = data.subgraph(mine)
    return model(data.z, data.pos, None, data.drop_mask, data.pos_noisy, data.z_noisy)


@pytest.mark.parametrize("molecule", [0, 1, 2])
def test_coordinates_depend_on_padding_as_recorded(data, molecule):
    """Padded to 24 with the others, against alone and unpadded: a pull to the centroid."""
    semantics = json.loads((goldens.FOLDER / "semantics.json").read_text())
    recorded = semantics[f"single{molecule} vs padded24"]
    model = load(ReferenceMolAE)
    batched = run(model, data).pos[data.batch == molecule]
    model.pad_to_multiple = 1
    shift = batched - run(model, data, molecule).pos
    assert shift.abs().max().item() == pytest.approx(recorded["coord"], abs=1e-5)
    weight = recorded["pair2coord_weight_on_padded_column"]
    mine = data.subgraph(data.batch == molecule)
    num_tokens = mine.num_nodes + 2
    start = mine.pos_noisy - mine.pos.mean(0)
    pull = (24 - num_tokens) * weight * (0 - start) / (num_tokens - 1)
    torch.testing.assert_close(shift, pull, atol=1e-5, rtol=0)


@pytest.mark.parametrize("molecule", [0, 1, 2])
def test_coordinates_of_molae_do_not(data, molecule):
    model = load(MolAE)
    batched = run(model, data).pos[data.batch == molecule]
    assert (batched - run(model, data, molecule).pos).abs().max() < 1e-5


def test_tokens_and_distances_do_not_depend_on_padding(data):
    model = load(ReferenceMolAE)
    padded = run(model, data)
    model.pad_to_multiple = 1
    tight = run(model, data)
    assert (padded.pos - tight.pos).abs().max() > 0.05
    assert (padded.token_logits - tight.token_logits).abs().max() < 1e-5
    assert (padded.distance - tight.distance).abs().max() < 1e-5


def test_official_order_by_hand():
    """Ours: CLS, SEP, atoms, padding. Official: CLS, atoms, SEP, padding."""
    mask = torch.tensor([[True] * 5, [True, True, True, False, False], [True, True] + [False] * 3])
    order = official_order(mask, 8)
    assert order.tolist() == [
        [0, 2, 3, 4, 1, 5, 6, 7],
        [0, 2, 1, 3, 4, 5, 6, 7],
        [0, 1, 2, 3, 4, 5, 6, 7],
    ]


def test_reorder_pairs():
    pair = torch.arange(2 * 2 * 3 * 3).view(2, 2, 3, 3)
    order = torch.tensor([[0, 2, 1], [0, 1, 2]])
    out = reorder_pairs(pair, order)
    assert out[0, 1].tolist() == [[9, 11, 10], [15, 17, 16], [12, 14, 13]]
    assert torch.equal(out[1], pair[1])
    assert torch.equal(reorder_pairs(out, order.argsort(dim=1)), pair)


def test_reads_any_saved_molae(tmp_path):
    model = MolAE.tiny()
    model.save_pretrained(tmp_path)
    twin = ReferenceMolAE.from_pretrained(tmp_path)
    assert type(twin) is ReferenceMolAE
    for key, weight in model.state_dict().items():
        assert torch.equal(twin.state_dict()[key], weight), key


def test_allows_what_the_official_flags_allow():
    ablation = {"drop": True, "decoder_token": "encoder"}
    ReferenceMolAE(16, 16, 4, 1, 1, ablation=ablation)
    with pytest.raises(ValueError, match="drop=False"):
        AblatedMolAE(16, 16, 4, 1, 1, ablation=ablation)
