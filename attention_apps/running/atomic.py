"""Files and folders that are written whole or not at all, whenever the process is killed.

Everything is written under a name that starts with `.partial-`, brought to the disk, and only
then renamed. What a kill leaves behind is known by that name and swept away by the next start.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PARTIAL = ".partial-"
_OLD = ".old-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path`, replacing it, when the block ends."""
    partial = path.with_name(_PARTIAL + path.name)
    try:
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _to_disk(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder to fill; it becomes `path`, replacing it, when the block ends.

    No folder can take another's name in one step: an old `path` is moved aside whole first, and
    moved back by the next `whole_folder` of that path should the process die just there.
    """
    partial = path.with_name(_PARTIAL + path.name)
    old = path.with_name(_OLD + path.name)
    shutil.rmtree(partial, ignore_errors=True)
    if old.exists() and not path.exists():
        os.rename(old, path)
    shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for child in partial.rglob("*"):
            _to_disk(child)
        _to_disk(partial)
        if path.exists():
            os.rename(path, old)
        os.rename(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not path.exists():
            os.rename(old, path)
        raise
    _to_disk(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, replacing the file whole."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def discard(folder: Path) -> None:
    """Delete a folder so that no half of it is ever seen under its own name."""
    partial = folder.with_name(_PARTIAL + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    os.rename(folder, partial)
    shutil.rmtree(partial)


def sweep(folder: Path) -> None:
    """Delete what writes that were killed left in `folder`."""
    for partial in folder.glob(_PARTIAL + "*"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
