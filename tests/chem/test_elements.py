import os
from pathlib import Path

import pytest
import torch

from molae_pyg.chem.elements import (
    CLS,
    ELEMENTS,
    MASK,
    MASKED_Z,
    NUM_TOKENS,
    PAD,
    SEP,
    SYMBOLS,
    UNK,
    atomic_number_table,
    token_table,
)

DICT_TXT = [
    "[PAD]", "[CLS]", "[SEP]", "[UNK]", "C", "N", "O", "S", "H", "Cl", "F", "Br", "I", "Si", "P",
    "B", "Na", "K", "Al", "Ca", "Sn", "As", "Hg", "Fe", "Zn", "Cr", "Se", "Gd", "Au", "Li",
]  # fmt: skip


def test_ids_are_the_lines_of_dict_txt_with_mask_appended():
    assert [*DICT_TXT, "[MASK]"] == SYMBOLS
    assert NUM_TOKENS == 31
    assert (PAD, CLS, SEP, UNK, MASK) == (0, 1, 2, 3, 30)


def test_ids_agree_with_the_official_file():
    path = Path(os.environ.get("MOLAE_DATA", "")) / "unimol" / "dict.txt"
    if "MOLAE_DATA" not in os.environ or not path.exists():
        pytest.skip("MOLAE_DATA with unimol/dict.txt is not there")
    assert [line.split()[0] for line in path.read_text().split("\n") if line] == SYMBOLS[:-1]


def test_atomic_numbers_are_those_of_the_symbols():
    Chem = pytest.importorskip("rdkit.Chem")
    table = Chem.GetPeriodicTable()
    assert {symbol: table.GetAtomicNumber(symbol) for symbol in ELEMENTS} == ELEMENTS


def test_tables_are_inverse_on_the_elements():
    tokens, numbers = token_table(), atomic_number_table()
    elements = torch.tensor(list(ELEMENTS.values()))
    assert torch.equal(numbers[tokens[elements]], elements)
    assert tokens.shape == (119,)
    assert numbers.shape == (31,)
    assert tokens[MASKED_Z] == MASK
    assert tokens[29] == UNK  # copper is not in the vocabulary
    assert (tokens == UNK).sum() == 118 - len(ELEMENTS)
    assert numbers[[PAD, CLS, SEP, UNK, MASK]].eq(0).all()
