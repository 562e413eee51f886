"""The embedded market: several assets, what moves them, and what could be known of it.

Run `python -m forecasting.synthetic --show 10` to look at it.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
import tensorflow_datasets as tfds

from attention_apps.running.command import UserError, run_command
from forecasting.market import ASSETS, LINKS, State, day_path, next_day

COLUMNS: Final = ("open", "high", "low", "close", "volume")
FIRST_DAY: Final = datetime.date(2000, 1, 3)
_WARM_UP = 250  # days before the first, in which the variances leave their start
_FIRST_PRICE = 100.0
_TURNOVER = 1e6  # shares of an ordinary day


@dataclass(frozen=True)
class Day:
    """One trading day of all assets.

    Attributes:
        date: no Saturday and no Sunday.
        bars: open, high, low, close and volume, `(assets, 5)`.
        foreseen: log returns that were to be expected at the start of the day, `(assets,)`.
        variance: of tomorrow's shock, see `State`, `(assets,)`.
        stormy: whether the day was stormy.
    """

    date: datetime.date
    bars: np.ndarray
    foreseen: np.ndarray
    variance: np.ndarray
    stormy: bool


def generate(*, days: int, seed: int) -> Iterator[Day]:
    """Make up trading days in order.

    Args:
        days: how many.
        seed: the same seed gives the same days; fewer days are the first of them.

    Raises:
        ValueError: for a number of days below 1.
    """
    if days < 1:
        raise ValueError(f"Expected at least one day. Received: {days}")
    return _generate(days, np.random.default_rng(seed))


def _generate(days: int, random: np.random.Generator) -> Iterator[Day]:
    state = State.start()
    for index in range(_WARM_UP):
        state, _, _ = next_day(state, index % 5, random)
    price, date = np.full(len(ASSETS), _FIRST_PRICE), FIRST_DAY
    for _ in range(days):
        state, foreseen, deviation = next_day(state, date.weekday(), random)
        path = price * np.exp(day_path(state.returns[-1], deviation, random))
        busy = np.exp(0.3 * random.standard_normal(len(ASSETS)))
        volume = np.round(_TURNOVER * busy * deviation / deviation.mean())
        bars = np.stack([path[0], path.max(0), path.min(0), path[-1], volume], axis=-1)
        yield Day(date, bars, foreseen, state.variance, bool(state.stormy))
        price = path[-1]
        date += datetime.timedelta(days=3 if date.weekday() == 4 else 1)


def predictable_share(foreseen: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Share of the variance of returns that was foreseen: the highest R squared there can be.

    Args:
        foreseen: `(days, assets)`.
        returns: the log returns of those days, `(days, assets)`.

    Returns:
        `(assets,)`.
    """
    return 1 - np.square(returns - foreseen).mean(0) / np.square(returns).mean(0)


class GeneratedMarket(tfds.core.GeneratorBasedBuilder):
    """The embedded days as a set of tensorflow-datasets, one example a day.

    Prepared data is kept by version: a market that behaves otherwise needs another version.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: Final = [
        tfds.core.BuilderConfig(name="full", description="5,000 days"),
        tfds.core.BuilderConfig(name="small", description="2,000 days"),
    ]
    DAYS: Final = {"full": 5_000, "small": 2_000}

    def _info(self) -> Any:
        count = len(ASSETS)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Daily bars of a made-up market, with what could be known of it.",
            features=tfds.features.FeaturesDict(
                {
                    "date": tfds.features.Text(),
                    "bars": tfds.features.Tensor(shape=(count, len(COLUMNS)), dtype=np.float64),
                    "foreseen": tfds.features.Tensor(shape=(count,), dtype=np.float64),
                    "variance": tfds.features.Tensor(shape=(count,), dtype=np.float64),
                    "stormy": np.bool_,
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"days": self._generate_examples(self.DAYS[self.builder_config.name])}

    def _generate_examples(self, days: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, day in enumerate(generate(days=days, seed=0)):
            yield (
                index,
                {
                    "date": day.date.isoformat(),
                    "bars": day.bars,
                    "foreseen": day.foreseen,
                    "variance": day.variance,
                    "stormy": day.stormy,
                },
            )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the planted links and the closing prices of the first days."""
    parser = _Parser(prog="python -m forecasting.synthetic", description=main.__doc__)
    parser.add_argument("--show", type=int, default=10, help="number of days (10)")
    parser.add_argument("--seed", type=int, default=0, help="0 gives those of the prepared set")
    options = parser.parse_args(arguments)
    if options.show < 1:
        raise UserError(f"--show must be at least 1. Received: {options.show}")
    for link in LINKS:
        print(f"{link.follower} repeats {link.strength:g} x {link.leader} {link.lag} days later")
    print("date       " + "".join(f"{name:>9}" for name in ASSETS) + "  regime")
    for day in generate(days=options.show, seed=options.seed):
        closes = "".join(f"{price:9.2f}" for price in day.bars[:, COLUMNS.index("close")])
        print(f"{day.date}  {closes}  {'stormy' if day.stormy else 'calm'}")


if __name__ == "__main__":
    run_command(main)
