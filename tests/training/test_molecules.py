"""Molecules that fine-tuning accepts, and those that it refuses before any work."""

import random

import numpy as np
import pytest
import torch
from chains import molecules, predictor
from torch_geometric.data import Batch, Data, InMemoryDataset

from molae_pyg import MolAEPredictor
from molae_pyg.datasets import MoleculeTable
from molae_pyg.inference import embed
from molae_pyg.training import Finetuning, finetune, predict
from molae_pyg.training.molecules import Labelled, TrainingItems, check_labelled
from molae_pyg.transforms import RemoveHydrogens

NAN, INF = float("nan"), float("inf")
LEGACY = np.random.mtrand._rand  # what np.random.uniform and the like draw from
SETTINGS = Finetuning(epochs=1, batch_size=4)


def as_qm9(molecules: list[Data]) -> list[Data]:
    """The form of QM9 and MD17: ``z``, ``pos``, ``y``, and fields that no model reads."""
    return [
        Data(z=d.z, pos=d.conformers[:, 0].contiguous(), y=d.y, name="x", idx=torch.tensor([0]))
        for d in molecules
    ]


class Table(InMemoryDataset):
    def __init__(self, molecules: list[Data], transform=None):
        super().__init__(None, transform)
        self.data, self.slices = self.collate(molecules)


def test_data_with_pos_alone_is_trained_and_predicted(tmp_path):
    train, valid = as_qm9(molecules(8)), as_qm9(molecules(4, seed=1))
    finetune(model := predictor(), train, valid, tmp_path, SETTINGS)
    found = predict(model, valid, precision="32-true")
    with_axis = [Data(z=d.z, conformers=d.pos[:, None]) for d in valid]
    assert np.array_equal(found, predict(model, with_axis, precision="32-true"))
    assert "conformers" not in valid[0]  # the caller's molecules stay as they were
    table = predict(model, Table(valid), precision="32-true")
    assert np.array_equal(found, table)


def test_a_data_set_of_quantum_chemistry_is_used_as_it_is(tmp_path):
    """Bonds, names and 19 targets, of which a transform takes one; PyTorch splits it."""

    def some(n: int) -> Table:
        found = as_qm9(molecules(n))
        for data in found:
            data.update(
                {"edge_index": torch.tensor([[0, 1], [1, 0]]), "edge_attr": torch.ones(2, 4)}
            )
            data.update({"x": torch.rand(len(data.z), 11), "y": data.y.repeat(1, 19)})
        return Table(found, lambda data: data.update({"y": data.y[:, 7:8]}))

    train, valid = torch.utils.data.random_split(some(12), [8, 4])
    finetune(model := predictor(), train, valid, tmp_path, SETTINGS)
    found = predict(MolAEPredictor.from_pretrained(tmp_path / "model"), valid)
    assert np.array_equal(found, predict(model, list(valid)))
    assert np.isfinite(embed(model, valid)).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update({"z": d.z.int()}),
        lambda d: d.update({"z": d.z.to(torch.uint8)}),
        lambda d: d.update({"conformers": d.conformers.double()}),
        lambda d: d.update({"y": d.y.view(1)}),
        lambda d: d.update({"y": d.y.view(())}),
        lambda d: d.update({"y": d.y.double()}),
        lambda d: d.update({"y": d.y.item()}),
    ],
)
def test_forms_whose_meaning_is_clear_give_the_same(tmp_path, change):
    plain = molecules(8), molecules(4, seed=1)
    changed = molecules(8), molecules(4, seed=1)
    for data in (*changed[0], *changed[1]):
        change(data)
    settings = Finetuning(epochs=1, batch_size=4, precision="32-true")
    predicted = []
    for name, (train, valid) in {"plain": plain, "changed": changed}.items():
        finetune(model := predictor(), train, valid, tmp_path / name, settings)
        predicted.append(predict(model, plain[1], precision="32-true"))
    assert np.array_equal(*predicted)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8])
def test_classes_of_any_type(tmp_path, dtype):
    train, valid = molecules(16, classes=True), molecules(8, seed=1, classes=True)
    for data in train + valid:
        data.y = data.y.to(dtype)
    finetune(predictor(task_type="classification"), train, valid, tmp_path, SETTINGS)


def test_one_molecule_with_labels_of_shape_t():
    model = predictor(num_tasks=3)
    some = [Data(z=d.z, pos=d.conformers[:, 0], y=torch.arange(3)) for d in molecules(2)]
    seen = check_labelled(some, "train", model)
    assert seen.y.tolist() == [[0, 1, 2], [0, 1, 2]]


def with_(index: int = 2, **fields) -> list[Data]:
    """Four molecules, one of which has other fields; None: it has none of that name."""
    found = molecules(4)
    for name, value in fields.items():
        if value is None:
            del found[index][name]
        else:
            found[index][name] = value
    return found


def with_nan(key: str, value: float) -> list[Data]:
    found = as_qm9(molecules(4)) if key == "pos" else molecules(4)
    found[2][key].view(-1)[1] = value
    return found


BAD = {
    "is one Data": lambda: molecules(1)[0],
    "is one Data: give": lambda: Batch.from_data_list(molecules(2)),
    "a list of Data or a data set, got a generator": lambda: (d for d in molecules(4)),
    "a data set, got a str": lambda: "CCO",
    "has no molecule": list,
    r"molecule 1 of SET is a str: give PyG Data": lambda: [molecules(1)[0], "CCO"],
    r"molecule 2 of SET \(m2\) has neither conformers .* nor pos": lambda: with_(conformers=None),
    r"molecule 2 of SET \(m2\) needs atomic numbers": lambda: with_(z=torch.rand(5)),
    r"molecule 2 of SET \(m2\) has no atom": lambda: with_(z=torch.zeros(0, dtype=torch.long)),
    r"conformers of molecule 2 of SET \(m2\) has shape \[3, 2, 3\] for": (
        lambda: with_(conformers=torch.zeros(3, 2, 3))
    ),
    r"conformers of molecule 2 .* has shape \[\d, 0, 3\]": (
        lambda: with_(conformers=torch.zeros(molecules(4)[2].num_nodes, 0, 3))
    ),
    r"conformers of molecule 2 of SET \(m2\) is not finite": lambda: with_nan("conformers", NAN),
    r"pos of molecule 2 of SET is not finite": lambda: with_nan("pos", INF),
    "a field of SET is not data: the content of a object": lambda: with_(mol=object()),
}
BAD_LABELS = {
    r"molecule 2 of SET has no y": lambda: with_(y=None),
    r"y of molecule 2 of SET has shape \[1, 2\], but the model has 1 tasks": (
        lambda: with_(y=torch.zeros(1, 2))
    ),
    r"y of molecule 2 of SET has shape \[0\]": lambda: with_(y=torch.zeros(0)),
    r"y of molecule 2 of SET is infinite": lambda: with_(y=torch.tensor([[INF]])),
    r"y of molecule 2 of SET is no number: 'active'": lambda: with_(y="active"),
}


@pytest.mark.parametrize("what", ["train", "valid"])
@pytest.mark.parametrize("message", [*BAD, *BAD_LABELS])
def test_what_cannot_be_used_is_an_error_before_any_work(tmp_path, what, message):
    call = {"train": molecules(8), "valid": molecules(4, seed=1)}
    call[what] = (BAD | BAD_LABELS)[message]()
    with pytest.raises(ValueError, match=message.replace("SET", what)):
        finetune(predictor(), **call, folder=tmp_path / "run", settings=SETTINGS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("message", [message for message in BAD if "field" not in message])
def test_what_cannot_be_predicted_is_an_error(message):
    if message == "has no molecule":
        assert predict(predictor(), []).shape == (0, 1)
        return
    with pytest.raises(ValueError, match=message.replace("SET", "molecules")):
        predict(predictor(), BAD[message]())


def test_classes_that_are_none(tmp_path):
    train = molecules(8, classes=True)
    train[3].y = torch.tensor([[2.0]])
    with pytest.raises(ValueError, match="but 'task0' of molecule 3 of train is 2"):
        finetune(predictor(task_type="classification"), train, train, tmp_path, SETTINGS)


def test_different_numbers_of_conformers_are_an_error_unless_the_first_are_used(tmp_path):
    train, valid = molecules(8), molecules(4, seed=1)
    train[3].conformers = train[3].conformers[:, :1]  # training draws one in any case
    valid[3].conformers = valid[3].conformers[:, :1]
    with pytest.raises(ValueError, match=r"molecule 3 of valid \(m3\) has 1 conformers .* has 2"):
        finetune(predictor(), train, valid, tmp_path / "run", SETTINGS)
    one = Finetuning(epochs=1, batch_size=4, valid_conformers=1)
    finetune(model := predictor(), train, valid, tmp_path / "run", one)
    with pytest.raises(ValueError, match="molecule 3 of molecules"):
        predict(model, valid)
    assert predict(model, valid, conformers=1).shape == (4, 1)


def test_scale_of_another_shape(tmp_path):
    for scale in (torch.zeros(3), torch.zeros(3, 2), torch.tensor([[1.0], [INF]])):
        with pytest.raises(ValueError, match=r"scale must be finite targets \[m, 1\]"):
            finetune(predictor(), molecules(8), molecules(4), tmp_path, SETTINGS, scale=scale)


class Known(list):
    """A data set that knows itself: it is not read before the training."""

    read = 0
    transform = None

    @property
    def y(self):
        return torch.cat([data.y for data in list.__iter__(self)])

    @property
    def num_atoms(self):
        return np.array([data.num_nodes for data in list.__iter__(self)])

    def fingerprint(self):
        return "known"

    def __getitem__(self, index):
        self.read += 1
        return super().__getitem__(index)


def test_a_data_set_that_knows_itself_is_not_read():
    data = Known(molecules(4))
    seen = check_labelled(data, "train", predictor())
    assert data.read == 0
    assert seen.fingerprint == "known"
    assert torch.equal(seen.y, data.y)


def test_a_table_is_not_read_either(monkeypatch):
    table = MoleculeTable(
        ["CCO", "C", "c1ccccc1", "CC"], [1.0, 2, 3, 4], num_conformers=0, workers=1
    )
    some = table[torch.tensor([2, 0, 3])]
    plain = check_labelled(list(some), "train", predictor())
    with monkeypatch.context() as patch:
        patch.setattr(MoleculeTable, "get", None)
        seen = check_labelled(some, "train", predictor())
    assert seen.num_atoms.tolist() == plain.num_atoms.tolist() == [6, 3, 2]
    assert torch.equal(seen.y, plain.y)
    assert seen.fingerprint == some.fingerprint() != table.fingerprint()
    some.transform = RemoveHydrogens()  # it may change what there is
    assert check_labelled(some, "train", predictor()).fingerprint == plain.fingerprint


def test_draws_depend_on_seed_epoch_and_item_alone():
    """Also those of a transform of the data set, from whichever generator."""

    def drawing(data):
        data.drawn = torch.tensor([torch.rand(()), LEGACY.uniform(), random.random()])
        return data

    def epoch(seed, number, order):
        data = Table(molecules(6), drawing)
        labelled = Labelled(data, torch.zeros(6, 1), np.zeros(6), "")
        items = TrainingItems(labelled, torch.float32, seed, number)
        found = {index: items[index] for index in order}
        return torch.cat([torch.cat([found[i].pos.ravel(), found[i].drawn]) for i in range(6)])

    first = epoch(0, 3, range(6))
    torch.rand(5), LEGACY.uniform(size=3), random.random()
    assert torch.equal(first, epoch(0, 3, [5, 1, 0, 2, 4, 3]))
    assert not torch.equal(first, epoch(0, 4, range(6)))
    assert not torch.equal(first, epoch(1, 3, range(6)))
    drawn = first.view(-1)[-3:]
    assert len(drawn.unique()) == 3


def test_the_generators_of_the_process_stay_as_they_were(tmp_path):
    states = torch.get_rng_state(), random.getstate(), LEGACY.get_state()[1].copy()
    model = predictor()
    torch.set_rng_state(states[0])
    finetune(model, molecules(8), molecules(4, seed=1), tmp_path, SETTINGS)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (LEGACY.get_state()[1] == states[2]).all()
