"""Ctrl-C stops a training between two steps, never in the middle of one.

Python raises KeyboardInterrupt wherever the program happens to be, also inside TensorFlow's C++
code while that calls back into Python, which now and then crashes the process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attention_apps.running.command import Interrupted
from attention_apps.running.runs import epochs_saved, resume_command

_asked = threading.Event()


@contextmanager
def interruptible(run_dir: str | os.PathLike[str], room: str) -> Iterator[None]:
    """Let Ctrl-C inside the block stop the training and say what is saved and how to go on.

    The first Ctrl-C waits for the next `stop_if_asked`, a second one does not.

    Args:
        run_dir: the run folder.
        room: the room's package, e.g. `translation`.

    Raises:
        Interrupted: in place of KeyboardInterrupt, with the sentence `run_command` prints.
    """
    try:
        with _waiting_for_the_step():
            yield
    except KeyboardInterrupt:
        saved = epochs_saved(Path(run_dir))
        when = f"after epoch {saved}, which is saved" if saved else "before any epoch was saved"
        raise Interrupted(
            f"interrupted {when}. Continue with: {resume_command(run_dir, room)}"
        ) from None


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed since the last call."""
    if _asked.is_set():
        _asked.clear()
        raise KeyboardInterrupt


@contextmanager
def _waiting_for_the_step() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    # A process in the background of a shell ignores Ctrl-C; other threads cannot set handlers.
    ours = (
        threading.current_thread() is threading.main_thread()
        and before is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, _wait_for_the_step)
    try:
        yield
    finally:
        _asked.clear()
        if ours:
            signal.signal(signal.SIGINT, before)


def _wait_for_the_step(number: int, frame: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _asked.set()
    # A signal may come in the middle of a print: only a write of one's own is safe here.
    line_break = "\n" if sys.stdout.isatty() else ""
    os.write(2, f"{line_break}stopping behind this step; Ctrl-C again stops at once\n".encode())
