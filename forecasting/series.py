"""From cells as they are in files to what is forecast and what is read, by the rules for gaps.

The same code reads the training data and what an exported model is asked, so both mean the same.
Row t of what comes out depends on rows up to t alone. The rules:

- a price that is missing, not finite or (for returns and volatility) not positive is the last good
  one before it; at the beginning, where there is none, the first good one behind it;
- a day whose range cannot be used (no high or low, a close outside of them, no range at all) has
  the variance of the day before;
- a covariate that is missing or not finite is the last good one before it; one that all variables
  share is read in logarithms, as prices are, and must be positive like them.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

OPEN, HIGH, LOW, CLOSE, VOLUME = "open", "high", "low", "close", "volume"
BARS = (OPEN, HIGH, LOW, CLOSE, VOLUME)


def num_relative(target: str) -> int:
    """How many of the first features the model sees relative to their last value."""
    return 0 if target == "returns" else 1


def num_changes(target: str, context: str) -> int:
    """How many of the last features are changes from the row before, or made of such."""
    if target == "levels":
        return 0
    return 4 if context == "market" else 1


def has_range(columns: tuple[str, ...]) -> bool:
    """Whether a day's variance can be read from its range."""
    return HIGH in columns and LOW in columns


def read(
    values: Any,
    *,
    columns: tuple[str, ...],
    target: str,
    variance: str,
    context: str,
    num_targets: int,
    num_shared: int,
) -> tuple[Any, Any]:
    """What is forecast and what is read, before scaling.

    The features of every row and variable are, in this order and where there are such: what is
    forecast, if that is a level; the log variance; the covariates that all variables share; the
    variable's own; with the context `market` the mean over the assets of the log variance, of falls
    (negative returns, else 0) and of returns, and the variable's own falls; the change from the row
    before. That volatility answers to falls and to the market is the leverage effect.

    Args:
        values: `(batch, time, variables, columns)` float64, cells as they came.
        columns: their names.
        target: `returns` forecasts the log price, `volatility` the log variance of a day, `levels`
            the value.
        variance: `parkinson` or `garman_klass`.
        context: `own` or `market`.
        num_targets: variables that are forecast, the first ones; the others are read as they are.
        num_shared: columns that are the same for all variables, the last ones.

    Returns:
        The series `(batch, time, variables)` and the features
        `(batch, time, variables, features)`, both float64.

    Reference: Corsi and Reno 2012, "Discrete-Time Volatility Forecasting With Persistent Leverage
    Effect and the Link With Continuous-Time Volatility Modeling".
    """
    column = {name: values[..., index] for index, name in enumerate(columns)}
    close = column[CLOSE]
    is_price = tf.logical_and(
        tf.range(tf.shape(close)[2]) < num_targets, tf.constant(target != "levels")
    )
    usable = tf.math.is_finite(close) & (~is_price | (close > 0))
    close = filled(close, usable)
    own = columns[: len(columns) - num_shared]
    covariates = [_logarithm(column[name]) for name in columns[len(own) :]]
    for name in own:
        if name == VOLUME:
            covariates.append(_logarithm(column[name]))
        elif name not in BARS or (target == "levels" and name != CLOSE):
            covariates.append(filled(column[name], tf.math.is_finite(column[name])))
    if target == "levels":
        return close, tf.stack([close, *covariates], axis=-1)
    log_price = tf.where(is_price, tf.math.log(tf.where(is_price, close, 1.0)), close)
    change = tf.concat([tf.zeros_like(close[:, :1]), log_price[:, 1:] - log_price[:, :-1]], axis=1)
    changes, market = [change], []
    if context == "market":
        fall = tf.minimum(change, 0.0)
        changes = [_market(fall, num_targets), _market(change, num_targets), fall, change]
    if not has_range(columns):
        return log_price, tf.stack([*covariates, *changes], axis=-1)
    log_variance = tf.math.log(day_variance(column, variance))
    log_variance = filled(log_variance, tf.math.is_finite(log_variance))
    if context == "market":
        market = [_market(log_variance, num_targets)]
    features = [log_variance, *covariates, *market, *changes]
    if target == "volatility":
        return log_variance, tf.stack([log_variance, *features], axis=-1)
    return log_price, tf.stack(features, axis=-1)


def _market(values: Any, num_targets: int) -> Any:
    """The mean over the assets, told to every variable, `(batch, time, variables)`."""
    mean = tf.reduce_mean(values[..., :num_targets], axis=-1, keepdims=True)
    return tf.broadcast_to(mean, tf.shape(values))


def _logarithm(values: Any) -> Any:
    usable = (values > 0) & tf.math.is_finite(values)
    return filled(tf.math.log(tf.where(usable, values, 1.0)), usable)


def day_variance(column: dict[str, Any], estimator: str) -> Any:
    """A day's variance from its range; NaN for a day whose range cannot be used.

    `parkinson`: `ln(high / low)^2 / (4 ln 2)`. `garman_klass`:
    `ln(high / low)^2 / 2 - (2 ln 2 - 1) ln(close / open)^2`.

    Args:
        column: prices by name, all of one shape.
        estimator: `parkinson` or `garman_klass`.

    Returns:
        Variances of that shape.

    Reference: Parkinson 1980, "The Extreme Value Method for Estimating the Variance of the Rate of
    Return"; Garman and Klass 1980, "On the Estimation of Security Price Volatilities from
    Historical Data".
    """
    high, low, close = column[HIGH], column[LOW], column[CLOSE]
    # A comparison with NaN is false.
    usable = (low > 0) & (high > low) & (close <= high) & (close >= low) & (high < math.inf)
    extremes = tf.square(_log_ratio(high, low, usable))
    if estimator == "parkinson":
        variance = extremes / (4 * math.log(2))
    else:
        opening = column[OPEN]
        usable &= (opening <= high) & (opening >= low)
        body = tf.square(_log_ratio(close, opening, usable))
        variance = extremes / 2 - (2 * math.log(2) - 1) * body
        usable &= variance > 0
    return tf.where(usable, variance, math.nan)


def _log_ratio(upper: Any, lower: Any, usable: Any) -> Any:
    return tf.math.log(tf.where(usable, upper, 1.0)) - tf.math.log(tf.where(usable, lower, 1.0))


def filled(values: Any, usable: Any) -> Any:
    """Replace what cannot be used by the last value before it that can, else by the first behind.

    Args:
        values: `(batch, time, variables)`.
        usable: the same shape, booleans.

    Returns:
        The values without gaps; NaN for a variable of which nothing can be used.
    """
    values = tf.transpose(tf.where(usable, values, math.nan), (0, 2, 1))
    usable = tf.transpose(usable, (0, 2, 1))
    length = tf.shape(values)[2]
    # Rows that can be used come first, in order; how many came up to row t says which is the last.
    places = tf.sort(tf.where(usable, tf.range(length), length - 1), axis=-1)
    passed = tf.cumsum(tf.cast(usable, tf.int32), axis=-1)
    last = tf.gather(places, tf.maximum(passed - 1, 0), batch_dims=2)
    return tf.transpose(tf.gather(values, last, batch_dims=2), (0, 2, 1))


def seconds(times: Any) -> Any:
    """Whole seconds since 1970 of NumPy's times, `(...)` int64."""
    return times.astype("datetime64[s]").astype("int64")


def calendar_features(times: Any, calendar: str) -> Any:
    """Which weekday or hour a row has, one-hot.

    Args:
        times: seconds since 1970, `(...)` int64, without time zone.
        calendar: `weekday` (7), `hour` (24) or `hour_of_week` (168).

    Returns:
        `(..., places)` float32.
    """
    hours = times // 3600
    # 1970 began on a Thursday; Monday is 0.
    weekday = (hours // 24 + 3) % 7
    place, count = {
        "weekday": (weekday, 7),
        "hour": (hours % 24, 24),
        "hour_of_week": (weekday * 24 + hours % 24, 168),
    }[calendar]
    return tf.one_hot(place, count, dtype=tf.float32)
