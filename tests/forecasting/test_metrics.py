"""Figures against loops and textbook values, and whether a difference is one."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from forecasting import metrics
from forecasting.significance import diebold_mariano

RANDOM = np.random.default_rng(0)


def test_crps_approaches_that_of_the_normal_distribution():
    levels = tuple(np.linspace(0.001, 0.999, 999))
    quantiles = stats.norm.ppf(levels)
    for outcome in (-1.3, 0.0, 2.0):
        found = metrics.crps(quantiles[None], np.array([outcome]), levels)[0]
        # Gneiting and Raftery 2007, equation 21
        expected = outcome * (2 * stats.norm.cdf(outcome) - 1) + 2 * stats.norm.pdf(outcome)
        assert found == pytest.approx(expected - 1 / np.sqrt(np.pi), abs=2e-3)


def test_coverage_and_width_are_of_the_outermost_quantiles():
    forecast = np.array([[-1.0, 0.0, 2.0], [-1.0, 0.0, 2.0], [-1.0, 0.0, 2.0]])
    np.testing.assert_array_equal(
        metrics.coverage(forecast, np.array([-1.5, 1.9, 2.1])), [False, True, False]
    )
    np.testing.assert_array_equal(metrics.width(forecast), [3, 3, 3])


def test_mase_of_the_naive_forecast_in_training_is_one():
    values = np.cumsum(RANDOM.standard_normal((50, 2)), axis=0)
    changes = np.diff(values, axis=0)
    errors = metrics.scaled_error(values[:-1, None], values[1:, None], changes)
    np.testing.assert_allclose(errors.mean((0, 1)), 1)


def test_qlike_is_zero_only_where_forecast_and_outcome_agree():
    assert metrics.qlike(np.array(2.0), np.array(2.0)) == 0
    assert metrics.qlike(np.array(1.0), np.array(2.0)) == pytest.approx(2 - np.log(2) - 1)
    assert metrics.qlike(np.array(1.0), np.array(2.0)) > metrics.qlike(np.array(3.0), np.array(2))
    # In expectation it is lowest for the mean variance.
    draws = RANDOM.chisquare(3, 20_000)
    losses = [metrics.qlike(np.array(v), draws).mean() for v in (2.7, 3.0, 3.3)]
    assert losses[1] == min(losses)


def test_direction_and_ranks():
    actual = np.array([[1.0, -2.0, 3.0, 0.0]])
    assert metrics.directional_accuracy(np.array([[1.0, -1.0, -1.0, 5.0]]), actual) == 2 / 3
    assert metrics.information_coefficient(np.exp(actual), actual) == pytest.approx(1)
    assert metrics.information_coefficient(-actual, actual) == pytest.approx(-1)
    assert np.isnan(metrics.information_coefficient(0 * actual, actual))
    days, outcome = RANDOM.standard_normal((2, 30, 6))
    expected = np.mean([stats.spearmanr(a, b)[0] for a, b in zip(days, outcome, strict=True)])
    assert metrics.information_coefficient(days, outcome) == pytest.approx(expected)


@pytest.mark.parametrize(("size", "horizon"), [(100, 1), (200, 5), (64, 12)])
def test_diebold_mariano_is_least_squares_on_a_constant_with_robust_errors(size, horizon):
    noise = RANDOM.standard_normal(size + horizon)
    first = np.convolve(noise, np.ones(horizon), "valid")[:size] + 0.3
    second = RANDOM.standard_normal(size)
    test = diebold_mariano(first, second, horizon=horizon)
    lags = max(horizon - 1, round(size ** (1 / 3)))
    fitted = sm.OLS(first - second, np.ones(size)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )
    # Harvey, Leybourne and Newbold 1997, equation 9
    correction = np.sqrt((size + 1 - 2 * horizon + horizon * (horizon - 1) / size) / size)
    assert test.statistic == pytest.approx(float(fitted.tvalues[0]) * correction)
    assert test.p_value == pytest.approx(1 - stats.t.cdf(test.statistic, size - 1))
    reverse = diebold_mariano(second, first, horizon=horizon)
    assert reverse.p_value == pytest.approx(1 - test.p_value)


def test_overlapping_losses_are_worth_fewer_days_and_equal_forecasts_prove_nothing():
    daily = RANDOM.standard_normal(600)
    overlapping = np.convolve(daily, np.ones(20), "valid")
    test = diebold_mariano(overlapping, np.zeros_like(overlapping), horizon=20)
    assert test.effective_size < 0.2 * test.size
    same = diebold_mariano(daily, daily, horizon=1)
    assert np.isnan(same.p_value)
    assert not same.is_proof


def test_a_forecast_that_is_no_better_is_proven_so_in_five_of_a_hundred_cases():
    found = [
        diebold_mariano(*RANDOM.standard_normal((2, 120)), horizon=1).is_proof for _ in range(800)
    ]
    assert 0.02 < np.mean(found) < 0.09
