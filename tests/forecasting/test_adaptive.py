"""Bands that follow their own misses."""

import numpy as np
import pytest

from forecasting.adaptive import adaptive_factors, adaptive_figures, band_scores

RANDOM = np.random.default_rng(0)
LEVELS = (0.05, 0.5, 0.95)


def test_a_score_is_the_distance_in_units_of_the_bands_own_end():
    forecast = np.array([-1.0, 1.0, 5.0]).reshape(1, 1, 1, 3)
    for outcome, expected in ((1.0, 0), (3.0, 0.5), (7.0, 1.5), (-1.0, 1), (-2.0, 1.5)):
        actual = np.full((1, 1, 1), outcome)
        assert band_scores(forecast, actual, LEVELS)[0, 0, 0] == pytest.approx(expected)


@pytest.mark.parametrize("delay", [1, 4])
def test_factors_are_the_published_recursion(delay):
    """Written once more with all that was known on each day gathered anew."""
    before, scores = (
        np.abs(RANDOM.standard_normal((50, 2))),
        np.abs(RANDOM.standard_normal((60, 2))),
    )
    found = adaptive_factors(before, scores, level=0.8, rate=0.05, delay=delay)
    aimed, expected = 0.2, []
    for day in range(60):
        if day >= delay:
            missed = np.mean(scores[day - delay] > expected[day - delay])
            aimed = aimed + 0.05 * (0.2 - missed)
        known = [*before, *scores[: max(0, day - delay + 1)]]
        expected.append(np.quantile(np.concatenate(known), 1 - aimed, method="higher"))
    np.testing.assert_allclose(found, expected)


def test_a_factor_depends_on_outcomes_known_before_alone():
    before, scores = np.abs(RANDOM.standard_normal((2, 80, 3)))
    later = scores.copy()
    later[40:] *= 10
    first, second = (
        adaptive_factors(before, s, level=0.9, rate=0.05, delay=3) for s in (scores, later)
    )
    np.testing.assert_array_equal(first[:43], second[:43])
    assert (first[43:] != second[43:]).any()


def test_the_band_recovers_its_coverage_where_the_world_became_wilder():
    def part(days, size):
        forecast = np.broadcast_to(np.array([-1.645, 0, 1.645]), (days, 1, 4, 3))
        return forecast, size * RANDOM.standard_normal((days, 1, 4))

    figures = adaptive_figures(part(300, 1), part(900, 2), levels=LEVELS, rate=0.02)
    fixed = (np.abs(RANDOM.standard_normal(20_000)) < 1.645 / 2).mean()
    assert fixed < 0.65
    assert 0.87 < figures["coverage"] < 0.92
    assert figures["width"] > 1.5 * 2 * 1.645
