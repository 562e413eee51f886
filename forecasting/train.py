"""Train a forecaster: fit, watch, calibrate, save.

python -m forecasting.train            on the embedded market
python -m forecasting.train --demo     the same, small, in under a minute; flags change it
python -m forecasting.train --dataset files --data-dir FOLDER --target volatility
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import RunOptions, parse_run
from forecasting.config import DEMO, Config

ROOM = "forecasting"
PROBE_WINDOWS = 3


def train(config: Config, options: RunOptions | None = None) -> dict[str, Any]:
    """Train one run to its end, or continue it.

    Args:
        config: the room's configuration.
        options: where runs lie and which run to continue; None starts a new one in `runs`.

    Returns:
        The run's folder as `run_dir`, `best_epoch` (-1 where no epoch was better than the start),
        `val_loss`, `val_loss_start`, `val_loss_walk`, what calibration chose and `minutes`.

    Raises:
        UserError: for data or flags that cannot be used.
    """
    import keras

    from attention_apps.observation.tensorboard import AttentionLog
    from attention_apps.running.averaging import averaged_weights
    from attention_apps.running.best_model import BestModel
    from attention_apps.running.checkpoints import Checkpoint, resume
    from attention_apps.running.clock import Clock
    from attention_apps.running.interruption import interruptible
    from attention_apps.running.progress import Progress
    from attention_apps.running.runs import create_run, finish_run, set_seed
    from attention_apps.running.scalars import EpochScalars
    from forecasting.attention_maps import Probe, attention_maps, told
    from forecasting.calibration import calibrate_run, save_model, validation_loss
    from forecasting.data import load
    from forecasting.model import build_model
    from forecasting.quantiles import Pinball
    from forecasting.starting import start_as_ridge, start_with_spread

    options = options or RunOptions()
    began = time.monotonic()
    splits = load(config)
    for note in splits.notes:
        print(note)
    set_seed(config.seed)
    model = build_model(config, splits)
    if config.start == "ridge":
        start_as_ridge(model, splits.windows, splits.parts)
    if config.start == "spread":
        start_with_spread(model, splits)
    run_dir = options.resume or create_run(ROOM, config, runs_dir=options.runs_dir)
    origins = splits.parts.origins("training")
    steps_per_epoch = -(-len(origins) // config.batch_size)
    total_steps = config.epochs * steps_per_epoch
    warmup_steps = int(config.warmup_share * total_steps)
    losses = {"squared": keras.losses.MeanSquaredError, "absolute": keras.losses.MeanAbsoluteError}
    model.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0 if warmup_steps else config.learning_rate,
                total_steps - warmup_steps,
                warmup_target=config.learning_rate if warmup_steps else None,
                warmup_steps=warmup_steps,
            ),
            weight_decay=config.weight_decay,
            use_ema=config.average_momentum > 0,
            ema_momentum=config.average_momentum,
        ),
        loss=Pinball(config.levels) if config.levels else losses[config.loss](),
    )
    probe = Probe.of(splits, PROBE_WINDOWS)
    best = BestModel(
        run_dir,
        patience=config.patience,
        weights=averaged_weights if config.average_momentum else None,
    )
    clock = Clock("val_loss", began=began)
    callbacks = [
        best,
        clock,
        EpochScalars(run_dir),
        AttentionLog(
            run_dir / "attention",
            attention_maps=lambda model: attention_maps(model, probe),
            answers=lambda model: told(model, probe),
        ),
        Checkpoint(run_dir),
        Progress(run_dir),
    ]
    print(f"{model.count_params():,} weights, {len(origins):,} windows; run: {run_dir}")
    start, start_loss = model.get_weights(), validation_loss(model, config, splits)
    first_epoch = resume(run_dir, model, callbacks)
    model.units.refuse_others(splits.scaling)
    with interruptible(run_dir, ROOM):
        model.fit(
            splits.windows.training_batches(config, origins, first_epoch),
            validation_data=splits.windows.validation_batches(
                splits.parts.origins("validation"), 256
            ),
            initial_epoch=first_epoch,
            epochs=config.epochs,
            steps_per_epoch=steps_per_epoch,
            shuffle=False,
            callbacks=callbacks,
            verbose=0,
        )
    val_loss, best_epoch = best.best, best.best_epoch
    if val_loss is None or start_loss <= val_loss:
        val_loss, best_epoch = start_loss, -1
        model.set_weights(start)
        save_model(run_dir, model)
    calibrated = calibrate_run(run_dir, config, splits)
    metrics = {
        "val_loss": val_loss,
        "best_epoch": best_epoch,
        "val_loss_start": start_loss,
        "minutes": clock.minutes,
        **calibrated,
    }
    finish_run(run_dir, train={**metrics, "curve": clock.curve})
    return {"run_dir": run_dir, **metrics}


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, train, and end with the line `run: FOLDER`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    demo = "--demo" in argv
    argv = [argument for argument in argv if argument != "--demo"]
    config, options = parse_run(
        Config, argv, room=ROOM, description=__doc__, default=DEMO if demo else None
    )
    quiet_start()
    metrics = train(config, options)
    print(
        f"best validation loss {metrics['val_loss']:.5f} in epoch {metrics['best_epoch'] + 1}, "
        f"the random walk's {metrics['val_loss_walk']:.5f}"
    )
    print(
        f"share of the way from the random walk: location {metrics['location_share']:.2f}, "
        f"spread {metrics['spread_share']:.2f}"
    )
    print(f"run: {metrics['run_dir']}")
    return 0


if __name__ == "__main__":
    run_command(main)
