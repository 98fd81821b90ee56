"""The precision to compute in: bf16 where the hardware is faster in it."""

from contextlib import AbstractContextManager

import torch

from molae_pyg.environment import processor_vendor

NAMES = ("auto", "32-true", "bf16-mixed")


def precision(name: str = "auto") -> str:
    """Returns Lightning's name of the precision that ``name`` means on this hardware.

    Args:
        name: ``"auto"`` (default): bf16 where the hardware is faster in it, fp32 otherwise; or
            ``"32-true"``, ``"bf16-mixed"``.

    Raises:
        ValueError: The name is not known.
    """
    if name not in NAMES:
        raise ValueError(f"precision must be one of {', '.join(NAMES)}, got {name!r}")
    if name != "auto":
        return name
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = _is_cpu_fast()
    return "bf16-mixed" if fast else "32-true"


def _is_cpu_fast() -> bool:
    """Returns whether products in bf16 take less time than in fp32 on this processor.

    AMX multiplies bf16 at eight times the rate of fp32. The AVX-512 instruction for it has four
    times that rate on AMD's processors, and half of it on Intel's (docs/performance.md). The flags
    have no public names in the oldest torch allowed.
    """
    if torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and processor_vendor() == "AuthenticAMD"


def autocast(device: torch.device, name: str = "auto") -> AbstractContextManager:
    """Returns the context to compute in. Weights and results of reductions stay fp32.

    Raises:
        ValueError: The name is not known.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(name) == "bf16-mixed")
