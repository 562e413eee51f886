"""Alarms: what they are worth where the truth is known, and that chance is worth little."""

import numpy as np
import pytest

from attention_apps.running.command import UserError
from forecasting.alarms import (
    alarm_figures,
    average_precision,
    p_values,
    random_figures,
    ranges,
)
from forecasting.anomalies import Options, inject, injected_values
from forecasting.config import Config

RANDOM = np.random.default_rng(0)


def test_a_p_value_is_the_share_of_training_that_is_as_strange():
    training, scores = RANDOM.integers(0, 9, (40, 2)), RANDOM.integers(-1, 11, (15, 2))
    expected = [
        [(1 + sum(other >= asked for other in training[:, target])) / 41 for target, asked in
         enumerate(row)]
        for row in scores
    ]  # fmt: skip
    np.testing.assert_allclose(p_values(training, scores), expected)


def test_of_ordinary_rows_as_many_give_alarm_as_the_level_says():
    training, scores = RANDOM.standard_t(4, (4000, 2)), RANDOM.standard_t(4, (20_000, 2))
    share = (p_values(training, scores) <= 0.02).mean(0)
    np.testing.assert_allclose(share, 0.02, atol=0.007)


def test_what_is_injected_is_what_is_true():
    steps = np.array([0.5, 2.0])
    extra, truth = inject(steps, 400, count=2, random=np.random.default_rng(1))
    assert ((extra != 0) == truth).all()
    for target, step in enumerate(steps):
        found = ranges(truth[:, target])
        assert sorted(end - first for first, end in found) == [1, 1, 2, 2, 8, 8]
        for first, end in found:
            own = extra[first:end, target] / step
            if end - first == 2:
                assert own.sum() == 0
            if end - first < 8:
                assert 4 <= abs(own[0]) <= 8
    with pytest.raises(UserError, match="Lower --injected"):
        inject(steps, 40, count=2, random=np.random.default_rng(1))


def test_injected_steps_move_prices_and_leave_their_bars_whole():
    bars = np.array([[10.0, 12.0, 9.0, 11.0, 500.0]])[:, None].repeat(5, 0)
    extra = np.zeros((5, 1))
    extra[2], extra[3] = 0.3, -0.3
    columns = ("open", "high", "low", "close", "volume")
    returns = Config(target="returns")
    moved = injected_values(bars, extra, returns, columns)
    np.testing.assert_allclose(moved[[0, 1, 3, 4]], bars[[0, 1, 3, 4]])
    np.testing.assert_allclose(moved[2, 0, :4], bars[2, 0, :4] * np.exp(0.3))
    assert moved[2, 0, 4] == 500
    levels = injected_values(bars, extra, Config(target="levels"), columns)
    np.testing.assert_allclose(levels[2, 0, 3], 11.3)


def test_figures_of_alarms_by_hand():
    truth = np.array([0, 1, 1, 0, 0, 1, 0, 0], bool)[:, None]
    alarm = np.array([0, 1, 0, 0, 1, 0, 1, 1], bool)[:, None]
    found = alarm_figures(np.where(alarm, 0.01, 0.5), truth, 0.05)
    assert found["precision"] == 1 / 4
    assert found["recall"] == 1 / 3
    assert found["f1"] == pytest.approx(2 / 7)
    assert found["range_precision"] == pytest.approx((1 + 0 + 0) / 3)
    assert found["range_recall"] == pytest.approx((0.5 + 0.25 + 0) / 2)
    nothing = alarm_figures(np.ones((8, 1)), truth, 0.05)
    assert nothing["f1"] == nothing["range_f1"] == nothing["alarms"] == 0


def test_average_precision_by_hand_and_its_ends():
    # Ranked: hit, miss, hit, miss -> (1/1 + 2/3) / 2
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    truth = np.array([True, False, True, False])
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth.astype(float), truth) == 1
    # Where nothing is told apart, the share of what is true remains.
    assert average_precision(np.zeros(4), truth) == 0.5


def test_chance_is_worth_the_share_of_what_is_true():
    truth = RANDOM.random((2000, 2)) < 0.03
    found = random_figures(truth, 0.01, RANDOM)
    assert found["auc_pr"] == pytest.approx(truth.mean(), abs=0.01)
    assert found["alarms"] == pytest.approx(0.01, abs=0.003)
    assert found["f1"] < 0.05


@pytest.mark.parametrize("change", [{"level": 0.0}, {"level": 1.0}, {"injected": 0}])
def test_what_cannot_work_is_refused(tmp_path, change):
    with pytest.raises(ValueError, match="Received"):
        Options(run_dir=tmp_path, **change)
