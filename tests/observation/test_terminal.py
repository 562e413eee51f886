import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_apps.observation.record import AttentionRecord, Axis
from attention_apps.observation.terminal import draw_text

WIDE = dict.fromkeys("犬の🐕", 2)


def columns(line):
    return sum(WIDE.get(letter, 1) for letter in line)


def record(weights, queries, keys, **more):
    return AttentionRecord(np.array(weights), "decoder/cross", Axis(queries), Axis(keys), **more)


def test_shades_stand_under_their_keys_and_beside_their_queries():
    weights = [[[0.8, 0.05, 0.15], [0.25, 0.55, 0.2]]]
    gold = np.array([[1, 0, 0], [0, 0, 1]])
    text = draw_text(record(weights, ("a", "dog"), ("ein", "Hund", "."), gold=gold, title="first"))
    assert text.split("\n") == [
        "decoder/cross · first · head 0 · █ = 0.80 · ◂ = gold",
        "    ein  Hund .",
        "a   ███◂      ░░░░",
        "dog ░░░░ ▓▓▓▓ ░░░◂",
    ]


def test_several_heads_are_drawn_as_their_mean():
    weights = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    text = draw_text(record(weights, ("q",), ("left", "right")))
    assert "mean of heads" in text
    assert "█ = 0.50" in text
    assert text.endswith("q █████ █████")


def test_many_keys_get_upright_labels():
    keys = tuple(f"word{index}" for index in range(30))
    lines = draw_text(record(np.eye(30)[None], keys, keys)).split("\n")
    letters = [line[7:] for line in lines[1:7]]  # upright, ending at the map
    for index, key in enumerate(keys):
        drawn = "".join(line[2 * index : 2 * index + 1] or " " for line in letters)
        assert drawn == key.rjust(6)
    for index, line in enumerate(lines[7:]):
        assert line == f"{keys[index]:7}{'  ' * index}██"


def test_too_many_keys_share_columns_and_show_the_largest_of_their_weights():
    weights = np.zeros((1, 1, 300))
    weights[0, 0, 200] = 1
    lines = draw_text(record(weights, ("q",), tuple("k" * 300))).split("\n")
    assert lines[-1] == "q " + " " * 50 + "█"  # 98 columns of 4 keys each at most
    assert max(map(columns, lines)) <= 100


def test_letters_that_cannot_be_printed_do_not_break_lines():
    text = draw_text(record(np.ones((1, 1, 2)), ("\n",), ("a\tb", "\x1b[31m")))
    assert len(text.split("\n")) == 3
    assert "\x1b" not in text


def test_wide_letters_are_counted_as_two_columns():
    lines = draw_text(record(np.eye(2)[None], ("犬", "🐕"), ("の", "犬犬"))).split("\n")
    assert lines[1:] == ["   の   犬犬", "犬 ████", "🐕      ████"]


def test_faults_are_visible():
    assert "??" in draw_text(record([[[np.nan, 1.0]]], ("q",), ("aa", "bb")))
    assert "q" in draw_text(record([[[0.0, 0.0]]], ("q",), ("aa", "bb")))  # nothing attended to


@pytest.mark.parametrize("width", [40, 100])
@given(
    labels=st.lists(st.text(st.sampled_from("abcäß犬 "), max_size=30), min_size=1, max_size=130),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_it_always_fits(labels, seed, width):
    keys, queries = tuple(labels), tuple(labels[:3])
    weights = np.random.default_rng(seed).random((2, len(queries), len(keys)))
    lines = draw_text(record(weights, queries, keys, gold=weights[0] > 0.5), width).split("\n")
    assert max(map(columns, lines)) <= width
