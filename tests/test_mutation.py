"""Small changes of the core: what is made, what is asked, what is kept, and what is told."""

import subprocess
import sys
from typing import ClassVar

import pytest

from attention_apps.running.command import UserError
from benchmarks import mutants
from benchmarks.collected_tests import CollectedTests
from benchmarks.forked_tests import Outcome
from benchmarks.in_turn import ROOT
from benchmarks.mutants import mutants_of, read_equivalents, spread

SOURCE = '''"""A module."""


def larger(a, b):
    """The larger of two."""
    if a > b:
        result = max(a, b)
        return result
    return b + 1


class Box:
    """A box."""

    size = 3

    def half(self, name="size"):
        """Half of it."""
        return getattr(self, name) / 2
'''


def test_changes_are_those_that_say_something_of_the_tests():
    made = {(one.function, *one.lines()) for one in mutants_of("masks", SOURCE)}
    half = "return getattr(self, name) / 2"
    assert made == {
        ("larger", "if a > b:", "if a >= b:"),
        ("larger", "result = max(a, b)", "result = max(b)"),
        ("larger", "result = max(a, b)", "result = max(a, )"),
        ("larger", "return b + 1", "return b - 1"),
        ("larger", "return b + 1", "return b + 2"),
        ("Box.half", half, "return getattr(self, name) * 2"),
        ("Box.half", half, "return getattr(self, name) / 3"),
        ("Box.half", half, "return getattr(name) / 2"),
        ("Box.half", half, "return getattr(self, ) / 2"),
    }


def test_a_sample_takes_as_many_of_every_module():
    made = mutants_of("masks", SOURCE) + mutants_of("scoring", SOURCE)[:3]
    drawn = spread(made, 6, seed=1)
    assert sorted(one.module for one in drawn) == ["masks"] * 3 + ["scoring"] * 3
    assert spread(made, 6, seed=1) == drawn != spread(made, 6, seed=2)
    assert len(spread(made, 99, seed=1)) == len(made)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one module, whose tests notice every change of `larger` and no other."""
    module = tmp_path / "attention_apps" / "attention" / "masks.py"
    module.parent.mkdir(parents=True)
    module.write_text(SOURCE)
    tests = tmp_path / "tests" / "attention"
    tests.mkdir(parents=True)
    (tests / "test_masks.py").write_text("1")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / mutants.EQUIVALENT).write_text("mutant = []")
    monkeypatch.setattr(mutants, "TESTS", {"masks": ("test_masks",)})
    monkeypatch.setattr(mutants, "ForkedTests", Pretended)
    monkeypatch.setattr(mutants, "CollectedTests", Unable)
    Pretended.asked.clear()
    return tmp_path


class Pretended:
    """Stands for the process that runs tests."""

    asked: ClassVar[list] = []
    sound = True

    def __init__(self, root):
        assert root.exists()

    def __enter__(self):
        return self

    def __exit__(self, *how):
        pass

    def run(self, tests, *, changed=None, limit_s):
        if not changed:
            self.asked.append(tests)
            return Outcome(passed=self.sound, seconds=0.1, said="")
        assert tests == ["tests/attention/test_masks.py"]
        source = changed["attention_apps.attention.masks"]
        self.asked.append(source)
        noticed = source.partition("class")[0] != SOURCE.partition("class")[0]
        said = "FAILED tests/attention/test_masks.py::test_it[a b] - assert 1 == 2\n1 failed in 1s"
        return Outcome(passed=not noticed, seconds=0.1, said=said if noticed else "")


class Unable:
    """Stands for the process that has collected tests and can change nothing behind that."""

    def __init__(self, root, tests):
        assert root.exists()
        assert tests == ["tests/attention/test_masks.py"]

    def __enter__(self):
        return self

    def __exit__(self, *how):
        pass

    def run(self, *change, first, limit_s):
        return None


LISTED = """[[mutant]]
module = "masks"
function = "Box.half"
before = "return getattr(self, name) / 2"
after = "return getattr(self, name) * 2"
why = "Nobody asks a box."
"""


def test_what_no_test_notices_is_shown_unless_it_is_listed(project, capsys):
    assert mutants.main(["--processes=1"], project) == 1
    said = capsys.readouterr().out
    assert "masks                            9        5           0       4" in said
    assert "masks: Box.half\n  - return getattr(self, name) / 2\n  + return getattr(name)" in said
    (project / mutants.EQUIVALENT).write_text(LISTED)
    assert mutants.main(["--processes=1"], project) == 1
    said = capsys.readouterr().out
    assert "masks                            9        5           1       3" in said
    assert "name) * 2" not in said


def test_only_what_has_changed_is_asked_again(project):
    mutants.main(["--processes=1"], project)
    alone = ("tests/attention/test_masks.py::test_it[a b]",)
    assert Pretended.asked.count(alone) == 1  # what failed was sound without a change
    assert len(Pretended.asked) == 9 + 1
    mutants.main(["--processes=1"], project)
    assert len(Pretended.asked) == 10
    file = project / ".mutants" / "answers.jsonl"
    file.write_text(file.read_text()[:-5])  # a kill in the middle of a line
    mutants.main(["--processes=1"], project)
    assert len(Pretended.asked) == 11
    (project / "tests" / "attention" / "test_masks.py").write_text("2")
    mutants.main(["--processes=1"], project)
    assert len(Pretended.asked) == 21


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("Box.half", "Box.whole", "is no change of the module as it is now"),
        (
            'Box.half"\nbefore = "return getattr(self, name) / 2"\n'
            'after = "return getattr(self, name) * 2"',
            'larger"\nbefore = "return b + 1"\nafter = "return b + 2"',
            "is noticed: it is not equivalent",
        ),
    ],
)
def test_the_list_must_be_true(project, capsys, old, new, complaint):
    assert old in LISTED
    (project / mutants.EQUIVALENT).write_text(LISTED.replace(old, new))
    assert mutants.main(["--processes=1"], project) == 1
    assert complaint in capsys.readouterr().out


def test_red_tests_tell_nothing(project, monkeypatch):
    monkeypatch.setattr(Pretended, "sound", False)
    with pytest.raises(UserError, match=r"test_it\[a b\] fails without a change"):
        mutants.main(["--processes=1"], project)


def test_tests_that_are_not_found_tell_nothing(project, monkeypatch):
    """pytest fails when its flags choose no test: that is no change noticed."""
    none = Outcome(passed=False, seconds=0.1, said="no tests ran in 0.01s")
    monkeypatch.setattr(Pretended, "run", lambda *_, **__: none)
    with pytest.raises(UserError, match=r"test_masks\.py fails without a change"):
        mutants.main(["--processes=1"], project)


@pytest.mark.parametrize("gone", ["why", "after"])
def test_an_equivalent_needs_its_reason(tmp_path, gone):
    path = tmp_path / "list.toml"
    path.write_text("\n".join(line for line in LISTED.splitlines() if not line.startswith(gone)))
    with pytest.raises(UserError, match=gone):
        read_equivalents(path)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--modules=mask"], "--modules are of masks"),
        (["--sample=-1"], "--sample must not be negative"),
        (["--processes=0"], "--processes must be 1 or more"),
    ],
)
def test_bad_flags_get_one_line(flags, complaint, capsys):
    with pytest.raises((UserError, SystemExit)) as caught:
        mutants.main(flags)
    assert complaint in str(caught.value) + capsys.readouterr().err


def test_every_module_that_is_listed_exists():
    for module in mutants.TESTS:
        assert mutants.path_of(module).is_file()
        for word in mutants.arguments(module):
            assert "/" not in word or (ROOT / word).is_file()


@pytest.mark.verify
def test_a_fork_answers_one_change_after_the_other_and_gives_every_function_back():
    whole = mutants.path_of("masks").read_text()
    module = f"{mutants.PACKAGE}.masks"
    with CollectedTests(ROOT, ["tests/attention/test_masks.py", "-k", "predicate"]) as tests:

        def asked(function, old, new):
            assert whole.count(old) == 1
            changed = whole.replace(old, new)
            return tests.run(module, function, whole, changed, limit_s=300)

        for _ in range(2):
            nearer = "ops.less(ops.abs(query_positions - key_positions), self.size)"
            wrong = asked("Window.allowed", nearer, nearer.replace("less", "less_equal"))
            assert not wrong.passed
            assert wrong.said.startswith("FAILED tests/attention/test_masks.py::test_a_mask_is_its")
            # That nobody asks for among these tests.
            assert asked("Causal.reach", "return None, 0", "return None, 1").passed
        # A test that fails with the change must pass without it, or nothing is said.
        hook = "return ops.less_equal(key_positions, query_positions)"
        spoiled = hook.replace("return", "Causal.allowed = Everything.allowed; return")
        assert asked("Causal.allowed", hook, spoiled) is None
        # What ran while tests were collected, and defaults, are not in a function's code.
        assert asked("causal", "return Causal()", "return Everything()") is None
        assert asked("Mask.draw", "query_length: int = 12", "query_length: int = 13") is None


@pytest.mark.verify
def test_a_sample_of_changes_is_noticed(tmp_path):
    count = len(mutants.TESTS)
    command = [sys.executable, "-m", "benchmarks.mutants", f"--sample={count}"]
    answer = subprocess.run(
        [*command, "--processes=1", f"--into={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-1000:]
    assert f"{count}/{count} " in answer.stdout
