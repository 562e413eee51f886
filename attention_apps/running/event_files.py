"""Event files that go back with the checkpoint: after a kill no step is drawn twice.

Event files only grow, so a checkpoint needs to remember no more of them than their sizes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path

_PATTERN = "*.tfevents.*"


def event_file_sizes(run_dir: Path) -> dict[str, int]:
    """Return the size in bytes of every event file below `run_dir`, by relative path."""
    return {str(path.relative_to(run_dir)): path.stat().st_size for path in run_dir.rglob(_PATTERN)}


def trim_event_files(run_dir: Path, sizes: Mapping[str, int]) -> None:
    """Cut every event file back to the size it had, and delete those that were not there yet.

    A file that holds no event is left alone: a writer of this process may have just opened it.
    """
    for path in run_dir.rglob(_PATTERN):
        size = sizes.get(str(path.relative_to(run_dir)))
        if size is not None:
            os.truncate(path, min(size, path.stat().st_size))
        elif _holds_events(path):
            path.unlink()


def _holds_events(path: Path) -> bool:
    """Whether anything follows the first record, which only names the file's version."""
    with path.open("rb") as file:
        length = file.read(8)
    if len(length) < 8:
        return False
    # A record is its length (8 bytes), that length's checksum (4), the data, its checksum (4).
    return path.stat().st_size > 8 + 4 + struct.unpack("<Q", length)[0] + 4
