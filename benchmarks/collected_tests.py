"""Run the same tests against many changes of single functions, collecting them once.

Importing the project, collecting its tests and starting TensorFlow take longer than most of the
tests that notice a change. Here a process collects the tests; a fork of it takes the changed
function's code in place of the whole one's, runs the tests up to the first that fails, gives the
function its own code back and sees that this test passes again. Then it goes on with the next
change; where that test fails, something was spoiled, and a new fork is asked. What cannot be
changed like that (a function that ran while tests were collected, a default, a decorator) is left
to `benchmarks.forked_tests`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import linecache
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import IO, Any

import pytest
from _pytest.runner import runtestprotocol

from benchmarks.forked_tests import FLAGS, Outcome, Server, import_what_is_slow


class CollectedTests(Server):
    """A process that has collected tests and runs them in forks of itself.

    Args:
        root: folder of the project whose tests run.
        tests: what pytest is given.
    """

    def __init__(self, root: Path, tests: Sequence[str]) -> None:
        super().__init__(root, __name__, list(tests))

    def run(
        self,
        module: str,
        function: str,
        whole: str,
        changed: str,
        *,
        first: Sequence[str] = (),
        limit_s: float,
    ) -> Outcome | None:
        """Run the tests up to the first that fails with the change and passes without it.

        Args:
            module: that holds the function, with its package.
            function: its name, behind that of its class.
            whole: the module's source.
            changed: the source with the function changed.
            first: ids of tests to begin with.
            limit_s: seconds after which a test counts as failed.

        Returns:
            How they ended, naming the test that failed; None where the change cannot be made, or
            where that test fails without it.

        Raises:
            RuntimeError: when the process has ended.
        """
        answer = self.ask(
            module=module,
            function=function,
            whole=whole,
            changed=changed,
            first=list(first),
            limit_s=limit_s,
        )
        return Outcome(**answer) if answer else None


def serve(tests: list[str]) -> None:
    """Collect tests and answer what `CollectedTests.run` asks, until the input ends."""
    import_what_is_slow()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    plugin = _Asked(answers)
    sys.setprofile(plugin.note)
    pytest.main([*FLAGS, "--capture=no", *tests], plugins=[plugin])


class _Asked:
    """A plugin of pytest that runs what was collected once for every question."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self._ran: set[tuple[str, str]] = set()

    def note(self, frame: FrameType, event: str, _: Any) -> None:
        """Remember which functions ran while tests were collected."""
        if event == "call":
            self._ran.add((frame.f_code.co_filename, frame.f_code.co_qualname))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> object:
        """Answer questions, each by a fork that lasts as long as nothing spoils it."""
        sys.setprofile(None)
        if not session.items or session.testsfailed:
            raise RuntimeError("No tests were collected.")
        from tensorflow.python.eager import context

        # Its threads would be missing from every fork.
        if context.context()._context_handle is not None:
            raise RuntimeError("TensorFlow was used while tests were collected.")
        gc.collect()
        gc.freeze()
        fork: _Fork | None = None
        for line in sys.stdin:
            asked = json.loads(line)
            answer = None
            # Once more where changes before this one may have spoiled the fork.
            for _ in range(2 if _replacement(asked, self._ran) else 0):
                is_new = fork is None
                fork = fork or _Fork(session)
                answer = fork.answer(line, asked["limit_s"])
                if not fork.lives:
                    fork = None
                if answer is not None or is_new:
                    break
            print(json.dumps(answer), file=self._answers, flush=True)
        if fork is not None:
            fork.end()
        return True


class _Fork:
    """A fork that answers one question after the other.

    Attributes:
        lives: whether it can be asked once more.
    """

    def __init__(self, session: pytest.Session) -> None:
        (asked, self._questions), (self._answers, answer) = os.pipe(), os.pipe()
        self.lives = True
        self._child = os.fork()
        if not self._child:
            try:
                os.setpgid(0, 0)
                os.close(self._questions)
                _answer_all(session, os.fdopen(asked), answer)
            finally:
                os._exit(1)
        os.close(asked)
        os.close(answer)

    def answer(self, line: str, limit_s: float) -> dict[str, Any] | None:
        """How the tests ended; None where the fork did, or where they fail without the change."""
        began = time.monotonic()
        os.write(self._questions, line.encode())
        answer: dict[str, Any] | None = None
        said = b""
        while not said.endswith(b"\n"):
            if not select.select([self._answers], [], [], limit_s)[0]:
                answer = {"passed": False, "said": f"a test was stopped behind {limit_s:.0f} s"}
                break
            part = os.read(self._answers, 65_536)
            if not part:
                break
            said += part
        else:
            answer = json.loads(said.lstrip(b"."))
        if not said.endswith(b"\n") or answer is None:
            self.end()
        return answer and {**answer, "seconds": round(time.monotonic() - began, 2)}

    def end(self) -> None:
        """End it."""
        self.lives = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        os.close(self._questions)
        os.close(self._answers)


def _answer_all(session: pytest.Session, asked: IO[str], answers: int) -> None:
    """In the fork: make every change, run the tests, and take the change back.

    A dot is written behind every test, and at last a line of JSON.
    """
    for line in asked:
        question = json.loads(line)
        replaced = _replacement(question, set())
        assert replaced is not None  # It was asked for before.
        function, changed = replaced
        whole = function.__code__
        path = whole.co_filename
        place = {name: number for number, name in enumerate(question["first"])}
        items = sorted(session.items, key=lambda item: place.get(item.nodeid, len(place)))
        _set(function, changed, path, question["changed"])
        failed, said = None, ""
        for item in items:
            said = _failure(item)
            os.write(answers, b".")
            if said:
                failed = item
                break
        _set(function, whole, path, question["whole"])
        answer: dict[str, Any] | None = {"passed": failed is None, "said": said}
        if failed is not None and _failure(failed):
            answer = None
        os.write(answers, json.dumps(answer).encode() + b"\n")


def _failure(item: pytest.Item) -> str:
    """Run a test alone; what it says of its failure, beginning with its name, or nothing."""
    reports = runtestprotocol(item, nextitem=None, log=False)
    wrong = [report for report in reports if report.failed]
    return f"FAILED {item.nodeid}\n{wrong[0].longreprtext[-2_000:]}" if wrong else ""


def _set(function: FunctionType, code: CodeType, path: str, source: str) -> None:
    """Give a function a code, and its source to TensorFlow, which reads that of what it traces."""
    function.__code__ = code
    lines = source.splitlines(keepends=True)
    linecache.cache[path] = (len(lines), None, lines, path)


def _replacement(
    asked: dict[str, Any], ran: set[tuple[str, str]]
) -> tuple[FunctionType, CodeType] | None:
    """The function to change and its new code; None where that would not be the change."""
    module = sys.modules.get(asked["module"])
    path = getattr(module, "__file__", None)
    if path is None or (path, asked["function"]) in ran:
        return None
    before, after = (
        _code(asked[source], path, asked["function"]) for source in ("whole", "changed")
    )
    try:
        found: Any = functools.reduce(_member, asked["function"].split("."), module)
    except KeyError:
        return None
    found = getattr(found, "__func__", getattr(found, "fget", found))
    found = getattr(found, "__wrapped__", found)
    if before is None or after is None or before == after:
        return None
    if not isinstance(found, FunctionType) or found.__code__ != before:
        return None
    return (found, after) if before.co_freevars == after.co_freevars else None


def _member(whole: Any, name: str) -> Any:
    return vars(whole)[name]


def _code(source: str, path: str, function: str) -> CodeType | None:
    """The code of a function by its name; None where several have it."""
    waiting, found = [compile(source, path, "exec", dont_inherit=True)], []
    while waiting:
        inner = [each for each in waiting.pop().co_consts if isinstance(each, CodeType)]
        found += [each for each in inner if each.co_qualname == function]
        waiting += inner
    return found[0] if len(found) == 1 else None
