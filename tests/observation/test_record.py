import dataclasses

import numpy as np
import pytest

from attention_apps.observation.record import AttentionRecord, Axis

QUERY, KEY = Axis(("der", "Hund")), Axis(("the", "dog", "."))


def record(**changes):
    weights = np.random.default_rng(0).dirichlet(np.ones(3), (4, 2))
    fields = {"weights": weights, "layer": "decoder/cross", "query": QUERY, "key": KEY, **changes}
    return AttentionRecord(**fields)


def test_a_record_keeps_its_own_read_only_float32_weights():
    weights = np.full((1, 2, 3), 1 / 3)
    made = record(weights=weights)
    weights[:] = 7
    assert made.weights.dtype == np.float32
    np.testing.assert_allclose(made.weights, 1 / 3)
    with pytest.raises(ValueError, match="read-only"):
        made.weights[0, 0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.layer = "other"


def test_one_head_and_the_mean_are_records_too():
    made = record(gold=np.ones((2, 3)), title="example 0", step=3)
    assert made.heads == ("head 0", "head 1", "head 2", "head 3")
    second = made.head(2)
    np.testing.assert_array_equal(second.weights[0], made.weights[2])
    assert (second.heads, second.title, second.step) == (("head 2",), "example 0", 3)
    np.testing.assert_allclose(made.mean().weights, made.weights.mean(0)[None])
    np.testing.assert_array_equal(made.mean().gold, made.gold)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": np.ones((1, 4, 2, 3))}, "Take one example out of the batch"),
        ({"weights": np.ones((2, 3))}, "heads, query, key"),
        ({"weights": np.ones((4, 2, 4))}, "Cut padding"),
        ({"weights": np.ones((4, 3, 3))}, "Cut padding"),
        ({"heads": ("a", "b")}, "one label"),
        ({"gold": np.ones((3, 2))}, r"\(query, key\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        record(**changes)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"labels": ("a",), "kind": "words"}, "text, cells, items, times"),
        ({"labels": (1, 2)}, "strings"),
        ({"labels": ("a",), "kind": "cells"}, "grid"),
        ({"labels": ("a",), "grid": (1, 1)}, "grid"),
        ({"labels": ("a",) * 5, "kind": "cells", "grid": (2, 3)}, "height x width"),
    ],
)
def test_axes_that_make_no_sense_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Axis(**arguments)


def test_cells_run_row_by_row_over_the_picture():
    cells = Axis.cells(2, 3)
    assert cells.labels == ("0,0", "0,1", "0,2", "1,0", "1,1", "1,2")
    np.testing.assert_allclose(
        cells.positions(), [[0, 0], [0, 0.5], [0, 1], [1, 0], [1, 0.5], [1, 1]]
    )
    np.testing.assert_allclose(KEY.positions(), [[0], [0.5], [1]])
