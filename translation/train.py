"""Train a translator: fit, watch, save.

python -m translation.train            on the embedded data
python -m translation.train --demo     the same, small, in under a minute; flags change it
python -m translation.train --dataset files --data-dir FOLDER --test-name test_2016_flickr
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import RunOptions, parse_run
from translation.config import DEMO, Config

ROOM = "translation"
PROBE_SENTENCES = 4


def compiled_model(config: Config, steps_per_epoch: int) -> Any:
    """Build the model with its loss and optimizer.

    Args:
        config: the room's configuration.
        steps_per_epoch: of the training, over which the learning rate rises and falls.

    Returns:
        The model, its weights drawn from the seed that was set last.

    Raises:
        UserError: for attention that does not fit its site.
    """
    import keras

    from attention_apps.running.schedule import ThenSlower, WarmupCooldown
    from translation.losses import SmoothedCrossEntropy
    from translation.model import build_model

    try:
        model = build_model(config)
    except ValueError as error:
        raise UserError(str(error)) from error
    num_steps = config.epochs * steps_per_epoch
    schedule: Any = WarmupCooldown(
        config.learning_rate, config.warmup_steps, num_steps, config.cooldown_share
    )
    if config.self_critical_epochs:
        later_steps = config.self_critical_epochs * steps_per_epoch
        schedule = ThenSlower(schedule, num_steps, config.self_critical_learning_rate, later_steps)
    model.compile(
        optimizer=keras.optimizers.AdamW(
            schedule,
            beta_2=0.98,
            epsilon=1e-9,
            weight_decay=config.weight_decay,
            use_ema=config.average_momentum > 0,
            ema_momentum=config.average_momentum,
        ),
        loss=SmoothedCrossEntropy(config.label_smoothing, config.r_drop_weight),
    )
    return model


def train(config: Config, options: RunOptions | None = None) -> dict[str, Any]:
    """Train one run to its end, or continue it.

    Args:
        config: the room's configuration.
        options: where runs lie and which run to continue; None starts a new one in `runs`.

    Returns:
        The run's folder as `run_dir`, `best_epoch`, `val_bleu` and `minutes`.

    Raises:
        UserError: for data or flags that cannot be used.
    """
    from attention_apps.observation.tensorboard import AttentionLog
    from attention_apps.running.averaging import LastWeights, averaged_weights
    from attention_apps.running.best_model import BestModel
    from attention_apps.running.checkpoints import Checkpoint, resume
    from attention_apps.running.clock import Clock
    from attention_apps.running.interruption import interruptible
    from attention_apps.running.progress import Progress
    from attention_apps.running.runs import create_run, epochs_saved, finish_run, set_seed
    from attention_apps.running.scalars import EpochScalars
    from attention_apps.running.self_critical import SelfCritical
    from translation.attention_maps import Probe, attention_maps
    from translation.data import load
    from translation.self_critical import BleuReward
    from translation.starting_point import starting_point
    from translation.validation import ValidationBleu
    from translation.vocabularies import SUBWORDS, Vocabularies

    options = options or RunOptions()
    began = time.monotonic()
    first, vocabularies = None, None
    if options.resume is not None and (options.resume / SUBWORDS).exists():
        vocabularies = Vocabularies.read(options.resume)
    # What a checkpoint holds was taken over before; the first run may be gone by then.
    if config.init_from and not (options.resume and epochs_saved(options.resume)):
        first = starting_point(config)
        vocabularies = vocabularies or Vocabularies.read(first.run_dir)
    splits = load(config, vocabularies)
    for note in splits.notes:
        print(note)
    # Behind the data: reading it may draw random numbers, the first time others than the next.
    set_seed(config.seed)
    model = compiled_model(config, splits.steps_per_epoch)
    if first is not None:
        model.set_weights(first.model.get_weights())
    run_dir = options.resume or create_run(ROOM, config, runs_dir=options.runs_dir)
    splits.vocabularies.write(run_dir)
    last = LastWeights(run_dir, config.average_last) if config.average_last else None
    kept_weights = last.averaged if last else averaged_weights if config.average_momentum else None
    probe = Probe.of(splits.validation, splits.vocabularies, PROBE_SENTENCES)
    validation = ValidationBleu(config, splits.vocabularies, splits.validation, kept_weights)
    best = BestModel(
        run_dir,
        monitor="val_bleu",
        mode="max",
        patience=config.patience or None,
        # Those epochs raise BLEU again where the others have stopped to.
        start_from_epoch=config.epochs if config.self_critical_epochs else 0,
        weights=kept_weights,
    )
    clock = Clock("val_bleu", began=began)
    callbacks: list[Any] = [
        *([last] if last else []),
        validation,
        best,
        clock,
        EpochScalars(run_dir),
        AttentionLog(
            run_dir / "attention",
            attention_maps=lambda model: attention_maps(model, probe),
            answers=lambda model: [validation.answer(title) for title in probe.titles],
            every=config.validate_every,
        ),
        Checkpoint(run_dir),
        Progress(run_dir),
    ]
    if config.self_critical_epochs:
        reward = BleuReward(splits.vocabularies.target.decode)
        callbacks.insert(0, SelfCritical(reward, config.epochs))
    print(f"{model.count_params():,} weights, {len(splits.training):,} pairs; run: {run_dir}")
    first_epoch = resume(run_dir, model, callbacks)
    with interruptible(run_dir, ROOM):
        model.fit(
            splits.train(first_epoch),
            initial_epoch=first_epoch,
            epochs=config.all_epochs,
            steps_per_epoch=splits.steps_per_epoch,
            shuffle=False,
            callbacks=callbacks,
            verbose=0,
        )
    metrics = {"val_bleu": best.best, "best_epoch": best.best_epoch, "minutes": clock.minutes}
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
    if demo and options.resume is not None:
        raise UserError(
            "--resume continues a run with the config it was started with. Received: --demo beside "
            "--resume. Leave --demo out."
        )
    quiet_start(config.batch_parts)
    metrics = train(config, options)
    best, epoch = metrics["val_bleu"], metrics["best_epoch"] + 1
    print(f"best validation BLEU {best:.2f} (greedy) in epoch {epoch}")
    print(f"run: {metrics['run_dir']}")
    return 0


if __name__ == "__main__":
    run_command(main)
