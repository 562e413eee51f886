"""Attention of PyTorch, measured in its own environment.

python benchmarks/peers/torch_attention.py OF LENGTH BATCH_SIZE BACKWARD CALLS

Prints JSON as `benchmarks.attention` reads it. Needs torch and nothing else.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

HEADS, DIM = 8, 64


def resident_megabytes() -> float:
    """Memory that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def peak_megabytes() -> float:
    """The most memory that the process has held since the peak was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Time calls of the fused kernel, or of the layer."""
    of = sys.argv[1]
    length, batch_size, backward, calls = map(int, sys.argv[2:])
    torch.set_num_threads(1)
    if of == "core":
        inputs = [torch.randn(batch_size, HEADS, length, DIM) for _ in range(3)]
        attend = torch.nn.functional.scaled_dot_product_attention
        variables: list[Any] = []
    else:
        layer = torch.nn.MultiheadAttention(HEADS * DIM, HEADS, batch_first=True)
        inputs = [torch.randn(batch_size, length, HEADS * DIM)]
        variables = list(layer.parameters())

        def attend(x: Any) -> Any:
            return layer(x, x, x, need_weights=False)[0]

    for tensor in inputs:
        tensor.requires_grad_(bool(backward))

    def call() -> Any:
        if not backward:
            with torch.no_grad():
                return attend(*inputs)
        output = attend(*inputs)
        return torch.autograd.grad(output, [*inputs, *variables], output.detach())

    before = resident_megabytes()
    Path("/proc/self/clear_refs").write_text("5")
    call()
    began = time.process_time()
    for _ in range(calls):
        call()
    found = {"count": calls, "cpu_seconds": time.process_time() - began}
    print(json.dumps({**found, "megabytes": peak_megabytes() - before}))


if __name__ == "__main__":
    main()
