"""Caches that grow, and caches of a fixed number of slots: both equal one call."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention import caches
from attention_apps.attention.blocks import DecoderBlock
from attention_apps.attention.decoding import beam_search
from attention_apps.attention.hypotheses import Rules
from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import parse_mechanism

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only graphs of TensorFlow change shapes"
)

BATCH, LENGTH, HEADS, DIM = 2, 6, 4, 8
X = np.random.default_rng(0).normal(size=(BATCH, LENGTH, DIM)).astype("float32")
CACHED = (
    "full",
    "rotary",
    "alibi",
    "window:3",
    "window:3+relative-keys:2",
    "relative-bias:20",
    "span:4",
    "multi-scale:2",
    "linear:16",
    "sparsemax",
    "top-k:3",
    "hard",
    "qk-norm",
    "additive",
    "grouped:2+rotary",
)


def made(text):
    keras.utils.set_random_seed(3)
    layer = MultiHeadAttention(HEADS, DIM, mechanism=parse_mechanism(text))
    layer.build(X.shape, X.shape)
    return layer


def stepped(layer, x, growing):
    """All positions one by one in a loop of a graph: outputs, weights and the size of the cache."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, LENGTH, DIM))])
    def run(x):
        cache = layer.empty_cache(ops.shape(x)[0], LENGTH + 2, growing=growing)

        def step(position, cache, outputs, rows):
            output, cache, row = layer.step(x[:, position : position + 1], cache, position)
            row = tf.pad(row, [[0, 0], [0, 0], [0, 0], [0, LENGTH + 2 - tf.shape(row)[-1]]])
            return (
                position + 1,
                cache,
                outputs.write(position, output[:, 0]),
                rows.write(position, row[:, :, 0]),
            )

        empty = [tf.TensorArray("float32", LENGTH) for _ in range(2)]
        loop = (tf.constant(0), cache, *empty)
        _, cache, outputs, rows = tf.while_loop(lambda position, *_: position < LENGTH, step, loop)
        return outputs.stack(), rows.stack(), tf.shape(cache["key"]), tf.shape(cache["value"])

    return [np.array(found) for found in run(x)]


@pytest.mark.parametrize("text", CACHED)
def test_what_grows_equals_one_call_and_holds_no_empty_slot(text):
    layer = made(text)
    whole, weights = layer(X, X, use_causal_mask=True, return_attention_scores=True)
    kept = layer.mechanism.num_key_value_heads or HEADS
    for growing, slots in ((True, LENGTH), (False, LENGTH + 2)):
        outputs, rows, *sizes = stepped(layer, X, growing)
        np.testing.assert_allclose(outputs.swapaxes(0, 1), whole, atol=2e-5)
        np.testing.assert_allclose(
            rows[..., :LENGTH].transpose(1, 2, 0, 3), np.array(weights), atol=2e-5
        )
        assert all(size.tolist() == [BATCH, kept, slots, DIM] for size in sizes)


def test_eager_code_has_all_slots_from_the_start():
    layer = made("full")
    cache = layer.empty_cache(BATCH, LENGTH, growing=True)
    assert cache["key"].shape == (BATCH, HEADS, LENGTH, DIM)


@pytest.mark.parametrize("growing", [True, False])
def test_caches_hold_the_type_that_is_asked_for(growing):
    sizes = {"key": 5, "value": 7}

    @tf.function(autograph=False)
    def added(new):
        cache = caches.empty_cache(2, 3, 4, sizes, dtype="bfloat16", growing=growing)
        empty = {name: tensor.shape[3] for name, tensor in cache.items()}
        return caches.with_position(cache, new, tf.constant(0))[0], empty

    new = {name: tf.ones((2, 1, 3, size), "bfloat16") for name, size in sizes.items()}
    cache, found = added(new)
    assert found == sizes
    for name, size in sizes.items():
        assert cache[name].dtype == "bfloat16"
        assert cache[name].shape == (2, 3, 1 if growing else 4, size)


def test_a_window_that_rolls_does_not_grow():
    with pytest.raises(ValueError, match="growing=True"):
        made("window:3").empty_cache(BATCH, LENGTH, rolling=True, growing=True)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_search_finds_the_same_with_both_and_under_xla(beam_size):
    keras.utils.set_random_seed(5)
    block = DecoderBlock(num_heads=HEADS, key_dim=DIM, feedforward_dim=8)
    block.build((None, None, DIM), (None, None, DIM))
    generator = np.random.default_rng(1)
    embedding = generator.normal(size=(7, DIM)).astype("float32") * 2
    to_logits = generator.normal(size=(DIM, 7)).astype("float32")
    encoded = generator.normal(size=(3, 5, DIM)).astype("float32")
    rules = Rules(start_id=1, end_id=2, max_length=LENGTH, length_penalty=1.0)

    def search(encoded, growing):
        projected = block.cross_attention.project(encoded)
        state = {
            "position": ops.zeros((), "int32"),
            "cache": block.self_attention.empty_cache(
                ops.shape(encoded)[0], LENGTH, growing=growing
            ),
        }

        def step(state, tokens, projected):
            x = ops.take(embedding, tokens, axis=0)[:, None]
            x, cache, weights = block.step(x, state["cache"], state["position"], projected, None)
            logits = ops.matmul(x[:, 0], to_logits)
            return logits, {"position": state["position"] + 1, "cache": cache}, weights[:, :, 0]

        return beam_search(step, state, projected, rules, beam_size=beam_size)

    eager = search(ops.convert_to_tensor(encoded), growing=True)
    assert len(np.unique(np.array(eager.tokens))) > 2
    signature = [tf.TensorSpec((None, None, DIM))]
    for growing, options in (
        (True, {"input_signature": signature}),
        (False, {"input_signature": signature}),
        (False, {"jit_compile": True}),
    ):

        def whole(encoded, growing=growing):
            return search(encoded, growing)

        found = tf.function(whole, autograph=False, **options)(tf.constant(encoded))
        for one, other in zip(found, eager, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
