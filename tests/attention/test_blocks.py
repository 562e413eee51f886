"""Transformer blocks: masks, causality, cached steps, serialisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.attention.blocks import CausalBlock, DecoderBlock, EncoderBlock
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.reporting import listening

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 8)).astype("float32")
ENCODED = RNG.normal(size=(2, 4, 8)).astype("float32")
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
SIZES = {"num_heads": 2, "key_dim": 4, "feedforward_dim": 12, "dropout_rate": 0.3}


def decoder(text="rotary"):
    keras.utils.set_random_seed(0)
    block = DecoderBlock(mechanism=parse_mechanism(text), **SIZES)
    block.build(X.shape, ENCODED.shape)
    return block


def test_padding_in_the_encoder_cannot_matter():
    block = EncoderBlock(**SIZES)
    plain = np.array(block(ENCODED, key_mask=MASK))
    spoiled = np.where(MASK[..., None], ENCODED, 1e6).astype("float32")
    np.testing.assert_array_equal(np.array(block(spoiled, key_mask=MASK))[MASK], plain[MASK])
    assert np.abs(np.array(block(ENCODED))[1, 0] - plain[1, 0]).max() > 1e-4


def test_a_decoder_block_cannot_see_the_future_whatever_its_mechanism():
    for text in ("full", "window:2", "cosine"):
        block = decoder(text)
        x = tf.Variable(X)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(block(x, ENCODED)[:, 2] ** 2)
        gradient = np.abs(tape.gradient(loss, x).numpy()).sum(axis=(0, 2))
        assert not gradient[3:].any()
        assert gradient[1:3].all()


@pytest.mark.parametrize("text", ["full", "window:2", "cosine", "rotary"])
def test_a_causal_block_sees_neither_the_future_nor_padding(text):
    block = CausalBlock(mechanism=parse_mechanism(text), **SIZES)
    block.build(X.shape)
    real = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]], bool)
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(block(x, key_mask=real)[:, 3] ** 2)
    gradient = np.abs(tape.gradient(loss, x).numpy()).sum(axis=2)
    assert not gradient[:, 4].any()
    assert not gradient[1, :2].any()
    assert gradient[:, 2:4].all()
    assert bool(gradient[0, :2].all()) == (text != "window:2")


@pytest.mark.parametrize("kind", [EncoderBlock, CausalBlock])
def test_a_bias_turns_attention_to_a_key(kind):
    block = kind(**SIZES)
    block.build(X.shape)
    heard = []
    bias = np.zeros((1, 1, 1, 5), "float32")
    bias[..., 1] = 50
    with listening(lambda layer, weights: heard.append(np.array(weights))):
        block(X, score_bias=bias)
    (weights,) = heard
    assert (weights[:, :, 1:, 1] > 0.99).all()


@pytest.mark.parametrize("text", ["full", "rotary", "window:2"])
def test_cached_steps_equal_one_call(text):
    block = decoder(text)
    whole = np.array(block(X, ENCODED, encoded_mask=MASK))
    cache = block.self_attention.empty_cache(2, 7)
    projected = block.cross_attention.project(ENCODED, key_mask=MASK)
    for position in range(X.shape[1]):
        output, cache, weights = block.step(
            X[:, position : position + 1], cache, position, projected, MASK
        )
        np.testing.assert_allclose(np.array(output)[:, 0], whole[:, position], atol=1e-5)
        assert not np.array(weights)[1, :, 0, 2:].any()


def test_one_step_of_training_changes_every_weight():
    blocks = (EncoderBlock(**SIZES), (X,)), (CausalBlock(**SIZES), (X,)), (decoder(), (X, ENCODED))
    for block, inputs in blocks:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(block(*inputs, training=True) ** 3)
        gradients = tape.gradient(loss, block.trainable_variables)
        for variable, gradient in zip(block.trainable_variables, gradients, strict=True):
            # The bias of a key shifts all scores of a row alike: softmax cannot feel it.
            if not variable.path.endswith("key/bias"):
                assert np.abs(np.array(gradient)).max() > 1e-6, variable.path


def test_dropout_acts_in_training_alone():
    block = decoder()
    np.testing.assert_array_equal(block(X, ENCODED), block(X, ENCODED, training=False))
    assert np.abs(np.array(block(X, ENCODED, training=True) - block(X, ENCODED))).max() > 1e-2


def test_blocks_survive_serialisation():
    for block, shapes in (
        (EncoderBlock(mechanism=parse_mechanism("cosine"), **SIZES), (X.shape,)),
        (CausalBlock(mechanism=parse_mechanism("rotary"), **SIZES), (X.shape,)),
        (decoder("window:3"), (X.shape, ENCODED.shape)),
    ):
        if not block.built:
            block.build(*shapes)
        again = type(block).from_config(block.get_config())
        again.build(*shapes)
        again.set_weights(block.get_weights())
        inputs = [np.ones(shape, "float32") for shape in shapes]
        np.testing.assert_array_equal(block(*inputs), again(*inputs))
        assert again.mechanism == block.mechanism


@pytest.mark.parametrize("text", ["rotary", "window:4"])
def test_cross_attention_takes_no_positions(text):
    with pytest.raises(ValueError, match="two sequences"):
        DecoderBlock(cross_mechanism=parse_mechanism(text), **SIZES)


BLOCKS = {
    EncoderBlock: (X,),
    CausalBlock: (X,),
    DecoderBlock: (X, ENCODED),
}


def with_and_without(kind):
    """Two blocks of one kind with the same weights, the second computed again backwards."""
    sizes = {**SIZES, "dropout_rate": 0.0}
    pair = [kind(**sizes), kind(**sizes, rematerialize=True)]
    for block in pair:
        block.build(*(part.shape for part in BLOCKS[kind]))
    pair[1].set_weights(pair[0].get_weights())
    return pair


def gradients(block, inputs, graph, **options):
    watched = [tf.Variable(part) for part in inputs]

    def passes():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(block(*watched, training=True, **options) ** 3)
        return tape.gradient(loss, [*watched, *block.trainable_variables])

    return (tf.function(passes) if graph else passes)()


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("kind", BLOCKS)
def test_computing_again_gives_the_same_gradients(kind, graph):
    options = {}
    if kind is not DecoderBlock:
        options = {"score_bias": tf.ones((1, 2, 5, 5)), "key_mask": np.ones((2, 5), bool)}
    plain, again = (
        gradients(block, BLOCKS[kind], graph, **options) for block in with_and_without(kind)
    )
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_nothing_is_kept_that_is_computed_again():
    counts = []
    for block in with_and_without(EncoderBlock):

        @tf.function
        def passes(x, block=block):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(block(x, training=True) ** 3)
            return tape.gradient(loss, block.trainable_variables)

        graph = passes.get_concrete_function(tf.constant(X)).graph
        counts.append(sum(operation.type == "Softmax" for operation in graph.get_operations()))
    assert counts == [1, 2]


@pytest.mark.parametrize(
    "text",
    ["sparsemax", "hard", "span:8", "multi-scale:2", "linear:16", "chunked:2", "local+window:2"],
)
def test_blocks_attend_by_any_mechanism(text):
    for kind, inputs in BLOCKS.items():
        block = kind(**SIZES, mechanism=parse_mechanism(text))
        output = np.array(block(*inputs))
        assert output.shape == X.shape
        assert np.isfinite(output).all()
        config = block.get_config()
        assert kind.from_config(config).mechanism == block.mechanism
