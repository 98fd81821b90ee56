import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests share helper modules, such as goldens

# The tensors are small: more threads gain nothing, and on a busy machine they wait for each other.
torch.set_num_threads(1)
