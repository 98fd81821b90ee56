"""bf16 where the hardware computes in it."""

from contextlib import AbstractContextManager

import torch

NAMES = ("auto", "32-true", "bf16-mixed")


def precision(name: str = "auto") -> str:
    """Lightning's precision: ``"auto"`` is bf16 where the hardware computes in it, else fp32.

    Raises:
        ValueError: If the name is not one of :data:`NAMES`.
    """
    if name not in NAMES:
        raise ValueError(f"precision must be one of {', '.join(NAMES)}, got {name!r}")
    if name != "auto":
        return name
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()  # no public name in the oldest torch allowed
    return "bf16-mixed" if fast else "32-true"


def autocast(device: torch.device, name: str = "auto") -> AbstractContextManager:
    """The context to compute in; weights and results of reductions stay fp32.

    Raises:
        ValueError: If the name is not one of :data:`NAMES`.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(name) == "bf16-mixed")
