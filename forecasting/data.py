"""From files or the embedded market to scaled rows, windows and batches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from attention_apps.running.command import UserError
from forecasting.config import Config
from forecasting.market import LONGEST_LAG, State, best_quantiles
from forecasting.panel import Panel
from forecasting.scaling import Scaling
from forecasting.series import (
    CLOSE,
    calendar_features,
    has_range,
    num_relative,
    read,
    seconds,
)
from forecasting.windows import Parts, Windows


@dataclass(frozen=True)
class Gold:
    """What the embedded market knows of itself, by row.

    Attributes:
        variance: of the next day's shock, see `State`, `(time, assets)`.
        stormy: whether the day was stormy, `(time,)`.
        returns: log returns, `(time, assets)`; of the first row 0.
        foreseen: the part of the returns that could be known the day before, `(time, assets)`.
    """

    variance: np.ndarray
    stormy: np.ndarray
    returns: np.ndarray
    foreseen: np.ndarray

    def state(self, row: int) -> State:
        """What decides the day behind `row`."""
        return State(
            self.returns[row + 1 - LONGEST_LAG : row + 1], self.variance[row], self.stormy[row]
        )


@dataclass(frozen=True)
class Splits:
    """What a run trains on and is measured on.

    Attributes:
        panel: the cells as they came.
        series: what is forecast, unscaled, `(time, targets)` float64.
        features: what is read, unscaled, `(time, variables, features)` float64.
        parts: where training, validation and test part end.
        scaling: measured on the training part.
        windows: scaled rows.
        target: what is forecast, see `Config`.
        gold: of the embedded market alone.
    """

    panel: Panel
    series: np.ndarray
    features: np.ndarray
    parts: Parts
    scaling: Scaling
    windows: Windows
    target: str
    gold: Gold | None = None

    def best(self, origins: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        """The embedded market's own forecasts, the best there can be.

        Args:
            origins: rows at which forecasts are made.
            levels: of the quantiles.

        Returns:
            Changes in scaled units, `(origins, horizon, targets, quantiles)`.
        """
        assert self.gold is not None
        assert self.panel.times is not None
        days = origins[:, None] + np.arange(1, self.windows.horizon + 1)
        # 1970 began on a Thursday; Monday is 0.
        weekdays = (seconds(self.panel.times)[days] // 86_400 + 3) % 7
        states = [self.gold.state(int(row)) for row in origins]
        return best_quantiles(states, weekdays, levels) / self.scaling.scale[:, None]

    @property
    def num_relative(self) -> int:
        """How many of the first features the model sees relative to their last value."""
        return num_relative(self.target)

    @property
    def has_range(self) -> bool:
        """Whether the first feature is a day's log variance, read from its range."""
        return self.target != "levels" and has_range(self.panel.columns)

    @property
    def shared(self) -> np.ndarray:
        """Logarithms of the covariates that all variables share, `(time, covariates)` float64."""
        first = self.num_relative + self.has_range
        return self.features[:, 0, first : first + self.panel.num_shared]

    @property
    def notes(self) -> list[str]:
        """What was found in the data and how it is handled."""
        return self.panel.notes


def load(config: Config) -> Splits:
    """Read the data, clean it, divide it and scale it by what the training part shows.

    Args:
        config: the room's configuration.

    Raises:
        UserError: for data that cannot be used, with what was received and expected.
    """
    panel, gold = read_data(config)
    parts = Parts.of(config, len(panel))
    series, features = read_series(panel, config)
    scaling = Scaling.fit(
        series,
        features,
        panel.known,
        rows=parts.cutoff,
        cutoff=parts.cutoff,
        target=config.target,
        names=panel.names,
    )
    windows = Windows(
        series=scaling.scaled_series(series),
        features=scaling.scaled_features(features),
        known=known_features(panel, config, scaling),
        lookback=config.lookback,
        horizon=config.horizon,
    )
    return Splits(panel, series, features, parts, scaling, windows, config.target, gold)


def with_values(splits: Splits, config: Config, values: np.ndarray) -> Splits:
    """The same data with other cells behind the training part, in the same units.

    Args:
        splits: the data.
        config: the room's configuration.
        values: `(time, variables, columns)`.
    """
    panel = replace(splits.panel, values=values)
    series, features = read_series(panel, config)
    windows = replace(
        splits.windows,
        series=splits.scaling.scaled_series(series),
        features=splits.scaling.scaled_features(features),
    )
    return replace(splits, panel=panel, series=series, features=features, windows=windows)


def read_data(config: Config) -> tuple[Panel, Gold | None]:
    """Read the cells as they are.

    Args:
        config: the room's configuration.

    Raises:
        UserError: for data that cannot be read.
    """
    if config.dataset == "generated":
        return _read_generated(config)
    from forecasting.files import read_panel

    return read_panel(config), None


def read_series(panel: Panel, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """What is forecast and what is read, cleaned and unscaled; see `series.read`.

    Args:
        panel: the cells.
        config: the room's configuration.

    Returns:
        Series `(time, targets)` and features `(time, variables, features)`, float64.
    """
    series, features = read(
        panel.values[None],
        columns=panel.columns,
        target=config.target,
        variance=config.variance,
        context=config.context,
        num_targets=panel.num_targets,
        num_shared=panel.num_shared,
    )
    return series.numpy()[0][:, : panel.num_targets], features.numpy()[0]


def known_features(panel: Panel, config: Config, scaling: Scaling) -> np.ndarray:
    """What is known of past and future alike: the calendar and declared columns.

    Args:
        panel: the cells.
        config: `calendar` is used.
        scaling: of the declared columns.

    Returns:
        `(time, known)` float32.

    Raises:
        UserError: for a calendar of data without dates.
    """
    known = scaling.scaled_known(panel.known)
    if config.calendar == "none":
        return known
    if panel.times is None:
        raise UserError(
            f"--calendar {config.calendar} needs dates. Received: data without a column Date"
        )
    calendar = calendar_features(seconds(panel.times), config.calendar).numpy()
    return np.concatenate([calendar, known], axis=-1)


def _read_generated(config: Config) -> tuple[Panel, Gold]:
    from attention_apps.running.datasets import prepare
    from forecasting.market import ASSETS
    from forecasting.synthetic import COLUMNS, GeneratedMarket

    builder = GeneratedMarket(
        config=config.generated_size, **({"data_dir": config.data_dir} if config.data_dir else {})
    )
    prepare(builder, downloads=False)
    days = next(iter(builder.as_dataset(split="days").batch(100_000)))
    days = {name: value.numpy() for name, value in days.items()}
    order = np.argsort(days["date"])
    days = {name: value[order] for name, value in days.items()}
    past = [name.lower() for name in config.past_columns]
    kept = [column for column in COLUMNS if column != "volume" or "volume" in past]
    bars = days["bars"][..., [COLUMNS.index(name) for name in kept]]
    log_price = np.log(days["bars"][..., COLUMNS.index(CLOSE)])
    returns = np.diff(log_price, axis=0, prepend=log_price[:1])
    panel = Panel(
        names=ASSETS,
        num_targets=len(ASSETS),
        columns=tuple(kept),
        values=bars,
        times=np.array([date.decode() for date in days["date"]], "datetime64[s]"),
        known=np.zeros((len(bars), 0)),
        static=np.zeros((len(ASSETS), 0)),
    )
    return panel, Gold(days["variance"], days["stormy"], returns, days["foreseen"])
