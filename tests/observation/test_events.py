import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR

from attention_apps.observation.events import (
    from_event,
    mark_restart,
    read_records,
    to_event,
    write_records,
)
from attention_apps.observation.record import AttentionRecord, Axis


def record(words, title="example 0", seed=0, gold=None):
    weights = np.random.default_rng(seed).dirichlet(np.ones(6), (2, len(words)))
    return AttentionRecord(
        weights, "decoder/cross#2", Axis(words), Axis.cells(2, 3), title=title, gold=gold
    )


def write(log_dir, steps):
    """Write `{step: records}` with a writer of its own."""
    writer = tf.summary.create_file_writer(str(log_dir))
    for step, records in steps.items():
        write_records(writer, records, step)
    writer.close()


def assert_same(read, written, step):
    assert read.weights.dtype == np.float32
    np.testing.assert_allclose(read.weights, written.weights, rtol=2**-11, atol=2**-25)
    for name in ("layer", "query", "key", "title", "heads"):
        assert getattr(read, name) == getattr(written, name)
    assert read.step == step
    assert (read.gold is None) == (written.gold is None)
    if written.gold is not None:
        np.testing.assert_array_equal(read.gold, written.gold)


def test_records_come_back_from_event_files_though_the_text_changes(tmp_path):
    gold = np.zeros((2, 6))
    gold[1, 3] = 0.5
    early = [record(("ein", "Hund"), gold=gold), record(("é", "🐕", ""), "example 1", seed=1)]
    late = [record(("ein", "alter", "Hund"), seed=2), record(("x",), "example 1", seed=3).mean()]
    write(tmp_path / "run" / "attention", {0: early, 5: late})
    read = read_records(tmp_path)
    assert len(read) == 4
    for got, written, step in zip(read, early + late, (0, 0, 5, 5), strict=True):
        assert_same(got, written, step)


def test_a_plugin_can_list_and_read_the_tensors(tmp_path):
    write(tmp_path, {0: [record(("a", "b"))], 1: [record(("c",))]})
    accumulator = EventAccumulator(str(tmp_path), tensor_size_guidance={"attention": 0})
    accumulator.Reload()
    (tag,) = accumulator.PluginTagToContent("attention")
    assert tag == "attention/decoder/cross#2/example 0"
    assert accumulator.SummaryMetadata(tag).data_class == DATA_CLASS_TENSOR
    assert [event.step for event in accumulator.Tensors(tag)] == [0, 1]
    strings = accumulator.Tensors(tag)[1].tensor_proto.string_val
    assert from_event(strings, 1).query.labels == ("c",)


def steps_in_tensorboard(log_dir):
    accumulator = EventAccumulator(str(log_dir), tensor_size_guidance={"attention": 0})
    accumulator.Reload()
    (tag,) = accumulator.PluginTagToContent("attention")
    return [event.step for event in accumulator.Tensors(tag)]


def test_what_a_resumed_run_does_again_is_counted_once(tmp_path):
    first = {step: [record(("a", "b"), seed=step)] for step in range(4)}
    again = {step: [record(("a", "b"), seed=10 + step)] for step in range(2, 4)}
    write(tmp_path, first)
    mark_restart(tmp_path, 2)
    write(tmp_path, {2: again[2]})  # and is interrupted before step 3
    read = read_records(tmp_path)
    assert [got.step for got in read] == steps_in_tensorboard(tmp_path) == [0, 1, 2]
    assert_same(read[2], again[2][0], 2)

    mark_restart(tmp_path, 2)
    write(tmp_path, again)
    read = read_records(tmp_path)
    assert [got.step for got in read] == steps_in_tensorboard(tmp_path) == [0, 1, 2, 3]


def test_a_first_run_needs_no_mark(tmp_path):
    mark_restart(tmp_path / "new", 0)
    mark_restart(tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_other_summaries_are_passed_over(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        tf.summary.scalar("loss", 1.0, step=0)
        tf.summary.text("answers", "hello", step=0)
    writer.close()
    assert read_records(tmp_path) == []


def test_another_format_is_refused():
    header, weights, gold = to_event(record(("a",)))
    with pytest.raises(ValueError, match="format 2"):
        from_event([header.replace(b'"format": 1', b'"format": 2'), weights, gold], 0)
