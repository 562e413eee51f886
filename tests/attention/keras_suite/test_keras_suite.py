"""Keras's own attention tests, taken from the installed wheel and run against our layers."""

import importlib.util
import os
import subprocess
import sys
import types
import unittest
from pathlib import Path

import keras
import pytest
from keras.src import layers as keras_layers  # the very module that Keras's tests import

from attention_apps.attention.layers import (
    AdditiveAttention,
    Attention,
    GroupedQueryAttention,
    MultiHeadAttention,
)

FOLDER = Path(keras.__file__).parent / "src" / "layers" / "attention"
FILES = {
    "AttentionTest": "attention_test.py",
    "AdditiveAttentionTest": "additive_attention_test.py",
    "MultiHeadAttentionTest": "multi_head_attention_test.py",
    "GroupedQueryAttentionTest": "grouped_query_attention_test.py",
}
OURS = {
    "Attention": Attention,
    "AdditiveAttention": AdditiveAttention,
    "MultiHeadAttention": MultiHeadAttention,
    "GroupedQueryAttention": GroupedQueryAttention,
}

# Where our layers differ from Keras's on purpose: "Class.test" and the reason. Strict: an entry
# whose test begins to pass, or that names no test, is a failure.
EXCEPTIONS = {
    "AttentionTest.test_attention_with_dropout": (
        "expects weights after dropout; ours are those before it, as in MultiHeadAttention"
    ),
    "AttentionTest.test_attention_calculate_score_mask_with_causal_no_vmask": (
        "aligns 3 queries to the start of 4 keys; ours stand at the end, as decoding needs"
    ),
    "AttentionTest.test_attention_calculate_score_mask_with_causal_and_vmask": (
        "aligns 3 queries to the start of 4 keys; ours stand at the end, as decoding needs"
    ),
    "MultiHeadAttentionTest.test_masking_causal": (
        "aligns 5 queries to the start of 3 keys; ours stand at the end, as decoding needs"
    ),
    "MultiHeadAttentionTest.test_flash_attention_with_errors": (
        "expects weights to be refused with flash attention (JAX); ours can always be asked for"
    ),
    "GroupedQueryAttentionTest.test_masking_causal": (
        "aligns 5 queries to the start of 3 keys; ours stand at the end, as decoding needs"
    ),
    "GroupedQueryAttentionTest.test_shape_mismatch_error_query_value_dim_mismatch": (
        "refuses values of another size than queries; ours are projected, as in MultiHeadAttention"
    ),
    "GroupedQueryAttentionTest.test_flash_attention_with_errors": (
        "expects weights to be refused with flash attention (JAX); ours can always be asked for"
    ),
}


def keras_test_class(name: str, replacements: dict[str, type]) -> type[unittest.TestCase]:
    """Load one of Keras's test classes with `replacements` where it says `layers.NAME`.

    Neither the file nor Keras is changed: only the name `layers` of a private copy of the test
    module is exchanged for a namespace that falls back to Keras's.
    """
    path = FOLDER / FILES[name]
    spec = importlib.util.spec_from_file_location(f"keras_suite_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.layers = types.SimpleNamespace(**{**vars(keras_layers), **replacements})
    return getattr(module, name)


def ours(name: str) -> type[unittest.TestCase]:
    """Keras's test class `name` pointed at our layers, its exceptions expected to fail."""
    cls = keras_test_class(name, OURS)
    for exception, reason in EXCEPTIONS.items():
        class_name, test = exception.split(".")
        if class_name == name:
            setattr(cls, test, pytest.mark.xfail(reason=reason, strict=True)(getattr(cls, test)))
    # What is an error in our own tests, Keras's tests do by accident (inputs named otherwise than
    # their keys, and inside a bare `except:` that hides it).
    return pytest.mark.filterwarnings("ignore")(cls)


AttentionTest = ours("AttentionTest")
AdditiveAttentionTest = ours("AdditiveAttentionTest")
MultiHeadAttentionTest = ours("MultiHeadAttentionTest")
GroupedQueryAttentionTest = ours("GroupedQueryAttentionTest")


def test_every_exception_belongs_to_a_class_of_the_suite():
    assert {name.split(".")[0] for name in EXCEPTIONS} <= set(FILES)


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("AttentionTest", "test_attention_correctness"),
        ("AdditiveAttentionTest", "test_attention_correctness"),
        ("MultiHeadAttentionTest", "test_sliding_window"),
    ],
)
def test_suite_reaches_the_classes_put_in_its_place(name, test):
    class Intruder(keras.layers.Layer):
        def __init__(self, *args, **kwargs):
            raise RuntimeError("the intruder was reached")

    result = unittest.TestResult()
    intruders = dict.fromkeys(OURS, Intruder)
    keras_test_class(name, intruders)(test).run(result)
    assert "the intruder was reached" in result.errors[0][1]


@pytest.mark.verify
def test_suite_passes_on_jax():
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-3000:]
