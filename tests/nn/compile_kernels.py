"""Compiles the attention kernels for GPUs that need not be there; prints a line of JSON for each.

Triton's interpreter, in which the other tests run, accepts programs that its compiler refuses.
Started by test_fused_attention.py without TRITON_INTERPRET, as Triton reads that once.
"""

import itertools
import json
import re
import subprocess
import tempfile

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from molae_pyg.nn import fused_attention

CAPABILITIES = (80, 90)  # A100; H100 and H200
SHAPES = ((torch.float32, 27), (torch.bfloat16, 130))  # one tile of keys, and three
TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.uint8: "*u8",
    torch.int64: "*i64",
}


class Compiler:
    """In the place of a kernel: compiles what would be launched."""

    def __init__(self, kernel: triton.JITFunction, capability: int):
        self.kernel, self.capability = kernel, capability

    def __getitem__(self, grid: tuple[int, ...]):
        return self.launch

    def launch(self, *values, num_warps: int, **constants) -> None:
        names = self.kernel.arg_names
        arguments = dict(zip(names, values, strict=False)) | constants
        signature, attributes = {}, {}
        for place, name in enumerate(names):
            value = arguments[name]
            if self.kernel.params[place].is_constexpr or value is None:
                signature[name], constants[name] = "constexpr", value
            elif isinstance(value, torch.Tensor):
                signature[name] = TYPES[value.dtype]
                attributes[(place,)] = [["tt.divisibility", 16]]
            else:
                signature[name] = "fp32" if isinstance(value, float) else "i32"
        fixed = {(names.index(name),): value for name, value in constants.items()}
        compiled = triton.compile(
            ASTSource(self.kernel, signature, fixed, attributes),
            target=GPUTarget("cuda", self.capability, 32),
            options={"num_warps": num_warps},
        )
        found = {"kernel": self.kernel.__name__, "capability": self.capability}
        found |= {"spilled": spilled(compiled.asm["ptx"], self.capability)}
        print(json.dumps(found | {"shared": compiled.metadata.shared}), flush=True)


def spilled(ptx: str, capability: int) -> int:
    """Bytes that do not fit into the registers, as NVIDIA's assembler tells them."""
    arch = f"sm_{capability}" + ("a" if capability == 90 else "")
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [get_ptxas(capability).path, "-v", f"-arch={arch}", file.name]
        command += ["-o", "/dev/null"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return sum(int(number) for number in re.findall(r"(\d+) bytes spill stores", done.stderr))


def main() -> None:
    forward, backward = fused_attention._forward_kernel, fused_attention._backward_kernel
    seed, heads, D = torch.tensor([0]), 2, 8
    for capability, (dtype, L) in itertools.product(CAPABILITIES, SHAPES):
        fused_attention._forward_kernel = Compiler(forward, capability)
        fused_attention._backward_kernel = Compiler(backward, capability)
        qkv = torch.empty(1, L, 3 * heads * D, dtype=dtype)
        mask = torch.ones(1, L, dtype=torch.bool)
        pair = torch.empty(1, heads, L, L, dtype=dtype) if dtype == torch.bfloat16 else None
        out, logits, lse = fused_attention.pair_attention(qkv, pair, mask, seed, heads, 0.1)
        fused_attention.pair_attention_backward(
            qkv, logits, mask, seed, lse, out, out, logits, heads, 0.1
        )


if __name__ == "__main__":
    main()
