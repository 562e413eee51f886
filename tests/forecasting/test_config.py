"""What a configuration refuses, and that it does so at once."""

import subprocess
import sys
from dataclasses import replace

import pytest

from forecasting.config import DEMO, TINY, Config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
        ({"seed": -1}, "--seed must lie from 0 to 4294967295. Received: -1"),
        ({"dropout_rate": 1.0}, "--dropout-rate must lie from 0 to below 1. Received: 1.0"),
        ({"learning_rate": -1.0}, "--learning-rate cannot be negative. Received: -1.0"),
        ({"dim": 30, "num_heads": 4}, "--dim must be a multiple of --num-heads"),
        ({"lookback": 30, "patch_length": 16}, "--lookback must be a multiple of --patch-length"),
        ({"dataset": "files"}, "Received: no --data-dir"),
        ({"context": "world"}, "--context must be own or market. Received: world"),
        ({"target": "levels", "context": "market"}, "Received: --target levels"),
        ({"start": "spread", "loss": "squared"}, "Received: --target returns --loss squared"),
        ({"start": "spread", "target": "volatility"}, "Received: --target volatility"),
        ({"target": "prices"}, "--target must be returns or volatility or levels"),
        ({"form": "space"}, "--form must be time or variables or both. Received: space"),
        ({"form": "variables"}, "--form variables attends in self-attention blocks alone"),
        ({"time_attention": "cosine"}, "--time-attention is of no block of --form both with"),
        (
            {"form": "variables", "num_layers": 1, "time_attention": "cosine"},
            "--time-attention is of no block of --form variables with --num-layers 1",
        ),
        (
            {"num_layers": 1, "variable_attention": "cosine"},
            "--variable-attention is of no block of --form both",
        ),
        ({"quantiles": (0.1, 0.9)}, "must rise between 0 and 1 and hold 0.5. Received: 0.1 0.9"),
        ({"quantiles": (0.5, 0.1)}, "must rise between 0 and 1 and hold 0.5. Received: 0.5 0.1"),
        ({"quantiles": (0.5, 1.0)}, "must rise between 0 and 1 and hold 0.5. Received: 0.5 1.0"),
        ({"split_rows": (10, 10)}, "--split-rows takes the rows of the training, validation"),
        ({"validation_share": 0.5, "test_share": 0.5}, "must leave rows to train on"),
        (
            {"past_columns": ("a",), "known_columns": ("a",)},
            "A column has one role. Received: a with several",
        ),
        ({"past_columns": ("Volume", "rain")}, "may be Volume, which it holds beside its prices"),
        ({"static_columns": ("sector",)}, "goes with --dataset files. Received: --dataset gen"),
    ],
)
def test_what_cannot_work_is_refused_with_what_was_received(change, message):
    with pytest.raises(ValueError, match="Received") as refusal:
        replace(Config(), **change)
    assert message in str(refusal.value)


def test_the_small_configurations_are_valid_and_of_embedded_data():
    assert TINY.dataset == DEMO.dataset == "generated"


def test_a_single_forecast_has_no_quantiles():
    assert Config().levels == Config().quantiles
    assert Config(loss="squared").levels == ()


def test_configuration_and_flags_need_no_tensorflow():
    code = (
        "import sys; import forecasting.train, forecasting.predict, forecasting.evaluate, "
        "forecasting.export; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
