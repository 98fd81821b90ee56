"""A run's weights as a model folder: python convert.py RUN.safetensors RESULT.jsonl FOLDER"""

import json
import sys
from pathlib import Path

from safetensors.torch import load_file

from molae_pyg import MolAE

file, result, folder = sys.argv[1:]
config = json.loads(Path(result).read_text().splitlines()[-1])["config"]
state = load_file(file)
model = MolAE(**config["model"], graph=config["graph"])
own = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
own |= {f"encoder.graph_bias.{k[6:]}": v for k, v in state.items() if k.startswith("graph.")}
own |= {f"atom_head.{k[11:]}": v for k, v in state.items() if k.startswith("heads.atom.")}
model.load_state_dict(own)
model.bfloat16().save_pretrained(folder)
print(sum(p.numel() for p in model.parameters()), "parameters")
