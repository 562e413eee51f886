"""Who leads whom, and by how many rows: read from attention, and from correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_apps.observation.observe import observe
from forecasting.market import Link

_BATCH = 64


def attention_scores(model: Any, windows: Any, origins: np.ndarray) -> np.ndarray:
    """How much every target's next row attends to every variable and patch, mean over origins.

    Args:
        model: a forecaster whose form is `both`.
        windows: the rows.
        origins: rows at which forecasts are made.

    Returns:
        `(heads, targets, variables, patches)`; the last patch is the latest.
    """
    sizes = model.sizes
    observed, total = observe(model), 0.0
    for start in range(0, len(origins), _BATCH):
        _, maps = observed(windows.inputs(origins[start : start + _BATCH]), training=False)
        (weights,) = (w for path, w in maps.items() if "horizon_attention" in path)
        total = total + np.asarray(weights, np.float64).sum(0)
    patches = sizes["lookback"] // sizes["patch_length"]
    shape = (-1, sizes["num_targets"], sizes["horizon"], sizes["num_variables"], patches)
    return np.asarray(total).reshape(shape)[:, :, 0] / len(origins)


def correlation_scores(returns: np.ndarray, longest_lag: int) -> np.ndarray:
    """The floor: how strongly every variable's earlier returns go with every variable's own.

    Args:
        returns: of the training part, `(time, variables)`.
        longest_lag: in rows.

    Returns:
        Absolute correlations `(followers, leaders, lags)`; the last lag is 1, as in attention.
    """
    centred = returns - returns.mean(0)
    unit = centred / centred.std(0)
    lags = range(longest_lag, 0, -1)
    scores = [np.abs(unit[lag:].T @ unit[:-lag]) / (len(unit) - lag) for lag in lags]
    return np.stack(scores, axis=-1)


def named_links(scores: np.ndarray, names: Sequence[str], follower: str) -> tuple[str, int]:
    """The leader and lag with the highest score.

    Args:
        scores: `(followers, leaders, lags)`, the last lag is 1.
        names: of the variables.
        follower: whose leader is asked for.

    Returns:
        The leader, which may be the follower itself, and the lag in rows (patches).
    """
    own = scores[names.index(follower)]
    leader, place = np.unravel_index(own.argmax(), own.shape)
    return names[int(leader)], own.shape[1] - int(place)


def share_found(scores: np.ndarray, names: Sequence[str], links: Sequence[Link]) -> float:
    """Share of the planted links whose leader and lag both have the highest score.

    Args:
        scores: `(followers, leaders, lags)`.
        names: of the variables.
        links: what was planted.
    """
    hits = [named_links(scores, names, link.follower) == (link.leader, link.lag) for link in links]
    return float(np.mean(hits))


def sharpest(scores: np.ndarray) -> np.ndarray:
    """For each target the map of the head that is surest, `(targets, variables, patches)`.

    A head that attends to many places alike says nothing about links.

    Args:
        scores: `(heads, targets, variables, patches)`.
    """
    surest = scores.max(axis=(2, 3)).argmax(0)
    return scores[surest, np.arange(scores.shape[1])]
