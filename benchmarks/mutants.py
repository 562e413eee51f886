"""Change the attention core in small ways, one at a time, and see whether its tests notice.

python -m benchmarks.mutants                                    all modules, hours
python -m benchmarks.mutants --modules masks scoring            some of them, minutes
python -m benchmarks.mutants --sample 24                        as many, spread over all modules

The changes are mutmut's: swapped operators, shifted numbers, missing arguments, turned conditions.
Changed texts and values replaced by None are left out: the first change messages alone, the second
fail at once whatever the tests, or say what a missing argument says. What no test notices is shown
as a difference; it is a defect of the tests unless benchmarks/equivalent_mutants.toml says why it
changes nothing that can be seen. Answers are kept in .mutants: give the same command again after a
kill, and only what has changed since, in a module or in its tests, is asked again.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import difflib
import hashlib
import itertools
import json
import queue
import random
import re
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attention_apps.running.command import Interrupted, UserError, run_command
from attention_apps.running.flags import parse
from benchmarks.collected_tests import CollectedTests
from benchmarks.forked_tests import ForkedTests, Outcome
from benchmarks.in_turn import ROOT
from benchmarks.mutated_modules import TESTS

PACKAGE = "attention_apps.attention"
EQUIVALENT = "benchmarks/equivalent_mutants.toml"

# For all tests of a module, on a slow machine, and for one of them.
_LIMIT_S = 600.0
_LIMIT_OF_ONE_S = 90.0
# Fewer changes of a module take less time in forks of their own.
_WORTH_COLLECTING = 8
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    modules: tuple[str, ...] = ()
    """Modules of the attention core, such as masks or algorithms.linear; none takes all."""
    sample: int = 0
    """How many changes are tried, spread over the modules; 0 tries all."""
    seed: int = 1
    """Draws the sample."""
    processes: int = 2
    """Tests that run at a time."""
    into: Path = Path(".mutants")
    """Folder of the answers."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if unknown := [name for name in self.modules if name not in TESTS]:
            raise ValueError(f"--modules are of {', '.join(TESTS)}. Received: {unknown[0]}")
        if self.sample < 0:
            raise ValueError(f"--sample must not be negative. Received: {self.sample}")
        if self.processes < 1:
            raise ValueError(f"--processes must be 1 or more. Received: {self.processes}")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        module: its name in the attention core.
        function: the function or method that was changed, with its class.
        whole: the module's source.
        changed: the source with the change.
    """

    module: str
    function: str
    whole: str
    changed: str

    def lines(self) -> tuple[str, str]:
        """The lines that were changed and what they have become, without indentation."""
        before, after = [], []
        for line in difflib.ndiff(self.whole.splitlines(), self.changed.splitlines()):
            if line.startswith("- "):
                before.append(line[2:].strip())
            elif line.startswith("+ "):
                after.append(line[2:].strip())
        return "\n".join(before), "\n".join(after)

    def shown(self) -> str:
        """The change as a difference."""
        before, after = self.lines()
        removed = "".join(f"\n  - {line}" for line in before.splitlines())
        added = "".join(f"\n  + {line}" for line in after.splitlines())
        return f"{self.module}: {self.function}{removed}{added}"


@dataclasses.dataclass(frozen=True)
class Equivalent:
    """A change that no test can notice, as benchmarks/equivalent_mutants.toml lists it."""

    module: str
    function: str
    before: str
    after: str
    why: str


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every change that mutmut makes in a module, less those that say nothing of its tests.

    Args:
        module: its name in the attention core.
        source: its source.
    """
    import libcst
    from mutmut.mutation.file_mutation import create_mutations

    tree, mutations, _, _ = create_mutations(f"{module}.py", source)
    # The path to every function: a search for what to replace through the whole module takes ten
    # times as long as one through the function.
    paths: dict[libcst.CSTNode, tuple[Any, ...]] = {}
    for node in tree.body:
        paths[node] = (node,)
        if isinstance(node, libcst.ClassDef):
            paths |= {each: (node, each) for each in node.body.body}
    found: dict[str, Mutant] = {}
    for mutation in mutations:
        old, new = mutation.original_node, mutation.mutated_node
        function = mutation.contained_by_top_level_function
        if not isinstance(function, libcst.FunctionDef) or _says_nothing(old, new):
            continue
        path = paths[function]
        changed = _with(tree, path, function.deep_replace(old, new)).code
        if changed != source:
            name = ".".join(node.name.value for node in path)
            found[changed] = Mutant(module, name, source, changed)
    return list(found.values())


def _says_nothing(old: Any, new: Any) -> bool:
    """Whether a change is one of texts or puts None in the place of something."""
    import libcst

    if isinstance(old, libcst.Call) and isinstance(new, libcst.Call):
        return len(old.args) == len(new.args) and old.func.deep_equals(new.func)
    return isinstance(old, libcst.BaseString | libcst.Assign | libcst.AnnAssign | libcst.Lambda)


def _with(tree: Any, path: Sequence[Any], new: Any) -> Any:
    """A module or a class with the node at the end of a path replaced."""
    if not path:
        return new
    changed = [_with(each, path[1:], new) if each is path[0] else each for each in _body(tree)]
    whole = tree.body if hasattr(tree.body, "body") else tree
    block = whole.with_changes(body=changed)
    return block if whole is tree else tree.with_changes(body=block)


def _body(tree: Any) -> Sequence[Any]:
    """The statements of a module or a class."""
    return getattr(tree.body, "body", tree.body)


def path_of(module: str, root: Path = ROOT) -> Path:
    """The file of a module of the attention core."""
    return root.joinpath(*PACKAGE.split("."), *module.split(".")).with_suffix(".py")


def arguments(module: str, words: Sequence[str] = ()) -> list[str]:
    """What pytest is given: for a module, or for names of test files with flags behind them."""
    words = words or TESTS[module]
    files = list(itertools.takewhile(lambda word: word != "-k", words))
    return [f"tests/attention/{file}.py" for file in files] + list(words[len(files) :])


def read_equivalents(path: Path) -> list[Equivalent]:
    """What is known to change nothing that can be seen.

    Raises:
        UserError: for an entry that is not whole or gives no reason.
    """
    known = []
    for entry in tomllib.loads(path.read_text())["mutant"]:
        try:
            known.append(Equivalent(**{name: text.strip() for name, text in entry.items()}))
        except TypeError as error:
            raise UserError(f"{path.name}: {entry}: {error}") from None
        if not known[-1].why:
            raise UserError(f"{path.name}: no reason is given for {known[-1].before!r}")
    return known


class Answers:
    """What the tests said of mutants, kept on disk.

    Args:
        path: of the file; made when there is none.
        root: of the project: an answer holds for a module and the tests as they are.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._noticed: dict[str, bool] = {}
        if path.exists():
            # A kill may have left half a line, which is given up.
            whole = path.read_text().rpartition("\n")[0]
            path.write_text(f"{whole}\n" if whole else "")
            for line in whole.splitlines():
                self._noticed |= json.loads(line)
        self._tests = {
            module: hashlib.sha256(
                "".join(
                    [*arguments(module)]
                    + [(root / one).read_text() for one in arguments(module) if "/" in one]
                ).encode()
            ).hexdigest()
            for module in TESTS
        }

    def _key(self, mutant: Mutant) -> str:
        text = self._tests[mutant.module] + mutant.changed
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def noticed(self, mutant: Mutant) -> bool | None:
        """Whether a test failed; None when that is not known."""
        return self._noticed.get(self._key(mutant))

    def keep(self, mutant: Mutant, noticed: bool) -> None:
        """Keep an answer."""
        self._noticed[self._key(mutant)] = noticed
        with self._path.open("a") as file:
            print(json.dumps({self._key(mutant): noticed}), file=file, flush=True)


def spread(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """A sample with as many of every module as can be.

    Args:
        mutants: to draw from.
        count: how many.
        seed: draws them.
    """
    generator = random.Random(seed)
    by_module: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_module.setdefault(mutant.module, []).append(mutant)
    for each in by_module.values():
        generator.shuffle(each)
    in_turn = itertools.zip_longest(*by_module.values())
    return [one for turn in in_turn for one in turn if one is not None][:count]


def ask(mutants: Sequence[Mutant], answers: Answers, *, processes: int, root: Path) -> None:
    """Run the tests of every mutant that has no answer yet.

    Args:
        mutants: to try.
        answers: where to keep what the tests say.
        processes: how many run at a time.
        root: of the project.

    Raises:
        UserError: when a test that fails with a change fails without it too.
    """
    waiting = [mutant for mutant in mutants if answers.noticed(mutant) is None]
    if not waiting:
        return
    idle: queue.SimpleQueue[_Judge] = queue.SimpleQueue()
    sound: set[tuple[str, ...]] = set()
    counts = collections.Counter(mutant.module for mutant in waiting)
    many = {module for module, count in counts.items() if count >= _WORTH_COLLECTING}

    def run(mutant: Mutant) -> Outcome:
        judge = idle.get()
        try:
            return judge.outcome(mutant)
        finally:
            idle.put(judge)

    with (
        contextlib.ExitStack() as stack,
        concurrent.futures.ThreadPoolExecutor(processes) as pool,
    ):
        for _ in range(processes):
            idle.put(stack.enter_context(_Judge(root, sound, many)))
        began = time.monotonic()
        running = {pool.submit(run, mutant): mutant for mutant in waiting}
        try:
            for number, done in enumerate(concurrent.futures.as_completed(running), 1):
                mutant, outcome = running[done], done.result()
                answers.keep(mutant, not outcome.passed)
                left = (time.monotonic() - began) / number * (len(waiting) - number) / 60
                print(
                    f"{number}/{len(waiting)} {mutant.module} "
                    f"{'not noticed' if outcome.passed else 'noticed'} "
                    f"({outcome.seconds:.0f} s, {left:.0f} min left)",
                    flush=True,
                )
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted; answers are kept. Go on with the same command."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


class _Judge(contextlib.ExitStack):
    """Runs the tests of one change after the other; a context manager.

    Args:
        root: of the project.
        sound: what is known to pass without a change; more is added.
        many: modules with so many changes that it is worth collecting their tests once for all.
    """

    def __init__(self, root: Path, sound: set[tuple[str, ...]], many: set[str]) -> None:
        super().__init__()
        self._root = root
        self._sound = sound
        self._many = many
        self._forked: ForkedTests | None = None
        self._collected: CollectedTests | None = None
        self._module = ""
        # The tests that noticed something, the last of them first.
        self._first: list[str] = []

    def outcome(self, mutant: Mutant) -> Outcome:
        """What the tests of a module say of a change.

        Raises:
            UserError: when a test that fails with the change fails without it too.
        """
        if mutant.module not in self._many:
            return self._asked_anew(mutant)
        if mutant.module != self._module:
            self.close()
            self._forked, self._module, self._first = None, mutant.module, []
            self._collected = self.enter_context(
                CollectedTests(self._root, arguments(mutant.module))
            )
        assert self._collected is not None
        outcome = self._collected.run(
            f"{PACKAGE}.{mutant.module}",
            mutant.function,
            mutant.whole,
            mutant.changed,
            first=self._first,
            limit_s=_LIMIT_OF_ONE_S,
        )
        if outcome is None:
            return self._asked_anew(mutant)
        self._first = list(dict.fromkeys([*_FAILED.findall(outcome.said), *self._first]))
        return outcome

    def _asked_anew(self, mutant: Mutant) -> Outcome:
        """What they say where the change must be there before they are collected."""
        if self._forked is None:
            self._forked = self.enter_context(ForkedTests(self._root))
        changed = {f"{PACKAGE}.{mutant.module}": mutant.changed}
        outcome = self._forked.run(arguments(mutant.module), changed=changed, limit_s=_LIMIT_S)
        if not outcome.passed:
            for alone in _blamed(mutant.module, outcome.said) - self._sound:
                whole = self._forked.run(alone, limit_s=_LIMIT_S)
                if not whole.passed:
                    raise UserError(f"{' '.join(alone)} fails without a change:\n{whole.said}")
                self._sound.add(alone)
        return outcome


def _blamed(module: str, said: str) -> set[tuple[str, ...]]:
    """What pytest is to be given without the change, to see that the change is what failed.

    A file that cannot be imported is named without a test. Where nothing is named (a crash, an
    endless loop, flags that choose no test) it is all tests of the module.
    """
    named = _FAILED.findall(said)
    alone: set[tuple[str, ...]] = {
        (name,) if "::" in name else ("--collect-only", name) for name in named
    }
    return alone or {tuple(arguments(module))}


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Read the flags, try the changes, and say what nobody noticed.

    Returns:
        1 when a change was not noticed that is not listed as equivalent.
    """
    options = parse(Options, argv, prog="python -m benchmarks.mutants", description=__doc__)
    known = read_equivalents(root / EQUIVALENT)
    all_of = {
        module: mutants_of(module, path_of(module, root).read_text())
        for module in options.modules or TESTS
    }
    mutants = [mutant for each in all_of.values() for mutant in each]
    if options.sample:
        mutants = spread(mutants, options.sample, options.seed)
    answers = Answers(root / options.into / "answers.jsonl", root)
    ask(mutants, answers, processes=options.processes, root=root)
    wrong = _listed_wrongly(known, all_of, answers)
    unknown = _tell(mutants, answers, known)
    for line in wrong:
        print(line)
    return 1 if unknown or wrong else 0


def _tell(mutants: Sequence[Mutant], answers: Answers, known: Sequence[Equivalent]) -> int:
    """Print how many changes were noticed, by module, and each that should have been.

    Returns:
        How many of those there are.
    """
    listed = {_identity(one) for one in known}
    missed: list[Mutant] = []
    print(f"{'module':26}{'changes':>8}{'noticed':>9}{'equivalent':>12}{'missed':>8}")
    for module in dict.fromkeys(mutant.module for mutant in mutants):
        tried = [mutant for mutant in mutants if mutant.module == module]
        silent = [mutant for mutant in tried if not answers.noticed(mutant)]
        unknown = [mutant for mutant in silent if _identity(mutant) not in listed]
        noticed, equivalent = len(tried) - len(silent), len(silent) - len(unknown)
        print(f"{module:26}{len(tried):8}{noticed:9}{equivalent:12}{len(unknown):8}")
        missed += unknown
    for mutant in missed:
        print(f"no test noticed: {mutant.shown()}")
    return len(missed)


def _identity(one: Mutant | Equivalent) -> tuple[str, str, str, str]:
    before, after = one.lines() if isinstance(one, Mutant) else (one.before, one.after)
    return one.module, one.function, before, after


def _listed_wrongly(
    known: Sequence[Equivalent], all_of: Mapping[str, Sequence[Mutant]], answers: Answers
) -> list[str]:
    """What the list of equivalent changes says that is not so, a line each."""
    lines = []
    for entry in known:
        if entry.module not in all_of:
            continue
        same = [one for one in all_of[entry.module] if _identity(one) == _identity(entry)]
        name = f"{EQUIVALENT}: {entry.module}, {entry.function}: {entry.after!r}"
        if not same:
            lines.append(f"{name} is no change of the module as it is now")
        elif all(answers.noticed(one) for one in same):
            lines.append(f"{name} is noticed: it is not equivalent")
    return lines


if __name__ == "__main__":
    run_command(main)
