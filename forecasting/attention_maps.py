"""What the axes of this room's attention mean: dates that are read, dates forecast, variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attention_apps.observation.observe import observe
from attention_apps.observation.record import AttentionRecord, Axis
from forecasting.market import LINKS
from forecasting.panel import Panel


@dataclass(frozen=True)
class Probe:
    """A fixed batch whose attention is watched: windows spread over the validation part.

    Attributes:
        inputs: as the model takes them.
        past: labels of the rows that are read, for each window.
        future: labels of the rows that are forecast, for each window.
        names: of the variables, the targets first.
        num_targets: how many are forecast.
        pictured: the target whose rows are shown.
        known: names of what is known of past and future.
        gold: whether the planted links hold.
        units: turns scaled changes into those that are told, `(targets,)`.
    """

    inputs: dict[str, np.ndarray]
    past: list[list[str]]
    future: list[list[str]]
    names: tuple[str, ...]
    num_targets: int
    pictured: int
    known: tuple[str, ...]
    gold: bool
    units: np.ndarray

    @classmethod
    def of(cls, splits: Any, count: int) -> Probe:
        """Take windows evenly spread over the validation part.

        Args:
            splits: the data.
            count: number of windows.
        """
        origins = splits.parts.origins("validation")
        chosen = origins[np.unique(np.linspace(0, len(origins) - 1, count).astype(int))]
        windows, panel = splits.windows, splits.panel
        followers = [link.follower for link in LINKS] if splits.gold is not None else []
        return cls(
            inputs=windows.inputs(chosen),
            past=[_labels(panel, row - windows.lookback + 1, windows.lookback) for row in chosen],
            future=[_labels(panel, row + 1, windows.horizon) for row in chosen],
            names=panel.names,
            num_targets=panel.num_targets,
            pictured=panel.names.index(followers[0]) if followers else 0,
            known=tuple(f"known {index + 1}" for index in range(windows.known.shape[1])),
            gold=bool(followers),
            units=splits.scaling.scale,
        )


def _labels(panel: Panel, first: int, count: int) -> list[str]:
    return [panel.label(row) for row in range(first, first + count)]


def attention_maps(model: Any, probe: Probe) -> list[AttentionRecord]:
    """Every attention map of the model on the probe.

    Attention of the forecast rows to the past is shown for one target, the weights of all variables
    added up for each patch; where it reaches over variables it is shown once more from target to
    variable, the weights of all patches added up and averaged over the forecast rows.

    Args:
        model: the forecaster.
        probe: the fixed batch.

    Returns:
        A record for every layer, view and window; the planted links are gold.
    """
    _, maps = observe(model)(probe.inputs, training=False)
    records = []
    for path, weights in maps.items():
        weights = np.asarray(weights)
        for index, title in enumerate(_titles(probe)):
            place = (model, probe, path, title, index, weights)
            if "horizon_attention" in path:
                records += _horizon_records(*place)
            elif model.form == "variables":
                records.append(_variable_record(*place))
            else:
                records.append(_patch_record(*place))
    return records


def _titles(probe: Probe) -> list[str]:
    return [f"{probe.names[probe.pictured]} after {past[-1]}" for past in probe.past]


def _patches(model: Any, labels: Sequence[str]) -> Axis:
    length = model.sizes["patch_length"]
    return Axis(tuple(labels[length - 1 :: length]), "times")


def _horizon_records(
    model: Any, probe: Probe, path: str, title: str, index: int, weights: np.ndarray
) -> list[AttentionRecord]:
    """Weights `(batch * targets, heads, horizon, patch)`, or all targets and variables at once."""
    heads, targets = weights.shape[1], probe.num_targets
    past, future = _patches(model, probe.past[index]), Axis(tuple(probe.future[index]), "times")
    if model.form == "time":
        own = weights[index * targets + probe.pictured]
        return [AttentionRecord(own, path, future, past, title=title)]
    whole = weights[index].reshape(heads, targets, len(future), len(probe.names), len(past))
    rows = AttentionRecord(
        weights=whole[:, probe.pictured].sum(axis=2),
        layer=path,
        query=future,
        key=past,
        gold=_gold_rows(model, probe) if probe.gold else None,
        title=title,
    )
    names = AttentionRecord(
        weights=whole.sum(axis=4).mean(axis=2),
        layer=f"{path}/variables",
        query=Axis(probe.names[:targets], "items"),
        key=Axis(probe.names, "items"),
        gold=_gold_names(probe) if probe.gold else None,
        title=title,
    )
    return [rows, names]


def _variable_record(
    model: Any, probe: Probe, path: str, title: str, index: int, weights: np.ndarray
) -> AttentionRecord:
    axis = Axis((*probe.names, *probe.known), "items")
    gold = None
    if probe.gold:
        gold = np.zeros((len(axis), len(axis)), np.float32)
        gold[: probe.num_targets, : len(probe.names)] = _gold_names(probe)
    return AttentionRecord(weights[index], path, axis, axis, gold=gold, title=title)


def _patch_record(
    model: Any, probe: Probe, path: str, title: str, index: int, weights: np.ndarray
) -> AttentionRecord:
    variables = probe.num_targets if model.form == "time" else len(probe.names)
    axis = _patches(model, probe.past[index])
    return AttentionRecord(
        weights[index * variables + probe.pictured], path, axis, axis, title=title
    )


def _gold_names(probe: Probe) -> np.ndarray:
    gold = np.zeros((probe.num_targets, len(probe.names)), np.float32)
    for link in LINKS:
        gold[probe.names.index(link.follower), probe.names.index(link.leader)] = 1
    return gold


def _gold_rows(model: Any, probe: Probe) -> np.ndarray:
    """Where the pictured follower's leader moved, for each forecast row that follows it."""
    length = model.sizes["patch_length"]
    lookback = len(probe.past[0])
    gold = np.zeros((len(probe.future[0]), lookback // length), np.float32)
    for link in LINKS:
        if link.follower == probe.names[probe.pictured]:
            for row in range(min(link.lag, len(gold))):
                gold[row, (lookback + row - link.lag) // length] = 1
    return gold


def told(model: Any, probe: Probe) -> list[str]:
    """What the model forecasts on the probe, as text for a person.

    Args:
        model: the forecaster.
        probe: the fixed batch.

    Returns:
        A line for every window: median and outermost quantiles of the pictured target's first row.
    """
    answers = np.asarray(model(probe.inputs, training=False))
    answers = answers[:, 0, probe.pictured] * probe.units[probe.pictured]
    middle = model.levels.index(0.5) if model.levels else 0
    return [
        f"{title}: {answer[middle]:+.4f} ({answer[0]:+.4f} to {answer[-1]:+.4f})"
        for title, answer in zip(_titles(probe), answers, strict=True)
    ]
