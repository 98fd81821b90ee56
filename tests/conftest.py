import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests share helper modules, such as goldens

# The tensors are small: more threads gain nothing, and on a busy machine they wait for each other.
torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory):
    """Tests neither see nor fill the embeddings that a user has kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOLAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
