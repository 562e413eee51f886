"""What may be known when: parts, purge, windows, and the order in which they are seen."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from attention_apps.running.command import UserError
from forecasting.config import Config
from forecasting.windows import PARTS, Parts, Windows

CONFIG = Config(lookback=6, horizon=4, batch_size=8, patch_length=1)
RANDOM = np.random.default_rng(0)


@pytest.fixture
def windows():
    rows = 60
    return Windows(
        series=RANDOM.normal(size=(rows, 2)),
        features=np.arange(rows, dtype=np.float32)[:, None, None] * np.ones((1, 3, 2), np.float32),
        known=np.arange(rows, dtype=np.float32)[:, None],
        lookback=6,
        horizon=4,
    )


@pytest.mark.parametrize("rows", [100, 101, 103, 257])
def test_forecast_rows_of_a_part_lie_in_it_and_the_purge_is_the_horizon(rows):
    parts = Parts.of(CONFIG, rows)
    assert parts.ends[-1] == rows
    bounds = (0, *parts.ends)
    for index, name in enumerate(PARTS):
        origins = parts.origins(name)
        assert origins[0] - CONFIG.lookback + 1 >= 0
        assert origins[0] + 1 >= bounds[index]
        assert origins[-1] + CONFIG.horizon == bounds[index + 1] - 1
        np.testing.assert_array_equal(np.diff(origins), 1)
    for earlier, later in pairwise(PARTS):
        assert parts.origins(later)[0] - parts.origins(earlier)[-1] == CONFIG.horizon


def test_parts_are_those_of_the_published_benchmarks():
    """The numbers of windows that the standard tables are measured on."""
    exchange = Parts.of(Config(lookback=96, horizon=96), 7588)
    assert [len(exchange.origins(name)) for name in PARTS] == [5120, 665, 1422]
    etth1 = Parts.of(Config(lookback=96, horizon=96, split_rows=(8640, 2880, 2880)), 17420)
    assert [len(etth1.origins(name)) for name in PARTS] == [8449, 2785, 2785]


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, lookback=80),
        replace(CONFIG, horizon=11),
        replace(CONFIG, split_rows=(8, 30, 30)),
        replace(CONFIG, split_rows=(50, 30, 30)),
    ],
)
def test_data_without_a_window_is_refused(config):
    with pytest.raises(UserError, match="Received"):
        Parts.of(config, 100)


def test_a_window_shows_rows_up_to_its_origin_and_what_is_known_behind_it(windows):
    inputs = windows.inputs(np.array([10, 20]))
    np.testing.assert_array_equal(inputs["past"][:, :, 0, 0], [range(5, 11), range(15, 21)])
    np.testing.assert_array_equal(inputs["known"][..., 0], [range(5, 15), range(15, 25)])
    changes = windows.changes(np.array([10, 20]))
    np.testing.assert_array_equal(changes[1, 2], windows.series[23] - windows.series[20])


def batches(windows, config, epoch, origins):
    steps = -(-len(origins) // config.batch_size)
    return list(windows.training_batches(config, origins, epoch).take(steps).as_numpy_iterator())


def test_an_epoch_holds_every_window_once_in_an_order_of_its_own(windows):
    origins = np.arange(5, 50)
    seen = {}
    for epoch in (0, 1):
        found = batches(windows, CONFIG, epoch, origins)
        seen[epoch] = np.concatenate([inputs["past"][:, -1, 0, 0] for inputs, _ in found])
        changes = np.concatenate([changes for _, changes in found])
        expected = windows.changes(seen[epoch].astype(int))
        np.testing.assert_allclose(changes[..., 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(np.sort(seen[0]), origins)
    np.testing.assert_array_equal(np.sort(seen[1]), origins)
    assert (seen[0] != seen[1]).any()


def test_training_continues_with_the_epoch_it_would_have_come_to(windows):
    config = replace(CONFIG, jitter=0.1, scaling=0.1, cropping=0.5)
    origins = np.arange(5, 50)
    steps = -(-len(origins) // config.batch_size)
    whole = list(windows.training_batches(config, origins, 0).take(2 * steps))[steps:]
    continued = list(windows.training_batches(config, origins, 1).take(steps))
    for (one, one_changes), (other, other_changes) in zip(whole, continued, strict=True):
        np.testing.assert_array_equal(one["past"], other["past"])
        np.testing.assert_array_equal(one_changes, other_changes)


@pytest.mark.parametrize("flag", ["jitter", "scaling", "cropping"])
def test_each_augmentation_changes_what_is_shown_and_only_scaling_the_target(windows, flag):
    origins = np.arange(5, 50)
    (plain, plain_changes), *_ = batches(windows, CONFIG, 0, origins)
    (varied, changes), *_ = batches(windows, replace(CONFIG, **{flag: 0.6}), 0, origins)
    assert (varied["past"] != plain["past"]).any()
    np.testing.assert_array_equal(varied["known"], plain["known"])
    assert (changes != plain_changes).any() == (flag == "scaling")
    if flag == "scaling":
        factors = (changes / plain_changes)[:, :1, :1]
        np.testing.assert_allclose(varied["past"], plain["past"] * factors, rtol=1e-4)
    if flag == "cropping":
        # The latest rows are never hidden; a hidden row shows the first that is not.
        np.testing.assert_array_equal(varied["past"][:, -2:], plain["past"][:, -2:])
        first = varied["past"][:, 0, 0, 0]
        np.testing.assert_array_equal(
            varied["past"][..., 0, 0], np.maximum(plain["past"][..., 0, 0], first[:, None])
        )
