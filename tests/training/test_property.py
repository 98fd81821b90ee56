import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.training.property import predict_in_parts


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


def test_parts_are_short():
    lengths = []

    class Spy(torch.nn.Module):
        def forward(self, z, pos, batch):
            lengths.append(batch.bincount().tolist())
            return pos.new_zeros(len(lengths[-1]), 1)

    predict_in_parts(Spy(), batch_of([5, 20, 3, 4]), 150)  # 3 * (5 + 2) ** 2 = 147
    assert lengths == [[5, 3, 4], [20]]
