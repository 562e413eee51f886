"""Nothing that comes after a forecast is made may reach it. These tests guard every figure."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting.baselines import floors
from forecasting.calibration import forecast_all
from forecasting.config import Config
from forecasting.data import load, read_series, with_values
from forecasting.model import build_model
from forecasting.scaling import Scaling
from forecasting.windows import Parts

CONFIG = Config(
    dataset="files",
    data_dir="unset",
    lookback=8,
    horizon=3,
    dim=8,
    num_heads=2,
    feedforward_dim=8,
    num_layers=1,
    patch_length=2,
)


@pytest.fixture(scope="module", params=["returns", "volatility", "levels"])
def case(request, asset_folder, wide_folder):
    target = request.param
    if target == "levels":
        config = replace(
            CONFIG,
            data_dir=str(wide_folder),
            target=target,
            past_columns=("wind",),
            known_columns=("holiday",),
            calendar="hour",
        )
    else:
        context = "market" if target == "volatility" else "own"
        config = replace(CONFIG, data_dir=str(asset_folder), target=target, context=context)
    return config, load(config)


def with_another_future(splits, config, row):
    """The same data with every cell after `row` changed, some of them to what cannot be used."""
    values = splits.panel.values.copy()
    after = values[row + 1 :]
    after[...] = 3 * after + 1 + np.arange(after.size).reshape(after.shape) % 7
    after[::3] = np.nan
    return with_values(splits, config, values)


def randomised(model):
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(0.2 * random.standard_normal(weight.shape))
    return model


@pytest.mark.parametrize("form", ["time", "variables", "both"])
def test_a_changed_future_leaves_the_forecast_bit_for_bit(case, form):
    config, splits = case
    config = replace(config, form=form, num_layers=1)
    model = randomised(build_model(config, splits))
    row = int(splits.parts.origins("test")[5])
    other = with_another_future(splits, config, row)
    origins = np.arange(row - 3, row + 1)
    before = forecast_all(model, splits.windows, origins)
    after = forecast_all(model, other.windows, origins)
    np.testing.assert_array_equal(after, before)
    # The change is one that a forecast made later does see.
    later = origins + 4
    changed = forecast_all(model, other.windows, later)
    assert (changed != forecast_all(model, splits.windows, later)).any()


def test_a_changed_future_leaves_every_floor_bit_for_bit(case):
    config, splits = case
    row = int(splits.parts.origins("test")[5])
    other = with_another_future(splits, config, row)
    origins = np.arange(row - 3, row + 1)
    ours, theirs = floors(config, splits), floors(config, other)
    assert len(ours) >= 6
    for name, forecast in ours.items():
        np.testing.assert_array_equal(theirs[name](origins), forecast(origins), err_msg=name)


def test_nothing_behind_the_training_part_reaches_a_scaler_or_the_walk(case):
    config, splits = case
    other = with_another_future(splits, config, splits.parts.cutoff - 1)
    series, features = read_series(other.panel, config)
    cutoff = splits.parts.cutoff
    again = Scaling.fit(
        series,
        features,
        other.panel.known,
        rows=cutoff,
        cutoff=cutoff,
        target=config.target,
        names=splits.panel.names,
    )
    for name in vars(splits.scaling):
        np.testing.assert_array_equal(getattr(again, name), getattr(splits.scaling, name))
    gaps = [
        np.array(build_model(config, data).output_quantiles.walk_gaps) for data in (splits, other)
    ]
    np.testing.assert_array_equal(*gaps)


def test_scaling_by_more_than_the_training_part_raises(case):
    config, splits = case
    cutoff = splits.parts.cutoff
    with pytest.raises(ValueError, match=f"ends before row {cutoff}. Received: {cutoff + 1} rows"):
        Scaling.fit(
            splits.series,
            splits.features,
            splits.panel.known,
            rows=cutoff + 1,
            cutoff=cutoff,
            target=config.target,
            names=splits.panel.names,
        )


@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_the_purge_is_the_horizon(horizon):
    """The last row that training is told of lies before the first that validation is asked for."""
    parts = Parts.of(replace(CONFIG, horizon=horizon), 200)
    for earlier, later in (("training", "validation"), ("validation", "test")):
        assert parts.origins(earlier)[-1] + horizon == parts.origins(later)[0]
