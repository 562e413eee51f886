"""Run tests against changed source, each time in a fork of a process that has Keras imported.

Importing TensorFlow takes several times as long as the tests of a small module. A fork of a process
that has imported it, but has not yet used it, begins behind that. The changed source is served by
an import hook: no file is written, so nothing can be left changed.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any, Self

# What tests import that is slow and is not the project's own.
_IMPORTED_BEFORE = ("hypothesis", "keras", "pytest", "tensorflow", "tyro")
_SECONDS_BETWEEN_LOOKS = 0.02
# Up to the first failure, and saying little.
FLAGS = (
    *("-x", "-q", "--no-header", "--tb=short", "-pno:cacheprovider", "-pno:xdist"),
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),
    "--hypothesis-profile=forked",
)


@dataclass(frozen=True)
class Outcome:
    """How tests ended.

    Attributes:
        passed: whether all of them did.
        seconds: what they took.
        said: the last lines that pytest printed.
    """

    passed: bool
    seconds: float
    said: str


class Server:
    """Another process that answers questions, a line of JSON each; a context manager.

    Args:
        root: its working directory.
        module: whose `serve` it runs.
        argument: what that is given.
    """

    def __init__(self, root: Path, module: str, *argument: list[str]) -> None:
        self._root = root
        self._program = f"import {module}; {module}.serve(*{argument!r})"

    def __enter__(self) -> Self:
        # One thread: several would be asked for by several of these at once.
        threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        here = str(Path(__file__).resolve().parents[1])
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._program],
            cwd=self._root,
            env={**os.environ, **dict.fromkeys(threads, "1"), "PYTHONPATH": here},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for who asks
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def ask(self, **question: Any) -> Any:
        """What it answers.

        Raises:
            RuntimeError: when the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("The process that runs tests has ended.")
        return json.loads(answer)


class ForkedTests(Server):
    """A process that runs tests in forks of itself.

    Args:
        root: folder of the project whose tests run.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, __name__)

    def run(
        self, tests: Sequence[str], *, changed: dict[str, str] | None = None, limit_s: float
    ) -> Outcome:
        """Run tests up to the first that fails.

        Args:
            tests: what pytest is given.
            changed: full source by module, in place of what the files hold.
            limit_s: seconds after which the tests count as failed.

        Raises:
            RuntimeError: when the process has ended.
        """
        return Outcome(**self.ask(tests=list(tests), changed=changed or {}, limit_s=limit_s))


def import_what_is_slow() -> None:
    """Import what tests need and is not the project's own, and have examples drawn as always."""
    for name in _IMPORTED_BEFORE:
        importlib.import_module(name)
    from hypothesis import Phase, settings

    # The same change is judged by the same examples, today and tomorrow; nobody reads the smallest.
    settings.register_profile(
        "forked",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
    )


def serve() -> None:
    """Answer what `ForkedTests.run` asks, until the input ends."""
    import_what_is_slow()
    # What is never collected is not written to, and so not copied for every fork.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(vars(_in_fork(**json.loads(line)))), flush=True)


def _in_fork(tests: list[str], changed: dict[str, str], limit_s: float) -> Outcome:
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            _be_the_fork(tests, changed, output.fileno())
        status = None
        while status is None and time.monotonic() - began < limit_s:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            ended, found = os.waitpid(child, os.WNOHANG)
            status = found if ended else None
        if status is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        output.seek(0)
        said = output.read().decode(errors="replace")[-4_000:]
    if status is None:
        said += f"\nstopped behind {limit_s:.0f} s"
    return Outcome(status == 0, round(time.monotonic() - began, 2), said)


def _be_the_fork(tests: list[str], changed: dict[str, str], output: int) -> None:
    """Run pytest and end this process with its status."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.meta_path.insert(0, _ChangedSource(changed))
        import pytest

        status = int(pytest.main([*FLAGS, *tests]))
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


class _ChangedSource(importlib.abc.MetaPathFinder):
    """Finds modules by name whose source is another than their file's."""

    def __init__(self, changed: dict[str, str]) -> None:
        self._changed = changed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._changed:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert found is not None
        assert found.origin is not None
        loader = _ChangedLoader(fullname, found.origin, self._changed[fullname])
        return importlib.util.spec_from_file_location(fullname, found.origin, loader=loader)


class _ChangedLoader(importlib.machinery.SourceFileLoader):
    """Loads given source under the name of a file."""

    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType | None:
        return compile(self._source, self.path, "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> str:
        return self._source  # tf.function reads it
