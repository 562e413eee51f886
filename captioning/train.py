"""Train a captioner: fit, watch, save.

python -m captioning.train            on the embedded scenes
python -m captioning.train --demo     the same, small, in two minutes; flags change it
python -m captioning.train --dataset files --data-dir FLICKR8K --encoder mobilenet_v2 \
    --encoder-weights FILE --image-size 224
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import RunOptions, parse_run
from captioning.config import DEMO, Config

ROOM = "captioning"
VOCABULARY = "vocabulary.tsv"
PROBE_PHOTOS = 4


def compiled_model(
    config: Config,
    steps_per_epoch: int,
    vocabulary_size: int,
    log_frequencies: np.ndarray,
    encoder: Any,
) -> Any:
    """Build the model with its optimizer.

    Args:
        config: the room's configuration.
        steps_per_epoch: of the training, over which the learning rate rises and falls.
        vocabulary_size: number of words.
        log_frequencies: `(vocabulary,)`, where the output's bias starts.
        encoder: built already, or None.

    Returns:
        The model, its weights drawn from the seed that was set last.

    Raises:
        UserError: for attention that does not fit its site.
    """
    import keras

    from attention_apps.running.schedule import ThenSlower, WarmupCooldown
    from captioning.model import build_model

    try:
        model = build_model(config, vocabulary_size, log_frequencies, encoder)
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
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm or None,
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
        The run's folder as `run_dir`, `best_epoch`, `val_cider` and `minutes`.

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
    from attention_apps.running.self_critical import SelfCritical
    from captioning.attention_maps import Probe, attention_maps
    from captioning.batches import Batches
    from captioning.data import load
    from captioning.overlay_log import OverlayLog
    from captioning.readable import readable
    from captioning.self_critical import CiderReward
    from captioning.starting_point import starting_point, take_over
    from captioning.validation import ValidationCider
    from captioning.words import Vocabulary

    options = options or RunOptions()
    began = time.monotonic()
    first, vocabulary = None, None
    if options.resume is not None and (options.resume / VOCABULARY).exists():
        vocabulary = Vocabulary.read(options.resume / VOCABULARY)
    # What a checkpoint holds was taken over before; the first run may be gone by then.
    if config.init_from and not (options.resume and epochs_saved(options.resume)):
        first = starting_point(config)
        vocabulary = vocabulary or Vocabulary.read(first.run_dir / VOCABULARY)
    splits = load(config, vocabulary)
    # Behind the data: reading it may draw random numbers, the first time others than the next.
    set_seed(config.seed)
    train_set, validation_set = readable(config, splits.train, splits.validation)
    for note in (*splits.notes, *train_set.notes, *validation_set.notes):
        print(note)
    batches = Batches(config, splits.vocabulary, train_set.photos, train_set.features)
    # Once more: the encoder that made the features drew numbers, or did not where they were kept.
    set_seed(config.seed)
    model = compiled_model(
        config,
        batches.steps_per_epoch,
        splits.vocabulary.size,
        splits.vocabulary.log_frequencies(),
        train_set.encoder,
    )
    if first is not None:
        take_over(model, first.model)
    run_dir = options.resume or create_run(ROOM, config, runs_dir=options.runs_dir)
    splits.vocabulary.write(run_dir / VOCABULARY)
    kept_weights = averaged_weights if config.average_momentum else None
    probe = Probe.of(validation_set.photos, splits.vocabulary, config, PROBE_PHOTOS)
    validation = ValidationCider(
        config,
        splits.vocabulary,
        validation_set.photos,
        None if validation_set.features is None else validation_set.features.rows,
        kept_weights,
    )
    best = BestModel(
        run_dir,
        monitor="val_cider",
        mode="max",
        patience=config.patience or None,
        # Those epochs raise CIDEr again where the others have stopped to.
        start_from_epoch=config.epochs if config.self_critical_epochs else 0,
        weights=kept_weights,
    )
    clock = Clock("val_cider", began=began)
    callbacks: list[Any] = [
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
        OverlayLog(run_dir / "overlays", probe, config.validate_every),
        Checkpoint(run_dir),
        Progress(run_dir),
    ]
    if config.self_critical_epochs:
        callbacks.insert(0, SelfCritical(CiderReward(batches.targets), config.epochs))
    photos, captions = len(train_set.photos), sum(map(len, train_set.photos.captions))
    print(
        f"{model.count_params():,} weights, {photos:,} photos with {captions:,} captions, "
        f"{splits.vocabulary.size:,} words; run: {run_dir}"
    )
    first_epoch = resume(run_dir, model, callbacks)
    with interruptible(run_dir, ROOM):
        model.fit(
            batches.epochs_from(first_epoch),
            initial_epoch=first_epoch,
            epochs=config.all_epochs,
            steps_per_epoch=batches.steps_per_epoch,
            shuffle=False,
            callbacks=callbacks,
            verbose=0,
        )
    metrics = {"val_cider": best.best, "best_epoch": best.best_epoch, "minutes": clock.minutes}
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
    quiet_start()
    metrics = train(config, options)
    best, epoch = metrics["val_cider"], metrics["best_epoch"] + 1
    print(f"best validation CIDEr {best:.2f} (greedy) in epoch {epoch}")
    print(f"run: {metrics['run_dir']}")
    return 0


if __name__ == "__main__":
    run_command(main)
