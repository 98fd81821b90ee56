"""The peak rates of the machine: matrix products and copies."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

SIZE = 2048  # rows of the square matrices
PRODUCTS = 4  # products one after another, against noise
FLOPS = 2 * SIZE**3 * PRODUCTS
COPY = 256 * 2**20  # bytes, more than any cache holds


def _rate(work, amount: float, least: float = 1.0) -> float:
    """Returns the amount per second, the best of repetitions during at least a second."""
    work()
    best, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < least:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = max(best, amount / (time.perf_counter() - begin))
    return best


def product(dtype: torch.dtype, device: str = "cpu") -> Callable[[], object]:
    """Multiplies two square matrices, ``FLOPS`` in all."""
    a, b = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    out = torch.empty(SIZE, SIZE, device=device, dtype=dtype)
    return lambda: [torch.mm(a, b, out=out) for _ in range(PRODUCTS)]


def gemm(dtype: torch.dtype, device: str = "cpu") -> float:
    """FLOP/s of that, at best."""
    return _rate(product(dtype, device), FLOPS)


def copy(device: str = "cpu") -> float:
    """Bytes a second, read and written."""
    a = torch.zeros(COPY // 4, device=device)
    b = torch.empty_like(a)
    return _rate(lambda: b.copy_(a), 2 * COPY)


def memory(field: str) -> float:
    """Memory of this process in MiB, as Linux tells it: ``VmRSS`` now, ``VmHWM`` at most so far."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024
