"""How much of the exact answer the approximate index finds in a large catalogue, and how fast.

python -m benchmarks.item_index --run-dir RUN --items 1000000

No catalogue of a million items is at hand: the vectors are those of a finished run, each many
times over with noise of its own added, in the proportion that --noise says. What is asked are the
run's test users. Exact and approximate answers are timed in turn.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from recommendation.config import ROOM, Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run whose vectors and users are taken."""
    items: int = 1_000_000
    """Size of the catalogue."""
    noise: float = 0.5
    """Standard deviation of what is added, over that of the vectors."""
    users: int = 640
    """Test users asked for."""
    batch_size: int = 64
    """Users asked for at once."""


def stand_in(
    vectors: NDArray[np.float32], count: int, noise: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """Vectors for a large catalogue, distributed like those of a small one.

    Args:
        vectors: `(items, dim)` of the small one.
        count: size of the large one.
        noise: standard deviation of what is added to each, over that of the vectors.
        random: draws which, and what is added.

    Returns:
        `(count, dim)` float32.
    """
    large = vectors[random.integers(len(vectors), size=count)]
    large += random.standard_normal(large.shape, np.float32) * np.float32(noise * vectors.std())
    return large


def main(argv: Sequence[str] | None = None) -> int:
    """Build the index, ask it and the exact answer in turn, and print both."""
    options = parse(Options, argv, prog="python -m benchmarks.item_index", description=__doc__)
    if options.items < 1000:
        raise UserError(f"--items must be at least 1000. Received: {options.items}")
    quiet_start()
    from attention_apps.running.runs import load_run
    from recommendation.data import load
    from recommendation.index import ItemIndex, measure
    from recommendation.scoring import ModelScorer
    from recommendation.starting_point import read_items

    run = load_run(options.run_dir, ROOM, Config)
    splits = load(run.config, read_items(run.run_dir).keys)
    scorer = ModelScorer(run.config, len(splits.interactions.items)).load(run.model)
    numbers = range(min(options.users, len(splits.test)))
    parts = [
        scorer.hidden(splits.test, numbers[start : start + options.batch_size])
        for start in range(0, len(numbers), options.batch_size)
    ]
    vectors = stand_in(
        np.asarray(scorer.model.item_vectors()),
        options.items,
        options.noise,
        np.random.default_rng(0),
    )
    began = time.perf_counter()
    index = ItemIndex.build(vectors)
    print(f"{options.items:,} items indexed in {time.perf_counter() - began:.0f} s", flush=True)
    # What was seen lies anywhere in the large catalogue: the length is what costs.
    seen = [splits.test.history(number) for number in numbers]
    figures = measure(
        index, vectors, np.concatenate(parts), seen, count=10, batch_size=options.batch_size
    )
    print(
        f"recall@10 {figures['recall_10']:.4f}; {figures['index_ms']:.1f} ms for "
        f"{options.batch_size} users, exact {figures['exact_ms']:.1f} ms"
    )
    return 0


if __name__ == "__main__":
    run_command(main)
