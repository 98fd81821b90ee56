import dataclasses
import math

import pytest

from molae_pyg.training import Finetuning, Pretraining

LATER = {"head_epochs", "layer_decay", "linear_start"}
COUNTS = (0, -1, 1.5, "3", None, True, math.nan)
NUMBERS = ("1e-4", None, math.nan, math.inf, -1.0, True, [1.0])
BAD = {
    Finetuning: {
        "epochs": COUNTS,
        "batch_size": COUNTS,
        "patience": COUNTS,
        "pool": COUNTS,
        "pair_budget": [bad for bad in COUNTS if bad is not None],
        "valid_conformers": [bad for bad in COUNTS if bad is not None],
        "lr": (*NUMBERS, 0),
        "warmup": (*NUMBERS, 1.01),
        "weight_decay": NUMBERS,
        "ema_decay": (0, 1, 1.5, "0.9", math.nan),
        "loss": ("MSE", "huber", 1),
        "metric": ("RMSE", "val_rmse", "", 1),
        "precision": ("bf16-true", "fp32", "16-mixed", None, 32),
        "class_weights": (1, "balanced", None),
        "linear_start": (1, "ridge", None),
        "head_epochs": (*COUNTS[1:], 40),
        "layer_decay": (*NUMBERS, 0, 1.1),
    },
    Pretraining: {
        "steps": COUNTS,
        "pair_budget": COUNTS,
        "accumulate": COUNTS,
        "validate_every": COUNTS,
        "warmup_steps": COUNTS[1:],
        "workers": COUNTS[1:],
        "lr": (*NUMBERS, 0),
        "weight_decay": NUMBERS,
        "precision": ("bf16-true", "fp32", None),
        "recompute": (1, "yes", None),
    },
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, v) for kind, names in BAD.items() for name, bad in names.items() for v in bad],
)
def test_a_setting_out_of_range_is_an_error_at_once(kind, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        kind(**{name: value})


@pytest.mark.parametrize("kind", BAD)
def test_every_setting_is_checked(kind):
    assert {field.name for field in dataclasses.fields(kind)} == BAD[kind].keys()


def test_unknown_names_list_the_known():
    with pytest.raises(
        ValueError, match=r"loss must be one of mse, mae, smooth_l1, bce, got 'huber'"
    ):
        Finetuning(loss="huber")
    with pytest.raises(
        ValueError, match=r"metric must be one of rmse, .*mixed_error.*, got 'RMSE'"
    ):
        Finetuning(metric="RMSE")
    with pytest.raises(ValueError, match="one of auto, 32-true, bf16-mixed, got 'bf16-true'"):
        Finetuning(precision="bf16-true")


def test_settings_of_later_versions_are_named_only_if_they_are_set():
    plain = Finetuning()
    assert plain.identity().keys() == dataclasses.asdict(plain).keys() - LATER
    assert Finetuning(head_epochs=2).identity() == {**plain.identity(), "head_epochs": 2}
    assert Finetuning(layer_decay=0.8).identity() == {**plain.identity(), "layer_decay": 0.8}


def test_values_that_are_allowed():
    Finetuning(warmup=0, weight_decay=0, lr=1, ema_decay=0.5, metric="mixed_error", pair_budget=9)
    Finetuning(warmup=1.0, loss="bce", metric="roc_auc", precision="32-true", patience=1000)
    Pretraining(warmup_steps=0, workers=0, precision="64-true")
