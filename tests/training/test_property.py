import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg import MolAE, MolAEEncoder, MolAEPredictor, from_smiles
from molae_pyg.chem.graph import add_graph, batch_graph
from molae_pyg.training.property import plan_parts, predict_in_parts, task_losses


def batch_of(sizes: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch.from_data_list(
        [Data(z=torch.full((n,), 6), pos=torch.randn(n, 3, generator=generator)) for n in sizes]
    )


@pytest.mark.parametrize("pair_budget", [1, 100, 600, 10**6])
def test_parts_predict_what_the_whole_batch_does(pair_budget):
    torch.manual_seed(0)
    model = MolAEPredictor(MolAE.tiny().encoder, num_tasks=2).double().eval()
    batch = batch_of([5, 20, 3, 4, 20, 1])
    batch.pos = batch.pos.double()
    whole = model(batch.z, batch.pos, batch.batch)
    parts = predict_in_parts(model, batch, pair_budget)
    assert torch.allclose(parts, whole, atol=1e-12)

    whole.square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    parts.square().sum().backward()
    for name, p in model.named_parameters():
        if name in expected:
            assert torch.allclose(p.grad, expected[name], atol=1e-10), name


def test_parts_of_a_batch_with_a_graph():
    model = MolAEPredictor(MolAEEncoder(16, 32, 4, 2, 8, graph=True)).double().eval()
    torch.nn.init.normal_(model.encoder.graph_bias.pair.weight)
    smiles = ["CCO", "c1ccccc1C(=O)[O-]", "C", "N#CC=CC", "C[N+](C)(C)C"]
    batch = Batch.from_data_list([add_graph(from_smiles(s)) for s in smiles])
    batch.pos = batch.pos.double()
    whole = model(batch.z, batch.pos, batch.batch, graph=batch_graph(batch))
    assert not torch.allclose(whole, model(batch.z, batch.pos, batch.batch), atol=1e-6)
    for pair_budget in (1, 100):
        parts = predict_in_parts(model, batch, pair_budget)
        assert torch.allclose(parts, whole, atol=1e-12)


def test_parts_are_short():
    lengths = []

    class Spy(torch.nn.Module):
        def more_inputs(self, batch):
            return {"batch_size": batch.num_graphs}

        def forward(self, z, pos, batch, batch_size):
            lengths.append(batch.bincount().tolist())
            assert batch_size == len(lengths[-1])
            return pos.new_zeros(len(lengths[-1]), 1)

    predict_in_parts(Spy(), batch_of([5, 20, 3, 4]), 150)  # 3 * (5 + 2) ** 2 = 147
    assert lengths == [[5, 3, 4], [20]]


def test_parts_planned_before_are_used():
    torch.manual_seed(0)
    model = MolAEPredictor(MolAE.tiny().encoder).eval()
    batch = batch_of([5, 20, 3, 4])
    whole = model(batch.z, batch.pos, batch.batch)
    batch.parts = plan_parts(batch, 150)
    assert len(batch.parts) == 2
    batch = batch.to("cpu")  # as a batch goes to its device
    torch.testing.assert_close(predict_in_parts(model, batch, 10**6), whole, atol=1e-6, rtol=0)


VALUE, CLASS = "regression", "classification"


@pytest.mark.parametrize(
    ("types", "loss", "expected"),
    [
        ([VALUE, VALUE], None, ["mse", "mse"]),
        ([VALUE, CLASS], None, ["mse", "bce"]),
        ([VALUE, CLASS], "smooth_l1", ["smooth_l1", "bce"]),
        ([CLASS], None, ["bce"]),
        ([CLASS], "bce", ["bce"]),
    ],
)
def test_each_task_has_the_loss_of_its_type(types, loss, expected):
    assert task_losses(types, loss) == expected


@pytest.mark.parametrize(
    ("types", "loss", "message"),
    [
        ([VALUE], "bce", "'bce' does not fit a regression model"),
        ([VALUE, CLASS], "bce", "'bce' does not fit a mixed model"),
        ([CLASS], "mse", "'mse' does not fit a classification model"),
        ([VALUE], "huber", "one of mse, mae, smooth_l1, bce, not 'huber'"),
    ],
)
def test_a_loss_that_fits_no_task_is_an_error(types, loss, message):
    with pytest.raises(ValueError, match=message):
        task_losses(types, loss)
