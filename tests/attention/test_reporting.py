"""Whoever listens hears, as long as it listens, and nobody else."""

import pytest

from attention_apps.attention.reporting import (
    hearing_states,
    is_listened,
    listening,
    report,
    report_states,
)


def _fails_while_listening(listen, tell, inner):
    with listen(lambda *heard: inner.append(heard)):
        tell("second", 2)
        raise ZeroDivisionError


@pytest.mark.parametrize(("listen", "tell"), [(listening, report), (hearing_states, report_states)])
def test_all_who_listen_hear_who_told_what(listen, tell):
    outer, inner = [], []
    with listen(lambda *heard: outer.append(heard)):
        tell("first", 1)
        with pytest.raises(ZeroDivisionError):
            _fails_while_listening(listen, tell, inner)
        tell("third", 3)
    tell("fourth", 4)
    assert outer == [("first", 1), ("second", 2), ("third", 3)]
    assert inner == [("second", 2)]


def test_states_are_given_on_whoever_listens():
    states = [object(), object()]
    assert report_states("block", states[0]) is states[0]
    with hearing_states(lambda *_: None):
        assert report_states("block", states[1]) is states[1]


def test_weights_are_wanted_while_somebody_listens_to_them():
    assert not is_listened()
    with hearing_states(lambda *_: None):
        assert not is_listened()
    with listening(lambda *_: None):
        assert is_listened()
    assert not is_listened()
