"""What a configuration refuses, and that it does so at once."""

import subprocess
import sys
from dataclasses import replace

import pytest

from recommendation.config import DEMO, TINY, Config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
        ({"seed": -1}, "--seed must lie from 0 to 4294967295. Received: -1"),
        ({"dropout_rate": 1.0}, "--dropout-rate must lie from 0 to below 1. Received: 1.0"),
        ({"mask_rate": 0.0}, "--mask-rate must lie between 0 and 1. Received: 0.0"),
        ({"dim": 30, "num_heads": 4}, "--dim must be a multiple of --num-heads"),
        ({"dataset": "files"}, "Received: no --data-dir"),
        ({"model": "gru"}, "--model must be sasrec or bert4rec. Received: gru"),
        ({"loss": "hinge"}, "--loss must be softmax or sampled_softmax or gbce or bce"),
        ({"temperature": 0.0}, "--temperature must be above 0. Received: 0.0"),
        ({"calibration": 1.5}, "--calibration must lie from 0 to 1. Received: 1.5"),
        ({"max_length": 1}, "--max-length must be at least 2"),
        ({"batch_tokens": 10}, "--batch-tokens must hold at least one history"),
        ({"learning_rate": -1.0}, "--learning-rate cannot be negative. Received: -1.0"),
    ],
)
def test_what_cannot_work_is_refused_with_what_was_received(change, message):
    with pytest.raises(ValueError, match="Received") as refusal:
        replace(Config(), **change)
    assert message in str(refusal.value)


def test_the_small_configurations_are_of_embedded_data():
    assert TINY.dataset == DEMO.dataset == "generated"


def test_configuration_and_flags_need_no_tensorflow():
    code = (
        "import sys; import recommendation.train, recommendation.predict, "
        "recommendation.evaluate, recommendation.export; "
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
