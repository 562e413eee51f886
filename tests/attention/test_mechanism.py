"""The choices of a mechanism: what is accepted, refused and kept."""

import json

import pytest

from attention_apps.attention.adaptive_span import AdaptiveSpan
from attention_apps.attention.algorithms.choices import Chunked, Linear, LowRank
from attention_apps.attention.hard import Gumbel, Hard
from attention_apps.attention.masks import causal, everything, global_tokens, window
from attention_apps.attention.mechanism import (
    Mechanism,
    parse_mechanism,
    refuse_positions_across,
)
from attention_apps.attention.multi_scale import MultiScale, doubling
from attention_apps.attention.positions import Rotary
from attention_apps.attention.predicted_window import PredictedWindow
from attention_apps.attention.random_blocks import RandomBlocks
from attention_apps.attention.relative_positions import Alibi, RelativeBias, RelativeKeys
from attention_apps.attention.sparse_normalizers import TopK
from attention_apps.attention.words import WORDS


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("full", {}),
        ("cosine", {"scoring": "cosine"}),
        ("additive+window:4", {"scoring": "additive", "scope": window(4)}),
        ("rotary + general", {"scoring": "general", "position": Rotary()}),
        ("window:4+global:2", {"scope": window(4) | global_tokens(2)}),
        ("random:2:8", {"scope": RandomBlocks(2, 8)}),
        ("span:64", {"scope": AdaptiveSpan(64)}),
        ("span:64+cosine", {"scope": AdaptiveSpan(64), "scoring": "cosine"}),
        ("multi-scale:4", {"scope": MultiScale((1, 2, 4))}),
        ("gumbel", {"normalizer": "gumbel"}),
        ("gumbel:0.5", {"normalizer": Gumbel(0.5)}),
        ("hard+qk-norm", {"normalizer": Hard(), "qk_norm": True}),
        ("top-k:8+soft-cap:30", {"normalizer": TopK(8), "soft_cap": 30.0}),
        ("soft-cap:0.5", {"soft_cap": 0.5}),
        ("rotary-yarn:4:256", {"position": Rotary(10000.0, "yarn", 4.0, 256)}),
        ("relative-bias:64", {"position": RelativeBias(max_distance=64)}),
        ("relative-keys", {"position": RelativeKeys()}),
        ("chunked:32", {"algorithm": Chunked(32)}),
        ("chunked", {"algorithm": "chunked"}),
        ("low-rank:32:256", {"algorithm": LowRank(32, 256)}),
        ("grouped:2+rotary", {"num_key_value_heads": 2, "position": Rotary()}),
    ],
)
def test_a_flag_names_a_mechanism(text, choices):
    assert parse_mechanism(text) == Mechanism(**choices)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "window",
        "window:0",
        "window:x",
        "cosine+dot",
        "additive+rotary",
        "dot:3",
        "window:2+window:3",
        "window:2+span:3",
        "full+window:2",
        "span:3+window:2",
        "top-k",
        "top-k:2.5",
        "soft-cap:0",
        "multi-scale:3",
        "rotary-cubic:2",
        "hard+sparsemax",
        "random:1:2:3:4:5",
        "grouped",
        "grouped:0",
        "grouped:2+grouped:4",
    ],
)
def test_a_flag_that_makes_no_sense_is_refused_with_what_was_received(text):
    with pytest.raises(ValueError, match="Received"):
        parse_mechanism(text)


@pytest.mark.parametrize(
    "choices",
    [
        {"scoring": "cosin"},
        {"normalizer": "hardmax"},
        {"algorithm": "fast"},
        {"scope": "causal"},
        {"position": "rotary"},
        {"scoring": "additive", "position": Rotary()},
    ],
)
def test_choices_that_make_no_sense_are_refused(choices):
    with pytest.raises(ValueError, match="Received"):
        Mechanism(**choices)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"position": Alibi(), "scope": PredictedWindow(2)}, "local-p predicts a place"),
        ({"position": Alibi(), "scope": MultiScale((1, 2))}, "stands at several positions"),
        ({"qk_norm": True, "scoring": "cosine"}, "one length"),
        ({"qk_norm": True, "scoring": "additive"}, "one length"),
        ({"soft_cap": 3.0, "scoring": "uniform"}, "bounded"),
        ({"normalizer": "hard", "scoring": "uniform"}, "one score"),
        ({"normalizer": "sparsemax", "scope": AdaptiveSpan(4)}, "fall off smoothly"),
        ({"algorithm": "chunked", "scope": AdaptiveSpan(4)}, "dense or local"),
        ({"algorithm": "chunked", "scope": MultiScale((2,))}, "algorithm of their own"),
        ({"algorithm": "local", "scope": PredictedWindow(2)}, "algorithm of their own"),
        ({"algorithm": "chunked", "normalizer": "sparsemax"}, "made for the softmax"),
        ({"algorithm": "linear", "normalizer": TopK(2)}, "made for the softmax"),
        ({"algorithm": "chunked", "scoring": "additive"}, "products of query and key"),
        ({"algorithm": "linear", "scoring": "uniform"}, "products of query and key"),
        ({"algorithm": "chunked", "position": RelativeKeys()}, "bias for every query"),
        ({"algorithm": "local"}, "needs a window"),
        ({"algorithm": "local", "scope": global_tokens(2) | window(3)}, "needs a window"),
        ({"algorithm": "local", "scope": causal()}, "needs a window"),
        ({"algorithm": "block_sparse"}, "leaves blocks out"),
        ({"algorithm": "low_rank", "scope": window(3)}, "single pairs"),
        ({"algorithm": "linear", "scope": window(3)}, "single pairs"),
        ({"algorithm": "low_rank", "position": Rotary()}, "keys of all positions"),
        ({"algorithm": "linear", "position": RelativeBias()}, "never forms a score"),
        ({"algorithm": "linear", "soft_cap": 3.0}, "never forms a score"),
        ({"soft_cap": -1.0}, "above 0"),
        ({"num_key_value_heads": 0}, "num_key_value_heads"),
        ({"num_key_value_heads": True}, "num_key_value_heads"),
        ({"num_key_value_heads": 1.5}, "num_key_value_heads"),
        ({"algorithm": Linear}, "algorithm"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_with_the_reason(choices, reason):
    with pytest.raises(ValueError, match=reason) as refusal:
        Mechanism(**choices)
    assert "Received: " in str(refusal.value)


def test_every_word_has_a_line_and_builds_what_it_names():
    numbers = {"window": ":4", "global": ":1", "random": ":1", "local-p": ":2", "span": ":3"}
    numbers |= {"multi-scale": ":2", "top-k": ":2", "soft-cap": ":9", "low-rank": ":4"}
    numbers["grouped"] = ":1"
    needs = {"local": "+window:2", "blocks": "+window:2"}
    for name, word in WORDS.items():
        factor = ":2" if name.startswith("rotary-") else ""
        text = name + numbers.get(name, factor) + needs.get(name, "")
        assert isinstance(parse_mechanism(text), Mechanism)
        assert word.line


@pytest.mark.parametrize("factors", [(), (0,), (2, 1.5), (True,), ("two",)])
def test_scales_that_make_no_sense_are_refused(factors):
    with pytest.raises(ValueError, match=r"whole number of keys .* Received: factors="):
        MultiScale(factors)


def test_scales_double_up_to_the_largest():
    assert [doubling(largest).factors for largest in (2, 4, 16)] == [
        (1, 2),
        (1, 2, 4),
        (1, 2, 4, 8, 16),
    ]
    for largest in (1, 0, -2, -4, 3, 6, 12):
        with pytest.raises(ValueError, match=f"power of two from 2 on. Received: {largest}"):
            doubling(largest)
    assert str(MultiScale([3, 1])) == "multi-scale:3:1"
    assert MultiScale([3, 1]) == MultiScale((3, 1))


def test_two_sequences_share_no_positions():
    for text in ("window:3", "span:4", "rotary", "window:3+rotary"):
        with pytest.raises(ValueError, match=r"two sequences.* Received: cross_mechanism="):
            refuse_positions_across(parse_mechanism(text))
    for text in ("full", "local-p:2", "multi-scale:2", "cosine"):
        refuse_positions_across(parse_mechanism(text))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("window:x", "SIZE of window:SIZE is a whole number"),
        ("soft-cap:x", "CAP of soft-cap:CAP is a number"),
        ("low-rank:2:x", r"LENGTH of low-rank:RANK\[:LENGTH\] is a whole number"),
        ("low-rank", r"the word is low-rank:RANK\[:LENGTH\]"),
        ("gumbel:1:2", r"the word is gumbel\[:TEMPERATURE\]"),
        ("window", "the word is window:SIZE"),
        ("full:1", "the word is full"),
    ],
)
def test_a_word_says_what_follows_it(text, complaint):
    with pytest.raises(ValueError, match=f"^{text}: {complaint}.* Received: '{text}'$"):
        parse_mechanism(text)


def test_a_mechanism_survives_json():
    mechanism = Mechanism(scoring="cosine", scope=causal() & window(3), position=Rotary(99.0))
    config = json.loads(json.dumps(mechanism.get_config()))
    assert Mechanism.from_config(config) == mechanism


def test_a_mechanism_is_a_value():
    assert len({Mechanism(), Mechanism(scope=everything()), Mechanism(scoring="dot")}) == 2
