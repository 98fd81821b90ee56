import torch

from molae_pyg.nn.dense import atom_slots

BATCH = torch.tensor([0, 0, 0, 2])  # molecule 1 has no atoms
MASK = torch.tensor(
    [[True, True, True, True, True], [True, True] + 3 * [False], [True] * 3 + 2 * [False]]
)


def test_cls_and_sep_come_first_and_padding_is_zero():
    x = torch.tensor([10, 11, 12, 20])
    slots = atom_slots(BATCH, 3)
    dense = slots.dense(x, torch.tensor([1, 2]))
    assert dense.tolist() == [[1, 2, 10, 11, 12], [1, 2, 0, 0, 0], [1, 2, 20, 0, 0]]
    assert torch.equal(slots.mask, MASK)


def test_special_tokens_of_each_molecule():
    x = torch.randn(4, 6)
    special = torch.randn(3, 2, 6)
    slots = atom_slots(BATCH, 3)
    dense = slots.dense(x, special)
    assert dense.shape == (3, 5, 6)
    assert torch.equal(dense[:, :2], special)
    assert torch.equal(slots.flat(dense), x)


def test_no_atom_left_in_any_molecule():
    empty = torch.zeros(0, dtype=torch.long)
    slots = atom_slots(empty, 2)
    dense = slots.dense(torch.zeros(0, 3), torch.zeros(2, 3))
    assert dense[:, :2].shape == (2, 2, 3)
    assert slots.mask.sum(1).tolist() == [2, 2]
    assert slots.flat(dense).shape == (0, 3)
