"""What a GPU has to wait for in forward and backward passes, found without a GPU.

The models see a GPU while a CPU computes. The tests count the operations of which a GPU would have
to send a result to the processor (values, and shapes that depend on values), and the constants that
the processor would have to send to it.
"""

import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Batch, Data

import molae_pyg
from molae_pyg import ClozeDrop, MolAE, MolAEPredictor
from molae_pyg.inference.readouts import vectors_of
from molae_pyg.loss import property_loss
from molae_pyg.models.atom_predictor import AtomPredictor
from molae_pyg.nn import attention
from molae_pyg.training.objectives import cloze_objective

PACKAGE = Path(molae_pyg.__file__).parent
WAITS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2"}
WAITS |= {"bincount", "repeat_interleave", "lift_fresh"}  # the last one: a constant
INDEXED = {"index", "index_put", "index_put_"}

LARGEST = "nn/dense.py: atom_slots"  # L, the size of the largest molecule: a shape
SPECIAL = "models/encoder.py: _inputs"  # the numbers of CLS and SEP


class Waits(TorchDispatchMode):
    """Counts waits by the file and function of the package that they are in."""

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.name().removeprefix("aten::").partition(".")[0]
        if name in WAITS or (name in INDEXED and any(is_mask(index) for index in args[1])):
            own = [f for f in traceback.extract_stack() if PACKAGE in Path(f.filename).parents]
            where = f"{Path(own[-1].filename).relative_to(PACKAGE)}: {own[-1].name}" if own else "?"
            self.found[where] += 1
        return operation(*args, **(kwargs or {}))


def is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


@pytest.fixture
def waits(monkeypatch):
    """Makes tensors look like those of a GPU, whose plain path is taken."""
    monkeypatch.setattr(Tensor, "is_cuda", property(lambda _: True))
    monkeypatch.setattr(Tensor, "is_cpu", property(lambda _: False))
    monkeypatch.setattr(attention, "HAS_TRITON", False)

    def of(function, *args, **kwargs) -> dict[str, int]:
        with Waits() as counted:
            function(*args, **kwargs)
        return dict(counted.found)

    return of


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    molecules = [
        Data(z=torch.full((n,), 6), pos=2 * torch.randn(n, 3), y=torch.ones(1, 2)) for n in (5, 9)
    ]
    return Batch.from_data_list(molecules)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MolAE.tiny()


def test_an_encoder_waits_for_the_largest_molecule(waits, model, batch):
    found = waits(model.encoder, batch.z, batch.pos, batch.batch, batch_size=2)
    assert found == {LARGEST: 1, SPECIAL: 1}
    found = waits(model.encoder, batch.z, batch.pos, batch.batch)
    assert found == {LARGEST: 1, SPECIAL: 1, "nn/checks.py: check_molecules": 1}


def test_one_molecule_has_nothing_to_wait_for(waits, model, batch):
    assert waits(model.encoder, batch.z, batch.pos) == {SPECIAL: 1}


@pytest.mark.parametrize("predictor", [MolAEPredictor, AtomPredictor])
def test_fine_tuning(waits, model, batch, predictor):
    predictor = predictor(model.encoder, 2)

    def step():
        predicted = predictor.on_batch(batch)
        property_loss(predicted, torch.zeros(len(predicted), 2)).backward()

    assert waits(step) == {LARGEST: 1, SPECIAL: 1}
    assert waits(predictor.predict_batch, batch) == {LARGEST: 1, SPECIAL: 1}


def test_embedding(waits, model, batch):
    batch = batch.clone()
    batch.conformers = batch.pos[:, None]
    assert waits(vectors_of(model.encoder, "cls, mean"), batch) == {LARGEST: 1, SPECIAL: 1}


def test_pre_training(waits, model, batch):
    batch = ClozeDrop(0.3)(batch.clone())
    assert waits(lambda: cloze_objective(model.train(), batch)["loss"].backward()) == {
        LARGEST: 2,  # of the atoms that are left, and of all
        "models/encoder.py: _inputs": 2,  # SPECIAL, and the number of atoms that are left: a shape
        "models/mol_ae.py: answer": 1,  # the same
        "models/mol_ae.py: rebuild": 1,  # the number of dropped atoms: a shape
        "loss.py: cloze_loss": 1,  # the same
        "training/objectives.py: rebuilt_terms": 1,  # the same
        "chem/elements.py: token_table": 2,  # a table of constants, of loss and accuracy
    }


def test_the_count_sees_a_wait(waits, batch):
    assert waits(lambda: batch.z[batch.z > 0]) == {"?": 1}
    assert waits(lambda: batch.z.max().item()) == {"?": 1}
    assert waits(lambda: torch.tensor([1.0])) == {"?": 1}
