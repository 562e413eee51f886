import io
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("tiny_training.py")


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def lines(self):
        """What a person sees in the end: every line as it was last rewritten."""
        return [line.split("\x1b[K")[-1] for line in self.getvalue().split("\n")]


@pytest.fixture
def clock(monkeypatch):
    from attention_apps.running import progress

    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def model():
    import keras

    model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(1000, use_bias=False)])
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    model.optimizer.build(model.trainable_variables)
    model.stop_training = False
    return model


def watch(model, run_dir, stream, clock, *, epochs=3, steps=100, first_epoch=0, stop_at=None):
    """Tell Progress of a training whose first step takes 30 s and every other 0.5 s."""
    from attention_apps.running.progress import Progress

    progress = Progress(run_dir, stream=stream)
    progress.set_model(model)
    progress.set_params({"epochs": epochs, "steps": steps})
    progress.on_train_begin()
    for epoch in range(first_epoch, epochs):
        progress.on_epoch_begin(epoch)
        for step in range(steps):
            clock.seconds += 30 if (epoch, step) == (first_epoch, 0) else 0.5
            progress.on_train_batch_end(step, {"loss": 1 / 3})
            if (epoch, step) == stop_at:
                return
        clock.seconds += 10  # validation
        progress.on_epoch_end(epoch, {"loss": 1 / 3, "val_loss": 0.25})


def test_what_is_expected_is_measured_without_the_first_step(model, tmp_path, clock):
    """100 steps of 0.5 s in 3 epochs are 150 s; the 30 s of the first are no measure."""
    stream = io.StringIO()
    watch(model, tmp_path, stream, clock, stop_at=(0, 25))
    # 9000 weights, as many velocities and two numbers: 72 kB a checkpoint.
    assert stream.getvalue() == (
        "about 2 min for 3 x 100 steps, and the time of validation; about 1 MB of disk in "
        f"{tmp_path}, and what TensorBoard is shown\n"
    )


def test_one_plain_line_an_epoch_where_nobody_watches(model, tmp_path, clock):
    stream = io.StringIO()
    watch(model, tmp_path, stream, clock)
    # The first epoch takes 30 + 99 / 2 + 10 s, the others 60.
    assert stream.getvalue().splitlines()[1:] == [
        "epoch 1/3  loss 0.3333  val_loss 0.25  90 s  3 min left",
        "epoch 2/3  loss 0.3333  val_loss 0.25  60 s  60 s left",
        "epoch 3/3  loss 0.3333  val_loss 0.25  60 s",
    ]
    assert "\r" not in stream.getvalue()


def test_one_line_that_is_kept_up_to_date_on_a_terminal(model, tmp_path, clock):
    stream = Terminal()
    watch(model, tmp_path, stream, clock, stop_at=(1, 49))
    # Half of the second epoch and the whole third are left, 90 s an epoch as in the first.
    assert stream.lines()[-1] == "epoch 2/3  step 50/100  loss 0.3333  2 steps/s  2 min left"
    assert len(stream.lines()) == 3
    # The first step, which traces for 30 s, is in no rate that was ever shown.
    assert set(re.findall(r"(\S+) steps/s", stream.getvalue())) == {"2"}


def test_a_resumed_run_counts_what_is_left(model, tmp_path, clock):
    stream = io.StringIO()
    watch(model, tmp_path, stream, clock, first_epoch=2)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("about 50 s for 1 x 100 steps")
    assert lines[1].startswith("epoch 3/3")


def test_stopping_early_is_said(model, tmp_path, clock):
    stream = io.StringIO()
    model.stop_training = True
    watch(model, tmp_path, stream, clock, epochs=1)
    assert stream.getvalue().splitlines()[-1].endswith("stopped early")


def test_a_disk_that_is_too_small_is_told_at_the_start(model, tmp_path, clock, monkeypatch):
    from attention_apps.running.command import UserError

    # Three checkpoints of 72 kB and two models of 36 kB.
    needed = 3 * (2 * 36_000 + 12) + 2 * 36_000
    usage = SimpleNamespace(free=needed)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    watch(model, tmp_path, io.StringIO(), clock, stop_at=(0, 30))
    usage.free = needed - 100
    with pytest.raises(UserError, match="needs 0 MB for checkpoints and model"):
        watch(model, tmp_path, io.StringIO(), clock)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (2.54, "2.5 s"),
        (9.96, "10 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (5940, "99 min"),
        (6000, "1 h 40 min"),
        (7500, "2 h 05 min"),
        (float("nan"), "unknown time"),
    ],
)
def test_times_read_as_people_say_them(seconds, said):
    from attention_apps.running.progress import duration

    assert duration(seconds) == said
