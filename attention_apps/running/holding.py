"""One process a run, and one at a time that adds to a cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from attention_apps.running.command import UserError

_held: dict[Path, int] = {}


def hold_run(run_dir: str | os.PathLike[str]) -> None:
    """Keep other processes from training this run for as long as this process lives.

    The lock is the kernel's and lies on the folder itself: it ends with the process, also with
    one that was killed.

    Raises:
        UserError: when another process trains it.
    """
    folder = Path(run_dir).resolve()
    if folder in _held:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"{run_dir} is being trained by another process. Wait for it, or end it first."
        ) from None
    except OSError:
        pass  # a file system without locks: nothing to hold
    _held[folder] = descriptor


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is inside this for the same folder, which is there already."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # of a file system without locks: nothing to wait for
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
