import json
import math

import goldens
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE, cloze_loss
from molae_pyg.loss import CLOZE_WEIGHTS, distance_pairs, property_loss
from molae_pyg.models import ClozeOutput

SIGMA = 3.3899264663911888  # Å, of the reference's distances


def smooth_l1(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


@pytest.fixture
def data():
    """C-O-N in a line, then C-F; dropped: O, and both atoms of the second."""
    return Data(
        z=torch.tensor([6, 8, 7, 6, 9]),
        pos=torch.tensor(
            [[0.0, 0, 0], [1.0, 0, 0], [5.0, 0, 0], [0.0, 2.0, 0], [0.0, -2.0, 0]],
        ),
        batch=torch.tensor([0, 0, 0, 1, 1]),
        drop_mask=torch.tensor([False, True, False, True, True]),
    )


@pytest.fixture
def out():
    """Predictions for all: [N, L] distances with L = 5 = CLS, SEP and three atoms."""
    generator = torch.Generator().manual_seed(0)
    norms = (torch.tensor(x, requires_grad=True) for x in (1.0, 2.0, 3.0, 4.0))
    return ClozeOutput(
        torch.randn(3, 31, generator=generator).requires_grad_(),
        (3 * torch.randn(5, 3, generator=generator)).requires_grad_(),
        (8 * torch.rand(5, 5, generator=generator)).requires_grad_(),
        *norms,
    )


def test_token_term_by_hand(out, data):
    tokens = [6, 4, 10]  # O, C, F in the vocabulary
    logits = out.token_logits.tolist()
    expected = [
        math.log(sum(map(math.exp, row))) - row[token]
        for row, token in zip(logits, tokens, strict=True)
    ]
    assert cloze_loss(out, data)["token"].item() == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_coordinate_term_by_hand(out, data):
    expected = [
        smooth_l1(out.pos[i, axis].item() - data.pos[i, axis].item())
        for i in (1, 3, 4)
        for axis in range(3)
    ]
    assert cloze_loss(out, data)["coordinate"].item() == pytest.approx(sum(expected) / 9, rel=1e-5)


#: True distances of the dropped atoms to CLS, SEP (both at the centroid) and atoms, by column.
#: Centroids: (2, 0, 0) and (0, 0, 0). An atom's own column is left out.
TRUE = {
    1: {0: 1.0, 1: 1.0, 2: 1.0, 4: 4.0},
    3: {0: 2.0, 1: 2.0, 3: 4.0},
    4: {0: 2.0, 1: 2.0, 2: 4.0},
}


def test_distance_term_by_hand(out, data):
    expected = [
        smooth_l1((out.distance[i, j].item() - d) / SIGMA)
        for i, row in TRUE.items()
        for j, d in row.items()
    ]
    assert len(expected) == 10
    assert cloze_loss(out, data)["distance"].item() == pytest.approx(sum(expected) / 10, rel=1e-5)


def test_valid_distances(out, data):
    predicted, target, valid = distance_pairs(out.distance, data.pos, data.batch, data.drop_mask)
    assert predicted.shape == target.shape == valid.shape == (3, 5)
    for row, atom in enumerate((1, 3, 4)):
        assert set(valid[row].nonzero()[:, 0].tolist()) == TRUE[atom].keys()
        for j, d in TRUE[atom].items():
            assert target[row, j].item() * SIGMA == pytest.approx(d, abs=1e-6)


def test_cls_and_sep_have_distances(out, data):
    """A wrong distance to CLS or SEP costs; one between kept atoms or to padding does not."""
    loss = cloze_loss(out, data)["distance"]
    loss.backward()
    touched = out.distance.grad != 0
    expected = torch.zeros(5, 5, dtype=torch.bool)
    for i, row in TRUE.items():
        expected[i, list(row)] = True
    assert torch.equal(touched, expected)
    assert touched[:, :2].sum() == 6


def test_recorded_number_of_distances():
    recorded = json.loads((goldens.FOLDER / "semantics.json").read_text())
    total, special = recorded["dist loss entries total / to CLS+SEP"]
    data = goldens.batch(goldens.arrays("tiny/inputs"))
    empty = torch.zeros(data.num_nodes, 17)
    _, _, valid = distance_pairs(empty, data.pos, data.batch, data.drop_mask)
    assert valid.sum() == total
    assert valid[:, :2].sum() == special


def test_total_is_the_weighted_sum(out, data):
    losses = cloze_loss(out, data)
    assert losses.keys() == {*CLOZE_WEIGHTS, "total"}
    assert [losses[k].item() for k in list(losses)[3:7]] == [1, 2, 3, 4]
    expected = losses["token"] + 5 * losses["coordinate"] + 10 * losses["distance"] + 0.01 * 10
    assert losses["total"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_gradients_reach_every_output(out, data):
    cloze_loss(out, data)["total"].backward()
    for name, field in zip(out._fields, out, strict=True):
        assert field.grad.isfinite().all(), name
        assert field.grad.abs().max() > 0, name
    assert torch.all(out.pos.grad[~data.drop_mask] == 0)


def test_nothing_dropped(out, data):
    data.drop_mask[:] = False
    out = out._replace(token_logits=out.token_logits[:0])
    losses = cloze_loss(out, data)
    assert [losses[k].item() for k in ("token", "coordinate", "distance")] == [0, 0, 0]
    assert losses["total"].item() == pytest.approx(0.1)
    losses["total"].backward()
    assert out.pos.grad.abs().max() == 0


def test_nothing_dropped_trains_without_nan(data):
    model = MolAE.tiny()
    data.drop_mask[:] = False
    cloze_loss(model(data.z, data.pos, data.batch, data.drop_mask, data.pos), data)[
        "total"
    ].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_one_molecule_without_batch(out, data):
    one = Data(z=data.z[:3], pos=data.pos[:3], drop_mask=data.drop_mask[:3])
    out = out._replace(
        token_logits=out.token_logits[:1], pos=out.pos[:3], distance=out.distance[:3]
    )
    losses = cloze_loss(out, one)
    one.batch = torch.zeros(3, dtype=torch.long)
    for name, loss in cloze_loss(out, one).items():
        assert torch.equal(loss, losses[name]), name


# ------------------------------------------------------------------------- property losses

NAN = torch.nan
PREDICTED = torch.tensor([[0.5, -2.0], [3.0, 1.0]])
VALUES = torch.tensor([[0.0, NAN], [1.0, 1.5]])  # differences 0.5, (missing), 2, -0.5
LABELS = torch.tensor([[1.0, NAN], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("kind", "y", "expected"),
    [
        ("mse", VALUES, (0.25 + 4 + 0.25) / 3),
        ("mae", VALUES, (0.5 + 2 + 0.5) / 3),
        ("smooth_l1", VALUES, (0.125 + 1.5 + 0.125) / 3),
        (
            "bce",
            LABELS,
            (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(3)) + math.log1p(math.exp(-1))) / 3,
        ),
    ],
)
def test_property_loss_by_hand(kind, y, expected):
    predicted = PREDICTED.clone().requires_grad_()
    loss = property_loss(predicted, y, kind)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert torch.equal(predicted.grad != 0, ~y.isnan())  # and no NaN through the missing one


@pytest.mark.parametrize("kind", ["mse", "mae", "smooth_l1", "bce"])
def test_no_label_at_all(kind):
    predicted = PREDICTED.clone().requires_grad_()
    loss = property_loss(predicted, torch.full((2, 2), NAN), kind)
    assert loss.item() == 0
    loss.backward()
    assert torch.all(predicted.grad == 0)


def test_one_loss_per_task_is_the_mean_over_all_labels():
    predicted = PREDICTED.clone().requires_grad_()
    y = torch.tensor([[0.0, NAN], [1.0, 1.0]])
    loss = property_loss(predicted, y, ["mse", "bce"])
    assert loss.item() == pytest.approx((0.25 + 4 + math.log1p(math.exp(-1))) / 3, rel=1e-6)
    loss.backward()
    assert torch.equal(predicted.grad != 0, ~y.isnan())
    with pytest.raises(ValueError, match="1 losses for 2 tasks"):
        property_loss(PREDICTED, y, ["mse"])


def test_unknown_kind():
    message = "loss must be one of mse, mae, smooth_l1, bce, not 'huber'"
    with pytest.raises(ValueError, match=message):
        property_loss(PREDICTED, VALUES, "huber")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("multi_task_BCE", "bce"),
        ("finetune_smooth_mae", "smooth_l1"),
        ("finetune_mse", "mse"),
        ("finetune_mae", "mae"),
    ],
)
def test_recorded_property_losses(name, kind):
    """The reference sums over labels and divides by molecules; ours is the mean over labels."""
    recorded = json.loads((goldens.FOLDER / "finetune" / "losses.json").read_text())[name]
    logits, y = torch.tensor(recorded["logits"]), torch.tensor(recorded["target"])
    if kind == "bce":
        y = torch.where(y > -0.5, y, NAN)
    else:
        y = (y - torch.tensor(recorded["mean"])) / torch.tensor(recorded["std"])
    num_labels = (~y.isnan()).sum().item()
    loss = property_loss(logits, y, kind).item() * num_labels
    assert loss == pytest.approx(recorded["loss"], rel=1e-5)
    assert recorded["per_sample"] == pytest.approx(recorded["loss"] / recorded["sample_size"])


# ------------------------------------------------------------- bounds and several classes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mse", 1 + 4 + 9), ("mae", 1 + 2 + 3), ("smooth_l1", 0.5 + 1.5 + 2.5)],
)
def test_one_sided_loss_by_hand(kind, expected, dtype):
    """Residuals: exact 1; > satisfied by 2; > missed by 2; < satisfied by 2; < missed by 3."""
    predicted = torch.tensor([[1.0], [2.0], [-2.0], [-2.0], [3.0], [9.0]], dtype=dtype)
    predicted.requires_grad_()
    y = torch.tensor([[0.0], [0.0], [0.0], [0.0], [0.0], [NAN]], dtype=dtype)
    bound = torch.tensor([[0], [1], [1], [-1], [-1], [1]], dtype=torch.int8)
    loss = property_loss(predicted, y, kind, bound)
    assert loss.item() == pytest.approx(expected / 5)
    assert loss.dtype == dtype
    loss.backward()
    assert (predicted.grad[:, 0] != 0).tolist() == [True, False, True, False, True, False]


def test_bounds_that_are_all_exact_change_nothing():
    bound = torch.zeros(2, 2, dtype=torch.int8)
    assert torch.equal(
        property_loss(PREDICTED, VALUES, "mse", bound), property_loss(PREDICTED, VALUES)
    )


LOGITS = torch.tensor([[1.0, 2.0, 0.5, 9.0], [0.0, 0.0, 0.0, -1.0], [5.0, 5.0, 5.0, 2.0]])
MIXED = torch.tensor([[1.0, 8.0], [2.0, NAN], [NAN, 2.5]])  # a class of three, and a value
SIZES = [3, 1]


def test_cross_entropy_beside_a_value_by_hand():
    logits = LOGITS.clone().requires_grad_()
    loss = property_loss(logits, MIXED, ["cross_entropy", "mse"], num_outputs=SIZES)
    first = math.log(math.exp(1) + math.exp(2) + math.exp(0.5)) - 2
    assert loss.item() == pytest.approx((first + math.log(3) + 1 + 0.25) / 4)
    loss.backward()
    assert (logits.grad[:2, :3] != 0).all()
    assert (logits.grad[2, :3] == 0).all()
    assert logits.grad[1, 3] == 0


def test_weights_of_classes_by_hand():
    weights = [torch.tensor([7.0, 3.0, 0.5]), None]
    loss = property_loss(LOGITS, MIXED, ["cross_entropy", "mse"], None, SIZES, weights)
    first = math.log(math.exp(1) + math.exp(2) + math.exp(0.5)) - 2
    assert loss.item() == pytest.approx((3 * first + 0.5 * math.log(3) + 1 + 0.25) / 4)
    binary = property_loss(PREDICTED, LABELS, "bce", class_weights=[torch.tensor([2.0, 1.0]), None])
    terms = math.log1p(math.exp(-0.5)), 2 * math.log1p(math.exp(3)), math.log1p(math.exp(-1))
    assert binary.item() == pytest.approx(sum(terms) / 3)


def test_gradients_of_all_parts():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(
        [[0.3, 1, 2, -1], [NAN, 0, 0, 1], [2, NAN, 1, 5], [-9, 1, NAN, 0]] + [[9.0, 0, 1, NAN]] * 2
    )
    bound = torch.zeros(6, 4, dtype=torch.int8)
    bound[:, 0] = torch.tensor([0, 0, 1, 1, -1, 0])
    weights = [None, torch.tensor([0.5, 2.0]), torch.tensor([1.0, 2.0, 3.0]), None]
    kinds = ["mse", "bce", "cross_entropy", "smooth_l1"]

    def loss(x):
        return property_loss(x, y.double(), kinds, bound, [1, 1, 3, 1], weights)

    assert torch.autograd.gradcheck(loss, logits)
