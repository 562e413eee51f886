import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attention_apps.running.command import UserError, run_command

ROOT = Path(__file__).parents[2]


def ends(main):
    with pytest.raises(SystemExit) as end:
        run_command(main)
    return end.value.code


def raiser(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such set.\nReceived: x."), 2, "error: no such set. Received: x."),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "data/x"),
            2,
            "error: data/x: No such file or directory",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "data"),
            2,
            "error: data: Permission denied",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            "error: No space left on device",
        ),
    ],
)
def test_what_users_cause_ends_in_one_line(error, status, line, capsys):
    assert ends(raiser(error)) == status
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(
    "error",
    [ValueError("shape"), KeyError("x"), FileNotFoundError("from code"), OSError(errno.EIO, "io")],
)
def test_what_programmers_cause_is_raised(error):
    with pytest.raises(type(error)) as raised:
        run_command(raiser(error))
    assert raised.value is error


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_exit_status_is_what_main_returns(returned, status, capsys):
    assert ends(lambda: returned) == status
    assert capsys.readouterr().err == ""


def run_python(code, **options):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, **options)


def test_programmers_error_keeps_its_traceback_and_ends_with_1():
    code = "from attention_apps.running.command import run_command\nrun_command(lambda: {}['key'])"
    ended = run_python(code, capture_output=True)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "KeyError: 'key'" in ended.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [("KeyboardInterrupt()", "interrupted"), ("Interrupted('saved: 3 epochs')", "saved: 3 epochs")],
)
def test_ctrl_c_ends_in_one_line_and_without_the_teardown_that_threads_may_crash(error, line):
    code = f"""
import atexit
from attention_apps.running.command import Interrupted, run_command
atexit.register(print, "teardown")
def main():
    print("figures")
    raise {error}
run_command(main)
"""
    ended = run_python(code, capture_output=True)
    assert ended.returncode == 130
    assert ended.stderr == line + "\n"
    assert ended.stdout == "figures\n"


@pytest.mark.parametrize("then", ["", "raise SystemExit(0)"])
def test_closed_pipe_is_quiet(then):
    code = f"""
import sys
from attention_apps.running.command import run_command
def main():
    sys.stdin.read()  # until the reader is gone
    print("text")
    {then}
run_command(main)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    process.stdin.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_failing_import_shows_what_was_hidden():
    """quiet_start hides descriptor 2 while it imports, but not from somebody who needs it."""
    code = """
import os, sys, types
from attention_apps.running.command import quiet_start
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            os.write(2, b"missing library\\n")
            raise ImportError("cannot import tensorflow")
sys.meta_path.insert(0, Broken())
os.write(2, b"before\\n")
try:
    quiet_start()
except ImportError as error:
    os.write(2, f"after: {error}\\n".encode())
"""
    ended = run_python(code, capture_output=True)
    assert ended.stderr == "before\nmissing library\nafter: cannot import tensorflow\n"


def test_operations_side_by_side_have_a_core_each_unless_the_user_says_otherwise():
    code = """
import os
from attention_apps.running.command import quiet_start
quiet_start(3)
print(os.environ["TF_NUM_INTRAOP_THREADS"], os.environ["TF_NUM_INTEROP_THREADS"])
"""
    assert run_python(code, capture_output=True, env=_environment()).stdout == "1 3\n"
    told = _environment(TF_NUM_INTRAOP_THREADS="2")
    assert run_python(code, capture_output=True, env=told).stdout == "2 3\n"


def _environment(**told):
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {name: value for name, value in os.environ.items() if name not in names} | told
