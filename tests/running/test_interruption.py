"""Ctrl-C: what it waits for, what it says, and how the run goes on."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from attention_apps.running.command import Interrupted
from attention_apps.running.interruption import interruptible, stop_if_asked

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("tiny_training.py")


@pytest.fixture(autouse=True)
def _hearing_ctrl_c():
    """Hear SIGINT as in the foreground, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_waits_for_the_end_of_the_step(tmp_path, capfd):
    reached = []

    @interruptible(tmp_path, "room")
    def training():
        stop_if_asked()
        signal.raise_signal(signal.SIGINT)
        reached.append("the rest of the step")
        stop_if_asked()
        reached.append("another step")

    with pytest.raises(Interrupted):
        training()
    assert reached == ["the rest of the step"]
    assert capfd.readouterr().err == "stopping behind this step; Ctrl-C again stops at once\n"


def test_the_second_ctrl_c_waits_for_nothing(tmp_path):
    reached = []

    @interruptible(tmp_path, "room")
    def training():
        signal.raise_signal(signal.SIGINT)
        reached.append("the rest of the step")
        signal.raise_signal(signal.SIGINT)
        reached.append("more of the step")

    with pytest.raises(Interrupted):
        training()
    assert reached == ["the rest of the step"]
    stop_if_asked()  # and nothing of it is left for the next training


def test_an_ignored_ctrl_c_stays_ignored_and_other_threads_set_no_handler(tmp_path):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruptible(tmp_path, "room"):
        signal.raise_signal(signal.SIGINT)
        stop_if_asked()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []

    def elsewhere():
        with interruptible(tmp_path, "room"):
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]


def test_ctrl_c_says_what_is_saved_and_how_to_go_on(tiny, tmp_path):
    """A real SIGINT to a real process; what it prints then continues the run to its end."""
    from attention_apps.running.runs import epochs_saved

    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--runs-dir", str(tmp_path), "--step-seconds=0.05"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = ""
        while not line.startswith("epoch 2/4"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    (run_dir,) = (tmp_path / "tiny").iterdir()
    assert process.returncode == 130, err
    command = f"python -m tiny.train --resume {run_dir}"
    saved = epochs_saved(run_dir)
    assert saved in (2, 3)
    assert err.splitlines() == [
        "stopping behind this step; Ctrl-C again stops at once",
        f"interrupted after epoch {saved}, which is saved. Continue with: {command}",
    ]

    config, options = tiny.parse_run(
        tiny.Config, command.split()[3:], room=tiny.ROOM, description=None
    )
    _, _, history = tiny.train(config, runs_dir=tmp_path, resume=options.resume)
    assert len(history) == 4


def test_interruption_before_anything_is_saved(tmp_path):
    with (
        pytest.raises(
            Interrupted, match=r"before any epoch was saved\. Continue with: .* --resume"
        ),
        interruptible(tmp_path, "room"),
    ):
        raise KeyboardInterrupt
