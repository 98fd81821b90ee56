"""The dense step is MolAE.forward with cloze_loss, and sees no dropped atom."""

import dense
import numpy as np
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE
from molae_pyg.chem.elements import token_table
from molae_pyg.loss import cloze_loss


def flat_data(seed=0, sizes=(9, 5, 12, 3)):
    g = np.random.default_rng(seed)
    n = np.array(sizes)
    total = n.sum()
    z = g.choice([6, 7, 8, 16, 17], total)
    bonds, kinds, m = [], [], []
    for k in n:
        bonds += [(i, i + 1) for i in range(k - 1)]
        kinds += list(g.integers(1, 6, k - 1))
        m.append(k - 1)
    m = np.array(m)
    t = torch.as_tensor
    return z, {
        "token": token_table()[t(z)].to(torch.uint8),
        "pos": t(g.normal(0, 2000, (total, 3))).short(),
        "scale": 0.001,
        "n": t(n),
        "start": t(n.cumsum() - n),
        "m": t(m),
        "bond_start": t(m.cumsum() - m),
        "bond": t(np.array(bonds)).to(torch.uint8),
        "kind": t(np.array(kinds)).to(torch.uint8),
        "atom": t(g.integers(1, 3, (total, 6))).to(torch.uint8),
        "desc": t(g.normal(0, 1, (len(n), 215))).half(),
        "desc_mean": torch.zeros(215),
        "desc_std": torch.ones(215),
        "desc_used": torch.ones(215, dtype=torch.bool),
        "bits": t(g.integers(0, 256, (len(n), 128))).to(torch.uint8),
    }


def test_parity():
    torch.manual_seed(0)
    model = MolAE(64, 128, 8, 2, 1, num_gaussians=32, dropout=0.0, attn_dropout=0.0)
    net = dense.Net(model, 215, graph=False)
    z, data = flat_data()
    mol = dense.assemble(data, torch.arange(4), 14, 13, graph=False)
    n, real = mol["n"], mol["real"]
    chosen = dense.choose(n, real)
    drop = chosen[0]
    noisy = mol["pos"] + torch.randn_like(mol["pos"]) * drop[..., None]
    on = torch.ones(4, dtype=torch.bool)
    terms, _, _ = dense.cloze_terms(net, mol, chosen, noisy, on)
    flat = Data(
        z=torch.as_tensor(z),
        pos=mol["pos"][real],
        drop_mask=drop[real],
        pos_noisy=noisy[real],
        batch=torch.arange(4).repeat_interleave(n),
    )
    out = model(flat.z, flat.pos, flat.batch, flat.drop_mask, flat.pos_noisy)
    wanted = cloze_loss(out, flat)
    for k in ("token", "coordinate", "distance"):
        assert torch.allclose(terms[k], wanted[k], rtol=1e-4), (k, terms[k], wanted[k])
    norm = sum(v for k, v in wanted.items() if k.endswith("norm"))
    assert torch.allclose(terms["norm"], norm, rtol=1e-4)
    whole = net.vector(net.encode(mol["token"], mol["pos"], real), real)
    enc = model.encoder(flat.z, flat.pos, flat.batch)
    assert torch.allclose(whole[:, :64], enc.molecule, atol=1e-5)


def test_leak():
    torch.manual_seed(0)
    model = MolAE(64, 128, 8, 2, 1, num_gaussians=32, dropout=0.0, attn_dropout=0.0)
    net = dense.Net(model, 215)
    _, data = flat_data()
    mol = dense.assemble(data, torch.arange(4), 14, 13)
    chosen = dense.choose(mol["n"], mol["real"])
    noisy = mol["pos"].clone()
    on = torch.ones(4, dtype=torch.bool)
    before = dense.cloze_terms(net, mol, chosen, noisy, on)[1].x
    other = dict(mol, atom=torch.where(chosen[0][..., None], 2, mol["atom"]))
    assert torch.equal(before, dense.cloze_terms(net, other, chosen, noisy, on)[1].x)
    seen = dict(mol, atom=torch.where(chosen[0][..., None], mol["atom"], 2))
    assert not torch.equal(before, dense.cloze_terms(net, seen, chosen, noisy, on)[1].x)


def test_pair_codes():
    _, data = flat_data()
    code = dense.assemble(data, torch.arange(4), 14, 13)["code"]
    assert code[1].diagonal()[:5].eq(1).all()
    assert code[1, 5:].eq(0).all()
    assert code[0, 0, 2] == 7
    assert code[0, 0, 6] == 11
    assert code[0, 0, 7] == 12
    assert code[0, 0, 1] == data["kind"][0] + 1


def test_objective():
    torch.manual_seed(0)
    model = MolAE(64, 128, 8, 2, 1, num_gaussians=32, dropout=0.0, attn_dropout=0.0)
    net = dense.Net(model, 215)
    _, data = flat_data()
    mol = dense.assemble(data, torch.arange(4), 14, 13)
    w = {"cloze": 1, "atom": 1, "desc": 10, "bits": 5, "dropped": 0.5, "off": 0.25}
    terms = dense.objective(net, mol, w)
    terms["loss"].backward()
    lacking = [k for k, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking, lacking
