"""How fast translation trains, beside JoeyNMT or Marian: reference words per CPU-second.

python -m benchmarks.translation_training --data-dir data/multi30k/lc_norm_tok --peer-python PATH

The same text, subwords, sizes and tokens per batch, in turn on one machine, each measurement in a
process of its own: first steps that are not counted, then steps that are. PATH is the Python of an
environment with JoeyNMT (pip install joeynmt sentencepiece==0.2.0 importlib_metadata
torch==2.13.0), with `--peer marian` of one with Marian (pip install pymarian); without it only this
project is timed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from benchmarks.in_turn import ROOT, measure_in_turn
from translation.config import Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    data_dir: Path
    """Folder with train.en, train.de and the like, as translation.train reads it."""
    peer_python: str = ""
    """Python of an environment with the peer; empty leaves it out."""
    peer: Literal["joeynmt", "marian"] = "joeynmt"
    """Toolkit that trains beside this project."""
    rounds: int = 5
    """How often each is measured, in turn."""
    warm_up: int = 30
    """Steps that are not counted."""
    steps: int = 60
    """Steps that are counted."""
    test_name: str = "test_2016_flickr"
    """Name of the test files, which must be there and are not used."""
    measure: str = ""
    """Measure one way in this process and print JSON; for the command's own use."""


def config_of(options: Options, precision: str) -> Config:
    """The configuration that is timed, plain training without any extra."""
    return Config(
        dataset="files",
        data_dir=str(options.data_dir),
        test_name=options.test_name,
        vocabulary_size=4000,
        alignment_weight=0.0,
        precision=precision,
    )


def measure_ours(options: Options, precision: str) -> dict[str, float]:
    """Time this project's training in this process.

    Args:
        options: the command's.
        precision: as the flag names it.

    Returns:
        The `count` of reference words, their `cpu_seconds` and the number of `weights`.
    """
    import keras
    import numpy as np

    from attention_apps.running.runs import set_seed
    from translation.data import load
    from translation.train import compiled_model

    config = config_of(options, precision)
    splits = load(config)
    set_seed(config.seed)
    model = compiled_model(config, splits.steps_per_epoch)
    opens_word = splits.vocabularies.target.opens_word
    batches = splits.train(0).as_numpy_iterator()
    counted = [next(batches)[1] for _ in range(options.warm_up + options.steps)][options.warm_up :]
    words = sum(int(np.sum(opens_word[target])) for target in counted)
    spent = []

    class Stopwatch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch + 1 in (options.warm_up, options.warm_up + options.steps):
                spent.append(time.process_time())

    model.fit(
        splits.train(0),
        steps_per_epoch=options.warm_up + options.steps,
        shuffle=False,
        callbacks=[Stopwatch()],
        verbose=0,
    )
    return {
        "count": words,
        "cpu_seconds": spent[1] - spent[0],
        "weights": model.count_params(),
    }


def peer_settings(options: Options, folder: Path) -> dict[str, Any]:
    """Write down for a peer what is trained on what; subwords lie in the folder."""
    from translation.data import read_corpora
    from translation.subwords import Subwords

    config = config_of(options, "float32")
    training, _, _ = read_corpora(config)
    subwords = Subwords.learn([*training.sources, *training.targets], config.vocabulary_size)
    subwords.write(folder / "subwords.model")
    pieces = subwords.pieces(range(subwords.size))
    labels = subwords.encode_all(training.targets)
    special = ["<unk>", "<pad>", "<s>", "</s>"]
    vocabulary = [*special, *(piece for piece in pieces if piece not in special)]
    (folder / "vocabulary.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return {
        **dataclasses.asdict(config),
        "train": str(options.data_dir.absolute() / config.train_name),
        "subwords": str(folder / "subwords.model"),
        "vocabulary": str(folder / "vocabulary.txt"),
        "target_labels": len(training.targets) + len(labels.flat_values),
        "warm_up": options.warm_up,
        "steps": options.steps,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turn and print rates and ratios."""
    options = parse(
        Options, argv, prog="python -m benchmarks.translation_training", description=__doc__
    )
    quiet_start()
    if options.measure:
        print(json.dumps(measure_ours(options, options.measure)))
        return 0
    commands = {}
    for way in ("float32", "mixed_bfloat16"):
        commands[way] = [sys.executable, "-m", "benchmarks.translation_training", "--measure", way]
        for name in ("data_dir", "warm_up", "steps", "test_name"):
            commands[way] += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    with tempfile.TemporaryDirectory() as folder:
        if options.peer_python:
            settings = Path(folder) / "settings.json"
            settings.write_text(json.dumps(peer_settings(options, Path(folder))), encoding="utf-8")
            script = str(ROOT / "benchmarks" / "peers" / f"{options.peer}_training.py")
            commands[options.peer] = [options.peer_python, script, str(settings)]
        measure_in_turn(commands, rounds=options.rounds, unit="reference words")
    return 0


if __name__ == "__main__":
    run_command(main)
