"""Covariates that all series share: joined by date, never from the future, read and served."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions
from forecasting import anomalies, predict
from forecasting.baselines import floors
from forecasting.calibration import forecast_all
from forecasting.config import Config
from forecasting.data import load, read_data
from forecasting.evaluate import evaluate
from forecasting.export import export
from forecasting.model import build_model
from forecasting.scores import Scores
from forecasting.serving import Serving
from forecasting.starting import start_as_ridge
from forecasting.train import train
from forecasting.volatility import har

CONFIG = Config(
    dataset="files",
    data_dir="unset",
    covariates=("../index.csv",),
    target="volatility",
    loss="squared",
    lookback=8,
    horizon=2,
    dim=8,
    num_heads=2,
    feedforward_dim=8,
    num_layers=1,
    patch_length=2,
)
DAYS = 300
SPREAD_ON_INDEX = 0.8
DATES = np.busday_offset("2015-01-01", np.arange(DAYS), roll="forward")
INDEX = np.exp(3 + np.cumsum(0.1 * np.random.default_rng(3).standard_normal(DAYS)))


def write_index(folder, values, dates=DATES, header="DATE,OPEN,CLOSE"):
    lines = [f"{date},1,{value}" for date, value in zip(dates, values, strict=True)]
    (folder / "index.csv").write_text("\n".join([header, *lines]))


@pytest.fixture
def market(tmp_path):
    """Two assets whose range of a day is what the index was the day before, and noise."""
    folder, random = tmp_path / "assets", np.random.default_rng(4)
    folder.mkdir()
    for name in ("A", "B"):
        spread = np.full(DAYS, 0.01)
        spread[1:] *= (INDEX[:-1] / 20) ** SPREAD_ON_INDEX
        spread *= np.exp(0.3 * random.standard_normal(DAYS))
        close = 100 * np.exp(np.cumsum(0.3 * spread * random.standard_normal(DAYS)))
        lines = [
            f"{d},{c:.9f},{c * np.exp(s / 2):.9f},{c * np.exp(-s / 2):.9f},{c:.9f}"
            for d, c, s in zip(DATES, close, spread, strict=True)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["Date,Open,High,Low,Close", *lines]))
    write_index(tmp_path, INDEX)
    return replace(CONFIG, data_dir=str(folder))


def randomised(model):
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(0.2 * random.standard_normal(weight.shape))
    return model


def test_a_row_has_the_last_usable_value_up_to_its_day_and_what_is_filled_is_told(market, tmp_path):
    values = [f"{value:.9f}" for value in INDEX]
    values[50], values[51], values[90] = "0", "", "-4"
    kept = [day for day in range(DAYS) if day not in (10, 200, 201)]
    write_index(tmp_path, [values[day] for day in kept], DATES[kept])
    splits = load(market)
    assert splits.panel.columns == ("open", "high", "low", "close", "index.csv")
    expected = list(INDEX)
    for day in (10, 50, 51, 90, 200, 201):
        expected[day] = expected[day - 1]
    for asset in range(2):
        np.testing.assert_allclose(splits.panel.values[:, asset, -1], expected, rtol=1e-8)
    np.testing.assert_allclose(splits.shared[:, 0], np.log(expected), rtol=1e-8)
    assert any("3 of 297 cells" in note and "index.csv, line 51" in note for note in splits.notes)
    lacking = f"index.csv has no usable value of its own for 6 of 300 rows, the first {DATES[10]}"
    assert any(note.startswith(lacking) for note in splits.notes)


def test_a_days_value_is_known_to_the_hours_of_the_day_behind_it(wide_folder, tmp_path):
    dates = np.datetime64("2019-12-31") + np.arange(25)
    write_index(tmp_path, np.arange(1, 26), dates)
    config = replace(CONFIG, data_dir=str(wide_folder), target="levels")
    panel, _ = read_data(replace(config, covariates=(str(tmp_path / "index.csv"),)))
    days = (np.arange(len(panel)) // 24) + 1  # the first row is on the second day of the index
    np.testing.assert_array_equal(panel.values[:, 0, -1], days)


@pytest.mark.parametrize("target", ["returns", "volatility"])
def test_a_changed_future_of_the_covariate_leaves_forecasts_and_floors_bit_for_bit(
    market, tmp_path, target
):
    config = replace(market, target=target, loss="pinball", context="market")
    splits = load(config)
    model = randomised(build_model(config, splits))
    row = int(splits.parts.origins("test")[5])
    write_index(tmp_path, [*INDEX[: row + 1], *(9 * INDEX[row + 1 :] + 1)])
    other = load(config)
    for name, values in vars(splits.scaling).items():
        np.testing.assert_array_equal(getattr(other.scaling, name), values)
    assert (other.panel.values[row + 1 :, :, -1] > splits.panel.values[row + 1 :, :, -1]).all()
    origins = np.arange(row - 3, row + 1)
    before = forecast_all(model, splits.windows, origins)
    np.testing.assert_array_equal(forecast_all(model, other.windows, origins), before)
    ours, theirs = floors(config, splits), floors(config, other)
    assert {"HAR-X", "HAR-X-scaled"} & ours.keys()
    for name, forecast in ours.items():
        np.testing.assert_array_equal(theirs[name](origins), forecast(origins), err_msg=name)
    later = forecast_all(model, other.windows, origins + 4)
    assert (later != forecast_all(model, splits.windows, origins + 4)).any()


@pytest.mark.parametrize("form", ["time", "variables", "both"])
def test_linear_part_and_attention_both_read_the_covariate(market, form):
    splits = load(market)
    inputs = splits.windows.inputs(splits.parts.origins("test")[:3])
    moved = {"past": inputs["past"].copy()}
    moved["past"][..., 2] += 1  # behind the log variance, relative to its last value and as it is
    for silent in ("linear", "head"):
        model = randomised(build_model(replace(market, form=form), splits))
        layer = model.linear if silent == "linear" else model.reader.head
        for weight in layer.weights:
            weight.assign(np.zeros(weight.shape))
        assert (np.asarray(model(moved)) != np.asarray(model(inputs))).all(), silent


def test_the_floor_with_the_covariate_is_least_squares_and_knows_what_har_does_not(market):
    splits = load(market)
    series, parts, known = splits.windows.series, splits.parts, np.log(INDEX)
    origins, asset, ahead = parts.origins("test"), 1, 2
    forecast = floors(market, splits)["HAR-X"](origins)[..., 0]

    def shown(row):
        own = series[: row + 1, asset]
        return [1, own[-1], own[-5:].mean(), own[-22:].mean(), known[row]]

    rows = range(21, parts.cutoff - 2)
    told = [series[row + ahead, asset] for row in rows]
    weights, *_ = np.linalg.lstsq(np.array([shown(row) for row in rows]), told, rcond=None)
    expected = [np.array(shown(row)) @ weights - series[row, asset] for row in origins]
    np.testing.assert_allclose(forecast[:, ahead - 1, asset], expected, atol=1e-6)

    def error(points):
        return np.square(points(origins) - splits.windows.changes(origins))[:, 0].mean()

    assert error(lambda rows: floors(market, splits)["HAR-X"](rows)[..., 0]) < error(har(splits))
    assert "HAR-X" not in floors(replace(market, covariates=()), splits)


def test_a_start_as_ridge_knows_what_the_covariate_tells(market):
    errors = {}
    for config in (market, replace(market, covariates=())):
        splits = load(config)
        model = build_model(config, splits)
        start_as_ridge(model, splits.windows, splits.parts)
        origins = splits.parts.origins("test")
        forecast = forecast_all(model, splits.windows, origins)[..., 0]
        errors[config.covariates] = np.square(forecast - splits.windows.changes(origins)).mean()
    assert errors[market.covariates] < 0.9 * errors[()]


def test_what_is_served_takes_the_covariate_as_a_cell_and_gives_the_mean_variance(market):
    splits = load(market)
    model = randomised(build_model(market, splits))
    origins = splits.parts.origins("test")[:3]
    level = Scores(market, splits, origins).variance_level(
        lambda rows: forecast_all(model, splits.windows, rows)
    )
    serving = Serving(model, market, splits.panel.columns, level)
    shown = splits.panel.values[origins[:, None] + np.arange(-20, 1)]
    answer = serving.forecast(shown)
    expected = forecast_all(model, splits.windows, origins)
    scaled = answer["changes"] / splits.scaling.scale[:, None]
    np.testing.assert_allclose(scaled, expected, atol=1e-5)
    typical = np.exp(splits.series[origins][:, None] + answer["changes"].numpy()[..., 0])
    np.testing.assert_allclose(answer["means"], typical * level, rtol=1e-6)
    filled, gaps = shown.copy(), shown.copy()
    filled[:, -3:, :, -1] = filled[:, -4:-3, :, -1]
    gaps[:, -3:, :, -1] = [[np.nan], [0.0], [-2.0]]
    served = [serving.forecast(cells)["changes"].numpy() for cells in (filled, gaps)]
    np.testing.assert_array_equal(*served)
    assert (served[0] != answer["changes"].numpy()).any()


def test_a_file_that_all_share_is_no_asset_and_a_column_can_be_named(market, tmp_path):
    lines = [f"{date},{value},{value / 2}" for date, value in zip(DATES, INDEX, strict=True)]
    (tmp_path / "assets" / "fear.csv").write_text("\n".join(["Date,Close,High", *lines]))
    panel, _ = read_data(replace(market, covariates=("fear.csv", "fear.csv:High")))
    assert panel.names == ("A", "B")
    assert panel.columns[-2:] == ("fear.csv", "fear.csv:High")
    np.testing.assert_allclose(panel.values[..., -1] * 2, panel.values[..., -2])


def late(folder):
    write_index(folder, INDEX[5:], DATES[5:])


def early(folder):
    write_index(folder, INDEX[:100], DATES[:100])


def unsorted(folder):
    write_index(folder, INDEX, DATES[::-1])


def twice(folder):
    write_index(folder, INDEX[:2], DATES[[0, 0]])


def gap(folder):
    kept = [*range(50), *range(90, DAYS)]
    write_index(folder, INDEX[kept], DATES[kept])


def text(folder):
    write_index(folder, ["12", "high", *INDEX[2:]])


def unusable(folder):
    write_index(folder, -INDEX)


def without_dates(folder):
    write_index(folder, INDEX, header="Number,Open,Close")


def without_price(folder):
    write_index(folder, INDEX, header="Date,First,Second")


def constant(folder):
    write_index(folder, np.full(DAYS, 20.0))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (late, f"index.csv, column CLOSE, has no usable value up to {DATES[0]}, the first row"),
        (early, "index.csv, column CLOSE, has no usable value in the 3. days up to 2015-06-"),
        (unsorted, "index.csv, line 3, column DATE: dates must rise. Received: .* is earlier"),
        (twice, "index.csv, line 3, column DATE: dates must rise. Received: .* stands twice"),
        (gap, "index.csv, line 52, column DATE: 5. days are missing before"),
        (text, "index.csv, line 3, column CLOSE, must hold a number. Received: 'high'"),
        (unusable, "index.csv, column CLOSE, has no usable value up to"),
        (without_dates, "index.csv must have a column Date"),
        (without_price, "no column Close or Price: name one as .* It has: First, Second"),
        (constant, "A does not change in the training part, .* or what is read beside it does not"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_a_covariate_that_cannot_be_used_is_refused_in_one_line(market, tmp_path, spoil, message):
    spoil(tmp_path)
    with pytest.raises(UserError, match=message) as refusal:
        load(market)
    assert "\n" not in str(refusal.value)


def test_covariates_that_are_not_there_or_cannot_be_joined_are_refused(market, tmp_path):
    for names, message in (
        (("fear.csv",), r"takes FILE or FILE:COLUMN .* Received: fear.csv"),
        (("../index.csv:Low",), r"index.csv has no column 'Low'. It has: OPEN, CLOSE"),
    ):
        with pytest.raises(UserError, match=message):
            load(replace(market, covariates=names))
    with pytest.raises(ValueError, match=r"one role. Received: a.csv with several"):
        replace(market, covariates=("a.csv", "a.csv"))
    rates = tmp_path / "rates"
    rates.mkdir()
    (rates / "A.csv").write_text("\n".join(f"{value:.4f},1" for value in INDEX))
    with pytest.raises(UserError, match=r"joined by date. Received: series without a column Date"):
        load(replace(market, data_dir=str(rates), target="levels"))


@pytest.mark.verify
def test_a_run_with_a_covariate_goes_through_every_command(market, tmp_path, capsys):
    config = replace(market, target="returns", loss="pinball", epochs=1, start="spread")
    config = replace(config, departure="free")
    run_dir = train(config, RunOptions(runs_dir=tmp_path / "runs"))["run_dir"]
    section = evaluate(run_dir, floors=("HAR-scaled", "HAR-X-scaled"))["test"]["returns"]
    assert {"HAR-scaled", "HAR-X-scaled"} <= section["floors"].keys()
    folder = export(run_dir)
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text())
    assert card["labels"]["columns"][-1] == "index.csv"
    anomalies.detect(run_dir, anomalies.Options(run_dir=run_dir, injected=1))
    # Newer files lie as those of the training did; without the covariate nothing is forecast.
    newer = tmp_path / "newer"
    shutil.copytree(market.data_dir, newer / "assets")
    ask = ["--run-dir", str(run_dir), "--data-dir", str(newer / "assets"), "B"]
    with pytest.raises(UserError, match=r"Received: ../index.csv, and there is no file"):
        predict.main(ask)
    told = []
    for factor in (1, 3):
        write_index(newer, [*INDEX[:-1], factor * INDEX[-1]])
        capsys.readouterr()
        assert predict.main(ask) == 0
        told.append(capsys.readouterr().out)
    assert told[0] != told[1]
    assert f"B: price after {DATES[-1]}" in told[0]
