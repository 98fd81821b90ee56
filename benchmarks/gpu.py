"""How fast are attention, encoder, training steps and embedding on a GPU, and how much memory?

Command: MOLAE_DATA=... python benchmarks/gpu.py (a CUDA GPU; beside unimol_tools where installed)

Method: published size, dropout as published in training, bf16 autocast and fp32. Attention: one
layer's, 32 molecules of N random atoms, Triton kernels and plain path. Encoder and fine-tuning
step: ZINC molecules in batches of 128, sorted by size for ours, in random order for unimol_tools
(its way), already on the GPU; the fine-tuning step adds squared error, clip and Adam. Embedding:
vectors of ZINC molecules with coordinates, batches of 512 by size, collating included. Memory: peak
of the allocator in a training step of the cloze test. Ways take turns in this process, the first of
which warms up; median, minimum and maximum of the turns. Floating-point operations are counted by
PyTorch on the plain path; the peak is that of a large matrix product.
"""

import argparse
import json

import machine
import peers
import record
import torch
from encoder import random_molecules, zinc_molecules
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Batch
from turns import beside, seconds, summary, take

from molae_pyg import ClozeDrop, MolAE, MolAEEncoder, MolAEPredictor, cloze_loss
from molae_pyg.nn import attention
from molae_pyg.nn.attention import PairBiasAttention
from molae_pyg.training.schedule import configure_adam

BATCH = 128
CALLS = 20  # of a layer in a turn
FUSED = attention._is_fused
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def plain(way):
    """The same without the kernels."""

    def without() -> None:
        attention._is_fused = lambda qkv: False
        try:
            way()
        finally:
            attention._is_fused = FUSED

    return without


def autocast(dtype: torch.dtype) -> torch.autocast:
    return torch.autocast("cuda", dtype, enabled=dtype != torch.float32)


def attention_speed(turns: int) -> dict:
    result = {}
    for n in (24, 64, 128, 256):
        x = torch.randn(32, n + 2, 512, device="cuda", requires_grad=True)
        mask = torch.ones(32, n + 2, dtype=torch.bool, device="cuda")
        mask[1::2, -2:] = False
        for name, dtype in DTYPES.items():
            pair = torch.randn(32, 64, n + 2, n + 2, device="cuda").to(dtype).requires_grad_()
            layer = PairBiasAttention(512, 64).cuda()

            def forward(layer=layer, x=x, pair=pair, mask=mask, dtype=dtype):
                layer.eval()
                with torch.inference_mode(), autocast(dtype):
                    for _ in range(CALLS):
                        layer(x, pair, mask)

            def both(layer=layer, x=x, pair=pair, mask=mask, dtype=dtype):
                layer.train()
                for _ in range(CALLS):
                    with autocast(dtype):
                        out, new = layer(x, pair, mask)
                    (out.float().sum() + new.float().sum()).backward()

            for title, way in {"forward": forward, "forward and backward": both}.items():
                rows = take({"kernels": way, "plain": plain(way)}, turns)
                result[f"{n} atoms, {name}, {title}"] = beside(rows, "plain")
    return result


def batches_of(molecules: list, by_size: bool, prepare) -> list:
    if by_size:
        molecules = sorted(molecules, key=lambda data: data.z.numel())
    return [prepare(molecules[a : a + BATCH]) for a in range(0, len(molecules), BATCH)]


def to_gpu(batch):
    return batch.cuda() if isinstance(batch, Batch) else {k: v.cuda() for k, v in batch.items()}


def encoder_speed(molecules: list, turns: int) -> dict:
    ours = MolAEPredictor(MolAEEncoder(), num_tasks=1).cuda()
    flat = batches_of(molecules, True, lambda part: to_gpu(Batch.from_data_list(part)))

    def call(batch):
        return ours(batch.z, batch.pos, batch.batch, batch_size=batch.num_graphs)

    models = {"ours": (ours, call, flat)}
    try:
        peer = peers.unimol_encoder().cuda()
    except ImportError as error:
        print("without unimol_tools:", error)
    else:
        dense = batches_of(molecules, False, lambda part: to_gpu(peers.unimol_batch(part)))
        models["unimol_tools"] = (peer, lambda batch: peer(**batch), dense)
    result = {}
    for name, dtype in DTYPES.items():
        ways: dict[str, dict] = {"forward": {}, "forward and backward": {}, "fine-tuning step": {}}
        for who, (model, predict, batches) in models.items():
            optimiser = configure_adam(model, 1e-5, 0.0, 10**6, 10**4)["optimizer"]

            def forward(model=model, predict=predict, batches=batches, dtype=dtype):
                model.eval()
                with torch.inference_mode(), autocast(dtype):
                    for batch in batches:
                        predict(batch)

            def both(model=model, predict=predict, batches=batches, dtype=dtype, step=None):
                model.train()
                for batch in batches:
                    with autocast(dtype):
                        loss = predict(batch).float().square().mean()
                    loss.backward()
                    if step is not None:
                        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                        step.step()
                    model.zero_grad(set_to_none=True)

            def tune(both=both, optimiser=optimiser):
                both(step=optimiser)

            for title, way in {
                "forward": forward,
                "forward and backward": both,
                "fine-tuning step": tune,
            }.items():
                ways[title][who] = way
                if who == "ours" and title != "fine-tuning step":
                    ways[title]["ours, plain path"] = plain(way)
        for title, some in ways.items():
            rows = take(some, turns)
            found = beside(rows, "unimol_tools" if "unimol_tools" in some else "ours")
            for who in some:
                found[who]["molecules per second"] = summary(
                    [len(molecules) / row[who] for row in rows]
                )
            if title != "fine-tuning step":
                counter = FlopCounterMode(display=False)
                with counter:
                    some["ours, plain path"]()
                peak = gemm_large(dtype)
                found["ours"]["share of the peak"] = round(
                    counter.get_total_flops() / found["ours"]["seconds"]["median"] / peak, 3
                )
                found["peak TFLOP/s"] = round(peak / 1e12, 1)
            result[f"{name}, {title}"] = found
    return result


def embedding_speed(molecules: list, turns: int) -> dict:
    result = {}
    models = {
        "molae-small": MolAE.from_pretrained("molae-small").encoder,
        "published size": MolAEEncoder(),
    }
    order = sorted(molecules, key=lambda data: data.z.numel())
    for title, encoder in models.items():
        encoder.cuda().eval()

        def way(encoder=encoder):
            with torch.inference_mode(), autocast(torch.bfloat16):
                for start in range(0, len(order), 512):
                    batch = Batch.from_data_list(order[start : start + 512]).cuda()
                    encoder(
                        batch.z, batch.pos, batch.batch, batch_size=batch.num_graphs
                    ).molecule.cpu()

        ready = [Batch.from_data_list(order[a : a + 512]).cuda() for a in range(0, len(order), 512)]

        def resident(encoder=encoder, ready=ready):
            with torch.inference_mode(), autocast(torch.bfloat16):
                for batch in ready:
                    encoder(batch.z, batch.pos, batch.batch, batch_size=batch.num_graphs)

        rows = take({"with collating": way, "batches on the GPU": resident}, turns)
        result[title] = {
            name: summary([len(order) / row[name] for row in rows]) for name in rows[0]
        }
    return result


def memory_table() -> dict:
    result = {}
    for recompute in (False, True):
        for n, number in ((32, 32), (64, 32), (128, 8), (128, 1), (256, 1), (512, 1)):
            torch.cuda.empty_cache()
            torch.manual_seed(0)
            model = MolAE().cuda().train()
            model.encoder.transformer.recompute = model.decoder.transformer.recompute = recompute
            batch = ClozeDrop()(Batch.from_data_list([random_molecules(n)[0]] * number)).cuda()
            torch.cuda.reset_peak_memory_stats()
            with autocast(torch.bfloat16):
                out = model(batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy)
                loss = cloze_loss(out, batch)["total"]
            loss.backward()
            way = "recompute" if recompute else "plain"
            result[f"{way}, {n} atoms x {number}"] = round(
                torch.cuda.max_memory_allocated() / 2**30, 2
            )
            del model, out, loss
    return result


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--molecules", type=int, default=1024, help="of ZINC, default: 1024")
    parser.add_argument("--turns", type=int, default=7, help="counted turns, default: 7")
    args = parser.parse_args()
    molecules = zinc_molecules(args.molecules)
    many = zinc_molecules(4096)
    result = {}
    parts = {
        "attention": lambda: attention_speed(args.turns),
        "encoder": lambda: encoder_speed(molecules, args.turns),
        "embedding": lambda: embedding_speed(many, args.turns),
        "memory GiB": memory_table,
    }
    for title, part in parts.items():
        took = seconds(lambda title=title, part=part: result.__setitem__(title, part()))
        print(title, f"{took:.1f} s", json.dumps(result[title]), flush=True)
        print("written:", record.write("gpu", question, result, "cuda"), flush=True)


def gemm_large(dtype: torch.dtype) -> float:
    """FLOP/s of a product of two matrices of 8,192 rows."""
    a, b = (torch.randn(8192, 8192, device="cuda").to(dtype) for _ in range(2))
    return machine._rate(lambda: a @ b, 2 * 8192**3)


if __name__ == "__main__":
    main()
