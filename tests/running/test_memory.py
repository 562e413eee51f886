"""Memory that was freed is used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS_OF_LATER_STEPS = """
import ctypes, resource, sys, threading

from attention_apps.running.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
faults = []


def step():
    # Larger than any threshold that glibc finds for itself; from a thread, as TensorFlow does it.
    sizes = [50 * 2**20, 100 * 2**20]
    blocks = [libc.malloc(size) for size in sizes]
    for block, size in zip(blocks, sizes):
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)


for _ in range(4):
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
print(faults[-1] - faults[0])
"""


def _faults(way: str) -> int:
    command = [sys.executable, "-c", FAULTS_OF_LATER_STEPS, way]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told")
def test_later_steps_do_not_ask_the_system_for_memory_again() -> None:
    """Page faults: hardly any with memory kept, at least the blocks' pages without."""
    pages = 3 * 150 * 2**20 // 4096
    kept, plain = _faults("keep"), _faults("plain")
    # Huge pages may make the plain way cheaper than a fault for each page, never as cheap as none.
    assert kept < 0.01 * pages
    assert plain > 2 * kept
