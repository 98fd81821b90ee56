"""The processor cores that this process may use, and threads that leave them to other processes."""

import math
import os
import sys
from pathlib import Path

#: How long threads that wait for work keep a core busy: 10,000 turns of GNU's loop (0.1 to 0.5 ms),
#: 1 ms of LLVM's and Intel's clock. By default it is many milliseconds, and if other processes need
#: the cores, the thread that has the work loses its turn to those that wait for it.
SHORT_WAITS = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}

_GROUPS = Path("/sys/fs/cgroup")  # where Linux shows the limits of a container


def available_cores() -> int:
    """Returns the number of cores that this process may use.

    It is the number of cores that the process may run on, or the limit of its container on
    processor time if that is smaller (``docker run --cpus``, limits of Kubernetes), rounded up.
    """
    return min(_cores(), container_limit() or math.inf)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def container_limit() -> int | None:
    """Returns the number of cores that the container may keep busy; None: there is no limit."""
    file, old = _GROUPS / "cpu.max", _GROUPS / "cpu" / "cpu.cfs_quota_us"  # version 2, version 1
    if file.is_file():
        quota, period = file.read_text().split()
    elif old.is_file():
        quota, period = old.read_text(), old.with_name("cpu.cfs_period_us").read_text()
    else:
        return None
    return None if quota == "max" or int(quota) < 0 else math.ceil(int(quota) / int(period))


def share_cores() -> None:
    """Sets the threads of PyTorch to wait briefly, and their number to the limit of the container.

    PyTorch reads these variables of the environment when it is loaded. If it is loaded already,
    nothing is changed. A variable that the user has set stays as it is.
    """
    if "torch" in sys.modules:
        return
    if os.environ.keys().isdisjoint({"OMP_WAIT_POLICY", *SHORT_WAITS}):
        os.environ.update(SHORT_WAITS)
    limit = container_limit()
    if limit is not None and limit < _cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(limit))
