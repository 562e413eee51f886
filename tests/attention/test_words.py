"""The words that help lists for a flag are those that an attention at its place takes."""

import numpy as np
import pytest

from attention_apps.attention.blocks import CausalBlock, DecoderBlock, EncoderBlock
from attention_apps.attention.mechanism import parse_mechanism
from attention_apps.attention.stepwise import StepwiseAttention
from attention_apps.attention.words import SITES, WORDS, accepted, described
from forecasting.horizon_attention import HorizonAttention

NUMBERS = {
    **{"soft-cap": ":9", "top-k": ":2", "window": ":3", "global": ":1", "random": ":1:2:8"},
    **{"local-p": ":2", "span": ":3", "multi-scale": ":2", "rotary-linear": ":2"},
    **{"rotary-ntk": ":2", "rotary-yarn": ":2", "grouped": ":1", "low-rank": ":2:8"},
    **{"local": "+window:2", "blocks": ":2+window:2"},
}
SIZES = {"num_heads": 2, "key_dim": 4, "feedforward_dim": 8}
X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
ENCODED = X[:, :4]


def step_by_step(mechanism):
    block = DecoderBlock(mechanism=mechanism, **SIZES)
    block.build(X.shape, ENCODED.shape)
    cache = block.self_attention.empty_cache(2, 6)
    output, *_ = block.self_attention.step(X[:, :1], cache, 0)
    return output


def horizon(mechanism):
    sizes = {"dim": 8, "num_heads": 2, "feedforward_dim": 8, "dropout_rate": 0.0}
    return HorizonAttention(mechanism=mechanism, **sizes)(X, ENCODED)


CALLS = {
    "self": [lambda mechanism: EncoderBlock(mechanism=mechanism, **SIZES)(X)],
    "causal": [lambda mechanism: CausalBlock(mechanism=mechanism, **SIZES)(X), step_by_step],
    "cross": [lambda mechanism: DecoderBlock(cross_mechanism=mechanism, **SIZES)(X, ENCODED)],
    "unplaced": [horizon],
    "stepwise": [
        lambda mechanism: StepwiseAttention(mechanism=mechanism)(X, ENCODED, np.ones((2, 4), bool))[
            0
        ]
    ],
}


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("site", SITES)
def test_a_site_takes_the_words_that_it_accepts_and_no_others(site, name):
    mechanism = parse_mechanism(name + NUMBERS.get(name, ""))
    for call in CALLS[site]:
        if name in accepted(site):
            assert np.isfinite(np.array(call(mechanism))).all()
        else:
            with pytest.raises(ValueError, match="Received"):
                call(mechanism)


def test_what_several_sites_take_is_what_any_of_them_takes():
    both = accepted("causal", "cross")
    assert set(both) == set(accepted("causal")) | set(accepted("cross"))
    assert both == tuple(name for name in WORDS if name in both)


def test_words_stand_below_the_flags_that_take_them():
    text = described({"--one": ("self",), "--other": ("cross",)})
    of_both, of_one, of_other = text.split("words of ")[1:]
    assert of_both.startswith("--one, --other, joined by '+':\n  full ")
    assert of_one.startswith("--one, joined")
    assert of_other.startswith("--other, joined")
    assert f"window:SIZE {WORDS['window'].line} global:COUNT" in " ".join(of_one.split())
    assert "local-p:SIZE" in of_other
    listed = [line.split("  ")[1] for line in text.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(str(word) for word in WORDS.values())
    of_self = described({"--one": ("self",)})
    assert of_self.startswith("words of --one, joined by '+':\n  full ")
    # What no flag takes is not listed.
    assert of_self.count("words of") == 1
    assert "local-p" not in of_self
