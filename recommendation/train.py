"""Train a recommender: fit, watch, save.

python -m recommendation.train            on the embedded data
python -m recommendation.train --demo     the same, small, in under a minute; flags change it
python -m recommendation.train --dataset files --data-dir FOLDER --interactions-name ml-1m.txt
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import RunOptions, parse_run
from recommendation.config import DEMO, ROOM, Config

PROBE_HISTORIES = 4


def compiled_model(config: Config, splits: Any, num_steps: int) -> Any:
    """Build the model with its objective and optimizer.

    Args:
        config: the room's configuration.
        splits: whose catalogue and counts are used.
        num_steps: of the whole training, over which the learning rate rises and falls.

    Returns:
        The model, its weights drawn from the seed that was set last.

    Raises:
        UserError: for an attention that is unknown or makes no sense.
    """
    import keras

    from attention_apps.running.schedule import WarmupCooldown
    from recommendation.item_vectors import vectors_of_transitions
    from recommendation.losses import make_loss
    from recommendation.model import build_model

    try:
        model = build_model(config, len(splits.interactions.items))
    except ValueError as error:
        raise UserError(str(error)) from error
    if config.item_vectors == "transitions":
        model.begin_with(vectors_of_transitions(splits, config.dim))
    model.objective = make_loss(config, splits.training_counts()[1:])
    schedule = WarmupCooldown(
        config.learning_rate, config.warmup_steps, num_steps, config.cooldown_share
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(
            schedule,
            beta_2=0.98,
            weight_decay=config.weight_decay,
            use_ema=config.average_momentum > 0,
            ema_momentum=config.average_momentum,
        )
    )
    return model


def train(config: Config, options: RunOptions | None = None) -> dict[str, Any]:
    """Train one run to its end, or continue it.

    Args:
        config: the room's configuration.
        options: where runs lie and which run to continue; None starts a new one in `runs`.

    Returns:
        The run's folder as `run_dir`, `best_epoch`, `val_ndcg_10` and `minutes`.

    Raises:
        UserError: for data or flags that cannot be used.
    """
    from attention_apps.observation.tensorboard import AttentionLog
    from attention_apps.running.averaging import averaged_weights
    from attention_apps.running.best_model import BestModel
    from attention_apps.running.checkpoints import Checkpoint, resume
    from attention_apps.running.clock import Clock
    from attention_apps.running.interruption import interruptible
    from attention_apps.running.progress import Progress
    from attention_apps.running.runs import create_run, epochs_saved, finish_run, set_seed
    from attention_apps.running.scalars import EpochScalars
    from recommendation.attention_maps import Probe, attention_maps
    from recommendation.batches import Batches
    from recommendation.data import load
    from recommendation.starting_point import (
        ITEMS,
        load_again,
        read_items,
        starting_point,
        take_over,
        write_items,
    )
    from recommendation.validation import MONITOR, ValidationRanking

    options = options or RunOptions()
    began = time.monotonic()
    first = None
    # What a checkpoint holds was taken over before; the first run may be gone by then.
    if config.init_from and not (options.resume and epochs_saved(options.resume)):
        first = starting_point(config)
    if options.resume is not None and (options.resume / ITEMS).exists():
        splits = load_again(options.resume, config)
    else:
        splits = load(config, read_items(first.run_dir).keys if first else ())
    items = splits.interactions.items
    for note in (*splits.interactions.notes, *splits.notes):
        print(note)
    batches = Batches(config, splits)
    # Behind the data: reading it may draw random numbers, the first time others than the next.
    set_seed(config.seed)
    model = compiled_model(config, splits, config.epochs * batches.steps_per_epoch)
    run_dir = options.resume or create_run(ROOM, config, runs_dir=options.runs_dir)
    write_items(run_dir, items)
    kept_weights = averaged_weights if config.average_momentum else None
    validation = ValidationRanking(config, splits.validation, kept_weights)
    before = {}
    if first is not None:
        take_over(model, first.model)
        before = {f"{name}_before": v for name, v in validation.figures(model).items()}
        new = len(items) - first.model.num_items
        print(
            f"from {first.run_dir}: {first.model.num_items} items keep their vectors, {new} are "
            f"new; before training: validation NDCG@10 {before[MONITOR + '_before']:.4f}"
        )
    best = BestModel(
        run_dir,
        monitor=MONITOR,
        mode="max",
        patience=config.patience or None,
        weights=kept_weights,
    )
    probe = Probe.of(splits.validation, config.max_length, PROBE_HISTORIES)
    clock = Clock(MONITOR, began=began)
    callbacks = [
        validation,
        best,
        clock,
        EpochScalars(run_dir),
        AttentionLog(
            run_dir / "attention",
            attention_maps=lambda model: attention_maps(model, probe),
            answers=lambda model: [validation.answer(case) for case in probe.cases],
            every=config.validate_every,
        ),
        Checkpoint(run_dir),
        Progress(run_dir),
    ]
    print(
        f"{model.count_params():,} weights, {len(items):,} items, "
        f"{len(splits.interactions.users):,} users; run: {run_dir}"
    )
    first_epoch = resume(run_dir, model, callbacks)
    with interruptible(run_dir, ROOM):
        model.fit(
            batches.epochs_from(first_epoch),
            initial_epoch=first_epoch,
            epochs=config.epochs,
            steps_per_epoch=batches.steps_per_epoch,
            shuffle=False,
            callbacks=callbacks,
            verbose=0,
        )
    metrics = {
        MONITOR: best.best,
        "best_epoch": best.best_epoch,
        "minutes": clock.minutes,
        **before,
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
    best, epoch = metrics["val_ndcg_10"], metrics["best_epoch"] + 1
    print(f"best validation NDCG@10 {best:.4f} in epoch {epoch}")
    print(f"run: {metrics['run_dir']}")
    return 0


if __name__ == "__main__":
    run_command(main)
