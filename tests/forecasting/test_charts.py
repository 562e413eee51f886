"""The fan chart says what its bands are, also where quantiles are not alike on both sides."""

import numpy as np
import pytest

from forecasting.charts import fan_chart


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((0.025, 0.25, 0.5, 0.75, 0.975), {"95% band": (0, 4), "50% band": (1, 3)}),
        ((0.05, 0.5, 0.8, 0.9), {"5% to 90%": (0, 3), "50% to 80%": (1, 2)}),
        ((0.1, 0.2, 0.5), {"10% to 50%": (0, 2), "20% to 50%": (1, 2)}),
    ],
)
def test_bands_are_called_what_they_hold(levels, expected):
    quantiles = 10 + np.arange(3)[:, None] + np.arange(len(levels))
    figure = fan_chart(
        title="A",
        past=np.full(4, 10.0),
        past_labels=list("abcd"),
        quantiles=quantiles,
        future_labels=list("efg"),
        levels=levels,
    )
    (axes,) = figure.axes
    bands = {band.get_label(): band for band in axes.collections}
    assert bands.keys() == expected.keys()
    for name, (lower, upper) in expected.items():
        heights = bands[name].get_paths()[0].vertices
        last = heights[heights[:, 0] == 3][:, 1]
        assert (last.min(), last.max()) == (quantiles[-1, lower], quantiles[-1, upper])
    median = next(line for line in axes.lines if line.get_label() == "median")
    np.testing.assert_array_equal(median.get_ydata()[1:], quantiles[:, levels.index(0.5)])
