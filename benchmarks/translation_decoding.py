"""How fast translation decodes: sentences per CPU-second, cached, uncached, by XLA, beside JoeyNMT.

python -m benchmarks.translation_decoding --peer-python PATH

Beam search of exactly as many steps as asked, by models of the same sizes with weights as they
were drawn: what a step costs does not depend on what was learned. Sources have the lengths of real
ones. In turn on one machine, each measurement in a process of its own, after a batch of every shape
that is not counted: XLA compiles each by itself, which takes it longer than the decoding. PATH is
the Python of an environment with JoeyNMT, see `benchmarks.translation_training`.
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
from translation.config import Config

LENGTHS = (8, 10, 12, 14, 16, 18, 22, 28)
"""Subwords of a source, batch by batch: test sentences of Multi30k, sorted, an eighth each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    peer_python: str = ""
    """Python of an environment with JoeyNMT; empty leaves it out."""
    rounds: int = 3
    """How often each is measured, in turn."""
    steps: int = 16
    """Tokens of every translation."""
    batch_size: int = 64
    """Sentences decoded at once."""
    beam_size: int = 5
    """Hypotheses followed."""
    vocabulary_size: int = 4000
    """Number of subwords."""
    measure: str = ""
    """Measure one way in this process and print JSON; for the command's own use."""


def measure_ours(options: Options, way: str) -> dict[str, float]:
    """Time this project's beam search in this process.

    Args:
        options: the command's.
        way: `cached`; `uncached`: every step computes the decoder over the whole beginning again;
            `xla`: cached, in buffers of full length, each shape of batch compiled by XLA.

    Returns:
        The `count` of sentences and their `cpu_seconds`.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    from attention_apps.attention.decoding import beam_search
    from attention_apps.attention.hypotheses import Rules
    from translation.model import build_model
    from translation.words import END, PAD, START, UNKNOWN

    keras.utils.set_random_seed(1)
    model = build_model(Config(vocabulary_size=options.vocabulary_size))
    rules = Rules(
        start_id=START,
        end_id=END,
        pad_id=PAD,
        max_length=options.steps,
        forbidden=(PAD, START, UNKNOWN, END),
        length_penalty=1.0,
    )

    def whole_step(state: Any, tokens: Any, encoded: Any) -> tuple[Any, Any, Any]:
        position = state["position"]
        index = tf.range(tf.shape(state["previous"])[1])
        previous = tf.where(index == position, tokens[:, None], state["previous"])
        logits = model.decode(previous[:, : position + 1], *encoded)[:, -1]
        return logits, {"position": position + 1, "previous": previous}, logits[:, :1]

    by_xla = way == "xla"
    any_shape = None if by_xla else [tf.TensorSpec([None, None], tf.int32)]

    @tf.function(input_signature=any_shape, autograph=False, jit_compile=by_xla)
    def decode(source: Any) -> Any:
        if way != "uncached":
            state, encoded = model.begin(source, options.steps, growing=not by_xla)
            step = model.step
        else:
            encoded = model.encode(source, False)
            previous = tf.zeros([tf.shape(source)[0], options.steps], tf.int32)
            state = {"position": tf.zeros((), tf.int32), "previous": previous}
            step = whole_step
        return beam_search(step, state, encoded, rules, beam_size=options.beam_size).tokens

    generator = np.random.default_rng(1)
    shapes = [(options.batch_size, length) for length in LENGTHS]
    batches = [
        tf.constant(generator.integers(UNKNOWN + 1, options.vocabulary_size, shape), tf.int32)
        for shape in shapes
    ]
    for source in batches:
        decode(source)
    began = time.process_time()
    for source in batches:
        decode(source)
    return {
        "count": options.batch_size * len(batches),
        "cpu_seconds": time.process_time() - began,
    }


def peer_settings(options: Options, folder: Path) -> dict[str, Any]:
    """Write down for a peer what is decoded by what; its vocabulary lies in the folder."""
    pieces = [
        "<unk>",
        "<pad>",
        "<s>",
        "</s>",
        *(f"p{i}" for i in range(options.vocabulary_size - 4)),
    ]
    path = folder / "vocabulary.txt"
    path.write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return {
        **dataclasses.asdict(Config()),
        "train": "",
        "subwords": "",
        "vocabulary": str(path),
        "steps": options.steps,
        "batch_size": options.batch_size,
        "beam_size": options.beam_size,
        "lengths": LENGTHS,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turn and print rates and ratios."""
    options = parse(
        Options, argv, prog="python -m benchmarks.translation_decoding", description=__doc__
    )
    quiet_start()
    if options.measure:
        print(json.dumps(measure_ours(options, options.measure)))
        return 0
    commands = {}
    for way in ("cached", "uncached", "xla"):
        commands[way] = [sys.executable, "-m", "benchmarks.translation_decoding", "--measure", way]
        for name in ("steps", "batch_size", "beam_size", "vocabulary_size"):
            commands[way] += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    with tempfile.TemporaryDirectory() as folder:
        if options.peer_python:
            settings = Path(folder) / "settings.json"
            settings.write_text(json.dumps(peer_settings(options, Path(folder))), encoding="utf-8")
            script = str(ROOT / "benchmarks" / "peers" / "joeynmt_decoding.py")
            commands["joeynmt"] = [options.peer_python, script, str(settings)]
        measure_in_turn(commands, rounds=options.rounds, unit="sentences")
    return 0


if __name__ == "__main__":
    run_command(main)
