"""What blocks are made of, and what each part is given; laws of whole blocks are elsewhere."""

import keras
import numpy as np
import pytest

from attention_apps.attention.blocks import CausalBlock, DecoderBlock, EncoderBlock
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.reporting import hearing_states

# Sizes that no two axes share, and numbers so small that the epsilon of a norm is felt.
BATCH, LENGTH, SOURCE, DIM, ENCODED_DIM, HEADS, KEY_DIM, INNER = 2, 5, 4, 8, 7, 2, 3, 12
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(BATCH, LENGTH, DIM)) * 0.01).astype("float32")
ENCODED = RNG.normal(size=(BATCH, SOURCE, ENCODED_DIM)).astype("float32")
KEY_MASK = np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 0]], bool)
ENCODED_MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
BIAS = RNG.normal(size=(BATCH, HEADS, LENGTH, LENGTH)).astype("float32")
SIZES = {"num_heads": HEADS, "key_dim": KEY_DIM, "feedforward_dim": INNER}
INPUTS = {EncoderBlock: (X,), CausalBlock: (X,), DecoderBlock: (X, ENCODED)}


def make(kind, **options):
    keras.utils.set_random_seed(1)
    block = kind(**SIZES, **options)
    block.build(*(part.shape for part in INPUTS[kind]))
    for number, weight in enumerate(block.trainable_weights):
        rng = np.random.default_rng(number)
        weight.assign(rng.uniform(0.1, 0.9, size=weight.shape) * rng.choice([-1, 1], weight.shape))
    return block


def normed(norm, x):
    """Layer normalisation with the epsilon of the blocks."""
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / deviation * np.array(norm.gamma) + np.array(norm.beta)


def fed_forward(block, x):
    inner = normed(block.feedforward_norm, x) @ np.array(block.feedforward_inner.kernel)
    inner = np.maximum(inner + np.array(block.feedforward_inner.bias), 0)
    outer = block.feedforward_outer
    return x + inner @ np.array(outer.kernel) + np.array(outer.bias)


@pytest.mark.parametrize("options", [{}, {"key_mask": KEY_MASK}, {"score_bias": BIAS}])
@pytest.mark.parametrize("kind", [EncoderBlock, CausalBlock])
def test_a_block_is_attention_and_a_network_behind_norms_beside_residuals(kind, options):
    block = make(kind)
    inside = normed(block.self_attention_norm, X).astype("float32")
    attended = block.self_attention(inside, inside, use_causal_mask=kind is CausalBlock, **options)
    expected = fed_forward(block, X + np.array(attended))
    np.testing.assert_allclose(block(X, **options), expected, atol=1e-5)


@pytest.mark.parametrize("mask", [None, ENCODED_MASK], ids=["all", "some"])
def test_a_decoder_block_attends_across_in_between(mask):
    block = make(DecoderBlock, mechanism=parse_mechanism("general"))
    inside = normed(block.self_attention_norm, X).astype("float32")
    x = X + np.array(block.self_attention(inside, inside, use_causal_mask=True))
    asking = normed(block.cross_attention_norm, x).astype("float32")
    x = x + np.array(block.cross_attention(asking, ENCODED, key_mask=mask))
    whole = block(X, ENCODED, encoded_mask=mask)
    np.testing.assert_allclose(whole, fed_forward(block, x), atol=1e-5)
    projected = block.cross_attention.project(ENCODED, key_mask=mask)
    cache = block.self_attention.empty_cache(BATCH, LENGTH)
    for position in range(LENGTH):
        now = X[:, position : position + 1]
        output, cache, weights = block.step(now, cache, position, projected, mask)
        np.testing.assert_allclose(output[:, 0], whole[:, position], atol=1e-5)
    assert weights.shape == (BATCH, HEADS, 1, SOURCE)
    np.testing.assert_array_equal(
        np.array(weights)[:, 0, 0] > 0, np.ones((BATCH, SOURCE), bool) if mask is None else mask
    )


PARTS = ("self_attention", "self_attention_norm", "feedforward_norm", "feedforward_inner")
PARTS += ("feedforward_outer", "residual_dropout")


@pytest.mark.parametrize("kind", INPUTS)
def test_parts_have_names_and_types_of_their_block(kind):
    """Weights are saved under these names, and mixed precision reaches all of them."""
    block = make(
        kind,
        dtype="mixed_bfloat16",
        dropout_rate=0.2,
        attention_dropout_rate=0.3,
        activation="gelu",
    )
    across = ("cross_attention", "cross_attention_norm") if kind is DecoderBlock else ()
    for name in PARTS + across:
        part = getattr(block, name)
        assert part.name == name
        assert part.dtype_policy.name == "mixed_bfloat16"
    assert block.residual_dropout.rate == 0.2
    assert block.feedforward_inner.activation is keras.activations.gelu
    assert block.feedforward_inner.kernel.shape == (DIM, INNER)
    assert block.feedforward_outer.kernel.shape == (INNER, DIM)
    for name in ("self_attention", "cross_attention")[: 1 + bool(across)]:
        attention = getattr(block, name)
        assert (attention.num_heads, attention.key_dim, attention.dropout) == (HEADS, KEY_DIM, 0.3)
    assert block.supports_masking


def test_each_attention_has_its_own_mechanism():
    window, cosine = parse_mechanism("window:2"), parse_mechanism("cosine")
    block = make(DecoderBlock, mechanism=window, cross_mechanism=cosine)
    assert block.self_attention.mechanism == block.mechanism == window
    assert block.cross_attention.mechanism == block.cross_mechanism == cosine
    plain = make(DecoderBlock)
    assert plain.mechanism == plain.cross_mechanism == Mechanism()
    assert plain.self_attention.mechanism == plain.cross_attention.mechanism == Mechanism()


def test_a_block_is_called_what_it_was_given():
    config = make(EncoderBlock, name="first", trainable=False).get_config()
    assert (config["name"], config["trainable"]) == ("first", False)
    assert not make(CausalBlock, trainable=False).trainable_weights


@pytest.mark.parametrize("training", [None, False, True])
@pytest.mark.parametrize("kind", INPUTS)
def test_training_reaches_everything_that_drops(kind, training):
    block = make(kind, attention_dropout_rate=0.5)
    told = []
    block.residual_dropout = lambda tensor, training=None: told.append(training) or 0 * tensor
    # What all halves add is dropped, and the residual is left.
    np.testing.assert_array_equal(block(*INPUTS[kind], training=training), X)
    assert told == [training] * (3 if kind is DecoderBlock else 2)
    attentions = [block.self_attention, getattr(block, "cross_attention", None)]
    asked = []
    for attention in filter(None, attentions):
        call = attention.call

        def calling(*inputs, call=call, training=None, **options):
            asked.append(training)
            return call(*inputs, training=training, **options)

        attention.call = calling
    block(*INPUTS[kind], training=training)
    assert asked == [training] * len(list(filter(None, attentions)))


def test_a_step_of_decoding_drops_nothing():
    block = make(DecoderBlock, dropout_rate=0.5)
    told = []
    block.residual_dropout = lambda tensor, training=None: told.append(training) or tensor
    projected = block.cross_attention.project(ENCODED)
    block.step(X[:, :1], block.self_attention.empty_cache(BATCH, 3), 0, projected, None)
    assert told == [False]


@pytest.mark.parametrize("kind", INPUTS)
def test_states_are_told_of_once(kind):
    block, heard = make(kind), []
    with hearing_states(lambda *given: heard.append(given)):
        output = block(*INPUTS[kind])
    ((who, states),) = heard
    assert who is block
    np.testing.assert_array_equal(states, output)


@pytest.mark.parametrize("kind", INPUTS)
def test_only_training_computes_again(kind, monkeypatch):
    again = []

    def remat(compute):
        def computing(*inputs):
            again.append(len(inputs))
            return compute(*inputs)

        return computing

    monkeypatch.setattr(keras, "remat", remat)
    plain, rematerialized = make(kind), make(kind, rematerialize=True)
    expected = plain(*INPUTS[kind], training=True)
    plain(*INPUTS[kind])
    rematerialized(*INPUTS[kind])
    assert not again
    found = rematerialized(*INPUTS[kind], training=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert again == [len(INPUTS[kind])]
    if kind is not DecoderBlock:
        found = rematerialized(X, score_bias=BIAS, training=True)
        np.testing.assert_allclose(found, plain(X, score_bias=BIAS), atol=1e-6)
        assert again == [1, 2]


@pytest.mark.parametrize(
    "options",
    [
        {"dropout_rate": 0.1},
        {"attention_dropout_rate": 0.1},
        {"mechanism": parse_mechanism("gumbel")},
    ],
)
def test_what_is_drawn_anew_cannot_be_computed_again(options):
    with pytest.raises(ValueError, match="the same twice"):
        EncoderBlock(**SIZES, **options, rematerialize=True)
    EncoderBlock(**SIZES, **options)
