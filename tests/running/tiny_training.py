"""A whole training in the shape every room has, small enough to be killed and resumed often.

The model has what makes resuming hard: dropout, a decaying learning rate, averaged weights,
early stopping, and data in an order that changes with every epoch.
"""

import dataclasses
import signal
import time
from pathlib import Path

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse_run
from attention_apps.running.runs import create_run, finish_run, set_seed

ROOM = "tiny"
STEPS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The numbers of the tiny training."""

    seed: int = 1
    """Seed of everything random."""

    epochs: int = 4
    """Epochs to train."""

    learning_rate: float = 0.05
    """Step size at the start."""

    patience: int = 10
    """Epochs without a better figure before training stops."""

    step_seconds: float = 0.0
    """Time every step sleeps, so that there is some to be killed in."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1. Received: epochs={self.epochs}")


def build_model(config, width=16):
    import keras

    inputs = keras.Input((8,))
    hidden = keras.layers.Dropout(0.3)(keras.layers.Dense(width, activation="tanh")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    decay = keras.optimizers.schedules.CosineDecay(config.learning_rate, config.epochs * STEPS)
    optimizer = keras.optimizers.AdamW(decay, use_ema=True, ema_momentum=0.8)
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def batches(config, first_epoch):
    import tensorflow as tf

    def batch(step):
        seed = tf.stack([tf.constant(config.seed, tf.int64), step])
        x = tf.random.stateless_normal((16, 8), seed)
        return x, tf.reduce_sum(x[:, :3], axis=1, keepdims=True)

    return tf.data.Dataset.counter(start=first_epoch * STEPS).map(batch)


def make_callbacks(run_dir, config):
    import keras

    from attention_apps.running.averaging import averaged_weights
    from attention_apps.running.best_model import BestModel
    from attention_apps.running.checkpoints import Checkpoint
    from attention_apps.running.progress import Progress
    from attention_apps.running.scalars import EpochScalars

    sleep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: time.sleep(config.step_seconds)
    )
    best = BestModel(run_dir, patience=config.patience, weights=averaged_weights)
    return [sleep, best, EpochScalars(run_dir), Checkpoint(run_dir), Progress(run_dir)]


def train(config, *, runs_dir, resume=None):
    from attention_apps.running.checkpoints import resume as resume_from
    from attention_apps.running.interruption import interruptible

    set_seed(config.seed)
    model = build_model(config)
    run_dir = resume or create_run(ROOM, config, runs_dir=runs_dir)
    callbacks = make_callbacks(run_dir, config)
    initial_epoch = resume_from(run_dir, model, callbacks)
    with interruptible(run_dir, ROOM):
        model.fit(
            batches(config, initial_epoch),
            steps_per_epoch=STEPS,
            initial_epoch=initial_epoch,
            epochs=config.epochs,
            validation_data=batches(config, 10_000).take(2),
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    history = callbacks[3].history
    finish_run(run_dir, train=history[-1], validation={"best": callbacks[1].best})
    return run_dir, model, history


def main() -> None:
    # A process started in the background of a shell ignores SIGINT; this one must hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config, options = parse_run(Config, room=ROOM, description=__doc__)
    quiet_start()
    run_dir, _, _ = train(config, runs_dir=options.runs_dir, resume=options.resume)
    print(f"finished {Path(run_dir).name}")


if __name__ == "__main__":
    run_command(main)
