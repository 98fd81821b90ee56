"""One value for each atom: symmetry, batches, scaling by element, fine-tuning, saved models."""

import numpy as np
import pytest
import torch
from chains import molecules
from torch_geometric.data import Batch, Data

from molae_pyg.inference import embed_atoms, explain, predict
from molae_pyg.inference.export import export_program
from molae_pyg.models import AtomPredictor, MolAE, MolAEEncoder
from molae_pyg.training import Finetuning, finetune
from molae_pyg.training.property import predict_in_parts

NAN = float("nan")


def model_of(num_tasks: int = 1, **settings) -> AtomPredictor:
    torch.manual_seed(0)
    return AtomPredictor(MolAE.tiny(gaussian_init="intended").encoder, num_tasks, **settings)


def labelled(n: int, seed: int = 0) -> list[Data]:
    """Chains; the value of an atom is 3 for oxygen, 10 for carbon, plus its oxygen neighbours."""
    some = molecules(n, seed)
    for data in some:
        oxygen = (data.z == 8).float()
        beside = torch.zeros(len(oxygen))
        beside[1:] += oxygen[:-1]
        beside[:-1] += oxygen[1:]
        data.y = (10 - 7 * oxygen + beside)[:, None]
    return some


def test_a_row_for_each_atom_follows_its_atom():
    model = model_of(2).double().eval()
    data = molecules(1)[0]
    z, pos = data.z, data.conformers[:, 0].double()
    y = model(z, pos)
    assert y.shape == (len(z), 2)
    assert y.std(0).min() > 1e-4  # so that the order shows
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(z[order], pos[order]), y[order], atol=1e-10, rtol=0)


def test_atoms_do_not_see_other_molecules_of_a_batch():
    model = model_of().double().eval()
    some = molecules(5)
    batch = Batch.from_data_list(some)
    together = model(batch.z, batch.conformers[:, 0].double(), batch.batch)
    alone = [model(data.z, data.conformers[:, 0].double()) for data in some]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-10, rtol=0)
    batch.pos = batch.conformers[:, 0].double()
    parts = predict_in_parts(model, batch, 200)
    torch.testing.assert_close(parts, together, atol=1e-10, rtol=0)


def test_predictions_are_in_the_order_given_whatever_the_batches():
    model, some = model_of().eval(), molecules(12)
    found = predict(model, some, batch_size=5, precision="32-true")
    alone = np.concatenate([predict(model, [one], precision="32-true") for one in some])
    assert found.shape == (sum(data.num_nodes for data in some), 1)
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-6)
    assert np.ptp(alone) > 1e-3
    first = some[0]
    by_hand = np.mean(
        [model(first.z, pos).detach().numpy() for pos in first.conformers.unbind(1)], axis=0
    )
    np.testing.assert_allclose(alone[: first.num_nodes], by_hand, rtol=1e-4, atol=1e-6)


def test_vectors_of_atoms_are_those_of_the_encoder():
    encoder, some = MolAE.tiny().encoder.eval(), molecules(7)
    found = embed_atoms(encoder, some, batch_size=3, precision="32-true")
    with torch.no_grad():
        expected = [
            torch.stack([encoder(d.z, pos).x for pos in d.conformers.unbind(1)]).mean(0)
            for d in some
        ]
    np.testing.assert_allclose(found, torch.cat(expected).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="has no molecule"):
        embed_atoms(encoder, [])


def test_scaling_is_by_element():
    model = model_of()
    z = torch.tensor([6, 6, 6, 8, 8, 7])
    y = torch.tensor([[1.0], [2.0], [3.0], [10.0], [12.0], [NAN]])
    model.set_scaling(y, z)
    assert model.element_mean[6] == 2
    assert model.element_mean[8] == 11
    assert model.element_mean[7] == model.element_mean[1] == y.nanmean()  # no value of its own
    assert model.std == pytest.approx((4 / 5) ** 0.5)  # squares 1, 0, 1, 1, 1
    torch.nn.init.zeros_(model.head.out.weight)
    torch.nn.init.zeros_(model.head.out.bias)
    found = model(z, torch.randn(6, 3))
    torch.testing.assert_close(found, model.element_mean[z])


def test_elements_with_one_value_each_can_be_scaled():
    model = model_of()
    model.set_scaling(torch.tensor([[1.0], [1.0], [2.0]]), torch.tensor([6, 6, 8]))
    assert model.std > 0
    with pytest.raises(ValueError, match="no two different labels"):
        model.set_scaling(torch.tensor([[1.0], [1.0], [NAN]]), torch.tensor([6, 8, 8]))


def test_fine_tuning_learns_what_neighbours_do(tmp_path):
    train, valid = labelled(64), labelled(16, seed=1)
    for data in train[::3]:
        data.y[0] = NAN
    model = model_of()
    settings = Finetuning(epochs=40, batch_size=8, lr=3e-3, warmup=0.1, precision="32-true")
    best = finetune(model, train, valid, tmp_path, settings)
    y = torch.cat([data.y for data in valid]).numpy()
    z = torch.cat([data.z for data in valid])
    found = predict(model, valid, precision="32-true")
    rmse = float(np.sqrt(((found - y) ** 2).mean()))
    assert rmse == pytest.approx(best["val_rmse"], rel=1e-3)
    by_element = float(np.sqrt(((model.element_mean[z].numpy() - y) ** 2).mean()))
    assert rmse < 0.35 * by_element
    again = AtomPredictor.from_pretrained(tmp_path / "model")
    assert np.array_equal(predict(again, valid, precision="32-true"), found)
    assert repr(again) == repr(model)
    encoder = MolAEEncoder.from_pretrained(tmp_path / "model")
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, model.encoder.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": torch.zeros(1, 1)}, r"y of molecule 1 of train is of shape \[1, 1\].*\[5, 1\]"),
        ({"y": None}, "is no tensor"),
        ({"y": torch.full((5, 1), torch.inf)}, "y of atom 4 of train is infinite"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, change, message):
    train = [Data(z=torch.full((n,), 6), pos=torch.randn(n, 3), y=torch.rand(n, 1)) for n in (4, 5)]
    for key, value in change.items():
        train[1][key] = value
    with pytest.raises(ValueError, match=message):
        finetune(model_of(), train, labelled(2), tmp_path / "run", Finetuning(epochs=1))
    assert not (tmp_path / "run").exists()


def test_what_is_for_molecules_refuses_a_model_of_atoms(tmp_path):
    model = model_of()
    with pytest.raises(ValueError, match="a model of atoms takes Data"):
        predict(model, ["CCO"])
    with pytest.raises(ValueError, match="cannot leave atoms out"):
        explain(model, molecules(1))
    with pytest.raises(ValueError, match="AtomPredictor cannot be exported"):
        export_program(model)
    with pytest.raises(ValueError, match="scale is for targets of molecules"):
        finetune(
            model, labelled(2), labelled(2), tmp_path / "run", Finetuning(epochs=1),
            scale=torch.rand(5, 1),
        )  # fmt: skip
