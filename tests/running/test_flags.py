import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions, parse, parse_run
from attention_apps.running.runs import create_run, write_metrics

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Numbers."""

    data_dir: Path | None = None
    """Folder of the text files."""

    dataset: Literal["generated", "files"] = "generated"
    """Where sentences come from."""

    epochs: int = 3
    """Times the data is seen."""

    learning_rate: float = 1e-3
    """Step size at the peak."""

    shuffle: bool = True
    """Whether the order changes."""

    sizes: tuple[int, ...] = (8, 16)
    """Widths."""

    seed: int = 1
    """Seed."""

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(
                f"epochs must be at least 1. Received: epochs={self.epochs} of a very long line "
                "that goes on and on and would be wrapped and framed if it were not ours to print"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command needs."""

    run_dir: Path
    """Run folder."""

    beam_size: int = 4
    """Hypotheses."""


def parse_config(*argv):
    return parse_run(Config, argv, room="room", description="Train.")


def test_flags_fill_config_and_run_options():
    config, options = parse_config(
        *["--data-dir", "d", "--epochs=7", "--no-shuffle", "--sizes", "1", "2", "3"],
        *["--dataset", "files", "--learning-rate", "1e-2", "--runs-dir", "elsewhere"],
    )
    assert config == Config(
        data_dir=Path("d"),
        epochs=7,
        shuffle=False,
        sizes=(1, 2, 3),
        dataset="files",
        learning_rate=0.01,
    )
    assert type(config) is Config
    assert options == RunOptions(resume=None, runs_dir=Path("elsewhere"))


def test_no_flags_give_the_defaults():
    assert parse_config() == (Config(), RunOptions())


def test_flags_change_a_given_default(capsys):
    small = Config(epochs=1, sizes=(4,), data_dir=Path("d"))
    options = {"room": "room", "description": None, "default": small}
    config, run = parse_run(Config, ["--seed", "9"], **options)
    assert config == dataclasses.replace(small, seed=9)
    assert run == RunOptions()
    with pytest.raises(SystemExit):
        parse_run(Config, ["--help"], **options)
    assert "(default: 1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--epocs", "3"], ["unknown flag", "--epocs", "Did you mean --epochs?"]),
        (["--zzz=1"], ["unknown flag", "Received: --zzz."]),
        (["stray"], ["unexpected argument", "Received: stray."]),
        (["--epochs", "x"], ["--epochs takes a whole number", "Received: x."]),
        (["--epochs", "1.5"], ["--epochs takes a whole number", "Received: 1.5."]),
        (["--epochs"], ["--epochs takes a whole number", "Received: nothing."]),
        (["--learning-rate=1,5"], ["--learning-rate takes a number", "Received: 1,5."]),
        (["--learning_rate", "a"], ["--learning-rate takes a number", "Received: a."]),
        (["--sizes", "1", "b"], ["--sizes takes a whole number, or several", "Received: 1 b."]),
        (
            ["--dataset", "w" * 90],
            ["--dataset takes one of generated, files", "Received: " + "w" * 90 + "."],
        ),
        (["--epochs", "0"], ["epochs must be at least 1. Received: epochs=0", "ours to print"]),
        (["--resume", "nowhere"], ["no run folder", "nowhere"]),
    ],
)
def test_bad_flags_are_named_with_what_was_received_and_expected(argv, said, capsys):
    with pytest.raises(UserError) as refused:
        parse_config(*argv)
    for part in said:
        assert part in str(refused.value)
    assert not set("╭│╰\n") & set(str(refused.value))
    assert capsys.readouterr().err == ""


def test_what_the_config_says_reaches_the_user_as_it_was_written():
    with pytest.raises(ValueError, match="epochs must be at least 1") as said:
        Config(epochs=-3)
    with pytest.raises(UserError) as refused:
        parse_config("--epochs=-3")
    assert str(refused.value) == str(said.value)


def test_required_flag():
    asked = parse(Asked, ["--run-dir", "r"], prog="python -m room.predict", description="Ask.")
    assert asked == Asked(run_dir=Path("r"))
    with pytest.raises(UserError, match=r"--run-dir is required: a path\."):
        parse(Asked, [], prog="python -m room.predict", description="Ask.")


def test_resume_takes_the_config_of_the_run(tmp_path):
    config = Config(epochs=9, data_dir=Path("d"))
    run_dir = create_run("room", config, runs_dir=tmp_path)
    assert parse_config("--resume", str(run_dir)) == (config, RunOptions(resume=run_dir))


@pytest.mark.parametrize("beside", [["--epochs", "9"], ["--no-shuffle"], ["--runs-dir=x"]])
def test_resume_refuses_other_flags(beside, tmp_path):
    run_dir = create_run("room", Config(), runs_dir=tmp_path)
    flag = beside[0].split("=")[0]
    for argv in (["--resume", str(run_dir), *beside], [*beside, f"--resume={run_dir}"]):
        with pytest.raises(UserError, match=f"Received: {flag} beside --resume"):
            parse_config(*argv)


def test_resume_refuses_a_finished_run(tmp_path):
    run_dir = create_run("room", Config(), runs_dir=tmp_path)
    write_metrics(run_dir, run={"finished": "2026-01-01T00:00:00"})
    with pytest.raises(UserError, match="is finished: there is nothing to resume"):
        parse_config("--resume", str(run_dir))


def test_help_shows_every_field_and_imports_nothing_heavy():
    script = Path(__file__).with_name("tiny_training.py")
    code = f"""
import json, runpy, sys
sys.argv = ["tiny", "--help"]
try:
    runpy.run_path({str(script)!r}, run_name="__main__")
except SystemExit as end:
    heavy = [name for name in ("tensorflow", "keras", "jax", "numpy") if name in sys.modules]
    print(json.dumps([end.code, heavy]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *text, last = ended.stdout.splitlines()
    assert json.loads(last) == [0, []]
    for shown in ("python -m tiny.train", "--learning-rate", "Step size at the start.", "--resume"):
        assert shown in "\n".join(text)
