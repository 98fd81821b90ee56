"""Which operations take the time of the encoder, forward and in training?

Command: MOLAE_DATA=... python benchmarks/operators.py

Method: published size, dropout as published in training, fp32, or bf16 with `--precision bf16
--name operators_bf16`; 32 ZINC molecules of similar size in one batch, from the middle of 256.
PyTorch's profiler sums the time of each operation, without those that it calls, over several turns
after a warm-up. Reported are seconds per turn and shares.
"""

import argparse
import json
import re

import record
import torch
from encoder import PRECISIONS, Ours, forward, training, zinc_molecules
from torch.profiler import ProfilerActivity, profile

#: Group -> names of its operations.
GROUPS = {
    "matrix products": r"addmm|mm|bmm|baddbmm",
    "random numbers of dropout": r"bernoulli_|random_",
    "softmax": r"_softmax(_backward_data)?",
    "GELU": r"gelu(_backward)?",
    "Gaussian features": r"exp_?|clamp|addcmul",
    "masks": r"where",
    "copies": r"copy_|cat",
}
OTHERS = "other"


def group(name: str) -> str:
    """Returns the group of an operation, by its name in PyTorch."""
    name = name.removeprefix("aten::")
    return next((title for title, names in GROUPS.items() if re.fullmatch(names, name)), OTHERS)


def shares(way, turns: int) -> dict[str, dict[str, float]]:
    """Returns the seconds per turn and the share of each group, the largest first."""
    way()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(turns):
            way()
    seconds: dict[str, float] = {}
    for event in profiled.key_averages():
        title = group(event.key)
        seconds[title] = seconds.get(title, 0.0) + event.self_cpu_time_total / 1e6 / turns
    total = sum(seconds.values())
    return {
        title: {"seconds": round(value, 4), "share": round(value / total, 3)}
        for title, value in sorted(seconds.items(), key=lambda item: -item[1])
    }


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="default: fp32")
    parser.add_argument("--name", default="operators", help="name of the result file")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Ours(args.precision)
    molecules = sorted(zinc_molecules(256), key=lambda data: data.z.numel())[112:144]
    batches = [model.prepare(molecules)]
    result = {
        "forward": shares(forward(model, batches), args.turns),
        "forward and backward": shares(training(model, batches), args.turns),
    }
    print(json.dumps(result, indent=2))
    print("written:", record.write(args.name, question, result))


if __name__ == "__main__":
    main()
