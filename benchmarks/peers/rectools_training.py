"""Time RecTools' training; runs in RecTools' own environment, not in this project's.

python rectools_training.py SETTINGS.json

Trains its SASRec with the full softmax by its own trainer, and prints how many CPU-seconds a
counted epoch took, as a line of JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet


class Stopwatch(Callback):
    """Writes down the CPU time and the loss at the end of every epoch."""

    def __init__(self) -> None:
        self.spent: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        """Keep the loss."""
        self.losses.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        """Read the clock."""
        self.spent.append(time.process_time())


def main() -> None:
    """Train an epoch that is not counted and then those that are."""
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    names = [Columns.User, Columns.Item, Columns.Datetime]
    table = pd.read_csv(settings["training"], names=names)
    table[Columns.Datetime] = pd.to_datetime(table[Columns.Datetime], unit="s")
    table[Columns.Weight] = 1.0
    model = SASRecModel(
        n_factors=settings["dim"],
        n_blocks=settings["num_blocks"],
        n_heads=settings["num_heads"],
        dropout_rate=settings["dropout_rate"],
        session_max_len=settings["max_length"],
        batch_size=settings["batch_size"],
        lr=settings["learning_rate"],
        loss="softmax",
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=lambda: Trainer(
            max_epochs=1 + settings["counted_epochs"],
            accelerator="cpu",
            callbacks=[Stopwatch()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ),
    )
    model.fit(Dataset.construct(table))
    # The trainer that trained is a copy of the one that was given, with callbacks of its own.
    assert model.fit_trainer is not None
    (watch,) = (c for c in model.fit_trainer.callbacks if isinstance(c, Stopwatch))
    weights = sum(p.numel() for p in model.torch_model.parameters() if p.requires_grad)
    steps = len(watch.losses) // len(watch.spent)
    answer = {
        "count": settings["counted_epochs"],
        "cpu_seconds": watch.spent[-1] - watch.spent[0],
        "loss": sum(watch.losses[-steps:]) / steps,
        "weights": weights,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
