"""Many pictures that are read once, one behind the other, and then by number: kept on disk."""

from __future__ import annotations

import os
import tempfile
import weakref


class Spool:
    """Bytes in a file without a name, which goes with the process.

    A hundred thousand photos do not fit into memory as they come out of tensorflow-datasets; the
    system keeps in memory what is read often.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as it is read
        weakref.finalize(self, self._file.close)
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, data: bytes) -> None:
        """Put some bytes behind the others."""
        self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def read(self, index: int) -> bytes:
        """The bytes that were added as number `index`, counted from 0; from any thread."""
        self._file.flush()
        start, end = self._ends[index : index + 2]
        return os.pread(self._file.fileno(), end - start, start)
