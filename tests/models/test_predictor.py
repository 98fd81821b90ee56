import json
from typing import get_args

import goldens
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import MolAEEncoder, MolAEPredictor
from molae_pyg.chem.elements import CLS, PAD, SEP, atomic_number_table
from molae_pyg.nn.readout import Readout
from molae_pyg.official_checkpoint import OfficialFile, load_official_encoder, official_name

ATOL = {"tiny": 1e-5, "base": 1e-4}
READOUTS = get_args(Readout)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def molecules():
    """Two molecules of 3 and 2 atoms with 4 conformers, ``pos`` being the first."""
    conformers = torch.randn(5, 4, 3)
    batch, z = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([6, 8, 7, 9, 6])
    return Data(z=z, pos=conformers[:, 0], conformers=conformers, batch=batch)


def small(**arguments) -> MolAEPredictor:
    """A model whose weights are large enough for conformers to matter."""
    encoder = MolAEEncoder(16, 32, 4, 1, num_gaussians=8, gaussian_init="intended")
    for matrix in encoder.parameters():
        if matrix.dim() == 2 and matrix.size(0) > 1:
            torch.nn.init.normal_(matrix, std=0.4)
    return MolAEPredictor(encoder, **arguments).eval()


# ------------------------------------------------------------------------------- recordings


def recorded_molecules() -> tuple[Data, torch.Tensor]:
    """The complete molecules of the recording, and where their atoms are in it."""
    inputs = goldens.arrays("finetune/inputs")
    token = inputs["src_tokens"]
    atom = (token != PAD) & (token != CLS) & (token != SEP)
    z, pos = atomic_number_table()[token[atom]], inputs["src_coord"][atom]
    return Data(z=z, pos=pos, batch=atom.nonzero()[:, 0]), atom


def recorded_encoder(size: str) -> MolAEEncoder:
    return load_official_encoder(MolAEEncoder, OfficialFile(size, goldens.weights(size), {}))[0]


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_recorded_fine_tuning(size):
    recorded = goldens.arrays(f"finetune/{size}")
    meta = json.loads((goldens.FOLDER / "finetune" / "meta.json").read_text())[size]
    model = MolAEPredictor(recorded_encoder(size), num_tasks=2, task_type="classification").eval()
    names = {"dense": "head.dense", "out": "head.out_proj"}
    for ours, official in names.items():
        layer = model.head.get_submodule(ours)
        layer.weight.data = recorded[f"{official}.weight"]
        layer.bias.data = recorded[f"{official}.bias"]
    data, atom = recorded_molecules()

    out = model.encoder(data.z, data.pos, data.batch)
    tokens = recorded["encoder_rep"]  # [B, N, C]: CLS, atoms, SEP, padding
    sep = goldens.arrays("finetune/inputs")["src_tokens"] == SEP
    for mine, theirs in (
        (out.x, tokens[atom]),
        (out.molecule, tokens[:, 0]),
        (out.sep, tokens[sep]),
    ):
        torch.testing.assert_close(mine, theirs, atol=ATOL[size], rtol=0)
    torch.testing.assert_close(out.molecule, recorded["cls"], atol=ATOL[size], rtol=0)
    logits = model(data.z, data.pos, data.batch)
    torch.testing.assert_close(logits, recorded["logits"], atol=ATOL[size], rtol=0)

    target = torch.tensor(meta["ce_targets"])
    loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    assert loss.item() == pytest.approx(meta["ce_sum"], rel=1e-5)
    loss.backward()
    official_head = {
        f"head.{ours}": f"classification_heads.toy.{theirs[5:]}" for ours, theirs in names.items()
    }
    checked = set()
    for name, parameter in model.named_parameters():
        module, _, leaf = name.rpartition(".")
        key = f"{official_head[module]}.{leaf}" if module in official_head else official_name(name)
        if parameter.requires_grad:
            norm = meta["grad_norms"][key]
            assert parameter.grad.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-3), key
            checked.add(key)
    assert checked == meta["grad_norms"].keys()


@pytest.mark.parametrize("size", ["tiny", "base"])
@torch.no_grad()
def test_recorded_unimol_tools(size):
    """Another implementation of the same encoder."""
    recorded = goldens.arrays(f"unimol_tools/{size}")
    encoder = recorded_encoder(size).eval()
    data, _ = recorded_molecules()
    out = encoder(data.z, data.pos, data.batch)
    torch.testing.assert_close(out.molecule, recorded["cls_repr"], atol=ATOL[size], rtol=0)
    atoms = torch.cat([recorded[f"atomic_{i}"] for i in range(3)])
    torch.testing.assert_close(out.x, atoms, atol=ATOL[size], rtol=0)


# ---------------------------------------------------------------------------------- scaling


def test_scaling_skips_missing_labels():
    model = small(num_tasks=2)
    nan = torch.nan
    model.set_scaling(torch.tensor([[1.0, nan], [3.0, 10.0], [nan, 10.0], [5.0, 40.0]]))
    assert model.mean.tolist() == pytest.approx([3.0, 20.0])
    assert model.std.tolist() == pytest.approx([2.0, 300**0.5])


def test_predictions_are_in_real_units(molecules):
    model = small(num_tasks=2)
    raw = model(molecules.z, molecules.pos, molecules.batch)
    model.set_scaling(torch.tensor([[100.0, -1.0], [300.0, -2.0]]))
    y = model(molecules.z, molecules.pos, molecules.batch)
    expected = raw * torch.tensor([20000**0.5, 0.5**0.5]) + torch.tensor([200.0, -1.5])
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "column",
    [
        [torch.nan, torch.nan, torch.nan],
        [2.0, torch.nan, torch.nan],
        [2.0, 2.0, 2.0],
        [0.1, 0.1, 0.1],  # whose mean, in float64, is not 0.1
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_to_learn(column, dtype):
    model = small(num_tasks=2, task_names=["logP", "HOMO"])
    y = torch.tensor([[1.0, 2.0, 3.0], column], dtype=dtype).T
    with pytest.raises(ValueError, match="'HOMO' has no two different labels"):
        model.set_scaling(y)


# ------------------------------------------------------------------------------- prediction


@pytest.mark.parametrize("task_type", ["regression", "classification"])
@torch.no_grad()
def test_predict_is_the_mean_over_conformers(molecules, task_type):
    model = small(num_tasks=3, task_type=task_type)
    if task_type == "regression":
        model.set_scaling(torch.randn(5, 3))
    each = torch.stack(
        [model(molecules.z, molecules.conformers[:, k], molecules.batch) for k in range(4)]
    )
    assert (each[0] - each[1]).abs().max() > 1e-5  # conformers differ
    if task_type == "classification":  # of probabilities, not of logits
        each = 1 / (1 + (-each).exp())
    y = model.predict(molecules.z, molecules.conformers, molecules.batch)
    assert y.shape == (2, 3)
    torch.testing.assert_close(y, each.mean(0))


MIXED = ["regression", "classification", "regression"]


@torch.no_grad()
def test_mixed_tasks_are_values_and_probabilities_column_by_column(molecules, tmp_path):
    model = small(num_tasks=3, task_type=MIXED)
    assert model.task_types == MIXED
    assert model.task_type == "mixed"
    model.set_scaling(torch.tensor([[1.0, 0.0, 5.0], [3.0, 0.0, 9.0]]))
    assert model.mean.tolist() == [2, 0, 7]  # classes are not scaled, even if all are equal
    assert model.std[1] == 1
    each = torch.stack(
        [model(molecules.z, molecules.conformers[:, k], molecules.batch) for k in range(4)]
    )
    each[..., 1] = each[..., 1].sigmoid()
    y = model.predict(molecules.z, molecules.conformers, molecules.batch)
    torch.testing.assert_close(y, each.mean(0))
    model.save_pretrained(tmp_path)
    assert MolAEPredictor.from_pretrained(tmp_path).task_types == MIXED


def test_the_type_of_uniform_tasks_is_one_string_on_disk():
    for task_type in ("classification", ["classification"] * 2):
        model = small(num_tasks=2, task_type=task_type)
        assert model.config["task_type"] == "classification"
        assert model.task_type == "classification"
        assert model.task_types == ["classification"] * 2


@torch.no_grad()
def test_a_batch_without_conformers_is_predicted_from_pos(molecules):
    model = small()
    expected = model(molecules.z, molecules.pos, molecules.batch)
    del molecules.conformers
    assert torch.equal(model.predict_batch(molecules), expected)


def test_a_saved_model_keeps_its_recipe(tmp_path):
    model = small()
    assert model.recipe is None
    model.save_pretrained(tmp_path / "without")
    assert MolAEPredictor.from_pretrained(tmp_path / "without").recipe is None
    model.recipe = {"num_conformers": 3, "recipe_version": 2}
    model.save_pretrained(tmp_path / "with")
    assert MolAEPredictor.from_pretrained(tmp_path / "with").recipe == model.recipe


def test_one_molecule_without_batch(molecules):
    model = small(num_tasks=2)
    first = molecules.batch == 0
    y = model(molecules.z[first], molecules.pos[first])
    together = model(molecules.z, molecules.pos, molecules.batch)
    torch.testing.assert_close(y, together[:1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("readout", ["mean", "sum", "max"])
def test_readouts_pool_atoms_of_each_molecule(molecules, readout):
    model = small(readout=readout)
    x = model.encoder(molecules.z, molecules.pos, molecules.batch).x
    pool = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}[readout]
    h = torch.stack([pool(x[:3], 0), pool(x[3:], 0)])
    expected = model.head.out(torch.tanh(model.head.dense(h)))
    y = model(molecules.z, molecules.pos, molecules.batch)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-5)


def test_gradients_reach_encoder_and_head(molecules):
    model = small().train()
    model(molecules.z, molecules.pos, molecules.batch).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name


# --------------------------------------------------------------------------------- on disk


@pytest.mark.parametrize("readout", ["cls", "max"])
@torch.no_grad()
def test_saved_model_is_the_same_model(molecules, tmp_path, readout):
    model = small(num_tasks=2, pooler_dropout=0.2, readout=readout, task_names=["logP", "HOMO"])
    model.set_scaling(torch.randn(9, 2) * 40 + 7)
    model.save_pretrained(tmp_path)
    loaded = MolAEPredictor.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.config == model.config
    expected = model(molecules.z, molecules.pos, molecules.batch)
    assert torch.equal(loaded(molecules.z, molecules.pos, molecules.batch), expected)


# ---------------------------------------------------------------------------------- errors


def test_wrong_task_type():
    with pytest.raises(ValueError, match="got 'ranking'"):
        small(task_type="ranking")
    with pytest.raises(ValueError, match="1 task types for 2 tasks"):
        small(num_tasks=2, task_type=["regression"])
    with pytest.raises(ValueError, match="two tasks have the same name: a, a"):
        small(num_tasks=2, task_names=["a", "a"])


def test_wrong_number_of_names():
    with pytest.raises(ValueError, match=r"2 tasks, but names \['logP'\]"):
        small(num_tasks=2, task_names=["logP"])


def test_encoder_is_used_as_it_is():
    encoder = MolAEEncoder(16, 32, 4, 1, num_gaussians=8)
    assert MolAEPredictor(encoder).encoder is encoder
    assert MolAEPredictor(encoder.config).encoder.config == encoder.config


def test_default_names():
    assert small(num_tasks=2).task_names == ["task0", "task1"]


# ---------------------------------------------------------------------------- dropped atoms


@pytest.mark.parametrize("readout", READOUTS)
@torch.no_grad()
def test_a_dropped_atom_is_gone_and_the_others_stay_where_they_are(molecules, readout):
    model = small(num_tasks=2, readout=readout)
    z, pos, batch = molecules.z, molecules.pos, molecules.batch
    drop = torch.tensor([False, True, False, False, False])
    y = model(z, pos, batch, drop_mask=drop)
    # The reduced molecules around the centroid of the whole ones:
    origin = torch.stack([pos[:3].mean(0), pos[3:].mean(0)])
    out = model.encoder(z[~drop], pos[~drop], batch[~drop], origin=origin)
    expected = model.head(out.x, out.molecule, torch.tensor([0, 2, 4])) * model.std + model.mean
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-5)
    whole = model(z, pos, batch)
    assert (y - whole)[0].abs().max() > 1e-4
    torch.testing.assert_close(y[1], whole[1], atol=1e-6, rtol=1e-5)
    assert torch.equal(model(z, pos, batch, drop_mask=torch.zeros_like(drop)), whole)


@pytest.mark.parametrize("readout", READOUTS)
@torch.no_grad()
def test_a_molecule_may_lose_all_of_its_atoms(molecules, readout):
    model = small(readout=readout)
    z, pos, batch = molecules.z, molecules.pos, molecules.batch
    y = model(z, pos, batch, drop_mask=batch == 1)
    assert y.shape == (2, 1)
    torch.testing.assert_close(y[0], model(z, pos, batch)[0], atol=1e-6, rtol=1e-5)
    if readout == "atomwise":
        assert y[1] == model.mean
    elif "cls" not in readout:
        zeros = torch.zeros(1, 16)
        expected = model.head.out(torch.tanh(model.head.dense(zeros)))
        torch.testing.assert_close(y[1:], expected)
    alone = model(z[:1], pos[:1], drop_mask=torch.tensor([True]))
    assert alone.isfinite().all()
