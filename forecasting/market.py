"""The process behind the embedded data: what it does next, and how well that can be known.

Every asset's return of a day is

    drift(weekday) + sum over links of strength * leader's return of `lag` days ago + shock

with a shock of mean zero whose variance clusters (GARCH), grows in stormy regimes and on Mondays,
and has Student tails. What follows from the past is therefore known exactly: the generator's own
forecasts are the best there can be.

Reference for the clustering: Bollerslev 1986, "Generalized Autoregressive Conditional
Heteroskedasticity".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

ASSETS: Final = ("ALDER", "BIRCH", "CEDAR", "ELDER", "HAZEL", "MAPLE", "ROWAN", "THORN")


@dataclass(frozen=True)
class Link:
    """A follower repeats a share of what its leader did `lag` days before."""

    leader: str
    follower: str
    lag: int
    strength: float
    """Of the leader's return, in units of both assets' ordinary daily moves."""


LINKS: Final = (
    Link("ALDER", "BIRCH", 1, 0.9),
    Link("ALDER", "CEDAR", 4, 1.0),
    Link("ELDER", "HAZEL", 3, -0.9),
    Link("ELDER", "MAPLE", 5, 1.1),
    Link("ROWAN", "THORN", 2, 0.8),
)
"""The planted links; no follower leads."""

LONGEST_LAG: Final = max(link.lag for link in LINKS)
DAILY_MOVE: Final = np.array([0.010, 0.012, 0.009, 0.014, 0.011, 0.013, 0.008, 0.010])
"""Ordinary size of each asset's own shocks."""

_ARCH, _GARCH = 0.10, 0.85
_STUDENT = 6.0  # degrees of freedom
_STAYS_CALM, _STAYS_STORMY = 0.99, 0.97
_STORM = 3.0  # variance of a stormy day over that of a calm one
_MONDAY = 1.6  # variance of a Monday over that of another day
_FRIDAY_DRIFT = 0.15  # in ordinary daily moves
_INTRADAY_STEPS = 24
_STATES_AT_ONCE = 16  # bounds the memory of `best_quantiles`; part of what its seed means


@dataclass(frozen=True)
class State:
    """What decides tomorrow, known at the end of a day; leading axes are alternatives.

    Attributes:
        returns: log returns of the last LONGEST_LAG days, `(..., days, assets)`, today last.
        variance: of tomorrow's shock over its mean, before regime and weekday, `(..., assets)`.
        stormy: whether today was stormy, `(...)`.
    """

    returns: np.ndarray
    variance: np.ndarray
    stormy: np.ndarray

    @classmethod
    def start(cls) -> State:
        """A calm day after days on which nothing moved."""
        count = len(ASSETS)
        return cls(np.zeros((LONGEST_LAG, count)), np.ones(count), np.zeros((), bool))

    @classmethod
    def many(cls, states: list[State], count: int) -> State:
        """Several states, each `count` times: two leading axes, `(states, count)`."""

        def part(name: str) -> np.ndarray:
            stacked = np.stack([getattr(state, name) for state in states])
            return np.repeat(stacked[:, None], count, axis=1)

        return cls(part("returns"), part("variance"), part("stormy"))


def next_day(
    state: State, weekday: Any, random: np.random.Generator
) -> tuple[State, np.ndarray, np.ndarray]:
    """Draw one day.

    Args:
        state: at the end of the day before.
        weekday: 0 is Monday; a number, or one for each state.
        random: where the chance comes from.

    Returns:
        The state at the end of the day, the returns foreseen at its start and the standard
        deviations of the shocks that were drawn, both `(..., assets)`.
    """
    stays = np.where(state.stormy, _STAYS_STORMY, _STAYS_CALM)
    stormy = np.where(random.random(state.stormy.shape) < stays, state.stormy, ~state.stormy)
    factor = np.where(stormy, _STORM, 1.0) * np.where(np.equal(weekday, 0), _MONDAY, 1.0)
    # A normal variable over the root of a scaled chi-square one is Student's; unit variance.
    tails = np.sqrt((_STUDENT - 2) / random.chisquare(_STUDENT, state.variance.shape))
    deviation = DAILY_MOVE * np.sqrt(state.variance * factor[..., None]) * tails
    foreseen = foreseen_returns(state.returns, weekday)
    shock = deviation * random.standard_normal(state.variance.shape)
    scaled = np.square(shock / DAILY_MOVE) / factor[..., None]
    variance = (1 - _ARCH - _GARCH) + _ARCH * scaled + _GARCH * state.variance
    returns = np.concatenate([state.returns[..., 1:, :], (foreseen + shock)[..., None, :]], axis=-2)
    return State(returns, variance, stormy), foreseen, deviation


def foreseen_returns(returns: np.ndarray, weekday: Any) -> np.ndarray:
    """The mean of the coming day's returns, which drift and links decide.

    Args:
        returns: of the last LONGEST_LAG days, `(..., days, assets)`.
        weekday: of the coming day, 0 is Monday; a number, or one for each state.

    Returns:
        Log returns `(..., assets)`.
    """
    friday = np.asarray(np.equal(weekday, 4), float)[..., None]
    foreseen = np.zeros_like(returns[..., -1, :]) + friday * _FRIDAY_DRIFT * DAILY_MOVE
    for link in LINKS:
        leader, follower = ASSETS.index(link.leader), ASSETS.index(link.follower)
        unit = DAILY_MOVE[follower] / DAILY_MOVE[leader]
        foreseen[..., follower] += link.strength * unit * returns[..., -link.lag, leader]
    return foreseen


def day_path(total: np.ndarray, deviation: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """How the log price went through a day that ended with the return `total`.

    A Brownian bridge with the day's own deviation from 0 to `total`.

    Args:
        total: returns that came, `(assets,)`.
        deviation: standard deviation of the day's shock, `(assets,)`.
        random: where the chance comes from.

    Returns:
        Log price over that of the open, `(steps + 1, assets)`.
    """
    steps = random.standard_normal((_INTRADAY_STEPS, len(ASSETS))) / np.sqrt(_INTRADAY_STEPS)
    free = np.concatenate([np.zeros((1, len(ASSETS))), np.cumsum(steps * deviation, axis=0)])
    share = np.linspace(0, 1, _INTRADAY_STEPS + 1)[:, None]
    return free + share * (total - free[-1])


def best_quantiles(
    states: list[State],
    weekdays: np.ndarray,
    levels: tuple[float, ...],
    *,
    paths: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """The generator's own forecasts: quantiles of the cumulative returns that follow some states.

    Args:
        states: at the ends of days.
        weekdays: of the days that follow each, `(states, horizon)`, 0 is Monday.
        levels: of the quantiles.
        paths: how many futures are drawn of each.
        seed: decides them.

    Returns:
        `(states, horizon, assets, quantiles)` log returns since the state.
    """
    random = np.random.default_rng(seed)
    chosen = np.round(np.asarray(levels) * (paths + 1)).astype(int).clip(1, paths) - 1
    forecasts = []
    for start in range(0, len(states), _STATES_AT_ONCE):
        several = State.many(states[start : start + _STATES_AT_ONCE], paths)
        total, quantiles = np.zeros_like(several.variance), []
        for weekday in weekdays[start : start + _STATES_AT_ONCE].T:
            several, _, _ = next_day(several, weekday[:, None], random)
            total = total + several.returns[..., -1, :]
            ordered = np.sort(total, axis=1)[:, chosen]
            quantiles.append(np.moveaxis(ordered, 1, -1))
        forecasts.append(np.stack(quantiles, axis=1))
    return np.concatenate(forecasts)
