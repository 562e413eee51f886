"""What the multi-head layer makes, tells its algorithms, and promises; numbers are elsewhere."""

import keras
import numpy as np
import pytest
from keras import ops

from attention_apps.attention import multi_head
from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.masks import window
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.reporting import listening

# Sizes that no two axes share.
BATCH, QUERIES, KEYS, DIM, HEADS, KEY_DIM = 2, 5, 7, 6, 4, 8
RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(BATCH, QUERIES, DIM)).astype("float32")
VALUE = RNG.normal(size=(BATCH, KEYS, DIM)).astype("float32")
QUERY_MASK = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 1]], bool)
KEY_MASK = np.array([[1, 1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]], bool)
VALUE_MASK = np.array([[1, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0]], bool)


def make(text="full", query=QUERY, value=VALUE, **options):
    keras.utils.set_random_seed(1)
    layer = MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism(text), **options)
    layer.build(query.shape, value.shape)
    for weight in layer.trainable_weights:
        rng = np.random.default_rng(sum(map(ord, weight.path.partition("/")[2])))
        weight.assign(rng.uniform(0.1, 0.9, size=weight.shape) * rng.choice([-1, 1], weight.shape))
    return layer


def like_keras(layer, *shapes):
    """Keras's layer with the same weights."""
    names = ("attention_axes", "use_gate", "use_bias", "value_dim", "output_shape")
    options = {name: layer.get_config()[name] for name in names}
    theirs = keras.layers.MultiHeadAttention(HEADS, KEY_DIM, **options)
    theirs.build(*shapes)
    theirs.set_weights(layer.get_weights())
    return theirs


def test_a_layer_is_keras_with_a_mechanism():
    layer = MultiHeadAttention(HEADS, KEY_DIM, value_dim=2, dropout=0.25, name="looks")
    assert (layer.num_heads, layer.key_dim, layer.value_dim) == (HEADS, KEY_DIM, 2)
    assert (layer.dropout, layer.name, layer.mechanism) == (0.25, "looks", Mechanism())
    config = make("cosine+window:2").get_config()
    again = MultiHeadAttention.from_config(config)
    assert again.mechanism == parse_mechanism("cosine+window:2")
    assert again.get_config() == config
    plain = keras.layers.MultiHeadAttention(HEADS, KEY_DIM).get_config()
    assert set(config) == set(plain) | {"mechanism", "flash_attention"}
    assert config["flash_attention"] is None


def test_heads_that_cannot_be_shared_out_are_refused():
    with pytest.raises(ValueError, match="num_heads=4, num_key_value_heads=3"):
        MultiHeadAttention(HEADS, KEY_DIM, mechanism=Mechanism(num_key_value_heads=3))


def test_only_a_normalizer_that_draws_has_a_seed():
    assert not make().non_trainable_variables
    assert len(make("gumbel:1").non_trainable_variables) == 1
    assert not [w for w in make("span:4+qk-norm").weights if "seed" in w.path]
    first, same, other = (
        MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism("gumbel:1"), seed=seed)
        for seed in (3, 3, 4)
    )
    outputs = []
    for layer in (first, same, other):
        layer.build(QUERY.shape, VALUE.shape)
        layer.set_weights([*make().get_weights(), *layer.get_weights()[8:]])
        outputs.append(layer(QUERY, VALUE, training=True))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-3
    calm = [first(QUERY, VALUE, training=False) for _ in range(2)]
    np.testing.assert_array_equal(*calm)


@pytest.mark.parametrize("text", ["rotary", "window:2", "grouped:2", "chunked", "span:3"])
def test_what_needs_an_order_of_one_axis_is_refused_over_several(text):
    shape = (BATCH, 3, 2, DIM)
    with pytest.raises(ValueError, match="several axes"):
        make(text, np.zeros(shape), np.zeros(shape))
    make(text)


@pytest.mark.parametrize("groups", ["full", "grouped:2"])
def test_every_projection_fits_its_own_input(groups):
    layer = MultiHeadAttention(HEADS, KEY_DIM, value_dim=2, mechanism=parse_mechanism(groups))
    layer.build((None, None, 9), (None, None, 8), (None, None, 7))
    own = HEADS if groups == "full" else 2
    assert layer.query_dense.kernel.shape == (9, HEADS, KEY_DIM)
    assert layer.key_dense.kernel.shape == (7, own, KEY_DIM)
    assert layer.value_dense.kernel.shape == (8, own, 2)
    assert layer.output_dense.kernel.shape == (HEADS, 2, 9)
    layer = MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism(groups))
    layer.build((None, None, 9), (None, None, 8))
    assert layer.key_dense.kernel.shape == (8, own, KEY_DIM)


def test_projections_of_groups_are_made_as_keras_makes_them():
    options = {"kernel_initializer": "ones", "use_gate": True, "kernel_regularizer": "l2"}
    ours, theirs = (
        make(text, **options, bias_initializer="ones") for text in ("grouped:2", "full")
    )
    assert [w.path.split("/", 1)[1] for w in ours.weights] == [
        w.path.split("/", 1)[1] for w in theirs.weights
    ]
    fresh = MultiHeadAttention(HEADS, KEY_DIM, mechanism=parse_mechanism("grouped:2"), **options)
    fresh.build(QUERY.shape, VALUE.shape)
    for dense in (fresh.query_dense, fresh.key_dense, fresh.value_dense, fresh.output_dense):
        np.testing.assert_array_equal(dense.kernel, np.ones(dense.kernel.shape))
        assert dense.kernel_regularizer is not None
    assert len(fresh.losses) == 5
    bare = make("grouped:2", use_bias=False)
    assert len(bare.weights) == 4


def test_features_are_fixed_and_what_others_learn_is_not():
    assert len(make("linear:8").non_trainable_variables) == 1
    assert make("low-rank:3:9")._algorithm_weights["sequence_projection"].shape == (3, 9)
    assert make("linear:8")._algorithm_weights["random_features"].shape == (8, KEY_DIM)
    for text, count in {
        **{"full": 8, "general": 9, "span:4": 9, "relative-bias:20": 9, "qk-norm": 10},
        **{"low-rank:3:9": 9, "local-p:2": 10},
    }.items():
        assert len(make(text).trainable_variables) == count


@pytest.fixture
def told(monkeypatch):
    """What the choice of an algorithm is told of calls, and what runs an algorithm."""
    calls, runs = [], []
    choose, run = multi_head.choose_algorithm, multi_head.run_algorithm

    def choosing(mechanism, call):
        calls.append(call)
        return choose(mechanism, call)

    def running(*arguments, **options):
        runs.append(options)
        return run(*arguments, **options)

    monkeypatch.setattr(multi_head, "choose_algorithm", choosing)
    monkeypatch.setattr(multi_head, "run_algorithm", running)
    return calls, runs


def test_the_choice_of_an_algorithm_is_told_of_the_call(told):
    calls, _ = told
    make()(QUERY, VALUE)
    (plain,) = calls
    assert plain.lengths == (QUERIES, KEYS)
    assert (plain.causal, plain.scope, plain.query_mask, plain.key_mask) == (False, *[None] * 3)
    assert not any([plain.has_dense_mask, plain.has_score_bias, plain.drops, plain.is_overridden])
    pairs = np.ones((BATCH, QUERIES, KEYS), bool)
    make(sliding_window=3, dropout=0.5)(
        *(QUERY, VALUE),
        query_mask=QUERY_MASK,
        value_mask=VALUE_MASK,
        key_mask=KEY_MASK,
        attention_mask=pairs,
        use_causal_mask=True,
        training=True,
        score_bias=np.zeros((1, 1, 1, KEYS), "float32"),
    )
    full = calls[-1]
    assert (full.causal, full.scope) == (True, window(3))
    np.testing.assert_array_equal(full.query_mask, QUERY_MASK)
    np.testing.assert_array_equal(full.key_mask, KEY_MASK & VALUE_MASK)
    assert full.has_dense_mask
    assert full.has_score_bias
    assert full.drops
    make(dropout=0.5)(QUERY, VALUE)
    make()(QUERY, VALUE, training=True)
    assert not any(call.drops for call in calls[-2:])


class Halved(MultiHeadAttention):
    """Overrides what Keras documents, with Keras's arguments alone."""

    def _compute_attention(self, query, key, value, attention_mask=None, training=None):
        context, weights = super()._compute_attention(query, key, value, attention_mask, training)
        return context / 2, weights


def test_a_subclass_may_override_the_computation(told):
    calls, _ = told
    layer = Halved(HEADS, KEY_DIM)
    layer.build(QUERY.shape, VALUE.shape)
    plain = make()
    layer.set_weights(plain.get_weights())
    bias = plain.output_dense.bias
    found, whole = layer(QUERY, VALUE, key_mask=KEY_MASK), plain(QUERY, VALUE, key_mask=KEY_MASK)
    np.testing.assert_allclose(found - bias, (whole - bias) / 2, atol=1e-5)
    assert [call.is_overridden for call in calls] == [True, False]


def test_weights_are_computed_when_somebody_wants_them(told):
    _, runs = told
    layer = make("chunked:2")
    heard = []
    layer(QUERY, VALUE)
    layer(QUERY, VALUE, return_attention_scores=True)
    with listening(lambda who, what: heard.append((who, what))):
        layer(QUERY, VALUE)
    assert [run["wanted"] for run in runs] == [False, True, True]
    ((who, what),) = heard
    assert who is layer
    np.testing.assert_allclose(
        what, make()(QUERY, VALUE, return_attention_scores=True)[1], atol=1e-5
    )


PAIRS = {
    "chunked:2+rotary+qk-norm": "dense+rotary+qk-norm",
    "local+window:3+relative-bias:20": "dense+window:3+relative-bias:20",
    "local+span:4+general": "dense+span:4+general",
}


@pytest.mark.parametrize("text", PAIRS)
def test_an_algorithm_gets_what_the_dense_one_gets(text):
    masks = {"query_mask": QUERY_MASK[:, [0, 1, 2, 3, 4, 4, 4]], "key_mask": KEY_MASK}
    found, expected = (
        make(name)(VALUE, VALUE, return_attention_scores=True, use_causal_mask=True, **masks)
        for name in (text, PAIRS[text])
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_keys_of_another_length_are_placed_from_their_end():
    found, expected = (
        make(name)(QUERY, VALUE, return_attention_scores=True)
        for name in ("chunked:2+rotary", "dense+rotary")
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_places_turn_queries_and_keys_alone():
    layer = make("rotary")
    turn = layer.mechanism.position.rotate
    # The last query stands at the last key.
    query = turn(layer.query_dense(QUERY), ops.arange(KEYS - QUERIES, KEYS))
    key = turn(layer.key_dense(VALUE), ops.arange(KEYS))
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(KEY_DIM)
    masses = np.exp(scores - scores.max(-1, keepdims=True))
    weights = masses / masses.sum(-1, keepdims=True)
    context = np.einsum("bhqk,bkhd->bqhd", weights, layer.value_dense(VALUE))
    found, theirs = layer(QUERY, VALUE, return_attention_scores=True)
    np.testing.assert_allclose(theirs, weights, atol=1e-5)
    np.testing.assert_allclose(found, layer.output_dense(context), atol=1e-5)


class Step(keras.layers.Layer):
    """Asks another layer for a step, in training or not."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, query, training=None):
        return self.layer.attend(query, self.layer.project(VALUE))[0]


def test_a_step_drops_nothing_whatever_is_around_it():
    layer = make(dropout=0.5)
    np.testing.assert_array_equal(Step(layer)(QUERY, training=True), layer(QUERY, VALUE))


@pytest.mark.parametrize("text", ["full", "local+window:3"])
def test_training_drops_and_draws_and_its_absence_does_not(text):
    dropping = make(text, dropout=0.5)
    calm = dropping(VALUE, VALUE)
    np.testing.assert_array_equal(calm, dropping(VALUE, VALUE, training=False))
    np.testing.assert_allclose(calm, make(text)(VALUE, VALUE), atol=1e-6)
    assert np.abs(dropping(VALUE, VALUE, training=True) - calm).max() > 1e-2
    drawing = make(f"{text}+gumbel:1")
    calm = drawing(VALUE, VALUE)
    np.testing.assert_array_equal(calm, drawing(VALUE, VALUE, training=False))
    drawn = [drawing(VALUE, VALUE, training=True) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-2
    # What draws nothing draws nothing in training either.
    np.testing.assert_array_equal(*(make(text)(VALUE, VALUE, training=t) for t in (True, False)))


def test_spans_are_paid_for_in_training_alone():
    paying = MultiHeadAttention(
        HEADS, KEY_DIM, mechanism=Mechanism(scope=AdaptiveSpan(3, penalty=2.0))
    )
    paying(QUERY, VALUE)
    assert not paying.losses
    paying(QUERY, VALUE, training=True)
    assert [float(loss) for loss in paying.losses] == [1.0]  # Half of every span, twice.
    free = make("span:3")
    free(QUERY, VALUE, training=True)
    assert not free.losses


def weights_of(layer, *inputs, **options):
    return np.array(layer(*inputs, return_attention_scores=True, **options)[1])


def test_every_mask_forbids_what_it_says():
    layer = make(sliding_window=4)
    everything = np.ones((BATCH, HEADS, QUERIES, KEYS), bool)
    queries, keys = np.arange(QUERIES)[:, None] + KEYS - QUERIES, np.arange(KEYS)
    near = np.abs(keys - queries) < 4
    pairs = RNG.random((BATCH, QUERIES, KEYS)) < 0.7
    heads = RNG.random((BATCH, HEADS, QUERIES, KEYS)) < 0.7
    for options, allowed in [
        ({}, everything),
        ({"query_mask": QUERY_MASK}, QUERY_MASK[:, None, :, None]),
        ({"value_mask": VALUE_MASK}, VALUE_MASK[:, None, None]),
        ({"key_mask": KEY_MASK}, KEY_MASK[:, None, None]),
        ({"attention_mask": pairs}, pairs[:, None]),
        ({"attention_mask": pairs[0]}, pairs[0]),
        ({"attention_mask": heads}, heads),
        ({"attention_mask": heads, "key_mask": KEY_MASK}, heads & KEY_MASK[:, None, None]),
        ({"attention_mask": pairs, "key_mask": KEY_MASK}, (pairs & KEY_MASK[:, None])[:, None]),
        ({"use_causal_mask": True}, keys <= queries),
    ]:
        found = weights_of(layer, QUERY, VALUE, **options) > 0
        np.testing.assert_array_equal(found, everything & near & allowed)
        wide = weights_of(make(), QUERY, VALUE, **options) > 0
        np.testing.assert_array_equal(wide, everything & allowed)
    assert layer._compute_attention_mask(QUERY, VALUE).shape == (1, QUERIES, KEYS)
    assert make()._compute_attention_mask(QUERY, VALUE) is None
    scoped = np.array(make("window:3")._compute_attention_mask(QUERY, VALUE)[0])
    np.testing.assert_array_equal(scoped, np.abs(keys - queries) < 3)


def test_what_is_masked_may_be_no_number():
    layer = make()
    pairs = np.ones((BATCH, QUERIES, KEYS), bool)
    pairs[0, :, 3] = pairs[1, :, 5:] = False
    heads = np.repeat(pairs[:, None], HEADS, axis=1)
    bad = np.where(KEY_MASK[..., None], VALUE, np.float32(np.nan))
    whole = layer(QUERY, VALUE, key_mask=KEY_MASK)
    assert np.isfinite(whole).all()
    for masks in ({"key_mask": KEY_MASK}, {"attention_mask": pairs}, {"attention_mask": heads}):
        for key in (None, VALUE, bad):
            found = layer(QUERY, bad, key, **masks)
            np.testing.assert_allclose(found, whole, atol=1e-6)
    # A key that one head may see is no padding.
    heads[:, 1] = True
    assert not np.isfinite(layer(QUERY, bad, attention_mask=heads)).all()
    queries = np.where(QUERY_MASK[..., None], QUERY, np.float32(np.nan))
    found = layer(queries, VALUE, query_mask=QUERY_MASK)
    np.testing.assert_array_equal(found, layer(QUERY, VALUE, query_mask=QUERY_MASK))


def test_keys_may_be_others_than_values():
    layer = make()
    keys = np.cos(VALUE)
    for masks in ({}, {"key_mask": KEY_MASK}):
        _, weights = layer(QUERY, VALUE, keys, return_attention_scores=True, **masks)
        np.testing.assert_allclose(weights, weights_of(layer, QUERY, keys, **masks), atol=1e-6)
        value = np.where(KEY_MASK[..., None], VALUE, 0) if masks else VALUE
        context = np.einsum("bhqk,bkhd->bqhd", weights, layer.value_dense(value))
        expected = layer.output_dense(context)
        np.testing.assert_allclose(layer(QUERY, VALUE, keys, **masks), expected, atol=1e-5)


@pytest.mark.parametrize("text", ["full", "grouped:4"])
def test_a_gate_multiplies_the_context(text):
    gated = make(text, use_gate=True)
    theirs = like_keras(gated, QUERY.shape, VALUE.shape)
    np.testing.assert_allclose(gated(QUERY, VALUE), theirs(QUERY, VALUE), atol=1e-5)


def test_the_point_that_keras_documents_takes_a_causal_mask():
    layer = make("rotary")
    projected = layer.query_dense(QUERY), layer.key_dense(VALUE), layer.value_dense(VALUE)
    for mask in (None, KEY_MASK[:, None]):
        _, weights = layer._compute_attention(*projected, mask, use_causal_mask=True)
        options = {} if mask is None else {"key_mask": KEY_MASK}
        expected = weights_of(layer, QUERY, VALUE, use_causal_mask=True, **options)
        np.testing.assert_allclose(weights, expected, atol=1e-6)
    _, weights = layer._compute_attention(*projected)
    np.testing.assert_allclose(weights, weights_of(layer, QUERY, VALUE), atol=1e-6)


def test_a_bias_reaches_the_scores():
    bias = RNG.normal(size=(BATCH, HEADS, QUERIES, KEYS)).astype("float32")
    plain = weights_of(make(), QUERY, VALUE)
    masses = plain * np.exp(bias)
    expected = masses / masses.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        weights_of(make(), QUERY, VALUE, score_bias=bias), expected, atol=1e-5
    )


GRID = RNG.normal(size=(BATCH, 3, 5, DIM)).astype("float32")


@pytest.mark.parametrize("axes", [(1, 2), (2,), (1,)])
def test_attention_over_axes_is_that_of_keras(axes):
    ours = make(query=GRID, value=GRID, attention_axes=axes)
    theirs = like_keras(ours, GRID.shape, GRID.shape)
    pairs = RNG.random((BATCH, *(GRID.shape[axis] for axis in axes * 2))) < 0.8
    kept = [GRID.shape[axis] for axis in (1, 2) if axis not in axes]
    mask = pairs.reshape(BATCH, *(1 for _ in kept), 1, *pairs.shape[1:])
    for options in ({}, {"attention_mask": mask}):
        found, weights = ours(GRID, GRID, return_attention_scores=True, **options)
        expected, others = theirs(GRID, GRID, return_attention_scores=True, **options)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(weights, others, atol=1e-5)
        spec = ours.compute_output_spec(
            *(keras.KerasTensor(GRID.shape),) * 2, return_attention_scores=True
        )
        assert [tuple(one.shape) for one in spec] == [tuple(found.shape), tuple(weights.shape)]
    dropping = make(query=GRID, value=GRID, attention_axes=axes, dropout=0.5)
    assert np.abs(dropping(GRID, GRID, training=True) - ours(GRID, GRID)).max() > 1e-2
    normed = make("qk-norm", GRID, GRID, attention_axes=axes)
    vectors = normed.query_dense(GRID)
    norms = np.linalg.norm(normed._placed(vectors, "query", None), axis=-1)
    assert np.isfinite(norms).all()
    assert normed(GRID, GRID).shape == GRID.shape


def test_axes_that_keys_have_in_another_number():
    ours = make(query=GRID, value=GRID[:, :, :4], attention_axes=(2,))
    theirs = like_keras(ours, GRID.shape, GRID[:, :, :4].shape)
    found, expected = (one(GRID, GRID[:, :, :4]) for one in (ours, theirs))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    bias = np.zeros((1, 1, 1, 1), "float32")
    with pytest.raises(ValueError, match="rank 5"):
        ours(GRID, GRID, score_bias=bias)


def test_a_predicted_window_is_refused_in_one_sequence():
    with pytest.raises(ValueError, match="in its own a query knows its place"):
        make("local-p:2")(VALUE, VALUE, use_causal_mask=True)
    assert make("local-p:2")(QUERY, VALUE).shape == QUERY.shape
