"""Pre-training on one GPU: data resident there, steps captured as CUDA graphs, bf16.

python train.py CONFIG.json          a list of runs, one after the other, in one process
A run: {"name", "model", "graph", "hidden", "weights", "data", "steps" or "seconds", "tokens", "lr",
"seed", "resume"}; settings of all runs: "shards", "sets", "out", "held_out".
"""

import json
import math
import os
import sys
import time
from pathlib import Path

import dense
import numpy as np
import probe
import torch
from safetensors.torch import save_file

from molae_pyg import MolAE
from molae_pyg.chem.elements import token_table

EDGES = (6, 9, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 35, 38, 44, 50, 60)
PER_ATOM = ("z", "pos", "atom")
PER_BOND = ("bond", "kind")
PER_MOL = ("n", "m", "desc", "bits")
WEIGHTS = {
    "cloze": 1.0,
    "atom": 1.0,
    "desc": 10.0,
    "bits": 5.0,
    "dropped": 0.5,
    "off": 0.25,
    "share": 0.5,
}


def log(*text):
    print(f"[{time.perf_counter() - START:7.1f}]", *text, flush=True)


START = time.perf_counter()


def load(paths, device, held_out, ready_only=False, stats=None):
    """Shards -> flat tensors on the device, descriptor statistics, rows to train and held out."""
    found = {k: [] for k in (*PER_ATOM, *PER_BOND, *PER_MOL)}
    which, held = [], []
    for path in paths:
        with np.load(path) as f:
            if ready_only and int(f["which"]) != 0:
                continue
            for k, parts in found.items():
                parts.append(f[k])
            which.append(np.full(len(f["n"]), int(f["which"])))
            held.append(np.full(len(f["n"]), int(path.stem) % 50 == 7))
    flat = {k: np.concatenate(v) for k, v in found.items()}
    which = np.concatenate(which)
    put = lambda a: torch.as_tensor(a).to(device)  # noqa: E731
    n, m = flat["n"].astype(np.int64), flat["m"].astype(np.int64)
    desc = put(flat["desc"])
    data = {
        "token": token_table().to(device)[put(flat["z"]).long()].to(torch.uint8),
        "pos": put(flat["pos"]),
        "scale": 0.001,
        "n": put(n),
        "start": put(n.cumsum() - n),
        "m": put(m),
        "bond_start": put(m.cumsum() - m),
        "bond": put(flat["bond"]),
        "kind": put(flat["kind"]),
        "atom": put(flat["atom"]),
        "desc": desc,
        "bits": put(flat["bits"]),
    }
    held = np.concatenate(held)  # one shard of fifty
    train, held = (~held).nonzero()[0], held.nonzero()[0][:held_out]
    if stats is None:
        sample = desc[put(np.random.default_rng(0).permutation(train)[:200_000])].float()
        known = sample.isfinite()
        count = known.sum(0).clamp(min=1)
        mean = torch.where(known, sample, 0.0).sum(0) / count
        var = torch.where(known, sample - mean, 0.0).pow(2).sum(0) / count
        stats = {
            "desc_mean": mean,
            "desc_std": var.sqrt().clamp(min=1e-6),
            "desc_used": (var > 1e-8) & (count > 0.5 * len(sample)),
        }
    data |= stats
    by_source = {int(k): int((which == k).sum()) for k in np.unique(which)}
    log(f"{len(n)} molecules {by_source}, {int(data['desc_used'].sum())} descriptors")
    return data, n, m, train, held


class Plan:
    """Batches of similar size: for every bucket a number of molecules, epoch after epoch."""

    def __init__(self, n, m, rows, tokens, seed):
        self.rng = np.random.default_rng(seed)
        self.buckets = {}
        low = 0
        for edge in EDGES:
            inside = rows[(n[rows] > low) & (n[rows] <= edge)]
            low = edge
            if len(inside) == 0:
                continue
            size = int(n[inside].max())
            count = min(max(8, round(tokens / (size + 2) / 8) * 8), len(inside))
            self.buckets[edge] = (inside, size, max(1, int(m[inside].max())), count)

    def epochs(self):
        while True:
            batches = []
            for edge, (inside, _, _, count) in self.buckets.items():
                order = self.rng.permutation(inside)
                for at in range(0, len(order) - count + 1, count):
                    batches.append((edge, order[at : at + count]))
            for k in self.rng.permutation(len(batches)):
                yield batches[k]


class Run:
    def __init__(self, run, loaded, device):
        self.run, self.device = run, device
        self.data, n, m, train, self.held = loaded
        self.n, self.m = n, m
        torch.manual_seed(run.get("seed", 0))
        model = MolAE(**run["model"])
        self.net = dense.Net(
            model, len(self.data["desc_mean"]), graph=run["graph"], hidden=run.get("hidden", False)
        ).to(device)
        if "start" in run:
            from safetensors.torch import load_file

            self.net.load_state_dict(load_file(run["start"]), strict=False)
        self.w = WEIGHTS | run.get("weights", {})
        self.plan = Plan(n, m, train, run["tokens"], run.get("seed", 0))
        self.params = [p for p in self.net.parameters() if p.requires_grad]
        groups = [
            {
                "params": [p for p in self.params if p.dim() > 1],
                "weight_decay": run.get("decay", 1e-4),
            },
            {"params": [p for p in self.params if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.lr = torch.zeros((), device=device)
        self.cuda = device == "cuda"
        self.opt = torch.optim.AdamW(
            groups,
            lr=self.lr,
            betas=(0.9, 0.99),
            eps=1e-6,
            fused=True,
            **({"capturable": True} if self.cuda else {}),
        )
        self.opt.grad_scale = None
        self.names, self.sums, self.count = None, None, torch.zeros((), device=device)
        self.graphs = {}

    def reload(self, loaded):
        """Goes on with more molecules; targets keep their scale."""
        self.data, self.n, self.m, train, _ = loaded
        self.plan = Plan(self.n, self.m, train, self.run["tokens"], len(train))
        self.graphs.clear()
        torch.cuda.empty_cache()
        self.lr.zero_()
        if self.cuda and not self.run.get("eager"):
            self.capture()

    def forward(self, idx, size, bonds):
        with torch.autocast(self.device, torch.bfloat16, cache_enabled=False):
            mol = dense.assemble(self.data, idx, size, bonds, self.run["graph"])
            return dense.objective(self.net, mol, self.w)

    def update(self, idx, size, bonds):
        terms = self.forward(idx, size, bonds)
        terms["loss"].backward()
        grads = [p.grad for p in self.params if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        torch._foreach_mul_(grads, (1.0 / (norm + 1e-6)).clamp(max=1.0))
        self.opt.found_inf = (~torch.isfinite(norm)).float()
        self.opt.step()
        with torch.no_grad():
            terms["norm_of_gradient"] = norm
            terms["skipped"] = self.opt.found_inf
            if self.sums is None:
                self.names = list(terms)
                self.sums = torch.zeros(len(terms), device=self.device)
            self.sums += torch.stack([terms[k].detach().float() for k in self.names])
            self.count += 1

    def capture(self):
        """One CUDA graph a bucket, after eager steps at learning rate 0."""
        began = time.perf_counter()
        pool = None
        side = torch.cuda.Stream()
        for edge, (inside, size, bonds, count) in sorted(self.plan.buckets.items(), reverse=True):
            idx = torch.as_tensor(inside[:count], device="cuda")
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    self.opt.zero_grad(set_to_none=True)
                    self.update(idx, size, bonds)
            torch.cuda.current_stream().wait_stream(side)
            self.opt.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self.update(idx, size, bonds)
            pool = pool or graph.pool()
            self.graphs[edge] = (graph, idx)
        self.opt.zero_grad(set_to_none=True)
        self.means()
        torch.cuda.synchronize()
        log(
            f"captured {len(self.graphs)} graphs in {time.perf_counter() - began:.1f} s, "
            f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        )

    def means(self):
        """Mean terms since the last call."""
        if self.sums is None:
            return {}
        sums = (self.sums / self.count.clamp(min=1)).tolist()
        self.sums.zero_()
        self.count.zero_()
        return dict(zip(self.names, sums, strict=True))

    @torch.no_grad()
    def validate(self):
        """Mean terms on held-out molecules, graph shown to all."""
        self.net.eval()
        was, self.w = self.w, self.w | {"off": 0.0}
        state = torch.random.get_rng_state(), (torch.cuda.get_rng_state() if self.cuda else None)
        torch.manual_seed(0)
        order = self.held[np.argsort(self.n[self.held], kind="stable")]
        total, weight = {}, 0
        for at in range(0, len(order), 500):
            rows = order[at : at + 500]
            size, bonds = int(self.n[rows].max()), max(1, int(self.m[rows].max()))
            terms = self.forward(torch.as_tensor(rows, device=self.device), size, bonds)
            for k, v in terms.items():
                total[k] = total.get(k, 0.0) + float(v) * len(rows)
            weight += len(rows)
        self.w = was
        torch.random.set_rng_state(state[0])
        if self.cuda:
            torch.cuda.set_rng_state(state[1])
        self.net.train()
        return {k: round(v / weight, 4) for k, v in total.items()}

    def train(self, out, more=None):
        run = self.run
        reloads = list(run.get("reload", []))
        steps, seconds = run.get("steps", 10**9), run.get("seconds", 1e9)
        warmup = run.get("warmup", 300)
        eager = not self.cuda or run.get("eager", False)
        if not eager:
            self.capture()
        self.net.train()
        began = saved = time.perf_counter()
        visits = 0
        curve = []
        every = run.get("every", 1000)
        batches = self.plan.epochs()
        step = -1
        while True:
            step += 1
            now = time.perf_counter() - began
            done = max(step / steps, now / seconds)
            if reloads and done > reloads[0] and more is not None:
                reloads.pop(0)
                self.reload(more({k: self.data[k] for k in ("desc_mean", "desc_std", "desc_used")}))
                batches = self.plan.epochs()
            edge, rows = next(batches)
            if done >= 1:
                break
            factor = min(1.0, (step + 1) / warmup) * (1 - done)
            self.lr.fill_(run["lr"] * factor)
            if eager:
                _, size, bonds, _ = self.plan.buckets[edge]
                self.opt.zero_grad(set_to_none=True)
                self.update(torch.as_tensor(rows, device=self.device), size, bonds)
            else:
                graph, idx = self.graphs[edge]
                idx.copy_(torch.as_tensor(rows))
                graph.replay()
            visits += len(rows)
            if (step + 1) % every == 0:
                mean = self.means()  # waits for the device
                took = time.perf_counter() - began
                curve.append(
                    {"step": step + 1, "seconds": round(took, 1), "visits": visits}
                    | {k: round(v, 4) for k, v in mean.items()}
                )
                log(run["name"], json.dumps(curve[-1]))
                if not math.isfinite(mean["loss"]) and mean["skipped"] > 0.5:
                    log("the loss is no longer finite: stopped")
                    break
            if time.perf_counter() - saved > 60 and run.get("save", False):
                self.save(out / f"{run['name']}.part", {"step": step, "visits": visits})
                saved = time.perf_counter()
        if self.cuda:
            torch.cuda.synchronize()
        took = time.perf_counter() - began
        result = {
            "name": run["name"],
            "steps": step,
            "visits": visits,
            "seconds": round(took, 1),
            "per_second": round(visits / took),
        }
        self.graphs.clear()
        return result, curve

    def save(self, path, note):
        state = {
            k: v.detach().to(torch.bfloat16).contiguous() for k, v in self.net.state_dict().items()
        }
        temporary = f"{path}.tmp"
        save_file(state, temporary, {"note": json.dumps(note)})
        os.replace(temporary, f"{path}.safetensors")


def score(run, sets, device):
    """Probes with and without the graph, wins over descriptors, conformer noise."""
    found = {}
    began = time.perf_counter()
    for graph in (True, False) if run.net.graph is not None else (False,):
        key = "graph" if graph else "plain"
        found[key] = {k: round(v, 4) for k, v in probe.table(run.net, sets, device, graph).items()}
        found["noise_" + key] = round(probe.noise(run.net, sets, device, graph), 4)
    found["probe_seconds"] = round(time.perf_counter() - began, 1)
    return found


def main(path):
    config = json.loads(Path(path).read_text())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(config.get("threads", 2))
    out = Path(config["out"])
    out.mkdir(parents=True, exist_ok=True)
    deadline = START + config.get("deadline", 1e9)
    sets, base, pending = {}, {}, []

    def finish(wait):
        """Probes what has been trained, once the sets are there."""
        marker = Path(config["sets"]) / "ready"
        while wait and pending and not marker.exists() and time.perf_counter() < deadline:
            time.sleep(0.5)
        if not marker.exists() and not config.get("names"):
            return
        if not sets:
            sets.update(probe.load_sets(config["sets"], device, config.get("names")))
            base.update({k: float(np.mean(probe.one_set(s["desc"], s))) for k, s in sets.items()})
            log("descriptors", json.dumps({k: round(v, 4) for k, v in base.items()}))
        while pending:
            job, result = pending.pop(0)
            try:
                result |= score(job, sets, device)
                key = "graph" if "graph" in result else "plain"
                result["wins"] = probe.wins(result[key], base)
            except RuntimeError as error:  # of the linear algebra: the weights are worth more
                log("probes failed", error)
            with open(out / "results.jsonl", "a") as f:
                f.write(json.dumps(result) + "\n")
            log(
                "RESULT",
                json.dumps({k: v for k, v in result.items() if k not in ("curve", "config")}),
            )

    def more(stats, ready=False):
        paths = sorted(p for p in Path(config["shards"]).glob("[0-9]*.npz") if "tmp" not in p.name)
        return load(paths, device, config.get("held_out", 2000), ready, stats)

    loaded, have = None, None
    for run in config["runs"]:
        need = run["data"]
        if time.perf_counter() + run.get("needs", 0) > deadline:
            log("no time for", run["name"])
            continue
        if need != have:
            while need.get("wait") and not any(Path(config["shards"]).glob("done")):
                ready = len(list(Path(config["shards"]).glob("[0-9]*.npz")))
                if ready >= need["wait"]:
                    break
                time.sleep(0.5)
            loaded, have = more(None, need.get("ready", False)), need
        job = Run(run, loaded, device)
        count = sum(p.numel() for p in job.net.model.parameters())
        log(run["name"], f"{count / 1e6:.2f} M parameters")
        result, curve = job.train(out, more)
        job.data, job.n, job.m = loaded[0], loaded[1], loaded[2]  # of the held-out rows
        result |= {"config": run, "held_out": job.validate()}
        result["curve"] = curve
        job.save(out / run["name"], {"steps": result["steps"], "visits": result["visits"]})
        job.data, job.opt = None, None
        pending.append((job, result))
        finish(wait=False)
        del job
        if device == "cuda":
            torch.cuda.empty_cache()
    finish(wait=True)


if __name__ == "__main__":
    main(sys.argv[1])
