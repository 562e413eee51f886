"""People's own files: roles of columns, rules for dirty cells, and what is refused in one line."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from attention_apps.running.command import UserError
from forecasting.config import Config
from forecasting.data import load, read_data

CONFIG = Config(dataset="files", data_dir="unset", lookback=4, horizon=2, patch_length=1)
HEADER = "Date,Open,High,Low,Close,Volume"


def rows(count=60):
    """Working days on which the price moves by a little."""
    dates = np.busday_offset("2020-01-01", np.arange(count), roll="forward")
    closes = 100 + 5 * np.sin(np.arange(count) / 3)
    return [
        [str(date), f"{c:.4f}", f"{c + 1:.4f}", f"{c - 1:.4f}", f"{c + 0.5:.4f}", "1000"]
        for date, c in zip(dates, closes, strict=True)
    ]


def config_of(folder, lines, name="A.csv", **changes):
    (folder / name).write_text("\n".join([HEADER, *(",".join(line) for line in lines)]))
    return replace(CONFIG, data_dir=str(folder), **changes)


def swapped(lines):
    lines[10], lines[11] = lines[11], lines[10]


def doubled(lines):
    lines.insert(10, lines[10])


def month_missing(lines):
    del lines[10:40]


def text(lines):
    lines[10][4] = "n/a?"


def single(lines):
    del lines[1:]


def constant(lines):
    for line in lines:
        line[4] = "100"


def flat(lines):
    for line in lines:
        line[1] = line[2] = line[3] = line[4]


REFUSED = [
    (swapped, "line 13, column Date: dates must rise. Received: .* is earlier"),
    (doubled, "line 13, column Date: dates must rise. Received: .* stands twice"),
    (month_missing, "line 12, column Date: 4. days are missing before"),
    (text, "line 12, column Close, must hold a number. Received: 'n/a\\?'"),
    (single, "must hold rows to learn from. Received: 1 rows"),
    (constant, "A does not change in the training part"),
    (flat, "A has rows without a usable value in the training part"),
]


@pytest.mark.parametrize(("spoil", "message"), REFUSED, ids=[s.__name__ for s, _ in REFUSED])
def test_what_cannot_be_used_is_refused_by_file_line_and_column(tmp_path, spoil, message):
    lines = rows()
    spoil(lines)
    with pytest.raises(UserError, match=message):
        load(config_of(tmp_path, lines))


def test_a_lookback_longer_than_the_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no window of --lookback 64 .* Received: 60 rows"):
        load(config_of(tmp_path, rows(), lookback=64))


@pytest.mark.parametrize("cell", ["", "0", "-3", "inf", "nan"])
def test_a_price_that_cannot_be_used_is_the_one_before_and_is_counted(tmp_path, cell):
    lines = rows()
    lines[10][4] = cell
    splits = load(config_of(tmp_path, lines))
    assert len(splits.series) == 60
    assert splits.series[10] == splits.series[9]
    assert splits.series[11] == pytest.approx(np.log(float(lines[11][4])))
    assert any("1 of 60 cells" in note and "line 12" in note for note in splits.notes)


def test_a_day_without_a_range_has_the_variance_of_the_day_before(tmp_path):
    lines = rows()
    lines[10][2] = lines[20][3] = ""
    lines[30][3] = "0"
    splits = load(config_of(tmp_path, lines, target="volatility"))
    for row in (10, 20, 30):
        assert splits.series[row] == splits.series[row - 1]
    assert any("3 of 60 days have no usable range" in note for note in splits.notes)
    high, low = float(lines[5][2]), float(lines[5][3])
    expected = np.log(np.log(high / low) ** 2 / (4 * np.log(2)))
    assert splits.series[5, 0] == pytest.approx(expected)


def test_garman_klass_is_its_formula(tmp_path):
    lines = rows()
    splits = load(config_of(tmp_path, lines, target="volatility", variance="garman_klass"))
    opening, high, low, close = (float(cell) for cell in lines[5][1:5])
    variance = np.log(high / low) ** 2 / 2 - (2 * np.log(2) - 1) * np.log(close / opening) ** 2
    assert splits.series[5, 0] == pytest.approx(np.log(variance))


def test_the_market_is_the_mean_over_assets_and_falls_are_returns_below_zero(tmp_path):
    config_of(tmp_path, rows())
    other = [
        [*line[:4], f"{float(line[4]) + index % 3 / 4:.4f}", "5"]
        for index, line in enumerate(rows())
    ]
    config = config_of(tmp_path, other, name="B.csv", context="market")
    features = load(config).features
    prices = np.array([[float(line[4]) for line in lines] for lines in (rows(), other)])
    returns = np.diff(np.log(prices), prepend=np.log(prices[:, :1]))
    falls = np.where(returns < 0, returns, 0)
    assert set(np.sign(falls).ravel()) == {-1, 0}
    own = load(replace(config, context="own")).features
    np.testing.assert_array_equal(features[..., 0], own[..., 0])
    expected = [own[..., 0].mean(1), falls.mean(0), returns.mean(0)]
    for index, mean in enumerate(expected, start=1):
        np.testing.assert_allclose(features[..., index], np.stack([mean, mean], axis=1), atol=1e-12)
    np.testing.assert_allclose(features[..., 4], falls.T, atol=1e-12)
    np.testing.assert_allclose(features[..., 5], returns.T, atol=1e-12)


def test_assets_are_matched_by_their_dates(tmp_path):
    lines = rows()
    config_of(tmp_path, lines)
    config = config_of(tmp_path, lines[2:30] + lines[31:], name="B.csv")
    panel, _ = read_data(config)
    assert panel.names == ("A", "B")
    assert len(panel) == 58
    assert np.isnan(panel.values[28, 1]).all()
    assert any("B.csv lacks 1 of 58 dates, the first 2020-" in note for note in panel.notes)


def test_files_without_a_common_date_are_refused(tmp_path):
    config_of(tmp_path, rows()[:20])
    config = config_of(tmp_path, rows()[30:], name="B.csv")
    with pytest.raises(UserError, match=r"share no dates. Received: A.csv .* B.csv"):
        load(config)


def test_packed_files_without_names_and_dates_are_read(tmp_path):
    values = np.cumsum(np.random.default_rng(0).standard_normal((60, 3)), axis=0)
    with gzip.open(tmp_path / "rates.txt.gz", "wt") as file:
        file.writelines(",".join(f"{value:.6f}" for value in row) + "\n" for row in values)
    splits = load(replace(CONFIG, data_dir=str(tmp_path), target="levels"))
    assert splits.panel.names == ("1", "2", "3")
    assert splits.panel.times is None
    np.testing.assert_allclose(splits.series, values, atol=1e-6)


def test_dates_without_names_are_dates(tmp_path):
    lines = [",".join([line[0], line[4], line[1]]) for line in rows()]
    (tmp_path / "A.csv").write_text("\n".join(lines))
    splits = load(replace(CONFIG, data_dir=str(tmp_path), target="levels"))
    assert splits.panel.names == ("1", "2")
    assert len(splits.panel) == 60
    assert str(splits.panel.times[0])[:10] == "2020-01-01"


def test_times_of_a_zone_are_local_ones(tmp_path):
    lines = rows()
    for row, line in enumerate(lines):
        line[0] += " 00:00:00-05:00" if row < 30 else " 00:00:00-04:00"
    splits = load(config_of(tmp_path, lines))
    assert {str(time)[10:] for time in splits.panel.times} == {"T00:00:00"}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "Received: an empty first line"),
        (b"\na,b\n1,2\n", "Received: an empty first line"),
        (b"a,b\n1,10,\n2,20,\n", "rows of more cells than the 2 columns of its first line: a, b"),
        (b"Date,a,a\n2020-01-03,1,2\n", "several columns of one name. Received: 'a' twice"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, written, message):
    (tmp_path / "A.csv").write_bytes(written)
    with pytest.raises(UserError, match=message):
        load(replace(CONFIG, data_dir=str(tmp_path), target="levels"))


def test_a_packed_file_that_breaks_off_is_refused(tmp_path):
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    (tmp_path / "A.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match="ended before the end-of-stream"):
        load(replace(CONFIG, data_dir=str(tmp_path), target="levels"))


def test_columns_have_the_roles_they_are_given(wide_folder):
    config = replace(
        CONFIG,
        data_dir=str(wide_folder),
        target="levels",
        past_columns=("wind",),
        known_columns=("holiday",),
        calendar="hour",
    )
    splits = load(config)
    assert splits.panel.targets == ("load", "price")
    assert splits.windows.features.shape[1] == 3
    assert splits.windows.known.shape[1] == 24 + 1
    for change, message in (
        ({"past_columns": ("rain",)}, "rain"),
        ({"known_columns": ("wind",)}, "A column has one role. Received: wind"),
        ({"static_columns": ("load",), "target_columns": ("price",)}, "--static-columns"),
    ):
        with pytest.raises(ValueError, match=message):
            load(replace(config, **change))


@pytest.mark.parametrize("name", ["Open", "high", "Close"])
def test_a_price_that_is_read_anyway_is_no_further_column(tmp_path, name):
    config = config_of(tmp_path, rows(), past_columns=("Volume", name))
    with pytest.raises(UserError, match=f"which are read anyway. Received: {name}. Leave it out"):
        load(config)


@pytest.mark.parametrize("name", ["Open", "open"])
def test_of_levels_every_past_column_is_a_feature(tmp_path, name):
    config_of(tmp_path, rows(), name="B.csv")
    config = config_of(tmp_path, rows(), target="levels", past_columns=(name,))
    expected = [[float(line[4]), float(line[1])] for line in rows()]
    np.testing.assert_allclose(load(config).features[:, 0], expected)


def test_static_columns_tell_assets_apart(tmp_path):
    for name, sector in (("A", "energy"), ("B", "food"), ("C", "food")):
        lines = [[*line, sector] for line in rows()]
        text = "\n".join([HEADER + ",Sector", *(",".join(line) for line in lines)])
        (tmp_path / f"{name}.csv").write_text(text)
    config = replace(CONFIG, data_dir=str(tmp_path), static_columns=("Sector",))
    panel, _ = read_data(config)
    np.testing.assert_array_equal(panel.static, [[1, 0], [0, 1], [0, 1]])


def test_a_folder_or_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="must be a folder"):
        load(replace(CONFIG, data_dir=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="must hold CSV files"):
        load(replace(CONFIG, data_dir=str(tmp_path)))
    config = config_of(tmp_path, rows())
    with pytest.raises(UserError, match=r"There is no file .* The folder holds: A.csv"):
        load(replace(config, file="B.csv"))
