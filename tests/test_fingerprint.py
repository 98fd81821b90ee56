"""An identity sees content, all of it, and nothing else."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE
from molae_pyg.fingerprint import differences, digest, of_molecules, of_weights


def test_equal_content_gives_equal_digests():
    assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": (2.5, None), "a": 1})
    assert digest(np.arange(3)) == digest(np.arange(6)[:3])
    assert digest(torch.ones(2, 3).T) == digest(torch.ones(3, 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, "1"),
        (1, True),
        ("ab", b"ab"),
        (["ab", "c"], ["a", "bc"]),
        ([["a"], []], [[], ["a"]]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({1: "a"}, {"1": "a"}),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.double)),
        (torch.zeros(2), -torch.zeros(2)),  # another bit
        (np.array([1, 2]), np.array([1, 3])),
        (float("nan"), None),
    ],
)
def test_other_content_gives_another_digest(one, other):
    assert digest(one) != digest(other)


def test_unknown_types_are_an_error():
    with pytest.raises(TypeError, match="content of a object cannot be seen"):
        digest(object())


def test_data_classes_and_bfloat16_count():
    @dataclass
    class Settings:
        lr: float

    assert digest(Settings(0.1)) != digest(Settings(0.2))
    assert digest(torch.ones(2).bfloat16()) != digest(torch.zeros(2).bfloat16())


def test_weights_are_seen_to_the_last_bit():
    model = MolAE.tiny()
    before = of_weights(model)
    assert of_weights(model) == before
    with torch.no_grad():
        weight = model.encoder.embedding.weight
        weight[5, 0] = torch.nextafter(weight[5, 0], torch.tensor(torch.inf))
    assert of_weights(model) != before


def molecule(**changes) -> Data:
    fields = {
        "z": torch.tensor([6, 8]),
        "pos": torch.zeros(2, 3),
        "y": torch.tensor([[1.0]]),
        "smiles": "CO",
    }
    return Data(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"y": torch.tensor([[2.0]])},
        {"z": torch.tensor([6, 7])},
        {"pos": torch.full((2, 3), 1e-7)},
        {"smiles": "OC"},
        {"extra": 1},
    ],
)
def test_molecules_differ_by_any_field(changes):
    assert of_molecules([molecule()]) == of_molecules([molecule()])
    assert of_molecules([molecule()]) != of_molecules([molecule(**changes)])


def test_molecules_differ_by_order_and_number():
    a, b = molecule(), molecule(smiles="OC")
    assert of_molecules([a, b]) != of_molecules([b, a])
    assert of_molecules([a]) != of_molecules([a, a])


def test_differences_are_named():
    found = {"settings": {"lr": 0.1, "old": 1}, "weights": "a" * 64, "same": [1, 2]}
    wanted = {"settings": {"lr": 0.2}, "weights": "b" * 64, "same": (1, 2)}
    assert differences(found, wanted) == [
        "settings.lr: 0.1 there, 0.2 now",
        "settings.old: 1 there, absent now",
        "weights: aaaaaaaaaaaa… there, bbbbbbbbbbbb… now",
    ]
    assert differences(found, found) == []


def test_the_layout_in_memory_does_not_count():
    z = torch.arange(18).view(2, 9)
    for tensor in (z[:1, 0], z[:1, :1], z[:, 3], z.T, z[:0, 0], z[0, 0]):
        assert digest(tensor) == digest(tensor.clone(memory_format=torch.contiguous_format))
    assert digest(z[:1, 0]) != digest(z[:1, 1])
