"""How every command starts and ends: quietly, and with one clear line when something is wrong.

A room's module ends with

    if __name__ == "__main__":
        run_command(main)
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable
from typing import NoReturn

from attention_apps.running.memory import keep_freed_memory

USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class UserError(ValueError):
    """What was received, what was expected and what to do, in one sentence to the user."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a sentence that says what is saved and how to go on."""


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and leave the process the way every command of this project does.

    A mistake of the user (`UserError`, a path that cannot be used, a full disk) becomes one line
    on standard error and exit status 2; Ctrl-C one line and 130; a reader who closed the pipe
    nothing and 141. Whatever else is raised is a programmer's error: it keeps its traceback and
    ends with status 1.

    Args:
        main: the command; it returns the exit status, or None for success.
    """
    try:
        try:
            status = main()
        finally:
            # A closed pipe shows only when something is written: here, not at shutdown.
            sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes again on its way out; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except UserError as error:
        _say(f"error: {error}")
        sys.exit(USER_ERROR)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        if error.filename is None:
            raise
        _say(f"error: {error.filename}: {error.strerror}")
        sys.exit(USER_ERROR)
    except OSError as error:
        if error.errno not in _FULL_DISK:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        _say(f"error: {where}{error.strerror}")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt as interruption:
        if sys.stdout.isatty():
            print()  # leaves the progress line, where the cursor stands
        _say(str(interruption) or "interrupted")
        # At once: threads that read data are still at work, because the interruption came in the
        # middle of theirs, and taking the interpreter down under them crashes now and then.
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    sys.exit(status or 0)


def _say(sentence: str) -> None:
    """Print on one line of standard error, whatever line breaks the sentence was made with."""
    print(" ".join(sentence.split()), file=sys.stderr)


def quiet_start(operations: int = 1) -> None:
    """Import tensorflow with oneDNN and without start-up messages; keep memory that was freed.

    For commands, never for libraries.

    Args:
        operations: how many run at a time, each on one core, see `side_by_side`; 1 leaves it to
            TensorFlow. What the environment says stands.

    TensorFlow's C++ parts write to descriptor 2 before any setting of theirs is read, so the
    descriptor itself points elsewhere until the first device is up. What was written is shown
    after all if the import fails.
    """
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow turns it on by itself with AVX-512 alone; with AVX2, too, it nearly halves the time
    # of matrix products.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if operations > 1:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", str(operations))
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            import tensorflow as tf

            tf.constant(0)  # brings up the devices, which has messages of its own
        except BaseException:
            messages.seek(0)
            os.write(terminal, messages.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
