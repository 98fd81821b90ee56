"""The precision to compute in: bf16 where the hardware computes in it."""

from contextlib import AbstractContextManager

import torch

NAMES = ("auto", "32-true", "bf16-mixed")


def precision(name: str = "auto") -> str:
    """Returns Lightning's name of the precision that ``name`` means on this hardware.

    Args:
        name: ``"auto"`` (default): bf16 where the hardware computes in it, fp32 otherwise; or
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
        fast = torch.cpu._is_avx512_bf16_supported()  # no public name in the oldest torch allowed
    return "bf16-mixed" if fast else "32-true"


def autocast(device: torch.device, name: str = "auto") -> AbstractContextManager:
    """Returns the context to compute in. Weights and results of reductions stay fp32.

    Raises:
        ValueError: The name is not known.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(name) == "bf16-mixed")
