"""Quantiles never cross, and start as the random walk's."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from forecasting.quantiles import NonCrossing, Pinball, walk_quantiles

LEVELS = (0.05, 0.25, 0.5, 0.9)
RANDOM = np.random.default_rng(0)
CHANGES = RANDOM.standard_t(3, size=(300, 3, 2)) * np.array([1.0, 20.0]) + 5


def made(levels=LEVELS, growth="softplus"):
    layer = NonCrossing(horizon=3, num_targets=2, levels=levels, growth=growth)
    layer.build()
    layer.set_walk(CHANGES)
    return layer


@pytest.mark.parametrize("growth", ["softplus", "exp"])
def test_zeros_give_the_random_walk(growth):
    forecast = np.asarray(made(growth=growth)(np.zeros((4, 3, 2, 4), np.float32)))
    quantiles = np.moveaxis(np.quantile(CHANGES, LEVELS, axis=0), 0, -1)
    expected = quantiles - np.quantile(CHANGES, 0.5, axis=0)[..., None]
    np.testing.assert_allclose(forecast, np.broadcast_to(expected, forecast.shape), rtol=1e-5)
    assert (forecast[..., 2] == 0).all()
    single = made(levels=())(np.zeros((4, 3, 2, 1), np.float32))
    assert (np.asarray(single) == 0).all()


@settings(max_examples=50, deadline=None)
@given(
    free=arrays.arrays(
        np.float32, (2, 3, 2, 4), elements=st.floats(-50, 50, width=32, allow_nan=False)
    ),
    stretch=arrays.arrays(np.float64, (3, 1, 4), elements=st.floats(0.2, 5)),
    share=st.floats(0, 1),
    growth=st.sampled_from(["softplus", "exp"]),
)
def test_quantiles_rise_whatever_is_learned_and_however_they_are_stretched(
    free, stretch, share, growth
):
    layer = made(growth=growth)
    layer.stretch.assign(stretch)
    layer.spread_share.assign(share)
    forecast = np.asarray(layer(free))
    assert np.isfinite(forecast).all()
    assert (np.diff(forecast, axis=-1) >= 0).all()


def test_shares_go_from_the_random_walk_to_what_is_learned():
    layer, free = made(), RANDOM.normal(size=(2, 3, 2, 4)).astype(np.float32)
    walk, full = np.asarray(layer(0 * free)), np.asarray(layer(free))
    layer.location_share.assign(0.25)
    layer.spread_share.assign(0.25)
    np.testing.assert_allclose(layer(free), walk + 0.25 * (full - walk), rtol=1e-4, atol=1e-4)
    layer.location_share.assign(0.0)
    layer.spread_share.assign(0.0)
    np.testing.assert_allclose(layer(free), walk, rtol=1e-5, atol=1e-6)


def test_a_log_deviation_scales_the_whole_band_where_gaps_grow_exponentially():
    layer = made(growth="exp")
    walk = np.asarray(layer(np.zeros((1, 3, 2, 4), np.float32)))
    free = np.full((1, 3, 2, 4), np.log(1.7), np.float32)
    free[..., 0] = 0
    np.testing.assert_allclose(layer(free), 1.7 * walk, rtol=1e-5)


def test_a_quantile_is_stretched_from_the_median():
    layer, free = made(), RANDOM.normal(size=(2, 3, 2, 4)).astype(np.float32)
    before = np.array(layer(free))
    stretch = np.ones((3, 1, 4))
    stretch[1, 0, 3] = 1.5
    layer.stretch.assign(stretch)
    after = np.array(layer(free))
    distance = before[:, 1, :, 3] - before[:, 1, :, 2]
    np.testing.assert_allclose(after[:, 1, :, 3] - after[:, 1, :, 2], 1.5 * distance, rtol=1e-4)
    before[:, 1, :, 3] = after[:, 1, :, 3]
    np.testing.assert_array_equal(after, before)


def test_walk_quantiles_rise_where_nothing_moved():
    quantiles = walk_quantiles(np.zeros((10, 3, 2)), LEVELS)
    assert (np.diff(quantiles, axis=-1) > 0).all()
    assert (quantiles[..., 2] == 0).all()


def test_the_layer_is_saved_whole(tmp_path):
    inputs = keras.Input((3, 2, 4))
    layer = NonCrossing(horizon=3, num_targets=2, levels=LEVELS, growth="exp")
    model = keras.Model(inputs, layer(inputs))
    layer.set_walk(CHANGES)
    layer.location_share.assign(0.3)
    model.save(tmp_path / "model.keras")
    free = RANDOM.normal(size=(2, 3, 2, 4)).astype(np.float32)
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(free), model(free))


def test_pinball_is_the_formula_and_is_lowest_at_the_quantile():
    actual = RANDOM.normal(size=(5, 3, 2, 1)).astype(np.float32)
    forecast = RANDOM.normal(size=(5, 3, 2, 4)).astype(np.float32)
    expected = np.mean(
        [
            level * (y - f) if y > f else (1 - level) * (f - y)
            for index in np.ndindex(5, 3, 2)
            for y in actual[index]
            for level, f in zip(LEVELS, forecast[index], strict=True)
        ]
    )
    assert float(Pinball(LEVELS)(actual, forecast)) == pytest.approx(expected, rel=1e-5)
    draws = RANDOM.normal(size=(4000, 1, 1, 1)).astype(np.float32)
    losses = [
        float(Pinball((0.9,))(draws, np.full((4000, 1, 1, 1), value, np.float32)))
        for value in (1.0, 1.2816, 1.6)
    ]
    assert losses[1] == min(losses)
