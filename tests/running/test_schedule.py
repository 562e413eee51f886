"""The learning rate rises, falls with the square root of the step, and ends at zero."""

import math

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.running.schedule import ThenSlower, WarmupCooldown


def test_it_rises_falls_and_ends():
    schedule = WarmupCooldown(0.004, warmup_steps=10, total_steps=100, cooldown_share=0.25)
    rates = np.array([float(schedule(step)) for step in range(100)])
    np.testing.assert_allclose(rates[:10], 0.004 * np.arange(1, 11) / 10, rtol=1e-5)
    for step in range(10, 75):
        assert rates[step] == pytest.approx(0.004 * math.sqrt(10 / (step + 1)), rel=1e-5)
    left = (100 - np.arange(76, 100)) / 25
    expected = 0.004 * np.sqrt(10 / np.arange(77, 101)) * left
    np.testing.assert_allclose(rates[76:], expected, rtol=1e-4)
    assert 0 < rates[99] < 0.0001
    assert float(schedule(150)) == 0


def test_without_warmup_and_cooldown_it_is_the_inverse_square_root():
    schedule = WarmupCooldown(1.0, warmup_steps=0, total_steps=50, cooldown_share=0.0)
    assert float(schedule(0)) == pytest.approx(1.0)
    assert float(schedule(48)) == pytest.approx(1 / 7, rel=1e-4)
    again = WarmupCooldown.from_config(schedule.get_config())
    assert float(again(7)) == float(schedule(7))


def test_the_rate_falls_twice():
    def first(step):
        return 1.0 + 0 * tf.cast(step, tf.float32)

    schedule = ThenSlower(first, 10, 0.5, 4)
    found = [float(schedule(step)) for step in (0, 9, 10, 12, 14, 20)]
    np.testing.assert_allclose(found, [1, 1, 0.5, 0.25, 0, 0])
