"""How fast recommendation trains, beside RecTools: epochs per second of CPU time.

python -m benchmarks.recommendation_training --data-dir data/movielens-1m --peer-python PATH

SASRec with the full softmax of the same sizes on the same histories, one stretch of every user in
an epoch, in turn on one machine, each measurement in a process of its own: an epoch that is not
counted, then epochs that are. PATH is the Python of an environment with RecTools (pip install
"rectools[torch]==0.19.0" torch==2.13.0); without it only this project is timed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from benchmarks.in_turn import ROOT, measure_in_turn
from recommendation.config import Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    data_dir: Path
    """Folder with the interactions, as recommendation.train reads it."""
    interactions_name: str = "ml-1m.txt"
    """File of `user item`."""
    peer_python: str = ""
    """Python of an environment with RecTools; empty leaves it out."""
    users: int = 0
    """Users that are trained on, the first; 0 takes all. An epoch costs in proportion."""
    ways: tuple[str, ...] = ("float32", "mixed_bfloat16")
    """Precisions of this project that are timed."""
    rounds: int = 3
    """How often each is measured, in turn."""
    epochs: int = 1
    """Epochs that are counted, after one that is not."""
    dim: int = 64
    """Size of embeddings, of blocks and of their inner layers."""
    measure: str = ""
    """Measure one way in this process and print JSON; for the command's own use."""


def config_of(options: Options, precision: str) -> Config:
    """The configuration that is timed."""
    return Config(
        dataset="files",
        data_dir=str(options.data_dir),
        interactions_name=options.interactions_name,
        max_length=200,
        num_blocks=2,
        num_heads=1,
        dim=options.dim,
        feedforward_dim=options.dim,
        batch_tokens=12800,
        average_momentum=0.0,
        precision=precision,
    )


def splits_of(options: Options, config: Config) -> Any:
    """What is trained on, of the first users alone where the options say so."""
    from recommendation.data import load
    from recommendation.interactions import Interactions
    from recommendation.splits import leave_one_out

    splits = load(config)
    if not options.users:
        return splits
    given = splits.interactions
    offsets = given.offsets[: options.users + 1]
    few = Interactions(
        given.items, given.users[: options.users], offsets, given.item_ids[: offsets[-1]]
    )
    return leave_one_out(few)


def measure_ours(options: Options, precision: str) -> dict[str, float]:
    """Time this project's training in this process.

    Args:
        options: the command's.
        precision: as the flag names it.

    Returns:
        The `count` of epochs, their `cpu_seconds`, `loss` of the last and number of `weights`.
    """
    import keras

    from attention_apps.running.runs import set_seed
    from recommendation.batches import Batches
    from recommendation.train import compiled_model

    config = config_of(options, precision)
    splits = splits_of(options, config)
    batches = Batches(config, splits)
    set_seed(config.seed)
    model = compiled_model(config, splits, config.epochs * batches.steps_per_epoch)
    spent = []

    class Stopwatch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            spent.append(time.process_time())

    history = model.fit(
        batches.epochs_from(0),
        epochs=1 + options.epochs,
        steps_per_epoch=batches.steps_per_epoch,
        shuffle=False,
        callbacks=[Stopwatch()],
        verbose=0,
    )
    return {
        "count": options.epochs,
        "cpu_seconds": spent[-1] - spent[0],
        "loss": history.history["loss"][-1],
        "weights": model.count_params(),
    }


def peer_settings(options: Options, folder: Path) -> dict[str, Any]:
    """Write down for a peer what is trained on what: the training part, a line for each item."""
    from recommendation.batches import Batches

    config = config_of(options, "float32")
    splits = splits_of(options, config)
    begins = splits.interactions.offsets[:-1]
    with (folder / "training.csv").open("w", encoding="utf-8") as file:
        for user, (begin, end) in enumerate(zip(begins, splits.train_ends, strict=True)):
            items = splits.interactions.item_ids[begin:end]
            file.writelines(f"{user},{item},{place}\n" for place, item in enumerate(items))
    return {
        **dataclasses.asdict(config),
        "training": str(folder / "training.csv"),
        "batch_size": len(begins) // Batches(config, splits).steps_per_epoch,
        "counted_epochs": options.epochs,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turn and print rates and ratios."""
    options = parse(
        Options, argv, prog="python -m benchmarks.recommendation_training", description=__doc__
    )
    quiet_start()
    if options.measure:
        print(json.dumps(measure_ours(options, options.measure)))
        return 0
    commands = {}
    for way in options.ways:
        commands[way] = [sys.executable, "-m", "benchmarks.recommendation_training"]
        commands[way] += ["--measure", way]
        for name in ("data_dir", "interactions_name", "users", "epochs", "dim"):
            commands[way] += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    with tempfile.TemporaryDirectory() as folder:
        if options.peer_python:
            settings = Path(folder) / "settings.json"
            settings.write_text(json.dumps(peer_settings(options, Path(folder))), encoding="utf-8")
            script = str(ROOT / "benchmarks" / "peers" / "rectools_training.py")
            commands["rectools"] = [options.peer_python, script, str(settings)]
        measure_in_turn(commands, rounds=options.rounds, unit="epochs")
    return 0


if __name__ == "__main__":
    run_command(main)
