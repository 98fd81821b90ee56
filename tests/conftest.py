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


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> str:
    """A folder with the weights of a tiny model."""
    from tiny import tiny_model

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    tiny_model().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def ray():
    """A cluster of two cores for the tests of a module; its tasks find the helper modules too."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.pop("RAY_ADDRESS", None)
    tests = Path(__file__).parent
    found = os.pathsep.join([str(tests.parent), str(tests)])
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": found, "OMP_NUM_THREADS": "1"}},
    )
    yield ray
    ray.shutdown()
