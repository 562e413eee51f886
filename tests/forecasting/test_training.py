"""What training keeps, and that the command refuses in one line."""

import subprocess
import sys

import numpy as np
import pytest

from attention_apps.running.command import USER_ERROR
from attention_apps.running.flags import RunOptions
from attention_apps.running.runs import load_run
from benchmarks.demo import ROOT
from forecasting.calibration import forecast_all
from forecasting.config import Config
from forecasting.data import load
from forecasting.model import build_model
from forecasting.starting import start_as_ridge
from forecasting.train import train


def test_a_start_that_no_epoch_beats_is_kept(asset_folder, tmp_path):
    config = Config(
        dataset="files",
        data_dir=str(asset_folder),
        target="volatility",
        loss="squared",
        lookback=8,
        horizon=1,
        dim=8,
        num_heads=2,
        feedforward_dim=8,
        start="ridge",
        departure="free",
        learning_rate=1.0,
        epochs=1,
    )
    metrics = train(config, RunOptions(runs_dir=tmp_path))
    assert metrics["best_epoch"] == -1
    assert metrics["val_loss"] == metrics["val_loss_start"] < metrics["val_loss_walk"]
    kept = load_run(metrics["run_dir"], "forecasting", Config).model
    splits = load(config)
    fresh = build_model(config, splits)
    start_as_ridge(fresh, splits.windows, splits.parts)
    origins = splits.parts.origins("test")
    np.testing.assert_allclose(
        forecast_all(kept, splits.windows, origins),
        forecast_all(fresh, splits.windows, origins),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ("2020-01-03,1,1,1,one,1\n", "B.csv, line 3, column Close, must hold a number."),
        pytest.param(
            "2020-01-01,1,1,1,1,1\n",
            "B.csv, line 3, column Date: dates must rise.",
            marks=pytest.mark.verify,
        ),
    ],
)
def test_the_command_says_what_is_wrong_in_one_line(tmp_path, spoiled, message):
    (tmp_path / "B.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2020-01-02,1,1,1,1,1\n" + spoiled
    )
    flags = ["--dataset=files", f"--data-dir={tmp_path}", f"--runs-dir={tmp_path / 'runs'}"]
    done = subprocess.run(
        [sys.executable, "-m", "forecasting.train", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == USER_ERROR
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
