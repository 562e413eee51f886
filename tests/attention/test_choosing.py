"""Which algorithm answers a call, which refuses it, and what the algorithm is given."""

import numpy as np
import pytest
from keras import ops

from attention_apps.attention import choosing
from attention_apps.attention.algorithms.choices import (
    BlockSparse,
    Chunked,
    Dense,
    Linear,
    Local,
    LowRank,
)
from attention_apps.attention.algorithms.dense import dense_attention
from attention_apps.attention.algorithms.linear import implied_weights, linear_attention
from attention_apps.attention.algorithms.low_rank import low_rank_attention
from attention_apps.attention.algorithms.pooled import pooled_attention
from attention_apps.attention.choosing import Call, choose_algorithm, run_algorithm
from attention_apps.attention.masks import Mask, causal, window
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.scoring import SCORINGS

SHORT, LONG = (100, 100), (4096, 4096)


@pytest.mark.parametrize(
    ("text", "call", "expected"),
    [
        ("full", Call(lengths=SHORT), Dense()),
        ("full", Call(lengths=(None, None)), Dense()),
        ("full", Call(lengths=(None, 4096)), Dense()),
        ("full", Call(lengths=(4096, None)), Dense()),
        ("full", Call(lengths=LONG), Chunked()),
        # From a million pairs on.
        ("full", Call(lengths=(1024, 1024)), Chunked()),
        ("full", Call(lengths=(1024, 1023)), Dense()),
        ("full", Call(lengths=LONG, drops=True), Dense()),
        ("full", Call(lengths=LONG, has_dense_mask=True), Dense()),
        ("full", Call(lengths=LONG, has_score_bias=True), Dense()),
        ("full", Call(lengths=LONG, is_overridden=True), Dense()),
        ("additive", Call(lengths=LONG), Dense()),
        ("sparsemax", Call(lengths=LONG), Dense()),
        ("alibi", Call(lengths=LONG), Chunked()),
        ("relative-keys:4", Call(lengths=LONG), Dense()),
        ("window:128", Call(lengths=LONG), Local()),
        ("window:128", Call(lengths=(100, 100)), Dense()),
        ("window:128+sparsemax", Call(lengths=LONG, drops=True, causal=True), Local()),
        ("window:128", Call(lengths=LONG, has_dense_mask=True), Dense()),
        ("full", Call(lengths=LONG, scope=window(128)), Local()),
        ("window:3000", Call(lengths=LONG, scope=window(128)), Local()),
        ("window:3000", Call(lengths=LONG), Chunked()),
        # A window that reaches a quarter of the keys is still worth it.
        ("window:1025", Call(lengths=LONG), Local()),
        ("window:1026", Call(lengths=LONG), Chunked()),
        ("window:1026", Call(lengths=LONG, causal=True), Chunked()),
        ("window:128", Call(lengths=(4096, 4000)), Chunked()),
        ("window:32+global:4", Call(lengths=LONG), BlockSparse(64)),
        ("window:32+global:4", Call(lengths=LONG, drops=True), BlockSparse(64)),
        ("window:32+global:4", Call(lengths=(4096, 4160)), Chunked()),
        ("window:32+global:4+alibi", Call(lengths=LONG), BlockSparse(64)),
        ("window:32+global:4+relative-keys:4", Call(lengths=LONG), Dense()),
        ("span:100", Call(lengths=LONG), Local()),
        ("span:4000", Call(lengths=LONG), Dense()),
        # The ramp of 32 positions is seen as well.
        ("span:224", Call(lengths=(1024, 1024)), Local()),
        ("span:225", Call(lengths=(1024, 1024)), Dense()),
        ("span:225", Call(lengths=(1024, 1024), causal=True), Dense()),
        ("span:4000", Call(lengths=LONG, scope=window(128)), Local()),
        ("span:4000", Call(lengths=LONG, causal=True), Dense()),
        ("dense+window:8", Call(lengths=LONG), Dense()),
        ("dense+window:8", Call(lengths=LONG, has_dense_mask=True, is_overridden=True), Dense()),
        ("chunked:8", Call(lengths=SHORT), Chunked(8)),
        ("chunked:8+window:9", Call(lengths=(100, 90)), Chunked(8)),
        ("local+window:9", Call(lengths=(None, None)), Local()),
        ("local+span:9", Call(lengths=SHORT, drops=True), Local()),
        ("low-rank:2:9", Call(lengths=(5, 9), drops=True), LowRank(2, 9)),
        ("linear:8", Call(lengths=(5, 9)), Linear(8)),
        ("linear:8", Call(lengths=(9, 9), causal=True), Linear(8)),
        ("multi-scale:2", Call(lengths=LONG, drops=True), Dense()),
    ],
)
def test_auto_takes_the_cheapest_exact_algorithm(text, call, expected):
    assert choose_algorithm(parse_mechanism(text), call) == expected


class Quarter(Mask):
    """Touches as large a share of the blocks as it is told, and reaches anywhere."""

    def __init__(self, share):
        self.share = share

    def touches(self, query_span, key_span):
        return (query_span[0] + 0 * key_span[0]) < self.share * LONG[0]


def test_blocks_are_spared_where_most_of_them_are():
    for share, expected in ((0.25, Chunked()), (0.2, BlockSparse(64))):
        mechanism = Mechanism(scope=Quarter(share))
        assert choose_algorithm(mechanism, Call(lengths=LONG)) == expected


@pytest.mark.parametrize("choice", [Chunked, BlockSparse, LowRank, Linear])
def test_sizes_below_one_are_refused_and_one_is_not(choice):
    (name, *_) = choice().get_config()
    assert choice(**{name: 1}).get_config()[name] == 1
    for wrong in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"`{name}` of .* Received: {wrong}"):
            choice(**{name: wrong})


def test_chunks_write_their_rows_where_they_have_them():
    assert [str(Chunked()), str(Chunked(8))] == ["chunked", "chunked:8"]


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("chunked", {"has_dense_mask": True}, "`attention_mask` holds"),
        ("local+window:4", {"has_score_bias": True}, "`score_bias` holds"),
        ("multi-scale:2", {"has_dense_mask": True}, "`attention_mask` holds"),
        ("multi-scale:2", {"is_overridden": True}, "overridden"),
        ("chunked", {"is_overridden": True}, "overridden"),
        ("chunked", {"drops": True}, "Received: attention dropout with chunked"),
        ("linear", {"drops": True}, "Received: attention dropout with linear"),
        ("low-rank:2:75", {"causal": True}, "cannot leave out the future"),
        ("local+window:4", {"lengths": (60, 75)}, "60 queries and 75 keys"),
        ("blocks+window:4", {"lengths": (60, 75)}, "60 queries and 75 keys"),
        ("linear", {"lengths": (60, 75), "causal": True}, "60 queries and 75 keys"),
        ("blocks+window:4", {"lengths": (None, None)}, "needs to know the length"),
    ],
)
def test_calls_that_an_algorithm_cannot_answer_are_refused(text, options, complaint):
    call = Call(**{"lengths": (75, 75), **options})
    with pytest.raises(ValueError, match=complaint):
        choose_algorithm(parse_mechanism(text), call)


class Behind(Mask):
    """Ends behind a query and not ahead of it."""

    def reach(self):
        return 3, None


def test_a_window_that_is_open_ahead_is_local_where_causality_closes_it():
    mechanism = Mechanism(scope=Behind(), algorithm="local")
    with pytest.raises(ValueError, match="ends on both sides"):
        choose_algorithm(mechanism, Call(lengths=SHORT))
    assert choose_algorithm(mechanism, Call(lengths=SHORT, causal=True)) == Local()


def test_masks_of_a_call_are_all_that_forbid():
    matrices = {
        "mechanism": window(3).dense(4, 6),
        "layer": window(2).dense(4, 6),
        "causal": causal().dense(4, 6),
    }
    for own, scope, is_causal in np.ndindex(2, 2, 2):
        mechanism = parse_mechanism("window:3" if own else "full")
        call = Call(lengths=(4, 6), scope=window(2) if scope else None, causal=bool(is_causal))
        given = [
            name
            for name, is_given in zip(matrices, (own, scope, is_causal), strict=True)
            if is_given
        ]
        found = call.masks(mechanism)
        if given:
            expected = np.logical_and.reduce([matrices[name] for name in given])
            np.testing.assert_array_equal(found.dense(4, 6), expected)
        else:
            assert found is None


# Sizes that no two axes share.
BATCH, LENGTH, HEADS, DIM, VALUE_DIM = 2, 9, 4, 6, 5
RNG = np.random.default_rng(0)
QUERY, KEY = RNG.normal(size=(2, BATCH, LENGTH, HEADS, DIM)).astype("float32")
VALUE = RNG.normal(size=(BATCH, LENGTH, HEADS, VALUE_DIM)).astype("float32")
KEY_MASK = np.array([[1] * 9, [1, 1, 0, 1, 1, 1, 1, 0, 0]], bool)
QUERY_MASK = np.array([[1, 1, 1, 1, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1, 1]], bool)


def learned(mechanism, **algorithm_weights):
    """What the parts of a mechanism learned, other numbers for each."""
    groups = {"score_weights": SCORINGS[mechanism.scoring].weights(HEADS, DIM)}
    groups["scope_weights"] = getattr(mechanism.scope, "weights", lambda *_: {})(HEADS, DIM)
    groups["position_weights"] = (
        mechanism.position.weights(HEADS, DIM) if mechanism.position else {}
    )
    rng = np.random.default_rng(2)
    numbers = {
        group: {
            name: ops.convert_to_tensor(rng.uniform(0.1, 0.9, size=shape).astype("float32"))
            for name, (shape, _) in declared.items()
        }
        for group, declared in groups.items()
    }
    return {**numbers, "algorithm_weights": algorithm_weights}


def ran(text, call, *, num_queries=LENGTH, wanted=True, algorithm_weights=None, **options):
    mechanism = parse_mechanism(text)
    return run_algorithm(
        *(mechanism, choose_algorithm(mechanism, call), call),
        *(ops.convert_to_tensor(part) for part in (QUERY[:, -num_queries:], KEY, VALUE)),
        weights=learned(mechanism, **(algorithm_weights or {})),
        wanted=wanted,
        **options,
    )


def densely(text, call, num_queries=LENGTH):
    """The same by dense attention, where masks are whole."""
    mechanism = parse_mechanism(text)
    allowed = KEY_MASK[:, None, None] & np.ones((num_queries, LENGTH), bool)
    masks = call.masks(mechanism)
    if masks is not None:
        allowed = allowed & np.array(masks.dense(num_queries, LENGTH))
    distances = np.arange(LENGTH) - np.arange(LENGTH)[-num_queries:, None]
    groups = learned(mechanism)
    del groups["algorithm_weights"]
    context, weights = dense_attention(
        *(QUERY[:, -num_queries:], KEY, VALUE),
        mechanism=mechanism,
        mask=allowed,
        distances=ops.convert_to_tensor(distances, dtype="int32"),
        **groups,
    )
    return context, weights


def assert_same(found, expected, queries=None):
    """Context and weights are equal, and nothing for queries that are masked."""
    context, weights = (np.array(part) for part in expected)
    if queries is not None:
        context = np.where(queries[:, :, None, None], context, 0)
        weights = np.where(queries[:, None, :, None], weights, 0)
    np.testing.assert_allclose(found[0], context, atol=1e-5)
    if found[1] is not None:
        np.testing.assert_allclose(found[1], weights, atol=1e-5)


PAIRS = {
    "chunked:4+general+relative-bias:20": "general+relative-bias:20",
    "chunked:4+window:3": "window:3",
    "local+window:3+general+relative-bias:20": "window:3+general+relative-bias:20",
    "local+span:4": "span:4",
    "blocks:2+window:3+general+relative-bias:20": "window:3+general+relative-bias:20",
}


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("text", PAIRS)
def test_exact_algorithms_are_given_what_dense_attention_is(text, is_causal):
    call = Call(lengths=(LENGTH, LENGTH), causal=is_causal, key_mask=KEY_MASK)
    expected = densely(PAIRS[text], call)
    assert_same(ran(text, call), expected)
    context, weights = ran(text, call, wanted=False)
    assert weights is None
    np.testing.assert_allclose(context, expected[0], atol=1e-5)
    masked = Call(
        lengths=(LENGTH, LENGTH), causal=is_causal, key_mask=KEY_MASK, query_mask=QUERY_MASK
    )
    assert_same(ran(text, masked), expected, QUERY_MASK)
    assert_same(ran(text, masked, wanted=False), expected, QUERY_MASK)


def test_blocks_may_be_asked_for_where_causality_alone_forbids():
    mechanism = parse_mechanism("full")
    call = Call(lengths=(LENGTH, LENGTH), key_mask=KEY_MASK)
    found = run_algorithm(
        *(mechanism, BlockSparse(2), call, QUERY, KEY, VALUE),
        weights=learned(mechanism),
        wanted=True,
    )
    assert_same(found, densely("full", call))


def test_chunks_are_placed_from_the_end_of_the_keys():
    text = "chunked:4+relative-bias:20"
    call = Call(lengths=(5, LENGTH), causal=True, key_mask=KEY_MASK)
    found = ran(text, call, num_queries=5)
    assert_same(found, densely("relative-bias:20", call, num_queries=5))


def test_chunks_have_the_rows_that_were_chosen(monkeypatch):
    rows = []
    chunked = choosing.chunked_attention
    monkeypatch.setattr(
        choosing,
        "chunked_attention",
        lambda *tensors, **given: rows.append(given["rows"]) or chunked(*tensors, **given),
    )
    for text in ("chunked:4", "chunked"):
        ran(text, Call(lengths=(LENGTH, LENGTH)))
    assert rows == [4, None]


FEATURES = RNG.normal(size=(8, DIM)).astype("float32")
PROJECTION = RNG.normal(size=(3, 12)).astype("float32")


@pytest.mark.parametrize("is_causal", [False, True])
def test_linear_attention_is_given_its_features_and_masks(is_causal):
    text, weights = "linear:8+general", {"random_features": FEATURES}
    mechanism = parse_mechanism(text)
    call = Call(lengths=(LENGTH, LENGTH), causal=is_causal, key_mask=KEY_MASK)
    options = {**weights, "mechanism": mechanism, **learned(mechanism)}
    options = {name: options[name] for name in ("random_features", "mechanism", "score_weights")}
    options |= {"causal": is_causal, "key_mask": KEY_MASK}
    expected = (
        linear_attention(QUERY, KEY, VALUE, **options),
        implied_weights(QUERY, KEY, **options),
    )
    assert_same(ran(text, call, algorithm_weights=weights), expected)
    assert ran(text, call, algorithm_weights=weights, wanted=False)[1] is None


def test_low_rank_attention_is_given_its_projection_and_mask():
    text, weights = "low-rank:3:12+general", {"sequence_projection": PROJECTION}
    mechanism = parse_mechanism(text)
    call = Call(lengths=(LENGTH, LENGTH), key_mask=KEY_MASK)
    expected = low_rank_attention(
        *(QUERY, KEY, VALUE),
        mechanism=mechanism,
        key_mask=KEY_MASK,
        wanted=True,
        score_weights=learned(mechanism)["score_weights"],
        **weights,
    )
    assert_same(ran(text, call, algorithm_weights=weights), expected)
    assert ran(text, call, algorithm_weights=weights, wanted=False)[0].shape == VALUE.shape


@pytest.mark.parametrize("is_causal", [False, True])
def test_pooled_heads_are_given_their_factors_and_places(is_causal):
    mechanism = parse_mechanism("multi-scale:2+general")
    call = Call(lengths=(5, LENGTH), causal=is_causal, key_mask=KEY_MASK)
    expected = pooled_attention(
        *(QUERY[:, -5:], KEY, VALUE),
        mechanism=mechanism,
        factors=(1, 2),
        key_mask=KEY_MASK,
        # The last query stands at the last key.
        query_positions=ops.arange(4, 9, dtype="int32") if is_causal else None,
        score_weights=learned(mechanism)["score_weights"],
    )
    assert_same(ran("multi-scale:2+general", call, num_queries=5), expected)


@pytest.mark.parametrize(
    "text", ["multi-scale:2", "low-rank:3:12", "local+window:3", "blocks:2+window:3"]
)
def test_what_drops_and_draws_is_handed_on(text):
    weights = {"sequence_projection": PROJECTION} if "low-rank" in text else {}
    call = Call(lengths=(LENGTH, LENGTH), key_mask=KEY_MASK)
    plain, _ = ran(text, call, algorithm_weights=weights)
    nothing, _ = ran(text, call, algorithm_weights=weights, dropout=lambda shares: 0 * shares)
    assert np.abs(plain).max() > 0.1
    assert not np.array(nothing).any()
    # In training, Gumbel noise that lifts the first key that is looked at takes it all.
    calm, _ = ran(f"{text}+gumbel:1", call, algorithm_weights=weights)

    def lifting(shape):
        return 100.0 * ops.cast(ops.arange(shape[-1]) == 1, "float32") * ops.ones(shape)

    lifted, _ = ran(f"{text}+gumbel:1", call, algorithm_weights=weights, noise=lifting)
    assert np.abs(np.array(lifted) - np.array(calm)).max() > 0.1


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("local+window:3", {}, (2, 2)),
        ("local+window:3", {"causal": True}, (2, 0)),
        # The farthest head sees 28 positions of 40 and a ramp of 32: one step of 64.
        ("local+span:40", {}, (64, 64)),
        ("local+span:400", {}, (320, 320)),
        ("local+span:400", {"causal": True}, (320, 0)),
    ],
)
def test_local_attention_looks_as_far_as_spans_have_learned(text, options, expected, monkeypatch):
    reaches = []

    def reached(*_, reach, **__):
        reaches.append(tuple(int(side) for side in reach))
        return ops.convert_to_tensor(VALUE)

    monkeypatch.setattr(choosing, "local_attention", reached)
    mechanism, call = parse_mechanism(text), Call(lengths=(LENGTH, LENGTH), **options)
    scope_weights = {"span": ops.convert_to_tensor([0.1, 0.7, 0.2, 0.3])}
    run_algorithm(
        *(mechanism, Local(), call, QUERY, KEY, VALUE),
        weights={**learned(mechanism), "scope_weights": scope_weights},
        wanted=False,
    )
    assert reaches == [expected]


def test_shapes_follow_no_values_on_jax(monkeypatch):
    monkeypatch.setattr(choosing.keras.backend, "backend", lambda: "jax")
    mechanism = parse_mechanism("local+span:400")
    call = Call(lengths=(LENGTH, LENGTH))
    scope_weights = learned(mechanism)["scope_weights"]
    assert choosing._trimmed_reach(mechanism, call, scope_weights) == (432, 432)
