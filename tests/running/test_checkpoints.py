"""A run that is killed at any moment and continued ends bit for bit where the other one ends."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("tiny_training.py")
BEFORE_THE_FOURTH = ("rename", ".partial-epoch-0004", 0)


class Killed(BaseException):
    """Stands for kill -9: after it nothing of the killed code reaches the disk."""


class DyingDisk:
    """Lets nothing through to a run's files from a given moment on.

    Args:
        moment: (operation, end of the path it is done to, how often until then), just before
            which the disk dies; or the number of operations it lets through.
    """

    NAMES = ("fsync", "rename", "replace", "unlink", "truncate", "mkdir", "rmdir")

    def __init__(self, monkeypatch, moment):
        self.moment, self.left, self.dead = moment, moment, False
        if isinstance(moment, tuple):
            self.left = moment[2]
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self._guard(name, getattr(os, name)))
        monkeypatch.setattr(shutil, "rmtree", self._guard("rmtree", shutil.rmtree))

    def _guard(self, name, function):
        def guarded(*args, **kwargs):
            path = str(args[0])
            if path.startswith("/") and "/runs/tiny/" not in path:
                return function(*args, **kwargs)
            if not isinstance(self.moment, tuple) or (
                name == self.moment[0] and path.endswith(self.moment[1])
            ):
                self.left -= 1
            self.dead = self.dead or self.left < 0
            if self.dead:
                raise Killed
            return function(*args, **kwargs)

        return guarded


def values(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [variable.numpy().tobytes() for variable in variables]


def chosen(run_dir):
    import keras

    model = keras.saving.load_model(run_dir / "model.keras", compile=False)
    return [weight.tobytes() for weight in model.get_weights()]


def scalars(run_dir):
    """Every (split, tag, step, value) drawn, as often as it was written."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    return sorted(
        (split, value.tag, event.step, tensor_util.make_ndarray(value.tensor).item())
        for split in ("train", "validation")
        for path in (run_dir / split).iterdir()
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    )


def everything(run_dir, model, history):
    from attention_apps.running.runs import read_metrics

    metrics = {name: section for name, section in read_metrics(run_dir).items() if name != "run"}
    return {
        "variables": values(model),
        "history": history,
        "metrics": metrics,
        "model.keras": chosen(run_dir),
        "scalars": scalars(run_dir),
    }


@pytest.fixture(scope="module")
def config(tiny):
    return tiny.Config(epochs=4)


@pytest.fixture(scope="module")
def uninterrupted(tiny, config, tmp_path_factory):
    return everything(*tiny.train(config, runs_dir=tmp_path_factory.mktemp("run") / "runs"))


def the_run(folder):
    (run_dir,) = (folder / "runs" / "tiny").iterdir()
    return run_dir


def assert_resumes(tiny, config, folder, uninterrupted):
    run_dir = the_run(folder)
    resumed = everything(*tiny.train(config, runs_dir=folder / "runs", resume=run_dir))
    assert resumed == uninterrupted
    assert not [path for path in run_dir.rglob(".*")]
    assert len(list((run_dir / "checkpoints").iterdir())) == 2


def test_the_same_seed_gives_the_same_bits(tiny, config, uninterrupted, tmp_path):
    import dataclasses

    assert everything(*tiny.train(config, runs_dir=tmp_path / "runs")) == uninterrupted
    other = dataclasses.replace(config, seed=2)
    other_seed = everything(*tiny.train(other, runs_dir=tmp_path / "other"))
    assert not set(other_seed["variables"][:2]) & set(uninterrupted["variables"])
    assert len(uninterrupted["history"]) == 4
    assert {"loss", "val_loss"} < set(uninterrupted["history"][0])
    for split, name in (("train", "loss"), ("validation", "val_loss")):
        drawn = [row[2:] for row in uninterrupted["scalars"] if row[:2] == (split, "loss")]
        assert drawn == [(i, logs[name]) for i, logs in enumerate(uninterrupted["history"])]


def killed(tiny, config, folder, moment):
    """Train until the disk dies at `moment`; tell whether that was before the end."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        DyingDisk(monkeypatch, moment)
        try:
            tiny.train(config, runs_dir=folder / "runs")
        except Killed:
            return True
    return False


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(("rename", ".partial-epoch-0001", 0), id="before any checkpoint has its name"),
        pytest.param(("replace", ".partial-model.keras", 2), id="before a better model is there"),
        pytest.param(("rmdir", ".partial-epoch-0001", 0), id="while an old checkpoint is deleted"),
    ],
)
def test_killed_while_writing(moment, tiny, config, uninterrupted, tmp_path):
    assert killed(tiny, config, tmp_path, moment)
    assert_resumes(tiny, config, tmp_path, uninterrupted)


@pytest.mark.verify
def test_killed_at_every_single_write(tiny, tmp_path):
    """At each in the second half of three epochs: a whole epoch with its deletions, and the end."""
    import keras

    config, many = tiny.Config(epochs=3), 10_000
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = DyingDisk(monkeypatch, many)
        trained = tiny.train(config, runs_dir=tmp_path / "runs")
    uninterrupted, writes = everything(*trained), many - disk.left
    assert writes > 50
    for passed in range(writes // 2, writes):
        folder = tmp_path / str(passed)
        assert killed(tiny, config, folder, passed)
        assert_resumes(tiny, config, folder, uninterrupted)
        keras.utils.clear_session()


def kill_nine(tiny, config, folder, uninterrupted, seed):
    """Start the training in a process of its own, kill it at a random moment, and resume it."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in vars(config).items()]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--runs-dir", str(folder / "runs"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(folder.glob("runs/tiny/*/model.keras")):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # Five more epochs of four steps of 50 ms and what an epoch writes take more than a second.
        time.sleep(random.Random(seed).uniform(0, 0.7))
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        process.stdout.close()
    assert not (the_run(folder) / "metrics.json").exists()
    assert_resumes(tiny, config, folder, uninterrupted)


@pytest.fixture(scope="module")
def slow_config(tiny):
    return tiny.Config(epochs=6, step_seconds=0.05)


@pytest.fixture(scope="module")
def slow_uninterrupted(tiny, slow_config, tmp_path_factory):
    return everything(*tiny.train(slow_config, runs_dir=tmp_path_factory.mktemp("run") / "runs"))


def test_kill_nine(tiny, slow_config, slow_uninterrupted, tmp_path):
    kill_nine(tiny, slow_config, tmp_path, slow_uninterrupted, seed=None)


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(5))
def test_five_random_kills(seed, tiny, slow_config, slow_uninterrupted, tmp_path):
    kill_nine(tiny, slow_config, tmp_path, slow_uninterrupted, seed)


def test_damaged_checkpoint_falls_back(tiny, config, uninterrupted, tmp_path, capsys):
    assert killed(tiny, config, tmp_path, BEFORE_THE_FOURTH)
    newest, _ = sorted((the_run(tmp_path) / "checkpoints").glob("epoch-*"))[::-1][:2]
    variables = newest / "variables.npz"
    variables.write_bytes(variables.read_bytes()[:-200])
    assert_resumes(tiny, config, tmp_path, uninterrupted)
    assert f"{newest} is damaged" in capsys.readouterr().err


def test_nothing_but_damage_is_told(tiny, config, tmp_path):
    from attention_apps.running.command import UserError

    assert killed(tiny, config, tmp_path, BEFORE_THE_FOURTH)
    run_dir = the_run(tmp_path)
    for state in run_dir.glob("checkpoints/*/state.json"):
        state.write_text("{")
    with pytest.raises(UserError, match=r"is damaged .*, and there is no other"):
        tiny.train(config, runs_dir=tmp_path, resume=run_dir)


def test_a_run_that_stopped_early_stays_stopped(tiny, tmp_path):
    from attention_apps.running import runs

    config = tiny.Config(epochs=9, patience=1, learning_rate=2.0)  # too fast to get better
    reference = everything(*tiny.train(config, runs_dir=tmp_path / "whole"))
    assert len(reference["history"]) < 9
    with pytest.MonkeyPatch.context() as monkeypatch:

        def die(*args, **kwargs):
            raise Killed

        monkeypatch.setattr(tiny, "finish_run", die)
        with pytest.raises(Killed):
            tiny.train(config, runs_dir=tmp_path / "runs")
    run_dir = the_run(tmp_path)
    assert not runs.is_finished(run_dir)
    assert everything(*tiny.train(config, runs_dir=tmp_path, resume=run_dir)) == reference


def test_code_that_changed_is_refused(tiny, config, tmp_path):
    import keras

    from attention_apps.running.checkpoints import resume
    from attention_apps.running.command import UserError

    assert killed(tiny, config, tmp_path, BEFORE_THE_FOURTH)
    run_dir = the_run(tmp_path)

    small = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16)])
    small.compile("adam", "mse")
    for model, said in (
        (small, r"it holds 18 variables, expected 8"),
        (tiny.build_model(config, width=5), r"is float32 \[8, 16\], expected float32 \[8, 5\]"),
    ):
        with pytest.raises(UserError, match=said):
            resume(run_dir, model, tiny.make_callbacks(run_dir, config))

    class Newcomer(keras.callbacks.Callback):
        def get_state(self):
            return {}

    callbacks = [Newcomer(), *tiny.make_callbacks(run_dir, config)]
    with pytest.raises(UserError, match=r"no state of Newcomer\. The code has changed"):
        resume(run_dir, tiny.build_model(config), callbacks)


def test_mistakes_of_those_who_write_rooms(tiny, config, tmp_path):
    import keras

    from attention_apps.running.checkpoints import Checkpoint, resume

    model = tiny.build_model(config)
    callbacks = tiny.make_callbacks(tmp_path, config)
    best = callbacks[1]
    with pytest.raises(RuntimeError, match="call resume"):
        model.fit(
            tiny.batches(config, 0),
            steps_per_epoch=1,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    with pytest.raises(ValueError, match=r"exactly one Checkpoint\. Received: 0"):
        resume(tmp_path, model, [best])
    with pytest.raises(ValueError, match="BestModel must stand before Checkpoint"):
        resume(tmp_path, model, [Checkpoint(tmp_path), best])
    with pytest.raises(ValueError, match="two BestModel"):
        resume(tmp_path, model, [best, best, Checkpoint(tmp_path)])
    with pytest.raises(ValueError, match="built and compiled"):
        resume(tmp_path, keras.Sequential([keras.layers.Dense(1)]), callbacks)


def test_bfloat16_survives(tmp_path):
    import keras
    import numpy as np

    from attention_apps.running.checkpoints import Checkpoint, resume

    def build():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, dtype="bfloat16")])
        model.compile("adam", "mse")
        return model

    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model, callbacks = build(), [Checkpoint(tmp_path)]
    assert resume(tmp_path, model, callbacks) == 0
    model.fit(x, x[:, :1], callbacks=callbacks, verbose=0)
    other = build()
    assert values(other) != values(model)[: len(values(other))]
    assert resume(tmp_path, other, [Checkpoint(tmp_path)]) == 1
    assert values(other) == values(model)
    assert str(other.variables[0].dtype) == "bfloat16"


def test_one_process_at_a_time_adds_to_a_cache(tmp_path):
    import fcntl

    from attention_apps.running.holding import alone

    other = os.open(tmp_path, os.O_RDONLY)
    with alone(tmp_path), pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_one_process_a_run(tmp_path):
    from attention_apps.running.holding import hold_run

    hold_run(tmp_path)
    hold_run(tmp_path)  # the same process may ask again
    code = f"""
from attention_apps.running.command import run_command
from attention_apps.running.holding import hold_run
run_command(lambda: hold_run({str(tmp_path)!r}))
"""
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert other.returncode == 2
    assert other.stderr.startswith(f"error: {tmp_path} is being trained by another process")
