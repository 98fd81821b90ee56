"""Input of the models: a wrong shape, type or value is a ValueError that names what is allowed."""

from typing import get_args

import pytest
import torch
from torch.testing import assert_close
from torch_geometric.data import Data
from torch_geometric.transforms import Compose, RandomRotate

from molae_pyg import ClozeDrop, MolAE, MolAEEncoder, MolAEPredictor
from molae_pyg.analysis import reconstruct
from molae_pyg.models import UniMol
from molae_pyg.nn.readout import Readout

Z = torch.tensor([6, 6, 8, 6, 7])
POS = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [2.0, 1.2, 0], [0.0, 1, 2], [1.1, 1, 2]])
BATCH = torch.tensor([0, 0, 0, 1, 1])


@pytest.fixture(scope="module")
def model() -> MolAE:
    torch.manual_seed(0)
    return MolAE(16, 24, 4, 2, 1, num_gaussians=8).eval().requires_grad_(False)


def calls(model: MolAE) -> dict:
    predictor = MolAEPredictor(model.encoder).eval()
    return {
        "encoder": lambda *args: model.encoder(*args).molecule,
        "model": lambda *args: model(*args).pos,
        "encode": lambda *args: model.encode(*args).molecule,
        "predictor": predictor,
    }


@pytest.fixture(params=["encoder", "model", "encode", "predictor"])
def call(model, request):
    return calls(model)[request.param]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
def test_integers_of_any_size(call, dtype):
    expected = call(Z, POS, BATCH)
    assert torch.equal(call(Z.to(dtype), POS, BATCH), expected)
    if dtype == torch.int32:
        assert torch.equal(call(Z, POS, BATCH.to(dtype)), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_coordinates_take_the_type_of_the_weights(call, dtype):
    pos = POS.to(dtype)
    assert_close(call(Z, pos, BATCH), call(Z, pos.float(), BATCH), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("z", "found"),
    [
        ([6, -1, 8, 6, 7], None),
        ([6, 119, 8, 6, 7], None),
        ([6, 1000, 8, 6, 7], None),
        ([6.0, 6, 8, 6, 7], "float32"),
        ([True] * 5, "bool"),
    ],
)
def test_an_atomic_number_out_of_range_is_an_error(call, z, found):
    with pytest.raises(ValueError, match=rf"atomic numbers: integers .*1 to 118.*{found or ''}"):
        call(torch.tensor(z), POS, BATCH)


@pytest.mark.parametrize("z", [0, 1, 118])
def test_ends_of_the_range(call, z):
    assert call(torch.tensor([z, 6, 8, 6, 7]), POS, BATCH).isfinite().all()


@pytest.mark.parametrize(
    "batch",
    [
        torch.tensor([0, 0, 1, 0, 1]),
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([-1, 0, 0, 1, 1]),
        torch.tensor([[0, 0, 0, 1, 1]]),
        torch.tensor([0.0, 0, 0, 1, 1]),
    ],
)
def test_an_unusable_batch_is_an_error(call, batch):
    with pytest.raises(ValueError, match="batch must be sorted and have one entry per atom"):
        call(Z, POS, batch)


def test_unusable_coordinates_are_an_error(call):
    with pytest.raises(ValueError, match=r"pos must be floating-point numbers in Å .*int64"):
        call(Z, POS.long(), BATCH)
    for pos in (POS[:4], POS[:, :2], POS[:, None]):
        with pytest.raises(ValueError, match=r"expected z \[N\] and pos \[N, 3\]"):
            call(Z, pos, BATCH)
    with pytest.raises(ValueError, match="there is no atom"):
        call(Z[:0], POS[:0], BATCH[:0])


def test_molecules_without_atoms(model):
    """In the middle, in front and, where ``batch_size`` says so, at the end."""
    expected = model.encoder(Z, POS, BATCH)
    out = model.encoder(Z, POS, torch.tensor([1, 1, 1, 3, 3]), batch_size=6)
    assert out.molecule.shape == (6, 16)
    assert_close(out.molecule[[1, 3]], expected.molecule, atol=1e-6, rtol=0)
    assert torch.equal(out.x, expected.x)
    empty = out.molecule[[0, 2, 4, 5]]
    assert torch.equal(empty, empty[:1].expand(4, 16))
    encoding = model.encode(Z, POS, BATCH, batch_size=3)
    assert encoding.molecule.shape == (3, 16)
    assert encoding.pair_index.shape == (2, 13)
    drop = torch.tensor([True, False, False, False, False])
    noisy = POS + drop[:, None]
    longer = model(Z, POS, BATCH, drop, noisy, batch_size=3)
    for mine, theirs in zip(longer[:3], model(Z, POS, BATCH, drop, noisy)[:3], strict=True):
        assert_close(mine, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("readout", get_args(Readout))
def test_predictor_has_a_row_for_each_molecule(model, readout):
    predictor = MolAEPredictor(model.encoder, readout=readout).eval()
    out = predictor(Z, POS, BATCH, batch_size=3)
    assert out.shape == (3, 1)
    assert out.isfinite().all()
    assert_close(out[:2], predictor(Z, POS, BATCH), atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_size", [0, 1])
def test_batch_size_that_is_too_small(model, batch_size):
    for forward in (model.encoder, model, model.encode):
        with pytest.raises(ValueError, match=f"batch_size={batch_size} is too small"):
            forward(Z, POS, BATCH, batch_size=batch_size)


def test_batch_size_without_batch(model):
    assert model.encoder(Z, POS, batch_size=1).molecule.shape == (1, 16)
    with pytest.raises(ValueError, match="without batch there is one molecule"):
        model.encoder(Z, POS, batch_size=2)


def test_origin_of_another_shape(model):
    with pytest.raises(ValueError, match=r"expected origin \[2, 3\], got \[1, 3\]"):
        model.encoder(Z, POS, BATCH, origin=torch.zeros(1, 3))
    positioned = UniMol.tiny(position=True).encoder
    with pytest.raises(ValueError, match=r"expected origin \[2, 3\], got \[1, 3\]"):
        positioned(Z, POS, BATCH, origin=torch.zeros(1, 3))


def test_a_gpu_asserts_with_the_message():
    """There is none here: the call is the one that :func:`require` makes on a GPU."""
    torch._assert_async(torch.tensor(True), "atomic numbers")
    with pytest.raises(RuntimeError, match="atomic numbers"):
        torch._assert_async(torch.tensor(False), "atomic numbers")


# ------------------------------------------------------------------------ the cloze test

DROP = torch.tensor([False, True, False, False, False])
NOISY = POS + DROP[:, None] * 0.5


def test_noisy_coordinates_are_not_broadcast(model):
    for noisy in (NOISY[:, :1], NOISY[:1], NOISY.long()):
        with pytest.raises(ValueError, match=r"expected pos_noisy \[5, 3\] of floating-point"):
            model(Z, POS, BATCH, DROP, noisy)


def test_noisy_elements_have_one_entry_per_atom(model):
    for z in (Z[:4], Z[:1], Z[:, None]):
        with pytest.raises(ValueError, match=r"expected z_noisy \[5\], got"):
            model(Z, POS, BATCH, DROP, NOISY, z)
    for z in (Z - 7, Z.float(), Z + 120):
        with pytest.raises(ValueError, match="z_noisy must be atomic numbers"):
            model(Z, POS, BATCH, DROP, NOISY, z)


@pytest.mark.parametrize("mask", [DROP.long(), DROP[:4], DROP[:, None]])
def test_a_mask_of_another_type_or_shape(model, mask):
    with pytest.raises(ValueError, match=r"expected a bool drop_mask \[5\]"):
        model(Z, POS, BATCH, mask, NOISY)


def test_noisy_coordinates_without_a_mask_are_not_ignored(model):
    with pytest.raises(ValueError, match="pos_noisy needs drop_mask: apply ClozeDrop"):
        model(Z, POS, BATCH, None, NOISY)


def rotated() -> Data:
    torch.manual_seed(0)
    return Compose([ClozeDrop(0.4), RandomRotate(90)])(Data(z=Z, pos=POS))


def test_atoms_moved_after_the_cloze_test_are_noticed():
    model, data = MolAE.tiny(), rotated()
    inputs = (data.z, data.pos, None, data.drop_mask, data.pos_noisy)
    with pytest.raises(ValueError, match="ClozeDrop and CoordinateNoise come last"):
        model.train()(*inputs)
    with pytest.warns(UserWarning, match="ClozeDrop and CoordinateNoise come last"):
        model.eval()(*inputs)
    with pytest.raises(ValueError, match="ClozeDrop and CoordinateNoise come last"):
        reconstruct(model, data)


def test_the_right_order_passes(recwarn):
    torch.manual_seed(0)
    data = Compose([RandomRotate(90), ClozeDrop(0.4)])(Data(z=Z, pos=POS.double()))
    model = MolAE.tiny()
    for mode in (True, False):
        model.train(mode)(data.z, data.pos, None, data.drop_mask, data.pos_noisy)
    assert not [w for w in recwarn if "ClozeDrop" in str(w.message)]


# ------------------------------------------------------------------------ compiled, exported


@pytest.fixture(scope="module")
def encoder() -> MolAEEncoder:
    torch.manual_seed(0)
    return MolAEEncoder(16, 16, heads=4, num_layers=1, num_gaussians=4).eval()


def same(mine, theirs) -> bool:
    return all(torch.equal(a, b) for a, b in zip(mine[:3], theirs[:3], strict=True))


def test_compiled_without_a_break(encoder):
    torch._dynamo.reset()
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    for batch, drop, batch_size in (
        (BATCH, None, 3),
        (BATCH, DROP, None),
        (BATCH, None, None),
        (None, None, None),
    ):
        mine = compiled(Z, POS, batch, drop, batch_size=batch_size)
        assert same(mine, encoder(Z, POS, batch, drop, batch_size=batch_size))


def test_compiled_once_for_all_numbers_of_molecules(encoder):
    torch._dynamo.reset()
    compiled = torch.compile(encoder, fullgraph=True, dynamic=True, backend="eager")
    for batch_size in (3, 5, 9):
        mine = compiled(Z, POS, BATCH, batch_size=batch_size)
        assert same(mine, encoder(Z, POS, BATCH, batch_size=batch_size))


def test_exported_for_any_number_of_atoms(encoder):
    dynamic = {0: torch.export.Dim.DYNAMIC}
    with torch.no_grad():
        program = torch.export.export(
            encoder,
            (Z, POS, BATCH),
            {"batch_size": 3},
            dynamic_shapes={"z": dynamic, "pos": dynamic, "batch": dynamic, "batch_size": None},
        ).module()
        z, pos = torch.cat([Z, Z]), torch.cat([POS, POS + 1])
        for batch in (torch.tensor([0] * 7 + [1] * 3), torch.tensor([1] * 4 + [2] * 6)):
            mine = program(z, pos, batch, batch_size=3)
            assert same(mine, encoder(z, pos, batch, batch_size=3))


def test_exported_for_one_molecule(encoder):
    with torch.no_grad():
        program = torch.export.export(encoder, (Z, POS)).module()
        assert same(program(Z, POS), encoder(Z, POS))


def test_whole_model_compiled_without_a_break():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = MolAE(16, 16, 4, 1, 1, num_gaussians=4, dropout=0.0, attn_dropout=0.0)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    inputs = (Z, POS, BATCH, DROP, NOISY)
    for mine, theirs in zip(compiled(*inputs), model(*inputs), strict=True):
        assert torch.equal(mine, theirs)
