"""Floors against derivations that share nothing with them: loops, and the libraries themselves."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.forecasting.theta import ThetaModel

from attention_apps.running.command import UserError
from forecasting.baselines import PENALTIES, drift, floors, random_walk, ridge, seasonal_naive
from forecasting.config import Config
from forecasting.data import load
from forecasting.smoothing import exponential_smoothing, theta
from forecasting.volatility import garch_variances, har

CONFIG = Config(dataset="files", data_dir="unset", lookback=8, horizon=3, season=24)


@pytest.fixture(scope="module")
def levels(wide_folder):
    config = replace(CONFIG, data_dir=str(wide_folder), target="levels", loss="squared")
    config = replace(config, target_columns=("load", "price"))
    return config, load(config)


@pytest.fixture(scope="module")
def variances(asset_folder):
    config = replace(CONFIG, data_dir=str(asset_folder), target="volatility")
    return config, load(config)


def test_simple_floors_are_what_they_are_called(levels):
    _, splits = levels
    series, origins = splits.windows.series, splits.parts.origins("test")
    assert (random_walk(splits, ())(origins) == 0).all()
    seasonal, drifted = seasonal_naive(splits, 24)(origins), drift(splits)(origins)
    training = series[: splits.parts.cutoff]
    step = np.diff(training, axis=0).mean(0)
    for index in (0, 7, len(origins) - 1):
        row = origins[index]
        for ahead in range(3):
            expected = series[row + 1 + ahead - 24] - series[row]
            np.testing.assert_allclose(seasonal[index, ahead], expected)
            np.testing.assert_allclose(drifted[index, ahead], (ahead + 1) * step)


def test_ridge_is_the_regression_with_the_penalty_that_validation_likes_best(levels):
    _, splits = levels
    series, parts = splits.windows.series, splits.parts

    def pairs(part):
        seen, told = [], []
        for row in parts.origins(part):
            for target in range(2):
                past = series[row - 7 : row + 1, target]
                seen.append(past - past[-1])
                told.append(series[row + 1 : row + 4, target] - past[-1])
        return np.array(seen), np.array(told)

    seen, told = pairs("training")
    asked, came = pairs("validation")
    best = None
    for penalty in PENALTIES:
        strength = np.sqrt(penalty * np.square(seen).mean() * len(seen))
        rows = np.concatenate([seen, strength * np.eye(8)])
        weights, *_ = np.linalg.lstsq(rows, np.concatenate([told, np.zeros((8, 3))]), rcond=None)
        error = np.square(asked @ weights - came).mean()
        if best is None or error < best[0]:
            best = error, weights
    forecast = ridge(splits)(parts.origins("validation"))
    expected = (asked @ best[1]).reshape(-1, 2, 3).transpose(0, 2, 1)
    np.testing.assert_allclose(forecast, expected, atol=1e-8)


def test_theta_and_ets_are_the_librarys_at_the_end_of_training(levels):
    _, splits = levels
    last, values = splits.parts.cutoff - 1, splits.windows.series[: splits.parts.cutoff, 1]
    fitted = ThetaModel(values, period=1, deseasonalize=False).fit()
    ours = theta(splits, 1)(np.array([last]))[0, :, 1] + values[-1]
    # The library's drift term also has a factor that dies out with the length of the series.
    np.testing.assert_allclose(ours, fitted.forecast(3), atol=1e-3)
    fitted = ETSModel(values, error="add", trend="add", damped_trend=True).fit(disp=False)
    ours = exponential_smoothing(splits, 1)(np.array([last]))[0, :, 1] + values[-1]
    np.testing.assert_allclose(ours, fitted.forecast(3), atol=1e-6)


def test_har_is_three_means_and_least_squares(variances):
    _, splits = variances
    series, parts = splits.windows.series, splits.parts
    origins = parts.origins("test")[:2]
    forecast = har(splits)(origins)
    asset, ahead = 1, 2
    seen, told = [], []
    for row in range(21, parts.cutoff - 3):
        own = series[: row + 1, asset]
        seen.append([1, own[-1], own[-5:].mean(), own[-22:].mean()])
        told.append(series[row + ahead, asset])
    weights, *_ = np.linalg.lstsq(np.array(seen), np.array(told), rcond=None)
    for index, row in enumerate(origins):
        own = series[: row + 1, asset]
        expected = np.array([1, own[-1], own[-5:].mean(), own[-22:].mean()]) @ weights - own[-1]
        assert forecast[index, ahead - 1, asset] == pytest.approx(expected)


def test_garch_follows_its_recursion(variances):
    """Variance of tomorrow = omega + alpha * shock^2 + beta * variance, and so on from there."""
    _, splits = variances
    variance = garch_variances(splits)[..., 0]
    returns = 100 * splits.features[1:, 0, -1]
    # Three rows give the three coefficients and, with the mean, the shocks: solve for them.
    ahead = variance[60:200]
    slope, constant = np.polyfit(ahead[:, 0], ahead[:, 1], 1)
    np.testing.assert_allclose(ahead[:, 1], constant + slope * ahead[:, 0], rtol=1e-6)
    np.testing.assert_allclose(ahead[:, 2], constant + slope * ahead[:, 1], rtol=1e-6)
    seen = np.stack([np.ones(140), returns[60:200], returns[60:200] ** 2, variance[60:200, 0]])
    told = variance[61:201, 0]
    weights, *_ = np.linalg.lstsq(seen.T, told, rcond=None)
    np.testing.assert_allclose(seen.T @ weights, told, rtol=1e-6)
    alpha, beta = weights[2:]
    assert slope == pytest.approx(alpha + beta, abs=1e-5)


def test_floors_are_chosen_by_name_and_unknown_ones_refused(variances):
    config, splits = variances
    assert list(floors(config, splits, ("HAR",))) == ["random walk", "HAR"]
    with pytest.raises(UserError, match=r"--floors knows .*HAR.* Received: oracle"):
        floors(config, splits, ("oracle",))
