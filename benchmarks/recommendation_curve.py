"""How good a recommender is after how many minutes of training, as a table and a picture.

python -m benchmarks.recommendation_curve --run-dir RUN --picture docs/recommendation_curve.png

Every point is what validation measured while the run trained, so that the whole curve costs one
run. The line below is the best floor that counts, on the same validation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from recommendation.config import ROOM, Config

MINUTES = (10, 20, 40, 60, 100)
FIGURE = "val_ndcg_10"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run."""
    picture: Path | None = None
    """File that the curve is drawn into."""
    clock: str = "cpu_minutes"
    """`cpu_minutes` that the training used, or `minutes` by the clock on the wall."""


def best_until(curve: Sequence[Mapping[str, float]], minutes: float, clock: str) -> float | None:
    """The best figure that was known after some minutes.

    Args:
        curve: of `metrics.json`, in order of time.
        minutes: how long had been trained.
        clock: which minutes.

    Returns:
        The figure, or None before the first validation.
    """
    return max((point[FIGURE] for point in curve if point[clock] <= minutes), default=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the curve beside its floor and draw it."""
    options = parse(
        Options, argv, prog="python -m benchmarks.recommendation_curve", description=__doc__
    )
    quiet_start()
    from attention_apps.running.runs import read_config, read_metrics
    from recommendation.baselines import floors
    from recommendation.data import load
    from recommendation.metrics import figures, rank
    from recommendation.starting_point import read_items

    splits = load(read_config(options.run_dir, ROOM, Config), read_items(options.run_dir).keys)
    found = {
        name: figures(rank(floor, splits.validation))["ndcg_10"]
        for name, floor in floors(splits).items()
    }
    best = max(found, key=found.__getitem__)
    curve = read_metrics(options.run_dir)["train"]["curve"]
    print(f"validation NDCG@10, {options.clock}; best floor {best} {found[best]:.4f}")
    for minutes in MINUTES:
        reached = best_until(curve, minutes, options.clock)
        if reached is not None:
            print(f"after {minutes:4} minutes: {reached:.4f}")
        if minutes >= curve[-1][options.clock]:
            break
    if options.picture is not None:
        _draw(curve, options.clock, f"{best}, counted", found[best], options.picture)
        print(f"picture: {options.picture}")
    return 0


def _draw(
    curve: Sequence[Mapping[str, float]], clock: str, name: str, floor: float, path: Path
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    minutes = [point[clock] for point in curve]
    axes.plot(minutes, [point[FIGURE] for point in curve], color="#1b4ca0", marker="o", ms=3)
    axes.axhline(floor, color="#777777", linewidth=1, linestyle="--")
    axes.annotate(
        f"{name}: {floor:.3f}", (minutes[-1], floor), ha="right", va="bottom", color="#777777"
    )
    axes.set_xlabel("CPU minutes of training" if clock == "cpu_minutes" else "minutes of training")
    axes.set_ylabel("NDCG@10 on validation")
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    run_command(main)
