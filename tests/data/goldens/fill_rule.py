"""Deterministic weights used by every golden (tiny, base, fine-tune encoder, peer).

keys = sorted(official state-dict keys, without buffers); ONE legacy numpy stream
RandomState(20240704) is consumed in that order: r = standard_normal(shape) (float64),
transformed as below, then cast to float32.  The classification head uses its own stream
RandomState(777) over sorted(['dense.bias','dense.weight','out_proj.bias','out_proj.weight'])
with bias -> 0.05 r, weight -> r / sqrt(fan_in)."""

import math
import numpy as np


def transform(key, r):
    if key.endswith("layer_norm.weight"):
        return 1.0 + 0.1 * r
    if key == "gbf.means.weight":
        return 1.5 + r
    if key == "gbf.stds.weight":
        return 1.0 + 0.3 * r
    if key == "gbf.mul.weight":
        return 1.0 + 0.1 * r
    if key == "gbf.bias.weight":
        return 0.1 * r
    if key == "embed_tokens.weight":
        r = 0.5 * r
        r[0] = 0.0
        return r
    if key.endswith(".bias") or key == "lm_head.bias":
        return 0.05 * r
    return r / math.sqrt(r.shape[-1])


def fill(shapes, seed=20240704):
    rs = np.random.RandomState(seed)
    return {
        k: transform(k, rs.standard_normal(tuple(shapes[k]))).astype(np.float32)
        for k in sorted(shapes)
    }


def head(shapes, seed=777):
    rs = np.random.RandomState(seed)
    out = {}
    for k in sorted(shapes):
        r = rs.standard_normal(tuple(shapes[k]))
        out[k] = (0.05 * r if k.endswith(".bias") else r / math.sqrt(r.shape[-1])).astype(
            np.float32
        )
    return out
