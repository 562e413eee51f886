"""How fast forecasting trains, beside neuralforecast: trainings per second of CPU time.

python -m benchmarks.forecasting_training --data-dir data/finance --peer-python PATH

The exchange rates, 96 rows read and 96 forecast, from the start of the process to the epoch that
validates best, in turn on one machine, each training in a process of its own. Each with the sizes
it is published with: this project's as its figures are measured, neuralforecast's iTransformer as
the paper's authors train it on these data. PATH is the Python of an environment with neuralforecast
(pip install neuralforecast==3.3.0); without it only this project is timed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import RunOptions, parse
from benchmarks.in_turn import ROOT, measure_in_turn
from forecasting.config import Config

PEER = {
    "dim": 128,
    "feedforward_dim": 128,
    "num_layers": 2,
    "num_heads": 8,
    "batch_size": 32,
    "learning_rate": 0.0001,
    "epochs": 10,
    "patience": 3,
}
"""iTransformer's sizes for the exchange rates, from its authors' scripts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    data_dir: Path
    """Folder with the rates, as forecasting.train reads it."""
    file: str = "exchange_rate.txt.gz"
    """The file."""
    peer_python: str = ""
    """Python of an environment with neuralforecast; empty leaves it out."""
    rounds: int = 3
    """How often each is measured, in turn."""
    measure: bool = False
    """Measure this project in this process and print JSON; for the command's own use."""


def config_of(options: Options) -> Config:
    """The configuration that is timed: that of the published figures."""
    return Config(
        dataset="files",
        data_dir=str(options.data_dir),
        file=options.file,
        target="levels",
        loss="squared",
        lookback=96,
        horizon=96,
        form="variables",
        num_layers=1,
        batch_size=128,
        learning_rate=0.0005,
        epochs=3,
        patience=2,
    )


def measure_ours(options: Options) -> dict[str, float]:
    """Train in this process.

    Args:
        options: the command's.

    Returns:
        The `count` 1, `cpu_seconds` of the process up to the best validated epoch, and that
        `epoch`, its `loss` and the `seconds_to_the_end` of the last epoch.
    """
    from forecasting.train import train

    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(train(config_of(options), RunOptions(runs_dir=Path(folder)))["run_dir"])
        trained = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))["train"]
    return answer([(60 * point["cpu_minutes"], point["val_loss"]) for point in trained["curve"]])


def answer(curve: list[tuple[float, float]]) -> dict[str, float]:
    """From CPU-seconds and validation loss of every epoch to what is measured."""
    best = min(range(len(curve)), key=lambda epoch: curve[epoch][1])
    return {
        "count": 1,
        "cpu_seconds": curve[best][0],
        "epoch": best + 1,
        "loss": curve[best][1],
        "seconds_to_the_end": curve[-1][0],
    }


def peer_settings(options: Options, folder: Path) -> dict[str, Any]:
    """Write down for a peer what is trained on what: scaled rows before the test part."""
    import numpy as np

    from forecasting.data import load

    config = config_of(options)
    splits = load(config)
    training, validation, _ = splits.parts.ends
    np.savetxt(folder / "rows.csv", splits.windows.series[:validation], delimiter=",")
    return {
        **PEER,
        "rows": str(folder / "rows.csv"),
        "validation_rows": validation - training,
        "lookback": config.lookback,
        "horizon": config.horizon,
        "steps_per_epoch": len(splits.parts.origins("training")) // PEER["batch_size"],
        "seed": config.seed,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turn and print rates and ratios."""
    options = parse(
        Options, argv, prog="python -m benchmarks.forecasting_training", description=__doc__
    )
    quiet_start()
    if options.measure:
        print(json.dumps(measure_ours(options)))
        return 0
    ours = [sys.executable, "-m", "benchmarks.forecasting_training", "--measure"]
    for name in ("data_dir", "file"):
        ours += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    commands = {"this project": ours}
    with tempfile.TemporaryDirectory() as folder:
        if options.peer_python:
            settings = Path(folder) / "settings.json"
            settings.write_text(json.dumps(peer_settings(options, Path(folder))), encoding="utf-8")
            script = str(ROOT / "benchmarks" / "peers" / "neuralforecast_training.py")
            commands["neuralforecast"] = [options.peer_python, script, str(settings)]
        measure_in_turn(commands, rounds=options.rounds, unit="trainings")
    return 0


if __name__ == "__main__":
    run_command(main)
