"""The choices of a mechanism: what is accepted, refused and kept."""

import json

import pytest

from attention_apps.attention.masks import causal, everything, window
from attention_apps.attention.mechanism import Mechanism, parse_mechanism
from attention_apps.attention.positions import Rotary


@pytest.mark.parametrize(
    ("text", "mechanism"),
    [
        ("full", Mechanism()),
        ("cosine", Mechanism(scoring="cosine")),
        ("additive+window:4", Mechanism(scoring="additive", scope=window(4))),
        ("rotary + general", Mechanism(scoring="general", position=Rotary())),
    ],
)
def test_a_flag_names_a_mechanism(text, mechanism):
    assert parse_mechanism(text) == mechanism


@pytest.mark.parametrize(
    "text", ["", "fast", "window", "window:0", "window:x", "cosine+dot", "additive+rotary", "dot:3"]
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


def test_a_mechanism_survives_json():
    mechanism = Mechanism(scoring="cosine", scope=causal() & window(3), position=Rotary(99.0))
    config = json.loads(json.dumps(mechanism.get_config()))
    assert Mechanism.from_config(config) == mechanism


def test_a_mechanism_is_a_value():
    assert len({Mechanism(), Mechanism(scope=everything()), Mechanism(scoring="dot")}) == 2
