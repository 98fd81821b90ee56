"""Linear models on frozen vectors: fit, choose the penalty, report, on validation rows only.

The rows of ``parts`` [5, n]: 0 fit, 1 choose, 2 report; 3 (final test rows) are never read. On a
GPU or a CPU. python probe.py SETS [WEIGHTS.safetensors ...] prints the table of those weights.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

PENALTIES = [10.0**k for k in range(-1, 6)]
LOWER = {"rmse", "mae"}


def standardised(x, rows):
    x = x.double()
    mean, std = x[rows].mean(0), x[rows].std(0)
    used = std > 1e-9
    return ((x - mean) / torch.where(used, std, 1.0))[:, used].clamp(-20, 20)


def ridge(x, y, penalties):
    """x [n, D], y [n, T] -> coefficients [P, D + 1, T], the intercept last."""
    mx, my = x.mean(0), y.mean(0)
    values, basis = torch.linalg.eigh((x - mx).T @ (x - mx))
    right = basis.T @ ((x - mx).T @ (y - my))
    w = torch.stack([basis @ (right / (values.clamp(min=0) + p)[:, None]) for p in penalties])
    return torch.cat([w, (my - mx @ w)[:, None]], 1)


def logistic(x, y, penalties, steps=15):
    """x [n, D], y [n, T] of 0/1/NaN -> coefficients [P, D + 1, T] by Newton's method."""
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    D, T, P = x.size(1), y.size(1), len(penalties)
    known = (~y.isnan()).to(x.dtype)
    y = y.nan_to_num()
    w = torch.zeros(P, D, T, dtype=x.dtype, device=x.device)
    lam = torch.tensor(penalties, dtype=x.dtype, device=x.device)
    ridge = torch.ones(D, dtype=x.dtype, device=x.device)
    ridge[-1] = 1e-6
    for _ in range(steps):
        p = torch.sigmoid(x @ w)  # [P, n, T]
        grad = x.T @ (known * (p - y)) + lam[:, None, None] * ridge[:, None] * w
        weight = (known * p * (1 - p)).clamp(min=1e-12)
        move = torch.empty_like(w)
        for k in range(P):  # one penalty at a time keeps the memory small
            hess = (
                torch.einsum("nd,nt,ne->tde", x, weight[k], x)
                if T == 1
                else torch.bmm((x.T[None] * weight[k].T[:, None]), x.expand(T, -1, -1))
            )
            hess = hess + torch.diag(lam[k] * ridge + 1e-8)
            move[k] = torch.linalg.solve(hess, grad[k].T[..., None])[..., 0].T
        length = move.norm(dim=1, keepdim=True)
        w = w - move * (20.0 / length.clamp(min=20.0))
        if length.max() < 1e-3:
            break
    return w


def auc(y, score):
    """ROC-AUC of 0/1 labels, ties shared."""
    order = torch.argsort(score)
    s, y = score[order], y[order]
    _, inverse, counts = torch.unique_consecutive(s, return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    rank = (ends - (counts - 1) / 2.0)[inverse]
    pos = y.sum()
    return ((rank[y > 0].sum() - pos * (pos + 1) / 2) / (pos * (len(y) - pos))).item()


def score(y, predicted, metric):
    if metric in LOWER:
        error = (predicted - y).abs()
        return (error.mean() if metric == "mae" else error.pow(2).mean(0).sqrt().mean()).item()
    found = []
    for t in range(y.size(1)):
        known = ~y[:, t].isnan()
        labels = y[known, t]
        if 0 < labels.sum() < len(labels):
            found.append(auc(labels, predicted[known, t]))
    return float(np.mean(found)) if found else float("nan")


def one_set(x, found):
    """Scores of five splits."""
    y, metric, parts = found["y"], found["metric"], found["parts"]
    sign = -1 if metric in LOWER else 1
    out = []
    for part in parts:
        fit, choose, report = ((part == k).nonzero().squeeze(1) for k in range(3))
        z = standardised(x, fit)
        ones = torch.ones_like(z[:, :1])
        z1 = torch.cat([z, ones], 1)
        if metric in LOWER:
            w = ridge(z[fit], y[fit], PENALTIES)
        else:
            w = logistic(z[fit], y[fit], PENALTIES)
        scores = [sign * score(y[choose], z1[choose] @ wk, metric) for wk in w]
        best = int(np.nanargmax(scores))
        out.append(score(y[report], z1[report] @ w[best], metric))
    return out


def load_sets(folder, device, names=None):
    sets = {}
    for path in sorted(Path(folder).glob("*.npz")):
        if names and path.stem not in names:
            continue
        with np.load(path) as f:
            d = {k: f[k] for k in f.files if k != "smiles"}
        t = lambda k, dtype, d=d: torch.as_tensor(d[k]).to(dtype).to(device)  # noqa: E731
        desc = t("desc", torch.float32)
        desc[~desc.isfinite()] = 0
        sets[path.stem] = {
            "y": t("y", torch.float64),
            "metric": str(d["metric"]),
            "parts": t("parts", torch.uint8),
            "desc": desc,
            "raw": d,
        }
    return sets


def as_data(raw, device, token_of_z, conformer="pos"):
    """The flat tensors that ``dense.assemble`` takes."""
    n, m = raw["n"].astype(np.int64), raw["m"].astype(np.int64)
    put = lambda a: torch.as_tensor(a).to(device)  # noqa: E731
    return {
        "token": token_of_z[put(raw["z"]).long()].to(torch.uint8),
        "pos": put(raw[conformer]),
        "scale": 0.001,
        "n": put(n),
        "start": put(n.cumsum() - n),
        "m": put(m),
        "bond_start": put(m.cumsum() - m),
        "bond": put(raw["bond"].astype(np.uint8)),
        "kind": put(raw["kind"]),
        "atom": put(raw["atom"]),
    }


@torch.no_grad()
def vectors(net, raw, device, graph=True, conformer="pos", most=2**19):
    """CLS joined with the atom mean [n, 2 C], float32."""
    import dense

    from molae_pyg.chem.elements import token_table

    data = as_data(raw, device, token_table().to(device), conformer)
    order = np.argsort(raw["n"], kind="stable")
    found, at = [], 0
    while at < len(order):
        sizes = raw["n"][order[at : at + 2048]].astype(np.int64) + 2
        cells = np.arange(1, len(sizes) + 1) * sizes**2  # of the first k molecules, padded
        rows = order[at : at + max(1, int((cells <= most).sum()))]
        size, bonds = int(raw["n"][rows].max()), max(1, int(raw["m"][rows].max()))
        mol = dense.assemble(data, torch.as_tensor(rows, device=device), size, bonds)
        use = graph and net.graph is not None
        state = net.encode(
            mol["token"], mol["pos"], mol["real"], *((mol["atom"], mol["code"]) if use else ())
        )
        found.append(net.vector(state, mol["real"]).float())
        at += len(rows)
    out = torch.empty(len(order), found[0].size(1), device=device)
    out[torch.as_tensor(order, device=device)] = torch.cat(found)
    return out


def noise(net, sets, device, graph=True):
    """Share of the variance between conformers, mean over vector entries, of three sets."""
    shares = []
    for name in ("freesolv", "esol", "bace"):
        if name in sets and "pos2" in sets[name]["raw"]:
            a = vectors(net, sets[name]["raw"], device, graph)
            b = vectors(net, sets[name]["raw"], device, graph, "pos2")
            shares.append(((a - b).pow(2).mean(0) / 2 / a.var(0).clamp(min=1e-12)).mean().item())
    return float(np.mean(shares)) if shares else float("nan")


def table(net, sets, device, graph=True, joined=False):
    net.eval()
    rows = {}
    for name, found in sets.items():
        x = vectors(net, found["raw"], device, graph)
        rows[name] = float(np.mean(one_set(x, found)))
        if joined:
            rows[name + "+desc"] = float(np.mean(one_set(torch.cat([x, found["desc"]], 1), found)))
    net.train()
    return rows


def wins(rows, base):
    """On how many sets ``rows`` beat ``base``."""
    return sum(
        (rows[k] < base[k]) if k in ("freesolv", "esol", "lipo", "qm7") else (rows[k] > base[k])
        for k in base
        if k in rows
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    sets = load_sets(sys.argv[1], "cpu")
    base = {k: float(np.mean(one_set(s["desc"], s))) for k, s in sets.items()}
    print("descriptors", json.dumps({k: round(v, 4) for k, v in base.items()}), flush=True)
    from dense import Net

    from molae_pyg import MolAE

    net = Net(MolAE.from_pretrained("molae-small"), 215, graph=False)
    small = table(net, sets, "cpu")
    print("molae-small", json.dumps({k: round(v, 4) for k, v in small.items()}), flush=True)
    print("noise", noise(net, sets, "cpu"))
