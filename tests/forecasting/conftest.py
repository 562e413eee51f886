"""Files as people have them, cut from the embedded market."""

import numpy as np
import pytest

from forecasting.market import ASSETS
from forecasting.synthetic import generate

DAYS = 320
KEPT = ("ALDER", "BIRCH", "CEDAR")


@pytest.fixture(scope="session")
def days():
    return list(generate(days=DAYS, seed=5))


def write_assets(folder, days, names=KEPT):
    """One CSV file for each asset."""
    for name in names:
        rows = [day.bars[ASSETS.index(name)] for day in days]
        lines = ["Date,Open,High,Low,Close,Volume"]
        lines += [
            f"{day.date},{','.join(format(float(cell), '.10g') for cell in row)}"
            for day, row in zip(days, rows, strict=True)
        ]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def asset_folder(tmp_path_factory, days):
    return write_assets(tmp_path_factory.mktemp("assets"), days)


@pytest.fixture(scope="session")
def wide_folder(tmp_path_factory):
    """One file with two seasonal levels, a covariate and a column that is known beforehand."""
    folder, random = tmp_path_factory.mktemp("wide"), np.random.default_rng(2)
    hours = np.arange(480)
    dates = np.datetime64("2020-01-01T00") + hours.astype("timedelta64[h]")
    holiday = (hours // 24) % 7 >= 5
    first = 5 + np.sin(hours / 24 * 2 * np.pi) + 2 * holiday + 0.1 * random.standard_normal(480)
    second = np.cumsum(random.standard_normal(480))
    wind = random.standard_normal(480)
    lines = ["date,load,price,wind,holiday"]
    lines += [
        f"{date},{a:.8f},{b:.8f},{c:.8f},{int(d)}"
        for date, a, b, c, d in zip(dates, first, second, wind, holiday, strict=True)
    ]
    (folder / "hours.csv").write_text("\n".join(lines))
    return folder
