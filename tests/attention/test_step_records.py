"""What a loop records is what its steps handed out, and zero where it ended early."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention.step_records import StepRecord

VALUES = np.random.default_rng(0).normal(size=(5, 3, 2)).astype("float32")


def recorded(values, num_recorded):
    record = StepRecord(len(VALUES), ops.shape(values)[1:])

    def body(step, state):
        return step + 1, record.written(state, step, values[step])

    first = (ops.convert_to_tensor(0, "int32"), record.empty())
    _, state = ops.while_loop(lambda step, _: step < num_recorded, body, first)
    return record.stacked(state)


@pytest.mark.parametrize("num_recorded", [0, 2, 5])
def test_steps_that_were_recorded_stand_and_others_are_zero(num_recorded):
    expected = np.where(np.arange(5)[:, None, None] < num_recorded, VALUES, 0)

    def whole(values):
        return recorded(values, num_recorded)

    ways = [whole]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        unknown = [tf.TensorSpec((5, None, None))]
        for options in ({}, {"input_signature": unknown}, {"jit_compile": True}):
            ways.append(tf.function(whole, autograph=False, **options))
    for way in ways:
        np.testing.assert_array_equal(way(ops.convert_to_tensor(VALUES)), expected)


def test_a_list_takes_no_room_before_it_is_filled():
    if keras.backend.backend() == "tensorflow":
        assert len(StepRecord(5, (3, 2)).empty().shape) == 0


def test_backends_that_write_in_place_record_in_a_buffer(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    record = StepRecord(5, (3, 2), "int32")
    state, expected = record.empty(), np.zeros((5, 3, 2), "int32")
    assert tuple(state.shape) == expected.shape
    for step in (1, 3):
        expected[step] = 10 * step + np.arange(6).reshape(3, 2)
        state = record.written(state, step, ops.convert_to_tensor(expected[step]))
    assert record.stacked(state).dtype == "int32"
    np.testing.assert_array_equal(record.stacked(state), expected)


def test_a_graph_knows_how_many_steps_there_are():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() == "tensorflow":
        found = []
        whole = tf.function(lambda values: found.append(recorded(values, 2)), autograph=False)
        whole(tf.constant(VALUES))
        assert found[0].shape[0] == len(VALUES)
