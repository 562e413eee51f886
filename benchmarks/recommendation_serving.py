"""How long a person waits for recommendations: milliseconds of a call of the exported model.

python -m benchmarks.recommendation_serving --run-dir RUN

Calls follow each other as fast as they are answered, with the histories of test users; the first
ones, in which buffers are made, are not counted.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from recommendation.config import ROOM, Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The exported run."""
    calls: int = 500
    """Calls that are counted, of each kind."""
    warm_up: int = 20
    """Calls that are not."""


def main(argv: Sequence[str] | None = None) -> int:
    """Time calls for 1 and for 64 users, with and without attention."""
    options = parse(
        Options, argv, prog="python -m benchmarks.recommendation_serving", description=__doc__
    )
    quiet_start()
    import numpy as np
    import tensorflow as tf

    from attention_apps.running.export import exported_model
    from attention_apps.running.runs import read_config
    from recommendation.data import load
    from recommendation.recommend import recommend_all
    from recommendation.starting_point import read_items

    config = read_config(options.run_dir, ROOM, Config)
    test = load(config, read_items(options.run_dir).keys).test
    keys = test.interactions.items.keys
    loaded = tf.saved_model.load(str(exported_model(options.run_dir, ROOM)))
    random = np.random.default_rng(0)
    for attention in (False, True):
        for users in (1, 64):
            spent = []
            for call in range(options.warm_up + options.calls):
                cases = random.integers(len(test), size=users)
                histories = [[keys[item - 1] for item in test.history(case)] for case in cases]
                began = time.perf_counter()
                recommend_all(loaded, histories, batch_size=users, attention=attention)
                if call >= options.warm_up:
                    spent.append(1e3 * (time.perf_counter() - began))
            middle, late = np.quantile(spent, [0.5, 0.99])
            what = "with_attention" if attention else "serving_default"
            print(
                f"{what:16} {users:3} users a call: p50 {middle:7.2f} ms, p99 {late:7.2f} ms",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    run_command(main)
