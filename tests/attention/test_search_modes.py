"""Searches in every mode that a model may be run in, and on every backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from attention_apps.attention.decoding import beam_search, greedy, sample
from attention_apps.attention.hypotheses import Decoded
from tests.attention.toy_search import (
    END,
    PAD,
    SIZES,
    Toy,
    needs_tensorflow,
    rules,
    same,
    table_step,
)

SEARCHES = {
    "greedy": (greedy, {}),
    "sample": (sample, {"seed": 8, "top_p": 0.9}),
    "beam": (beam_search, {"beam_size": 4, "num_hypotheses": 3}),
}


def traceable(toy, search, options, ours):
    """The search as a function of tensors; the source length is that of `source`."""

    def step(state, tokens, encoded):
        logits, state, spelled = toy.step(state, tokens, encoded)
        seen = ops.softmax(encoded["source"] * ops.cast(tokens, "float32")[:, None], axis=-1)
        return logits, state, ops.concatenate([spelled[:, 0], seen], axis=-1)

    def decode(bias, source, limits, prefix):
        batch = ops.shape(bias)[0]
        encoded = {"bias": bias, "key": ops.zeros((batch, 1)), "source": source}
        return search(
            step, toy.start(batch), encoded, ours, length_limit=limits, prefix=prefix, **options
        )

    return decode


def mode_inputs(batch, source_length):
    generator = np.random.default_rng(batch)
    prefix = np.zeros((batch, 2), "int32")
    prefix[::2, 0] = 3
    return [
        ops.convert_to_tensor(value)
        for value in (
            Toy().encoded(batch)["bias"],
            generator.normal(size=(batch, source_length)).astype("float32"),
            generator.integers(1, 8, size=batch).astype("int32"),
            prefix,
        )
    ]


@needs_tensorflow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "beam" else pytest.mark.verify) for name in SEARCHES],
)
def test_eager_graph_xla_and_saved_model_agree(name, tmp_path):
    import tensorflow as tf

    search, options = SEARCHES[name]
    decode = traceable(Toy(23, length=7), search, options, rules(max_length=7, forbidden=(PAD,)))
    signature = [
        tf.TensorSpec(shape, dtype)
        for shape, dtype in (
            ((None, SIZES["vocabulary"]), tf.float32),
            ((None, None), tf.float32),
            ((None,), tf.int32),
            ((None, None), tf.int32),
        )
    ]
    module = tf.Module()
    module.decode = tf.function(
        lambda *inputs: decode(*inputs)._asdict(), input_signature=signature
    )
    tf.saved_model.save(module, tmp_path, signatures={"serving_default": module.decode})
    loaded = tf.saved_model.load(tmp_path).signatures["serving_default"]
    names = list(loaded.structured_input_signature[1])
    by_xla = tf.function(decode, jit_compile=True)
    by_xla_of_any_size = tf.function(decode, jit_compile=True, input_signature=signature)
    for batch, source_length, compiled in ((5, 3, by_xla), (2, 6, by_xla_of_any_size)):
        inputs = mode_inputs(batch, source_length)
        eager = decode(*inputs)
        assert len(set(np.array(eager.lengths).flat)) > 1
        same(eager, Decoded(**module.decode(*inputs)))
        same(eager, Decoded(**loaded(**dict(zip(sorted(names), inputs, strict=True)))))
        same(eager, compiled(*inputs))
    static = module.decode.get_concrete_function().structured_outputs["weights"].shape
    assert static[1:3] == (options.get("num_hypotheses", 1), 7)


@needs_tensorflow
def test_a_batch_of_none_gives_a_batch_of_none():
    import tensorflow as tf

    decode = traceable(Toy(length=7), *SEARCHES["beam"], rules(max_length=7))
    graph = tf.function(decode, reduce_retracing=True)
    for compute in (decode, graph):
        decoded = compute(*mode_inputs(0, 3))
        assert decoded.tokens.shape == (0, 3, 7)
        assert decoded.weights.shape[:3] == (0, 3, 7)


@needs_tensorflow
def test_the_loop_stops_when_no_row_can_improve():
    steps = []

    def counted(probabilities):
        step = table_step(probabilities)

        def counting(state, tokens, encoded):
            steps.append(int(tokens.shape[0]))
            return step(state, tokens, encoded)

        steps.clear()
        return counting

    ends_at_once = np.full((4, 4), 0.01)
    ends_at_once[:, END] = 0.97
    greedy(counted(ends_at_once), (), ops.zeros((3, 1)), rules(max_length=30))
    assert steps == [1, 3]  # the one row that tells the shapes, and one step
    beam_search(counted(ends_at_once), (), ops.zeros((3, 1)), rules(max_length=30), beam_size=2)
    assert steps == [1, 6]
    beam_search(
        counted(np.full((4, 4), 0.25)),
        (),
        ops.zeros((3, 1)),
        rules(max_length=30, forbidden=(END,)),
        beam_size=2,
        length_limit=np.array([2, 5, 3]),
    )
    assert steps == [1] + [6] * 5


@needs_tensorflow
def test_a_state_that_loses_its_static_shape_still_loops():
    import tensorflow as tf

    def step(state, tokens, encoded):
        blurred = tf.ensure_shape(state, [None, 4])[:, : tf.shape(encoded)[1]]
        return ops.ones((ops.shape(tokens)[0], 5)), blurred, encoded

    @tf.function(input_signature=[tf.TensorSpec([None, None])])
    def decode(encoded):
        state = ops.zeros((ops.shape(encoded)[0], 4))
        return beam_search(step, state, encoded, rules(), beam_size=2).lengths

    assert decode(tf.zeros((3, 4))).shape == (3, 1)


def report_of_all_searches():
    """What all searches say, as JSON; the process of another backend prints it."""
    found = {}
    for name, (search, options) in SEARCHES.items():
        decode = traceable(Toy(29, length=7), search, options, rules(max_length=7))
        decoded = decode(*mode_inputs(6, 3))
        found[name] = {field: np.array(leaf).tolist() for field, leaf in decoded._asdict().items()}
    return json.dumps(found)


@pytest.mark.verify
def test_jax_passes_such_tests_and_says_the_same():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    here = Path(__file__).resolve()

    def python(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=here.parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # The tests that ask least of JAX's compiler, which starts anew for every loop.
    few = "(true_best and 0.6) or after_the_end_add or frequencies or prefix_may"
    files = (str(here.with_name(f"test_{name}.py")) for name in ("decoding", "drawn_sequences"))
    passed = python("-m", "pytest", "-q", "-k", few, *files)
    assert "4 passed" in passed
    printed = python(
        "-c",
        "import runpy, sys; sys.path.insert(0, '.');"
        f"print(runpy.run_path({str(here)!r})['report_of_all_searches']())",
    )
    theirs, ours = json.loads(printed), json.loads(report_of_all_searches())
    for name in SEARCHES:
        same(*(Decoded(**{f: np.array(v) for f, v in r[name].items()}) for r in (ours, theirs)))
