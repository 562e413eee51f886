"""Where a run comes from: versions, commit and command; reading them imports nothing heavy."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGE = "attention-apps"


def versions() -> dict[str, str]:
    """Return the versions of this package, python, tensorflow and keras."""
    found = {PACKAGE: "unknown", "python": platform.python_version()}
    for name in (PACKAGE, "tensorflow", "keras"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that was not installed
            found[name] = "unknown"
    return found


def command_line() -> str:
    """Return the command this process was started with, as one would type it."""
    return shlex.join([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]])


def git_commit() -> str | None:
    """Return the commit of the checkout this code runs from, `-dirty` where files differ."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's checkout, whose commit would mislead.
        git("ls-files", "--error-unmatch", here.name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
