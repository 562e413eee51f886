"""Where training starts, other than as the random walk: regressions that validation chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from attention_apps.running.command import UserError
from forecasting.baselines import PENALTIES

if TYPE_CHECKING:
    from forecasting.model import Forecaster
    from forecasting.windows import Parts, Windows

_CHUNK = 512  # windows gathered at once: bounds the memory, changes no result


def start_as_ridge(model: Forecaster, windows: Windows, parts: Parts) -> float:
    """Make the linear part the ridge regression of changes on what the model sees of the past.

    What is known of past and future is regressed first and taken off. Only the training part is
    fitted; the validation part chooses the penalty. One matrix serves all targets.

    Args:
        model: the untrained forecaster, which is changed.
        windows: the rows.
        parts: where the training and validation part end.

    Returns:
        The penalty, in units of the mean square of what is seen.

    Reference: Hoerl and Kennard 1970, "Ridge Regression".
    """
    if model.known_effect is not None:
        _regress_on_known(model, windows, parts.cutoff)

    def changes(origins: np.ndarray, ahead: Any) -> np.ndarray:
        moved = windows.changes(origins)
        return moved if ahead is None else moved - np.asarray(ahead, np.float64)[..., 0]

    matrix, bias, penalty = _regression(model, windows, parts, changes)
    outputs = max(1, len(model.levels))
    # Units stand in the order (horizon, outputs); the first output of a row is its location.
    kernel = np.zeros((*matrix.shape, outputs))
    kernel[..., 0] = matrix
    biases = np.zeros((model.horizon, outputs))
    biases[:, 0] = bias
    model.linear.kernel.assign(kernel.reshape(len(kernel), -1))
    model.linear.bias.assign(biases.reshape(-1))
    return penalty


def start_with_spread(model: Forecaster, splits: Any) -> float:
    """Make the band as wide as a ridge regression says that the coming days will vary.

    Half the log of the mean variance of the rows ahead, less its mean in training, is regressed on
    what the model sees of the past; every gap between quantiles grows with its exponential, from
    the gaps of moves that are divided by it. The median stays where the last value is.

    Args:
        model: the untrained forecaster of returns, whose gaps grow as `exp`; it is changed.
        splits: the data.

    Returns:
        The penalty, as `start_as_ridge`.

    Raises:
        UserError: for prices without a range, of which no variance can be read.
    """
    if not splits.has_range:
        raise UserError(
            "--start spread reads variances from the columns High and Low. "
            f"Received: {', '.join(splits.panel.columns)}"
        )
    windows, parts = splits.windows, splits.parts
    variance = np.exp(splits.features[:, : model.num_targets, 0])
    rows = np.arange(1, model.horizon + 1)

    def half_log(origins: np.ndarray) -> np.ndarray:
        summed = np.cumsum(variance[origins[:, None] + rows], axis=1)
        return np.log(summed / rows[:, None]) / 2

    training = parts.origins("training")
    center = half_log(training).mean(0)
    matrix, bias, penalty = _regression(
        model, windows, parts, lambda origins, _: half_log(origins) - center
    )
    growth = []
    for start in range(0, len(training), _CHUNK):
        seen = _seen(model, windows, training[start : start + _CHUNK])[0]
        growth.append(np.exp(np.moveaxis(seen @ matrix + bias, 1, 2)))
    model.output_quantiles.set_walk(windows.changes(training) / np.concatenate(growth))
    kernel = np.repeat(matrix[..., None], len(model.levels), axis=-1)
    biases = np.repeat(bias[:, None], len(model.levels), axis=-1)
    kernel[..., 0] = biases[..., 0] = 0.0  # the first output of a row is its location
    model.linear.kernel.assign(kernel.reshape(len(kernel), -1))
    model.linear.bias.assign(biases.reshape(-1))
    return penalty


def _regress_on_known(model: Forecaster, windows: Windows, cutoff: int) -> None:
    # A level is the first feature, a change the last: the one that is forecast.
    own = 0 if model.num_relative else -1
    known = windows.known[:cutoff].astype(np.float64)
    series = windows.features[:cutoff, :, own].astype(np.float64)
    effect, *_ = np.linalg.lstsq(known - known.mean(0), series - series.mean(0), rcond=None)
    model.known_effect.kernel.assign(effect)


def _regression(
    model: Forecaster,
    windows: Windows,
    parts: Parts,
    told: Callable[[np.ndarray, Any], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, float]:
    """Regress on what the model sees of each target; the validation part chooses the penalty.

    Args:
        model: the forecaster.
        windows: the rows.
        parts: where the training and validation part end.
        told: what is explained, `(origins, horizon, targets)`, of origins and what the known
            columns say of the rows ahead.

    Returns:
        The matrix `(lookback * features, horizon)`, the bias `(horizon,)` and the penalty.
    """

    def pairs(origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen, ahead = _seen(model, windows, origins)
        answers = np.moveaxis(told(origins, ahead), 1, 2)
        return seen.reshape(-1, seen.shape[-1]), answers.reshape(-1, model.horizon)

    size, count = model.linear.kernel.shape[0], 0
    products, moments = np.zeros((size, size)), np.zeros((size, model.horizon))
    sums = np.zeros(size + model.horizon)
    training = parts.origins("training")
    for start in range(0, len(training), _CHUNK):
        seen, answers = pairs(training[start : start + _CHUNK])
        products = products + seen.T @ seen
        moments = moments + seen.T @ answers
        sums = sums + np.concatenate([seen.sum(0), answers.sum(0)])
        count += len(seen)
    means = sums / count
    inner = products / count - np.outer(means[:size], means[:size])
    outer = moments / count - np.outer(means[:size], means[size:])
    mean_square = np.trace(inner) / size
    matrices = [
        np.linalg.solve(inner + penalty * mean_square * np.eye(size), outer)
        for penalty in PENALTIES
    ]
    biases = [means[size:] - means[:size] @ matrix for matrix in matrices]
    errors = np.zeros(len(matrices))
    validation = parts.origins("validation")
    for start in range(0, len(validation), _CHUNK):
        seen, answers = pairs(validation[start : start + _CHUNK])
        errors += [
            np.square(seen @ matrix + bias - answers).sum()
            for matrix, bias in zip(matrices, biases, strict=True)
        ]
    best = int(errors.argmin())
    return matrices[best], biases[best], float(PENALTIES[best])


def _seen(model: Forecaster, windows: Windows, origins: np.ndarray) -> tuple[np.ndarray, Any]:
    """What is seen of every target, `(windows, targets, lookback * features)`, and what is known
    of the rows ahead."""
    past, ahead = model.shown(windows.inputs(origins))
    return np.asarray(model.flat(past), np.float64), ahead
