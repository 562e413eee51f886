"""Make .venv and install the project into it, or do nothing when that is done.

Every `make` target runs this first. It takes up from any state: nothing there, a half-made .venv, a
killed installation, a changed pyproject.toml, a moved folder, another installation still running.
Once installed it needs no network. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InstallError(Exception):
    """What the user must know, in one or two sentences."""


def main(root: Path) -> None:
    """Bring `root/.venv` to the state that pyproject.toml and constraints.txt describe.

    Raises:
        InstallError: when the environment cannot be made or filled.
    """
    venv = root / ".venv"
    with _alone_in(root) as lock:
        if is_installed(root):
            return
        # What was killed half-way can look installed and not be it: only a new .venv is sure.
        if (venv / "begun").exists() or not _runs(venv, "import pip"):
            print(f"Making .venv with Python {sys.version.split()[0]}.", flush=True)
            shutil.rmtree(venv, ignore_errors=True)
            venv.mkdir()
            (venv / "begun").touch()
            _make_venv(venv)
            (venv / "begun").unlink()
        _install(root, lock)
        (venv / "installed").write_text(_fingerprint(root))
        (venv / "begun").unlink(missing_ok=True)


def is_installed(root: Path) -> bool:
    """Whether .venv works and holds what pyproject.toml and constraints.txt ask for today."""
    stamp = root / ".venv" / "installed"
    interrupted = (root / ".venv" / "begun").exists()
    complete = stamp.is_file() and stamp.read_text() == _fingerprint(root)
    return complete and not interrupted and _runs(root / ".venv", "pass")


def _fingerprint(root: Path) -> str:
    """Hash of what an installation depends on, the folder included: it stands in .venv."""
    digest = hashlib.sha256(str(root.resolve()).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


@contextmanager
def _alone_in(root: Path) -> Iterator[int]:
    """Hold a lock on the folder itself, which ends with the processes that hold it open."""
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another installation in this folder.", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _runs(venv: Path, statement: str) -> bool:
    python = venv / "bin" / "python"
    try:
        return subprocess.run([python, "-c", statement], capture_output=True).returncode == 0
    except OSError:
        return False


def _make_venv(venv: Path) -> None:
    if _succeeds([sys.executable, "-m", "venv", str(venv)]):
        return
    # Some systems ship Python and pip without ensurepip, which `venv` needs to bring pip along.
    pip_from_outside = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
    if not (
        _succeeds([sys.executable, "-m", "venv", "--without-pip", str(venv)])
        and _succeeds([*pip_from_outside, "install", "--quiet", "pip"])
    ):
        raise InstallError(f"{sys.executable} can make no virtual environment (module venv, pip).")


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _install(root: Path, lock: int) -> None:
    """Run pip on the project, tell how far it is, and keep its whole output in .venv.

    Args:
        root: the folder of the project.
        lock: descriptor of the lock, which pip shares: should this process be killed, the next
            one waits until pip has ended too.

    Raises:
        InstallError: when pip fails.
    """
    print("Installing into .venv: 2 to 4 minutes and 3.4 GB the first time.", flush=True)
    began = time.monotonic()
    command = [str(root / ".venv" / "bin" / "python"), "-m", "pip", "install", "--no-input"]
    command += ["--disable-pip-version-check", "--constraint", "constraints.txt"]
    if _runs(root / ".venv", "import hatchling.build"):
        command.append("--no-build-isolation")  # so that a later installation needs no network
    command += ["--editable", ".[dev]"]
    environment = {**os.environ, "PYTHONNOUSERSITE": "1"}
    environment.pop("PYTHONPATH", None)
    collected = 0
    log = root / ".venv" / "install.log"
    with (
        log.open("w") as copy,
        subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            pass_fds=(lock,),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            copy.write(line)
            if line.startswith("Collecting "):
                collected += 1
                if collected % 25 == 0:
                    print(f"  packages found: {collected}", flush=True)
            elif line.startswith("Installing collected packages"):
                # From here on pip changes what is there; a failure before this harms nothing.
                (root / ".venv" / "begun").touch()
                print(f"  packages to unpack: {line.count(',') + 1}", flush=True)
    if pip.returncode != 0:
        lines = [line for line in log.read_text().splitlines() if "WARNING" not in line]
        print(*lines[-8:], sep="\n", file=sys.stderr)
        raise InstallError(
            "The installation failed (above: the end of .venv/install.log). "
            "The first one needs a network and 3.4 GB; run the same command again."
        )
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)


if __name__ == "__main__":
    try:
        main(Path(__file__).resolve().parent.parent)
    except InstallError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(
            "\nInterrupted; the same command goes on with the installation anew.", file=sys.stderr
        )
        sys.exit(130)
