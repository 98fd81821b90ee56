"""The machine that a result was computed on."""

import platform
from functools import cache
from pathlib import Path


@cache
def processor_name() -> str:
    """Returns the name of the processor, such as ``Intel(R) Xeon(R) Gold 6338``."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


@cache
def processor_vendor() -> str:
    """Returns the vendor as the processor spells it, such as ``AuthenticAMD``; "" if unknown."""
    return _cpuinfo("vendor_id")


def _cpuinfo(field: str) -> str:
    """Returns a field of the first processor that Linux lists."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
