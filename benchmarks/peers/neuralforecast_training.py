"""Time neuralforecast's training; runs in neuralforecast's own environment, not in this project's.

python neuralforecast_training.py SETTINGS.json

Trains its iTransformer on squared errors until validation stops it, and prints how many CPU-seconds
of this process the best validated epoch was reached after, as a line of JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MSE
from neuralforecast.models import iTransformer
from pytorch_lightning import Callback

SPENT: list[float] = []
"""CPU time behind every validation; neuralforecast trains a copy of what it is given."""


class Stopwatch(Callback):
    """Writes the CPU time behind every validation down."""

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Read the clock."""
        SPENT.append(time.process_time())


def main() -> None:
    """Train and print."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = np.loadtxt(settings["rows"], delimiter=",")
    length, series = rows.shape
    table = pd.DataFrame(
        {
            "unique_id": np.repeat([f"series {index}" for index in range(series)], length),
            "ds": np.tile(np.arange(length), series),
            "y": rows.T.ravel(),
        }
    )
    model = iTransformer(
        h=settings["horizon"],
        input_size=settings["lookback"],
        n_series=series,
        hidden_size=settings["dim"],
        d_ff=settings["feedforward_dim"],
        e_layers=settings["num_layers"],
        n_heads=settings["num_heads"],
        loss=MSE(),
        learning_rate=settings["learning_rate"],
        max_steps=settings["epochs"] * settings["steps_per_epoch"],
        val_check_steps=settings["steps_per_epoch"],
        early_stop_patience_steps=settings["patience"],
        batch_size=series,
        windows_batch_size=settings["batch_size"],
        inference_windows_batch_size=256,
        random_seed=settings["seed"],
        callbacks=[Stopwatch()],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    forecaster = NeuralForecast(models=[model], freq=1)
    forecaster.fit(table, val_size=settings["validation_rows"])
    losses = [float(loss) for _, loss in forecaster.models[0].valid_trajectories]
    best = int(np.argmin(losses))
    answer = {
        "count": 1,
        "cpu_seconds": SPENT[best],
        "epoch": best + 1,
        "loss": losses[best],
        "seconds_to_the_end": SPENT[-1],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
