"""The machine that a result was computed on."""

import platform
from functools import cache
from pathlib import Path


@cache
def processor_name() -> str:
    """Returns the name of the processor, such as ``Intel(R) Xeon(R) Gold 6338``."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor()) or platform.machine()
