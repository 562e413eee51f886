"""One process a run: nobody resumes a run that is still being trained."""

from __future__ import annotations

import fcntl
import os
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
