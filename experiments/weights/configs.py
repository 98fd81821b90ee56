"""The runs: python configs.py FOLDER writes smoke.json, ladder.json, long.json."""

import json
import sys
from pathlib import Path

OFF = {"dropout": 0.0, "attn_dropout": 0.0, "gaussian_init": "intended", "num_gaussians": 64}
SMALL = {
    "hidden_channels": 192,
    "ffn_channels": 768,
    "heads": 12,
    "num_layers": 4,
    "num_decoder_layers": 2,
    **OFF,
}
MIDDLE = {
    "hidden_channels": 256,
    "ffn_channels": 1024,
    "heads": 16,
    "num_layers": 8,
    "num_decoder_layers": 2,
    **OFF,
}
PLACES = {"shards": "/tmp/d/shards", "sets": "/tmp/d/sets"}
CLOZE = {"desc": 0, "bits": 0}
TARGETS = {"cloze": 0}


def run(name, model=SMALL, graph=True, weights=None, data=None, **more):
    return {
        "name": name,
        "model": model,
        "graph": graph,
        "weights": weights or {},
        "data": data,
        **more,
    }


def smoke(tokens):
    data = {"ready": True, "wait": 30}
    common = {"data": data, "tokens": tokens, "lr": 2e-3, "warmup": 100}
    return {
        **PLACES,
        "out": "/tmp/d/smoke",
        "held_out": 1000,
        "names": ["none"],
        "runs": [
            run("eager", steps=60, every=20, eager=True, **common),
            run("small", steps=600, every=150, **common),
            run("cloze", graph=False, weights=CLOZE, steps=300, every=150, **common),
            run("middle", MIDDLE, steps=300, every=150, **common),
        ],
    }


def ladder(tokens, steps, lr):
    zinc, everything = {"ready": True, "wait": 395}, {"everything": True}
    c = {"tokens": tokens, "steps": steps, "lr": lr, "every": 500, "warmup": 150, "needs": 40}
    return {
        **PLACES,
        "out": "/tmp/d/ladder",
        "deadline": 540,
        "runs": [
            run("1_cloze", graph=False, weights={**CLOZE, "share": 1.0}, data=zinc, **c),
            run("2_targets", graph=False, weights=TARGETS, data=zinc, **c),
            run("3_both", graph=False, data=zinc, **c),
            run("4_graph", data=zinc, **c),
            run("5_hidden_head", hidden=True, data=zinc, **c),
            run("6_corpus", data=everything, **c),
            run("7_size", MIDDLE, data=everything, **{**c, "lr": lr * 0.75}),
            run("8_targets_alone", weights=TARGETS, data=everything, **c),
            run("9_half_batch", data=everything, **{**c, "tokens": tokens // 2}),
        ],
    }


def long(tokens, seconds, lr, model=MIDDLE, weights=None):
    return {
        **PLACES,
        "out": "/tmp/d/long",
        "runs": [
            run(
                "long",
                model,
                data={"wait": 395},
                tokens=tokens,
                seconds=seconds,
                lr=lr,
                weights={"share": 0.25, "desc": 15.0, **(weights or {})},
                every=1000,
                warmup=500,
                save=True,
                reload=[0.13, 0.26, 0.42, 0.58, 0.76],
            ),
        ],
    }


if __name__ == "__main__":
    folder, tokens, steps, lr, seconds = Path(sys.argv[1]), *map(float, sys.argv[2:6])
    tokens = int(tokens)
    (folder / "smoke.json").write_text(json.dumps(smoke(tokens)))
    (folder / "ladder.json").write_text(json.dumps(ladder(tokens, int(steps), lr)))
    (folder / "long.json").write_text(json.dumps(long(tokens, seconds, lr * 0.75)))
    (folder / "long_small.json").write_text(json.dumps(long(tokens, seconds, lr, SMALL)))
    alone = long(tokens, seconds, lr * 0.75, weights=TARGETS)
    (folder / "long_targets.json").write_text(json.dumps(alone))
