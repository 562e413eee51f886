"""What figures are made of: variances at the level that QLIKE asks for."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting.config import Config
from forecasting.data import load, with_values
from forecasting.metrics import qlike
from forecasting.scores import Scores
from forecasting.volatility import har

CONFIG = Config(
    dataset="files", data_dir="unset", target="volatility", loss="squared", lookback=8, horizon=2
)


@pytest.fixture(scope="module")
def splits(asset_folder):
    return load(replace(CONFIG, data_dir=str(asset_folder)))


def scored(splits, forecast):
    origins = splits.parts.origins("test")
    scores = Scores(CONFIG, splits, origins)
    level = scores.variance_level(forecast)
    return scores.figures(forecast(origins), level), level


def test_qlike_does_not_depend_on_the_level_of_a_log_forecast(splits):
    points = har(splits)
    forecasts = [lambda origins, by=by: points(origins)[..., None] + by for by in (0.0, -0.7)]
    (plain, level), (moved, moved_level) = (scored(splits, forecast) for forecast in forecasts)
    assert moved["qlike"] == pytest.approx(plain["qlike"])
    assert moved["mse"] != pytest.approx(plain["mse"], rel=0.1)
    shift = np.exp(0.7 * splits.scaling.scale)
    np.testing.assert_allclose(moved_level, level * shift)


def test_the_level_is_the_one_that_qlike_before_the_test_part_likes_best(splits):
    points = har(splits)
    _, level = scored(splits, lambda origins: points(origins)[..., None])
    parts = splits.parts
    before = np.concatenate([parts.origins(name) for name in ("training", "validation")])
    rows = before[:, None] + np.arange(1, 3)
    actual = np.exp(splits.series[rows])
    last = splits.series[before][:, None]
    forecast = np.exp(last + points(before) * splits.scaling.scale)
    lowest = qlike(level * forecast, actual).mean(0)
    for factor in (0.97, 1.03):
        assert (qlike(factor * level * forecast, actual).mean(0) > lowest).all()


def test_the_level_knows_nothing_of_the_test_part(splits):
    config = CONFIG
    values = splits.panel.values.copy()
    values[splits.parts.ends[1] :] *= 3
    other = with_values(splits, config, values)
    levels = [
        scored(data, lambda origins, data=data: har(data)(origins)[..., None])[1]
        for data in (splits, other)
    ]
    np.testing.assert_array_equal(*levels)


def test_a_day_that_makes_most_of_a_difference_is_named(splits):
    origins = splits.parts.origins("test")
    scores = Scores(CONFIG, splits, origins)
    floor = {"mse": np.tile([1.0, 3.0], len(origins))[: len(origins)]}
    model = {"mse": floor["mse"] - 0.01}
    model["mse"][7] -= 5
    found = scores.compared(floor, model)["mse"]
    assert found["largest_after"] == splits.panel.label(int(origins[7]))
    assert found["largest_share"] == pytest.approx(5.01 / (5 + 0.01 * len(origins)))


def test_figures_of_returns_know_no_level(asset_folder):
    config = replace(CONFIG, data_dir=str(asset_folder), target="returns", loss="pinball")
    splits = load(config)
    scores = Scores(config, splits, splits.parts.origins("test"))

    def forecast(origins):
        raise AssertionError("not asked")

    np.testing.assert_array_equal(scores.variance_level(forecast), np.ones((2, 3)))
