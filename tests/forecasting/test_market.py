"""The embedded market does what it says, and knows of itself what can be known."""

import numpy as np
import pytest

from forecasting.market import (
    ASSETS,
    LINKS,
    LONGEST_LAG,
    State,
    best_quantiles,
    foreseen_returns,
    next_day,
)
from forecasting.synthetic import COLUMNS, generate, predictable_share

DAYS = 1500


@pytest.fixture(scope="module")
def days():
    return list(generate(days=DAYS, seed=3))


@pytest.fixture(scope="module")
def returns(days):
    closes = np.stack([day.bars[:, COLUMNS.index("close")] for day in days])
    return np.diff(np.log(closes), axis=0)


def test_the_same_seed_gives_the_same_days_and_fewer_are_the_first(days):
    again = list(generate(days=20, seed=3))
    for one, other in zip(again, days, strict=False):
        assert one.date == other.date
        np.testing.assert_array_equal(one.bars, other.bars)
    other = next(generate(days=1, seed=4))
    assert (other.bars != days[0].bars).any()
    with pytest.raises(ValueError, match="Received: 0"):
        generate(days=0, seed=1)


def test_bars_are_bars_and_no_day_is_a_weekend(days):
    bars = np.stack([day.bars for day in days])
    opening, high, low, close, volume = np.moveaxis(bars, -1, 0)
    assert (low > 0).all()
    assert (low <= np.minimum(opening, close)).all()
    assert (high >= np.maximum(opening, close)).all()
    assert (volume > 0).all()
    np.testing.assert_allclose(opening[1:], close[:-1])
    assert {day.date.weekday() for day in days} == {0, 1, 2, 3, 4}


def test_what_is_foreseen_follows_from_links_and_weekday_alone(days, returns):
    for row in (100, 101, 102, 103, 104):
        past = returns[row - LONGEST_LAG : row]
        expected = foreseen_returns(past, days[row + 1].date.weekday())
        np.testing.assert_allclose(days[row + 1].foreseen, expected, atol=1e-12)
    calm = foreseen_returns(np.zeros((LONGEST_LAG, len(ASSETS))), 2)
    assert (calm == 0).all()
    for link in LINKS:
        past = np.zeros((LONGEST_LAG, len(ASSETS)))
        past[-link.lag, ASSETS.index(link.leader)] = 0.01
        foreseen = foreseen_returns(past, 2)
        assert np.sign(foreseen[ASSETS.index(link.follower)]) == np.sign(link.strength)
        past[-link.lag] = 0
        past[-link.lag - 1 if link.lag < LONGEST_LAG else -1, ASSETS.index(link.leader)] = 0.01
        assert foreseen_returns(past, 2)[ASSETS.index(link.follower)] == 0


def test_followers_can_be_foreseen_and_others_hardly(days, returns):
    foreseen = np.stack([day.foreseen for day in days])[1:]
    share = predictable_share(foreseen, returns)
    followers = [ASSETS.index(link.follower) for link in LINKS]
    assert (share[followers] > 0.25).all()
    others = np.setdiff1d(np.arange(len(ASSETS)), followers)
    assert (np.abs(share[others]) < 0.03).all()


def test_volatility_clusters_and_is_larger_on_mondays(days, returns):
    leader = returns[:, ASSETS.index("ALDER")]
    sizes = np.abs(leader)
    assert np.corrcoef(sizes[1:], sizes[:-1])[0, 1] > 0.1
    monday = np.array([day.date.weekday() == 0 for day in days])[1:]
    assert np.square(returns[monday]).mean() > 1.2 * np.square(returns[~monday]).mean()


def test_the_best_forecast_covers_what_comes():
    """Drawn from the same states, outcomes fall below each quantile as often as it says."""
    count, random, state, states = 1200, np.random.default_rng(6), State.start(), []
    for day in range(count + 2):
        state, _, _ = next_day(state, day % 5, random)
        states.append(state)
    daily = np.stack([state.returns[-1] for state in states])
    outcomes = daily[1:-1] + daily[2:]
    weekdays = (np.arange(count)[:, None] + [1, 2]) % 5
    levels = (0.1, 0.5, 0.9)
    quantiles = best_quantiles(states[:count], weekdays, levels, paths=200)
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    below = (outcomes[..., None] < quantiles[:, 1]).mean((0, 1))
    np.testing.assert_allclose(below, levels, atol=0.03)
