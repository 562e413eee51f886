"""Attention without projections, against Keras's layers and its formula."""

import keras
import numpy as np
import pytest

from attention_apps.attention.layers import AdditiveAttention, Attention
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.reporting import listening

# Sizes that no two axes share.
BATCH, QUERIES, KEYS, DIM, VALUE_DIM = 2, 5, 7, 6, 4
RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(BATCH, QUERIES, DIM)).astype("float32")
KEY = RNG.normal(size=(BATCH, KEYS, DIM)).astype("float32")
VALUE = RNG.normal(size=(BATCH, KEYS, VALUE_DIM)).astype("float32")
QUERY_MASK = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 1]], bool)
KEY_MASK = np.array([[1, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]], bool)
VALUE_MASK = np.array([[1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]], bool)


def like_keras(layer):
    """Keras's layer of the same name with the same weights."""
    config = layer.get_config()
    config.pop("mechanism")
    theirs = getattr(keras.layers, type(layer).__name__).from_config(config)
    theirs.build([QUERY.shape, VALUE.shape, KEY.shape])
    theirs.set_weights(layer.get_weights())
    return theirs


def built(layer, seed=1):
    layer.build([QUERY.shape, VALUE.shape, KEY.shape])
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.uniform(0.3, 0.9, size=weight.shape))
    return layer


KERAS = {
    "dot": lambda: Attention(),
    "scaled": lambda: Attention(use_scale=True),
    "concat": lambda: Attention(use_scale=True, score_mode="concat"),
    "additive": lambda: AdditiveAttention(),
    "additive without a scale": lambda: AdditiveAttention(use_scale=False),
}


@pytest.mark.parametrize("name", KERAS)
def test_without_a_mechanism_it_is_what_keras_computes(name):
    ours = built(KERAS[name]())
    theirs = like_keras(ours)
    assert len(theirs.weights) == len(ours.weights)
    inputs = [QUERY, VALUE, KEY]
    for mask in (None, [None, KEY_MASK, None], [QUERY_MASK, None, None], [QUERY_MASK, KEY_MASK]):
        found = ours(inputs, mask=mask, return_attention_scores=True)
        expected = theirs(inputs, mask=mask, return_attention_scores=True)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_array_equal(ours(inputs, mask=mask), found[0])
    np.testing.assert_allclose(ours([QUERY, KEY]), theirs([QUERY, KEY]), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Attention, {"use_scale": True, "score_mode": "concat", "dropout": 0.25, "seed": 3}),
        (AdditiveAttention, {"use_scale": False, "dropout": 0.25, "seed": 3}),
        (AdditiveAttention, {"mechanism": parse_mechanism("additive+window:2")}),
        (Attention, {}),
        (AdditiveAttention, {}),
    ],
)
def test_arguments_are_those_of_keras(kind, options):
    layer = kind(name="looks", **options)
    config = layer.get_config()
    mechanism = options.get("mechanism")
    theirs = getattr(keras.layers, kind.__name__)
    plain = {name: value for name, value in options.items() if name != "mechanism"}
    expected = theirs(name="looks", **plain).get_config()
    assert {name: config[name] for name in expected} == expected
    assert set(config) == set(expected) | {"mechanism"}
    again = kind.from_config(config)
    assert (again.mechanism, layer.mechanism) == (mechanism, mechanism)
    assert again.get_config() == config


@pytest.mark.parametrize("text", ["dot", "general+soft-cap:2", "scaled_dot+sparsemax", "cosine"])
def test_a_mechanism_scores_caps_and_normalises(text):
    mechanism = parse_mechanism(text)
    layer = built(Attention(mechanism=mechanism))
    products = np.einsum("bqd,bkd->bqk", QUERY, KEY)
    if "general" in text:
        (matrix,) = layer.trainable_weights
        assert matrix.shape == (1, DIM, DIM)
        products = 2 * np.tanh(np.einsum("bqd,de,bke->bqk", QUERY, matrix[0], KEY) / 2)
    elif "scaled" in text:
        products = products / np.sqrt(DIM)
    elif "cosine" in text:
        (temperature,) = layer.trainable_weights
        assert temperature.shape[0] == 1
        lengths = np.linalg.norm(QUERY, axis=-1)[..., None] * np.linalg.norm(KEY, axis=-1)[:, None]
        angles = products / lengths
        found = layer([QUERY, VALUE, KEY], return_attention_scores=True)[1]
        # The logarithm of weights is the cosine by one factor, up to what a row has in common.
        logs = np.log(np.array(found))
        logs, angles = (one - one.mean(-1, keepdims=True) for one in (logs, angles))
        factor = (logs * angles).sum() / (angles**2).sum()
        np.testing.assert_allclose(logs, factor * angles, atol=1e-4)
        return
    context, weights = layer([QUERY, VALUE, KEY], return_attention_scores=True)
    expected = np.array(mechanism.normalizer(products.astype("float32")))
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    np.testing.assert_allclose(context, np.einsum("bqk,bkd->bqd", expected, VALUE), atol=1e-5)


@pytest.mark.parametrize("mechanism", [None, parse_mechanism("dot"), parse_mechanism("window:3")])
@pytest.mark.parametrize("causal", [False, True])
def test_every_mask_forbids_what_it_says(mechanism, causal):
    layer = Attention(mechanism=mechanism)
    places, keys = np.arange(QUERIES)[:, None] + KEYS - QUERIES, np.arange(KEYS)
    allowed = np.ones((BATCH, QUERIES, KEYS), bool)
    if mechanism == parse_mechanism("window:3"):
        allowed &= np.abs(keys - places) < 3
    if causal:
        allowed &= keys <= places
    # Keys of another length than values have no meaning; masks of both are one.
    for mask, kept in [
        (None, True),
        ([None, VALUE_MASK], VALUE_MASK[:, None]),
        ([None, None, KEY_MASK], KEY_MASK[:, None]),
        ([QUERY_MASK, VALUE_MASK, KEY_MASK], (VALUE_MASK & KEY_MASK)[:, None]),
    ]:
        options = {"use_causal_mask": True} if causal else {}
        context, weights = layer(
            [QUERY, VALUE, KEY], mask=mask, return_attention_scores=True, **options
        )
        np.testing.assert_array_equal(np.array(weights) > 0, allowed & kept)
        expected = np.einsum("bqk,bkd->bqd", weights, VALUE)
        if mask is not None and mask[0] is not None:
            expected = np.where(mask[0][..., None], expected, 0)
        np.testing.assert_allclose(context, expected, atol=1e-5)
        assert context.dtype == "float32"


def test_what_is_masked_may_be_no_number():
    layer = Attention()
    key, value = (np.where(KEY_MASK[..., None], one, np.float32(np.nan)) for one in (KEY, VALUE))
    masks = [QUERY_MASK.astype("float32"), None, KEY_MASK]
    expected = layer([QUERY, VALUE, KEY], mask=masks)
    np.testing.assert_array_equal(layer([QUERY, value, key], mask=masks), expected)
    found = layer([QUERY, VALUE, KEY], mask=[None, KEY_MASK.astype("float32")])
    np.testing.assert_allclose(found, layer([QUERY, VALUE, KEY], mask=[None, KEY_MASK]), atol=1e-6)


def test_a_mask_of_keys_alone_may_be_given_to_the_scores():
    """Keras documents the method: a mask of two axes is one of keys."""
    layer = Attention()
    scores = RNG.normal(size=(BATCH, QUERIES, KEYS)).astype("float32")
    one, other = (
        layer._apply_scores(scores, VALUE, scores_mask=mask)
        for mask in (KEY_MASK, KEY_MASK[:, None])
    )
    np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_array_equal(np.array(one[1]) > 0, np.repeat(KEY_MASK[:, None], QUERIES, 1))
    # Nothing is dropped where nobody speaks of training.
    dropping = Attention(dropout=0.5)._apply_scores(scores, VALUE, scores_mask=KEY_MASK)
    np.testing.assert_array_equal(dropping[0], one[0])
    pairs = RNG.random((BATCH, QUERIES, KEYS)) < 0.7
    weights = layer._apply_scores(scores, VALUE, scores_mask=pairs)[1]
    np.testing.assert_array_equal(np.array(weights) > 0, pairs)


def test_whoever_listens_hears_one_head_and_nothing_changes():
    layer = Attention(dropout=0.5)
    heard = []
    with listening(lambda who, what: heard.append((who, what))):
        context, weights = layer([QUERY, VALUE, KEY], return_attention_scores=True, training=True)
    ((who, what),) = heard
    assert who is layer
    np.testing.assert_array_equal(what, weights[:, None])
    # Before dropout: rows sum to 1.
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, atol=1e-6)
    assert np.abs(context - np.einsum("bqk,bkd->bqd", weights, VALUE)).max() > 1e-2


def test_dropout_and_noise_are_for_training():
    inputs = [QUERY, VALUE, KEY]
    dropping, plain = Attention(dropout=0.5, seed=1), Attention()
    calm = plain(inputs)
    for same in (plain(inputs, training=True), dropping(inputs), dropping(inputs, training=False)):
        np.testing.assert_array_equal(same, calm)
    once, again = (dropping(inputs, training=True) for _ in range(2))
    assert np.abs(once - again).max() > 1e-2
    twin = Attention(dropout=0.5, seed=1)
    np.testing.assert_array_equal(twin(inputs, training=True), once)
    # Half of the weights are dropped, the others doubled.
    ones = [QUERY, np.repeat(np.eye(KEYS, dtype="float32")[None], BATCH, 0), KEY]
    kept = np.array(Attention(dropout=0.5, seed=1)(ones, training=True))
    whole = np.array(plain(ones))
    assert 0.2 < (kept == 0).mean() < 0.8
    np.testing.assert_allclose(kept[kept > 0], 2 * whole[kept > 0], rtol=1e-5)

    drawing = Attention(mechanism=parse_mechanism("dot+gumbel:1"))
    first, second = (drawing(inputs, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-2
    np.testing.assert_array_equal(drawing(inputs), drawing(inputs, training=False))
    assert len(drawing.non_trainable_variables) == 1
    for still in (Attention(), Attention(mechanism=parse_mechanism("dot"))):
        assert not still.non_trainable_variables
        np.testing.assert_array_equal(still(inputs, training=True), still(inputs))


def test_weights_of_half_precision_are_float32_and_the_context_is_not():
    layer = Attention(dtype="bfloat16")
    context, weights = layer([QUERY, VALUE, KEY], return_attention_scores=True)
    assert (context.dtype, weights.dtype) == ("bfloat16", "float32")


@pytest.mark.parametrize("text", ["dot", "additive"])
def test_symbolic_shapes_are_those_of_tensors(text):
    kind = Attention if text == "dot" else AdditiveAttention
    layer = kind(mechanism=parse_mechanism(text), dtype="bfloat16")
    inputs = [keras.KerasTensor((None, *one.shape[1:])) for one in (QUERY, VALUE, KEY)]
    alone = layer.compute_output_spec(inputs)
    assert (tuple(alone.shape), alone.dtype) == ((None, QUERIES, VALUE_DIM), "bfloat16")
    output, weights = layer.compute_output_spec(inputs, return_attention_scores=True)
    assert (tuple(output.shape), output.dtype) == ((None, QUERIES, VALUE_DIM), "bfloat16")
    assert (tuple(weights.shape), weights.dtype) == ((None, QUERIES, KEYS), "float32")


@pytest.mark.parametrize("text", ["rotary", "relative-bias", "chunked", "span:3", "multi-scale:2"])
def test_what_needs_heads_is_refused(text):
    with pytest.raises(ValueError, match="Use MultiHeadAttention"):
        Attention(mechanism=parse_mechanism(text))


@pytest.mark.parametrize("text", ["qk-norm", "grouped:1", "local-p:2", "linear", "low-rank:2:9"])
def test_what_has_no_projections_is_refused(text):
    with pytest.raises(ValueError, match="A layer without projections"):
        Attention(mechanism=parse_mechanism(text))


def test_calls_are_those_that_keras_takes():
    with pytest.raises(ValueError, match="must be called on a list"):
        Attention().call(QUERY)
    with pytest.raises(ValueError, match="mask must be a list"):
        Attention().call([QUERY, KEY], mask=KEY_MASK)
    with pytest.raises(ValueError, match="length 2 or 3"):
        Attention().call([QUERY])
    with pytest.raises(ValueError, match="mask must be a list"):
        Attention().compute_output_spec(
            [keras.KerasTensor((2, 3, 4)), keras.KerasTensor((2, 3, 4))], mask=KEY_MASK
        )
    with pytest.raises(ValueError, match="scores additively"):
        AdditiveAttention(mechanism=Mechanism(scoring="general"))
    dense = Attention(mechanism=parse_mechanism("dense+dot"))
    np.testing.assert_allclose(dense([QUERY, KEY]), Attention()([QUERY, KEY]), atol=1e-6)
