"""The vocabulary of Mol-AE: 31 tokens, in the order of the reference's ``dict.txt``.

The order is part of every checkpoint: the four special tokens come first, then 26 elements,
then ``[MASK]``, which the reference appends after reading the file.
"""

import torch
from torch import Tensor

PAD, CLS, SEP, UNK = range(4)

#: Element symbol -> atomic number, in token order (the first one, carbon, is token 4).
ELEMENTS = {
    "C": 6, "N": 7, "O": 8, "S": 16, "H": 1, "Cl": 17, "F": 9, "Br": 35, "I": 53,
    "Si": 14, "P": 15, "B": 5, "Na": 11, "K": 19, "Al": 13, "Ca": 20, "Sn": 50, "As": 33,
    "Hg": 80, "Fe": 26, "Zn": 30, "Cr": 24, "Se": 34, "Gd": 64, "Au": 79, "Li": 3,
}  # fmt: skip

SYMBOLS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *ELEMENTS, "[MASK]"]
NUM_TOKENS = len(SYMBOLS)  # V = 31, hence V * V = 961 ordered pair types
MASK = NUM_TOKENS - 1

#: Atomic number that means "[MASK]" where elements are given as atomic numbers.
MASKED_Z = 0
MAX_Z = 118


def token_table() -> Tensor:
    """Returns the lookup table from atomic number to token id, shape ``[119]``.

    Entry 0 (:data:`MASKED_Z`) is ``[MASK]``; elements outside the vocabulary are ``[UNK]``.
    """
    table = [UNK] * (MAX_Z + 1)
    for token, number in enumerate(ELEMENTS.values(), start=UNK + 1):
        table[number] = token
    table[MASKED_Z] = MASK
    return torch.tensor(table)


def atomic_number_table() -> Tensor:
    """Returns the inverse table from token id to atomic number, shape ``[31]``.

    Special tokens are not elements; their entry is 0.
    """
    table = torch.zeros(NUM_TOKENS, dtype=torch.long)
    for token, number in enumerate(ELEMENTS.values(), start=UNK + 1):
        table[token] = number
    return table
