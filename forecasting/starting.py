"""Where training starts, other than as the random walk: the regression that validation chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
    size, count = model.linear.kernel.shape[0], 0
    products, moments = np.zeros((size, size)), np.zeros((size, model.horizon))
    sums = np.zeros(size + model.horizon)
    training = parts.origins("training")
    for start in range(0, len(training), _CHUNK):
        seen, changes = _pairs(model, windows, training[start : start + _CHUNK])
        products = products + seen.T @ seen
        moments = moments + seen.T @ changes
        sums = sums + np.concatenate([seen.sum(0), changes.sum(0)])
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
        seen, changes = _pairs(model, windows, validation[start : start + _CHUNK])
        errors += [
            np.square(seen @ matrix + bias - changes).sum()
            for matrix, bias in zip(matrices, biases, strict=True)
        ]
    best = int(errors.argmin())
    outputs = max(1, len(model.levels))
    # Units stand in the order (horizon, outputs); the first output of a row is its location.
    kernel = np.zeros((size, model.horizon, outputs))
    kernel[..., 0] = matrices[best]
    bias = np.zeros((model.horizon, outputs))
    bias[:, 0] = biases[best]
    model.linear.kernel.assign(kernel.reshape(size, -1))
    model.linear.bias.assign(bias.reshape(-1))
    return float(PENALTIES[best])


def _regress_on_known(model: Forecaster, windows: Windows, cutoff: int) -> None:
    # A level is the first feature, a change the last: the one that is forecast.
    own = 0 if model.num_relative else -1
    known = windows.known[:cutoff].astype(np.float64)
    series = windows.features[:cutoff, :, own].astype(np.float64)
    effect, *_ = np.linalg.lstsq(known - known.mean(0), series - series.mean(0), rcond=None)
    model.known_effect.kernel.assign(effect)


def _pairs(
    model: Forecaster, windows: Windows, origins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What is seen of every target `(windows, lookback * features)`, and what came of it."""
    past, ahead = model.shown(windows.inputs(origins))
    changes = windows.changes(origins)
    if ahead is not None:
        changes = changes - np.asarray(ahead, np.float64)[..., 0]
    seen = np.asarray(model.flat(past), np.float64)
    moves = np.moveaxis(changes, 1, 2)
    return seen.reshape(-1, seen.shape[-1]), moves.reshape(-1, moves.shape[-1])
