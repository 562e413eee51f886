"""What becomes of memory that was freed: kept for the next step, rather than handed back."""

from __future__ import annotations

import ctypes
import sys

# glibc's mallopt: the parameters' numbers, of malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_ALL, _PAD = 2**31 - 1, 64 * 2**20


def keep_freed_memory() -> bool:
    """Let the process keep memory that it freed, for what it allocates next.

    A training step allocates the same hundreds of megabytes as the step before. glibc gives large
    blocks back to the system when they are freed and asks for them again, and the system fills
    every page with zeros anew, which on some machines takes much of a training's time. To be called
    first, before other threads exist.

    Reference: mallopt(3) of the GNU C library.

    Returns:
        Whether the C library is one that can be told so (glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    settings = (_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _ALL), (_TOP_PAD, _PAD)
    return all([mallopt(parameter, value) for parameter, value in settings])
