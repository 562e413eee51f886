"""The forecaster and its readers: where they start, what they see, what they can learn."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.observation.observe import observe
from attention_apps.running.command import UserError
from forecasting.calibration import forecast_all
from forecasting.config import Config
from forecasting.data import load
from forecasting.model import build_model, with_uniform_attention
from forecasting.quantiles import Pinball, walk_quantiles
from forecasting.scores import Scores
from forecasting.serving import Serving
from forecasting.starting import start_as_ridge, start_with_spread

FORMS = ("time", "variables", "both")
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
    dropout_rate=0.0,
)


@pytest.fixture(scope="module")
def returns(asset_folder):
    config = replace(CONFIG, data_dir=str(asset_folder))
    return config, load(config)


@pytest.fixture(scope="module")
def levels(wide_folder):
    config = replace(
        CONFIG,
        data_dir=str(wide_folder),
        target="levels",
        loss="squared",
        past_columns=("wind",),
        known_columns=("holiday",),
        calendar="hour",
    )
    return config, load(config)


def randomised(model, seed=0):
    random = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(0.3 * random.standard_normal(weight.shape))
    return model


@pytest.mark.parametrize("form", FORMS)
def test_an_untrained_forecaster_is_the_random_walk(returns, levels, form):
    config, splits = returns
    origins = splits.parts.origins("test")[:5]
    walk = walk_quantiles(
        splits.windows.changes(splits.parts.origins("training")), config.quantiles
    )
    model = build_model(replace(config, form=form), splits)
    forecast = forecast_all(model, splits.windows, origins)
    np.testing.assert_allclose(forecast, np.broadcast_to(walk, forecast.shape), atol=1e-5)
    config, splits = levels
    model = build_model(replace(config, form=form), splits)
    origins = splits.parts.origins("test")[:5]
    assert (forecast_all(model, splits.windows, origins) == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_takes_part_and_quantiles_never_cross(returns, levels, form):
    for config, splits in (returns, levels):
        model = randomised(build_model(replace(config, form=form), splits))
        origins = splits.parts.origins("training")[:16]
        changes = splits.windows.changes(origins)[..., None].astype("float32")
        with tf.GradientTape() as tape:
            forecast = model(splits.windows.inputs(origins), training=True)
            loss = Pinball(config.levels) if config.levels else keras.losses.MeanSquaredError()
            value = loss(changes, forecast)
        gradients = tape.gradient(value, model.trainable_weights)
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
            # The softmax does not see what is added to all keys alike.
            if "key/bias" not in weight.path:
                assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, weight.path
        assert (np.diff(np.asarray(forecast), axis=-1) >= 0).all()


def test_readers_see_what_they_say_they_see(levels):
    """Another series changes the forecast of the first, except where each is read by itself."""
    config, splits = levels
    origins = splits.parts.origins("test")[:3]
    inputs = splits.windows.inputs(origins)
    others = {**inputs, "past": inputs["past"].copy()}
    others["past"][:, :, 1:] += np.linspace(0, 1, config.lookback)[:, None, None]
    for form in FORMS:
        model = randomised(build_model(replace(config, form=form), splits))
        first, second = (np.asarray(model(i))[:, :, 0] for i in (inputs, others))
        assert (first != second).any() == (form != "time"), form


@pytest.mark.parametrize("form", FORMS)
def test_what_is_known_of_the_future_is_used(levels, form):
    config, splits = levels
    model = randomised(build_model(replace(config, form=form), splits))
    inputs = splits.windows.inputs(splits.parts.origins("test")[:3])
    known = inputs["known"].copy()
    known[:, -1, -1] += 1
    before, after = (np.asarray(model({**inputs, "known": k})) for k in (inputs["known"], known))
    assert (before[:, -1] != after[:, -1]).all()


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_attention_sum_to_one_and_uniform_ones_are_uniform(returns, form):
    config, splits = returns
    model = randomised(build_model(replace(config, form=form), splits))
    inputs = splits.windows.inputs(splits.parts.origins("test")[:3])
    _, maps = observe(model)(inputs, training=False)
    for weights in maps.values():
        np.testing.assert_allclose(np.asarray(weights).sum(-1), 1, atol=1e-5)
    uniform = with_uniform_attention(model)
    answer, maps = observe(uniform)(inputs, training=False)
    for weights in maps.values():
        weights = np.asarray(weights)
        np.testing.assert_allclose(weights, 1 / weights.shape[-1], rtol=1e-5)
    assert (np.asarray(answer) != np.asarray(model(inputs))).any()


def test_eight_windows_can_be_learned_by_heart(returns):
    config, splits = returns
    keras.utils.set_random_seed(0)
    model = build_model(replace(config, loss="squared", dim=16), splits)
    origins = splits.parts.origins("training")[::24][:8]
    inputs = splits.windows.inputs(origins)
    changes = splits.windows.changes(origins)[..., None].astype("float32")
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss="mse")
    before = model.evaluate(inputs, changes, verbose=0)
    model.fit(inputs, changes, batch_size=8, epochs=80, verbose=0)
    assert model.evaluate(inputs, changes, verbose=0) < 0.05 * before


@pytest.mark.parametrize("form", FORMS)
def test_forecasts_and_figures_do_not_depend_on_the_batch(returns, form):
    config, splits = returns
    model = randomised(build_model(replace(config, form=form), splits))
    origins = splits.parts.origins("test")[:40]
    scores = Scores(config, splits, origins)
    whole, *others = (
        forecast_all(model, splits.windows, origins, batch_size=size) for size in (512, 1, 32)
    )
    figures = scores.figures(whole, np.ones((3, 3)))
    for parts in others:
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)
        assert scores.figures(parts, np.ones((3, 3))) == pytest.approx(figures, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_forecaster_answers_as_before(levels, form, tmp_path):
    config, splits = levels
    model = randomised(build_model(replace(config, form=form), splits))
    inputs = splits.windows.inputs(splits.parts.origins("test")[:3])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), model(inputs))
    np.testing.assert_array_equal(again.units.scale, splits.scaling.scale)


def test_starting_as_ridge_is_the_regression_of_textbooks(returns):
    """Penalised least squares as ordinary ones, with a row of its own for every penalty."""
    config, splits = returns
    model = build_model(config, splits)
    penalty = start_as_ridge(model, splits.windows, splits.parts)
    origins = splits.parts.origins("training")
    past = np.asarray(splits.windows.inputs(origins)["past"], np.float64)
    past[:, 0, :, -1] = 0  # the change into the first row belongs to one that is not read
    seen = np.moveaxis(past, 2, 1).reshape(-1, past.shape[1] * past.shape[3])
    told = np.moveaxis(splits.windows.changes(origins), 1, 2).reshape(-1, config.horizon)
    center = seen.mean(0)
    size = seen.shape[1]
    strength = np.sqrt(penalty * np.square(seen - center).mean() * len(seen))
    rows = np.concatenate([seen - center, strength * np.eye(size)])
    answers = np.concatenate([told - told.mean(0), np.zeros((size, config.horizon))])
    expected, *_ = np.linalg.lstsq(rows, answers, rcond=None)
    kernel = np.array(model.linear.kernel).reshape(size, config.horizon, -1)
    np.testing.assert_allclose(kernel[..., 0], expected, atol=1e-5)
    assert (kernel[..., 1:] == 0).all()
    forecast = forecast_all(model, splits.windows, origins[:4])[..., 3]
    shown = (seen[:12] - center) @ expected + told.mean(0)
    np.testing.assert_allclose(
        np.moveaxis(forecast, 1, 2).reshape(12, -1), shown, rtol=1e-3, atol=1e-4
    )


def test_a_start_with_spread_is_as_wide_as_a_regression_says(returns):
    """The band's width in logarithms: least squares of what varied, the same at every quantile."""
    config, splits = returns
    config = replace(config, start="spread", form="variables", num_layers=1, horizon=1)
    splits = load(config)
    model = build_model(config, splits)
    penalty = start_with_spread(model, splits)
    origins = splits.parts.origins("training")
    past = np.asarray(splits.windows.inputs(origins)["past"], np.float64)
    past[:, 0, :, -1] = 0
    seen = np.moveaxis(past, 2, 1).reshape(-1, past.shape[1] * past.shape[3])
    told = splits.features[origins + 1][:, :3, 0] / 2
    told = (told - told.mean(0)).reshape(-1)
    center = seen.mean(0)
    strength = np.sqrt(penalty * np.square(seen - center).mean() * len(seen))
    rows = np.concatenate([seen - center, strength * np.eye(seen.shape[1])])
    weights, *_ = np.linalg.lstsq(rows, np.append(told, np.zeros(seen.shape[1])), rcond=None)
    growth = ((seen - center) @ weights).reshape(-1, 3)
    forecast = forecast_all(model, splits.windows, origins)[:, 0]
    assert (forecast[..., 3] == 0).all()
    # Moves that are divided by it have the quantiles of a walk that knows no spread.
    actual = splits.windows.changes(origins)[:, 0]
    quantiles = np.quantile(actual / np.exp(growth), config.levels, axis=0).T
    expected = (quantiles - quantiles[:, 3:4]) * np.exp(growth)[..., None]
    np.testing.assert_allclose(forecast, expected, rtol=2e-3, atol=1e-4)


def test_a_start_with_spread_needs_a_range(tmp_path):
    dates = np.datetime64("2020-01-01") + np.arange(200)
    prices = 100 + np.random.default_rng(0).random(200)
    lines = [f"{date},{price:.4f}" for date, price in zip(dates, prices, strict=True)]
    (tmp_path / "A.csv").write_text("\n".join(["Date,Close", *lines]))
    config = replace(CONFIG, data_dir=str(tmp_path), start="spread")
    splits = load(config)
    with pytest.raises(UserError, match=r"columns High and Low. Received: close"):
        start_with_spread(build_model(config, splits), splits)


def test_what_is_served_reads_the_market_as_training_does(returns):
    config, splits = returns
    config = replace(config, context="market")
    splits = load(config)
    model = randomised(build_model(config, splits))
    origins = splits.parts.origins("test")[:3]
    shown = splits.panel.values[origins[:, None] + np.arange(-20, 1)]
    answer = Serving(model, config, splits.panel.columns).forecast(shown)["changes"]
    np.testing.assert_allclose(
        answer / splits.scaling.scale[:, None],
        forecast_all(model, splits.windows, origins),
        atol=1e-4,
    )


def test_starting_as_ridge_takes_what_is_known_first(levels):
    config, splits = levels
    model = build_model(config, splits)
    start_as_ridge(model, splits.windows, splits.parts)
    origins = splits.parts.origins("test")
    actual = splits.windows.changes(origins)
    error = forecast_all(model, splits.windows, origins)[..., 0] - actual
    # The first series is its hour, its holiday and noise; the second a random walk.
    assert np.square(error[..., 0]).mean() < 0.1 * np.square(actual[..., 0]).mean()
    assert np.square(error[..., 1]).mean() < 1.3 * np.square(actual[..., 1]).mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon_attention": "window:3"}, "takes no window"),
        ({"num_layers": 1, "time_attention": "nonsense"}, "nonsense"),
    ],
)
def test_an_attention_that_does_not_fit_is_refused(returns, change, message):
    config, splits = returns
    with pytest.raises(UserError, match=message):
        build_model(replace(config, **change), splits)
