"""What a configuration refuses, and that it does so at once."""

import subprocess
import sys
from dataclasses import replace

import pytest

from translation.config import DEMO, TINY, Config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1, or 0 where --self-critical-epochs go on"),
        ({"epochs": 0, "init_from": "RUN"}, "--init-from. Received: 0"),
        (
            {"self_critical_epochs": 1, "r_drop_weight": 5.0},
            "Received: --self-critical-epochs 1 --r-drop-weight 5.0",
        ),
        ({"seed": -1}, "--seed must lie from 0 to 4294967295. Received: -1"),
        ({"dropout_rate": 1.0}, "--dropout-rate must lie from 0 to below 1. Received: 1.0"),
        ({"dim": 30, "num_heads": 4}, "--dim must be a multiple of --num-heads"),
        ({"dataset": "files"}, "Received: no --data-dir"),
        ({"precision": "float16"}, "--precision must be float32 or mixed_bfloat16"),
        ({"source_language": "de"}, "must differ. Received: de twice"),
        (
            {"source_language": "fr"},
            "has English (en) and German (de). Received: --source-language",
        ),
        ({"learning_rate": -1.0}, "--learning-rate cannot be negative. Received: -1.0"),
        ({"bleu_tokenizer": "intl"}, "--bleu-tokenizer must be none or 13a. Received: intl"),
    ],
)
def test_what_cannot_work_is_refused_with_what_was_received(change, message):
    with pytest.raises(ValueError, match="Received") as refusal:
        replace(Config(), **change)
    assert message in str(refusal.value)


def test_the_small_configurations_are_valid_and_of_embedded_data():
    assert TINY.dataset == DEMO.dataset == "generated"


def test_configuration_and_flags_need_no_tensorflow():
    code = (
        "import sys; import translation.train, translation.predict, translation.evaluate, "
        "translation.export; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
