"""A finished run: calibration, figures, alarms, links, export and what it is asked."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.running.command import UserError
from attention_apps.running.runs import load_run
from forecasting import anomalies, predict
from forecasting.attention_maps import Probe, attention_maps, told
from forecasting.calibration import Departure, calibrate, forecast_all, stretches
from forecasting.config import EXAMPLE, Config
from forecasting.data import load
from forecasting.evaluate import forecasters
from forecasting.export import raw_inputs
from forecasting.links import correlation_scores, named_links, share_found, sharpest
from forecasting.market import ASSETS, LINKS, Link

RANDOM = np.random.default_rng(0)
LEVELS = (0.05, 0.5, 0.95)


@pytest.fixture(scope="module")
def run(finished_run):
    _, run_dir = finished_run("forecasting")
    return load_run(run_dir, "forecasting", Config)


@pytest.fixture(scope="module")
def splits(run):
    return load(run.config)


@pytest.fixture(scope="module")
def exported(run):
    return tf.saved_model.load(str(run.run_dir / "saved_model" / "1"))


def test_every_figure_stands_beside_its_floors_and_their_tests(run):
    section = run.metrics["test"]["returns"]
    floors = section["floors"]
    assert {"random walk", "seasonal naive", "drift", "ridge", "theta", "ETS"} <= floors.keys()
    assert {"GARCH(1,1)", "HAR-scaled", "generator's own"} <= floors.keys()
    assert "model, attention made uniform" in floors
    for name, floor in floors.items():
        assert floor.keys() == section["model"].keys()
        for figure, test in section["better_than"][name].items():
            assert test["skill"] == pytest.approx(
                1 - section["model"][figure] / floor[figure], abs=1e-6
            )
            assert not test["effective_size"] > test["size"]
    # Nothing is better than what the market knows of itself.
    best = floors["generator's own"]["pinball"]
    assert all(floor["pinball"] >= best for floor in floors.values())
    assert section["model"]["pinball"] > best
    assert section["adaptive"]["coverage"] == pytest.approx(0.9, abs=0.05)


def test_floors_are_measured_by_name_beside_model_and_walk(run, splits):
    named = forecasters(run.model, run.model, run.config, splits, ("drift",))
    assert list(named) == [
        "model",
        "model, attention made uniform",
        "random walk",
        "drift",
        "generator's own",
    ]


def test_calibrated_quantiles_cover_what_they_should_on_the_days_they_were_fitted_on():
    median = RANDOM.standard_normal((2000, 2, 3))
    outcome = median + 2 * RANDOM.standard_normal((2000, 2, 3))
    forecast = median[..., None] + np.array([-1.0, 0, 3.0])
    factors = stretches(forecast, outcome, LEVELS)
    assert (factors[:, 1] == 1).all()
    distance = np.array([-1.0, 0, 3.0]) * factors[:, None]
    below = (outcome[..., None] <= median[..., None] + distance).mean((0, 2))
    np.testing.assert_allclose(below[:, [0, 2]], [[0.05, 0.95]] * 2, atol=0.002)


def test_a_departure_is_gone_only_where_it_is_proven():
    config = Config(loss="squared")
    move = RANDOM.standard_normal((400, 1, 2))
    nothing = np.zeros((1, 2, 1))

    def shares(location):
        forecast = location[..., None]
        return Departure(forecast, nothing, np.zeros_like(forecast)).proven(config, move)[0]

    assert shares(0.7 * move) == 1.0
    assert shares(2.5 * move) == 0.5
    assert shares(RANDOM.standard_normal(move.shape)) == 0.0


def test_calibrating_again_changes_nothing(run, splits):
    origins = splits.parts.origins("test")[:20]
    before = forecast_all(run.model, splits.windows, origins)
    calibrate(run.model, run.config, splits)
    np.testing.assert_allclose(forecast_all(run.model, splits.windows, origins), before, rtol=1e-5)


def test_data_that_has_changed_is_refused(run, splits):
    run.model.units.refuse_others(splits.scaling)
    moved = replace(splits.scaling, scale=splits.scaling.scale * 1.001)
    with pytest.raises(UserError, match=r"data has changed since training: .* another scale, .*"):
        run.model.units.refuse_others(moved)


def test_the_export_answers_as_python_for_any_number_of_rows_and_gaps(run, splits, exported):
    serve = exported.signatures["serving_default"]
    origins = splits.parts.origins("test")[[3, 40, 77]]
    expected = forecast_all(run.model, splits.windows, origins)
    scale = splits.scaling.scale[:, None]
    for rows in (60, 200):
        inputs = raw_inputs(splits.panel, run.config, origins, rows=rows)
        answer = serve(**{name: tf.constant(value) for name, value in inputs.items()})
        changes = answer["changes"].numpy() / scale
        np.testing.assert_allclose(changes, expected, atol=1e-5)
        last = np.exp(splits.series[origins])[:, None, :, None]
        np.testing.assert_allclose(answer["forecasts"], last * np.exp(changes * scale), rtol=1e-7)
    # A gap means the price before it, and the range of the day before.
    inputs["values"][:, -3] = np.nan
    gaps = serve(**{name: tf.constant(value) for name, value in inputs.items()})["changes"].numpy()
    inputs["values"][:, -3] = inputs["values"][:, -4]
    same = serve(**{name: tf.constant(value) for name, value in inputs.items()})["changes"].numpy()
    np.testing.assert_allclose(gaps, same, atol=1e-9)
    assert np.isfinite(gaps).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 8 rows"):
        serve(values=tf.constant(inputs["values"][:, -7:]))


def test_the_export_gives_the_weights_of_attention(run, splits, exported):
    origins = splits.parts.origins("test")[:2]
    inputs = raw_inputs(splits.panel, run.config, origins, rows=20)
    answer = exported.signatures["with_attention"](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    attention = answer["attention"].numpy()
    assert attention.shape == (2, 2, 8, 5, 8, 8)
    np.testing.assert_allclose(attention.sum((-1, -2)), 1, atol=1e-5)


def test_records_name_dates_and_assets_and_where_the_truth_lies(run, splits):
    records = attention_maps(run.model, Probe.of(splits, 2))
    names = next(record for record in records if record.layer.endswith("/variables"))
    assert names.query.labels == names.key.labels == ASSETS
    gold = np.asarray(names.gold)
    for link in LINKS:
        assert gold[ASSETS.index(link.follower), ASSETS.index(link.leader)] == 1
    assert gold.sum() == len(LINKS)
    rows = next(record for record in records if not record.layer.endswith("/variables"))
    dates = [splits.panel.label(row) for row in range(len(splits.panel))]
    first = dates.index(rows.key.labels[0])
    assert list(rows.key.labels) == dates[first : first + 8]
    assert list(rows.query.labels) == dates[first + 8 : first + 13]


def test_what_is_told_beside_the_maps_is_the_median_wherever_it_stands(run, splits):
    probe = Probe.of(splits, 1)

    class Told:
        levels = (0.1, 0.5, 0.8, 0.9)

        def __call__(self, inputs, training):
            return np.arange(4.0) * np.ones((1, 5, 8, 1))

    unit = probe.units[probe.pictured]
    assert told(Told(), probe)[0].endswith(f": {unit:+.4f} ({0:+.4f} to {3 * unit:+.4f})")


def test_planted_links_are_found_in_correlations_and_by_the_surest_head():
    returns = RANDOM.standard_normal((3000, 3))
    returns[2:, 1] += 0.8 * returns[:-2, 0]
    scores = correlation_scores(returns, 5)
    assert named_links(scores, "ABC", "B") == ("A", 2)
    assert share_found(scores, "ABC", [Link("A", "B", 2, 0.8), Link("A", "C", 1, 0.8)]) == 0.5
    heads = np.full((2, 3, 3, 5), 1 / 15)
    heads[1, 1] = 0
    heads[1, 1, 0, 3] = 1
    assert named_links(sharpest(heads), "ABC", "B") == ("A", 2)


def test_alarms_of_the_run_are_better_than_chance(run, capsys):
    assert anomalies.main(["--run-dir", str(run.run_dir), "--injected", "2"]) == 0
    assert "strangest rows" in capsys.readouterr().out
    section = json.loads((run.run_dir / "metrics.json").read_text())["anomalies"]
    assert section["model"]["auc_pr"] > 3 * section["floors"]["scores by chance"]["auc_pr"]
    assert section["model"]["f1"] > 3 * section["floors"]["scores by chance"]["f1"]
    assert len(section["strangest"]) == 10
    p_values = [row["p_value"] for row in section["strangest"]]
    assert p_values == sorted(p_values)


def test_a_run_without_a_distribution_finds_no_anomalies(run, monkeypatch):
    config = replace(run.config, loss="squared")
    changed = replace(run, config=config)
    monkeypatch.setattr("attention_apps.running.runs.load_run", lambda *_: changed)
    with pytest.raises(UserError, match="Received: a run with --target returns --loss squared"):
        anomalies.detect(run.run_dir, anomalies.Options(run_dir=run.run_dir))


def test_predict_draws_a_fan_and_names_what_it_does_not_know(run, tmp_path, capsys):
    command = ["--run-dir", str(run.run_dir)]
    chart = tmp_path / "fan.png"
    assert predict.main([*command, EXAMPLE, "--chart", str(chart)]) == 0
    assert chart.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "5%" in said
    assert f"{EXAMPLE}, next row: which rows of which variable" in said
    assert all(name in said for name in ASSETS)
    for wrong, message in (
        (["WILLOW"], "Received: WILLOW"),
        ([EXAMPLE, "--after", "1999-01-01"], "Received: 1999-01-01"),
        ([EXAMPLE, "--after", "2000-01-05"], "the model reads 8 rows. Received: 3"),
    ):
        with pytest.raises(UserError, match=message):
            predict.main([*command, *wrong])
