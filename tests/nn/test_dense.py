import torch

from molae_pyg.nn.dense import dense_tokens, flat_atoms, flat_pairs

BATCH = torch.tensor([0, 0, 0, 2])  # molecule 1 has no atoms
MASK = torch.tensor(
    [[True, True, True, True, True], [True, True] + 3 * [False], [True] * 3 + 2 * [False]]
)


def test_cls_and_sep_come_first_and_padding_is_zero():
    x = torch.tensor([10, 11, 12, 20])
    dense, mask = dense_tokens(x, torch.tensor([1, 2]), BATCH, 3)
    assert dense.tolist() == [[1, 2, 10, 11, 12], [1, 2, 0, 0, 0], [1, 2, 20, 0, 0]]
    assert torch.equal(mask, MASK)


def test_special_tokens_of_each_molecule():
    x = torch.randn(4, 6)
    special = torch.randn(3, 2, 6)
    dense, mask = dense_tokens(x, special, BATCH, 3)
    assert dense.shape == (3, 5, 6)
    assert torch.equal(dense[:, :2], special)
    assert torch.equal(flat_atoms(dense, mask), x)


def test_no_atom_left_in_any_molecule():
    empty = torch.zeros(0, dtype=torch.long)
    dense, mask = dense_tokens(torch.zeros(0, 3), torch.zeros(2, 3), empty, 2)
    assert dense[:, :2].shape == (2, 2, 3)
    assert mask.sum(1).tolist() == [2, 2]
    assert flat_atoms(dense, mask).shape == (0, 3)


def test_pairs_name_the_flat_atoms():
    value = torch.arange(3 * 5 * 5).view(3, 5, 5)
    index, pair = flat_pairs(value, MASK)
    assert index.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 3], [0, 1, 2, 0, 1, 2, 0, 1, 2, 3]]
    # molecule 0: rows and columns 2, 3, 4; molecule 2: its only atom is in slot 2
    assert pair.tolist() == [12, 13, 14, 17, 18, 19, 22, 23, 24, 62]
