"""How fast pictures are captioned: captions per second of CPU time, from bytes of files to words.

python -m benchmarks.captioning_decoding --run-dir RUN

The test photos of a finished run go through decoding, resizing, the encoder and beam search in
batches of one size; the first batches, in which graphs are made, are not counted. `encoder` is the
same without beam search.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run."""
    beam_size: int = 3
    """Hypotheses followed."""
    batch_size: int = 32
    """Pictures captioned at once."""
    batches: int = 8
    """Batches that are counted."""
    warm_up: int = 2
    """Batches that are not."""
    rounds: int = 3
    """How often each is measured, in turn."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turn and print rates."""
    options = parse(
        Options, argv, prog="python -m benchmarks.captioning_decoding", description=__doc__
    )
    quiet_start()
    import tensorflow as tf

    from captioning.caption import Captioner
    from captioning.data import load
    from captioning.finished import load_captioner
    from captioning.images import prepare

    run, loaded = load_captioner(options.run_dir)
    config = dataclasses.replace(loaded.config, beam_size=options.beam_size)
    captioner = Captioner(run.model, loaded.vocabulary, config)
    photos = load(run.config, captioner.vocabulary).test
    size, count = options.batch_size, options.warm_up + options.batches
    batches = [
        tf.constant([photos.encoded(i % len(photos)) for i in range(n * size, (n + 1) * size)])
        for n in range(count)
    ]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encoder(images: Any) -> Any:
        return captioner.grids(prepare(images, config.image_size)[0])

    ways: dict[str, Callable[[Any], Any]] = {"captions": captioner.serve, "encoder": encoder}
    for _ in range(options.rounds):
        for name, ask in ways.items():
            for batch in batches[: options.warm_up]:
                ask(batch)
            began, cpu_began = time.perf_counter(), time.process_time()
            for batch in batches[options.warm_up :]:
                ask(batch)
            spent, cpu_spent = time.perf_counter() - began, time.process_time() - cpu_began
            done = size * options.batches
            print(
                f"{name:9} {done / cpu_spent:8.1f} pictures per CPU-second, "
                f"{done / spent:8.1f} per second",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    run_command(main)
