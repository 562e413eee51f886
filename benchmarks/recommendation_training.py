"""How fast recommendation trains, beside RecTools: seconds of CPU time for an epoch.

python -m benchmarks.recommendation_training --data-dir data/movielens-1m --peer-python PATH

SASRec with the full softmax of the same sizes on the same histories, one stretch of every user in
an epoch, in turn on one machine, each measurement in a process of its own: an epoch that is not
counted, then epochs that are. PATH is the Python of an environment with RecTools (pip install
"rectools[torch]==0.19.0" torch==2.13.0); without it only this project is timed.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from recommendation.config import Config

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("float32", "mixed_bfloat16", "rectools")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    data_dir: Path
    """Folder with the interactions, as recommendation.train reads it."""
    interactions_name: str = "ml-1m.txt"
    """File of `user item`."""
    peer_python: str = ""
    """Python of an environment with RecTools; empty leaves it out."""
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
        average_momentum=0.0,
        precision=precision,
    )


def measure_ours(options: Options, precision: str) -> dict[str, float]:
    """Time this project's training in this process.

    Args:
        options: the command's.
        precision: as the flag names it.

    Returns:
        `cpu_seconds` of an epoch, `loss` of the last and the number of `weights`.
    """
    quiet_start()
    import keras

    from attention_apps.running.runs import set_seed
    from recommendation.batches import Batches
    from recommendation.data import load
    from recommendation.train import compiled_model

    config = config_of(options, precision)
    splits = load(config)
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
        "cpu_seconds": (spent[-1] - spent[0]) / options.epochs,
        "loss": history.history["loss"][-1],
        "weights": model.count_params(),
    }


def peer_settings(options: Options, folder: Path) -> dict[str, Any]:
    """Write down for a peer what is trained on what: the training part, a line for each item."""
    from recommendation.batches import Batches
    from recommendation.data import load

    config = config_of(options, "float32")
    splits = load(config)
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


def measure(options: Options, way: str, settings: Path) -> dict[str, float]:
    """Time one way in a process of its own.

    Args:
        options: the command's.
        way: one of `WAYS`.
        settings: what `peer_settings` gave, as a file.

    Returns:
        As `measure_ours`.

    Raises:
        UserError: when the process fails.
    """
    if way == "rectools":
        script = ROOT / "benchmarks" / "peers" / "rectools_training.py"
        command = [options.peer_python, str(script), str(settings)]
    else:
        flags = {
            f"--{name.replace('_', '-')}": str(value)
            for name, value in dataclasses.asdict(options).items()
            if name not in ("peer_python", "measure")
        }
        command = [sys.executable, "-m", "benchmarks.recommendation_training", "--measure", way]
        command += [part for flag in flags.items() for part in flag]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"{way} ended with status {ended.returncode} and said: {reason}")
    return json.loads(ended.stdout.strip().splitlines()[-1])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turn and print CPU-seconds and their ratios, pair by pair."""
    options = parse(
        Options, argv, prog="python -m benchmarks.recommendation_training", description=__doc__
    )
    if options.measure:
        print(json.dumps(measure_ours(options, options.measure)))
        return 0
    quiet_start()
    ways = [way for way in WAYS if way != "rectools" or options.peer_python]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "settings.json"
        settings.write_text(json.dumps(peer_settings(options, Path(folder))), encoding="utf-8")
        for number in range(options.rounds):
            for way in ways:
                found = measure(options, way, settings)
                seconds[way].append(found["cpu_seconds"])
                print(
                    f"round {number + 1}/{options.rounds}  {way:15}{seconds[way][-1]:8.1f} "
                    f"CPU-seconds an epoch, loss {found['loss']:.3f}, {found['weights']:,} weights",
                    flush=True,
                )
    for way in ways:
        ratios = [peer / own for own, peer in zip(seconds[way], seconds[ways[-1]], strict=True)]
        print(
            f"{way:15} median {statistics.median(seconds[way]):8.1f}   {ways[-1]} takes "
            f"{statistics.median(ratios):.2f} times as much ({min(ratios):.2f} to "
            f"{max(ratios):.2f})"
        )
    return 0


if __name__ == "__main__":
    run_command(main)
