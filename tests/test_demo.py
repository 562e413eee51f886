"""`make demo` believes a room only what it shows."""

import json

import pytest

from benchmarks import demo

EVALUATE = """
import json, pathlib, sys
assert sys.argv[1:] == ["--run-dir", "runs/toy/1"]
pathlib.Path("runs/toy/1").mkdir(parents=True)
pathlib.Path("runs/toy/1/metrics.json").write_text(json.dumps({"test": {}, "demo": %s}))
"""
GOOD = {"figure": "BLEU", "value": 40.0, "floor": 5.0, "better": "higher"}
ROOM = {
    "config.py": "EXAMPLE = 'a dog runs'",
    "train.py": (
        "import sys\n"
        "assert sys.argv[1:] == ['--demo', '--runs-dir', 'runs']\n"
        "print('epoch 1')\n"
        "print('run: runs/toy/1')"
    ),
    "evaluate.py": EVALUATE % json.dumps(GOOD),
    "export.py": "import sys\nassert sys.argv[1:] == ['--run-dir', 'runs/toy/1']",
    "predict.py": "import sys\nprint('asked', sys.argv[3])\nprint('  drawn')",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the one room `toy`, whose commands are scripts of a few lines."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.hatch.build.targets.wheel]\npackages = ['attention_apps', 'toy']\n"
    )
    (tmp_path / "toy").mkdir()
    for name, text in ROOM.items():
        (tmp_path / "toy" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(demo.sys.modules, "toy.config", raising=False)
    monkeypatch.delitem(demo.sys.modules, "toy", raising=False)
    return tmp_path


def test_rooms_are_the_packages_less_the_shared_one(project):
    assert demo.rooms(project) == ["toy"]


def test_good_room_ends_with_table_answer_and_board(project, capfd):
    assert demo.main(project) == 0
    shown, errors = capfd.readouterr()
    header, row = (shown[shown.index("room ") :].splitlines())[:2]
    assert header.split() == ["room", "figure", "value", "floor", "seconds", "folder"]
    assert row.split()[:5] == ["toy", "BLEU", "40", ">", "5"]
    assert row.split()[-1] == "runs/toy/1"
    assert "epoch 1" in shown[: shown.index("room ")]
    assert "toy: asked a dog runs\n  drawn\n" in shown[shown.index(row) :]
    assert shown.rstrip().endswith("make board")
    assert errors == ""


@pytest.mark.parametrize(
    ("value", "floor", "better", "status"),
    [
        (40.0, 5.0, "higher", 0),
        (5.0, 5.0, "higher", 1),
        (40.0, 5.0, "lower", 1),
        (0.2, 0.3, "lower", 0),
        (0.3, 0.3, "lower", 1),
        (float("nan"), 5.0, "higher", 1),
        (float("nan"), 5.0, "lower", 1),
    ],
)
def test_figure_must_beat_its_floor(project, capfd, value, floor, better, status):
    section = {"figure": "f", "value": value, "floor": floor, "better": better}
    script = EVALUATE % repr(section).replace("nan", "float('nan')")
    (project / "toy" / "evaluate.py").write_text(script)
    assert demo.main(project) == status
    assert ("does not beat its floor" in capfd.readouterr().err) == bool(status)


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("train.py", "print('done')", "must end with the line 'run: FOLDER'"),
        ("train.py", "", "must end with the line 'run: FOLDER'"),
        ("train.py", "raise SystemExit(3)", "toy.train ended with status 3"),
        ("evaluate.py", "", "must write figure, value, floor and better"),
        ("evaluate.py", EVALUATE % {"figure": "f"}, "must write figure, value, floor and better"),
        ("evaluate.py", EVALUATE % {**GOOD, "better": "more"}, "better is 'higher' or 'lower'"),
        ("export.py", "raise SystemExit(2)", "toy.export ended with status 2"),
        ("predict.py", "raise SystemExit(1)", "toy.predict ended with status 1"),
    ],
)
def test_room_that_breaks_the_contract_fails_the_demo(project, capfd, file, text, complaint):
    (project / "toy" / file).write_text(text)
    assert demo.main(project) == 1
    assert complaint in capfd.readouterr().err


def test_room_that_is_slow_is_named(project, capfd, monkeypatch):
    monkeypatch.setattr(demo, "SECONDS_ALLOWED", 0)
    assert demo.main(project) == 0
    assert "more than the 0 allowed" in capfd.readouterr().out
