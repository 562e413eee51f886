"""The ways to read an alignment off attention, and the choice among them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from translation.alignment_quality import (
    alignment_figures,
    alignment_floors,
    choose_read_out,
    gold_of,
)
from translation.baselines import IbmModel1
from translation.config import TINY
from translation.corpus import Corpus
from translation.forced import ForcedAttention
from translation.model import build_model
from translation.readout import ReadOut, best_read_outs

WORDS = np.array([0, 1, -1])


def way(**changes):
    return ReadOut(**{"layer": 0, "head": 0, **changes})


def test_an_alignment_is_read_in_the_step_asked_for():
    attention = np.array([[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.7, 0.0, 0.3]])[None, None]
    assert way(step="raw").links(attention, WORDS, WORDS) == [(0, 0), (1, 1)]
    # Row 1 was attended to while word 0 was the input, row 2 while word 1 was.
    assert way(step="shifted").links(attention, WORDS, WORDS) == [(0, 1), (1, 0)]
    np.testing.assert_array_equal(way(step="shifted").rows(attention)[:2], attention[0, 0, 1:])
    np.testing.assert_array_equal(way(step="raw").rows(attention), attention[0, 0])


def test_the_end_counts_as_no_word_or_as_the_last():
    attention = np.array([[0.4, 0.0, 0.6], [0.3, 0.1, 0.6], [0.0, 0.0, 1.0]])[None, None]
    assert way(step="raw").links(attention, WORDS, WORDS) == [(0, 0), (0, 1)]
    assert way(step="raw", end="last_word").links(attention, WORDS, WORDS) == [(1, 0), (1, 1)]
    # A source without words has none to give it to.
    only_end = np.ones((1, 1, 2, 1))
    assert way(end="last_word").links(only_end, np.array([-1]), np.array([0, -1])) == []


def test_a_head_or_the_mean_of_a_block_is_read():
    generator = np.random.default_rng(0)
    attention = generator.dirichlet(np.ones(3), size=(2, 4, 3))
    for layer in range(2):
        mean = way(layer=layer, head=None, step="raw").rows(attention)
        np.testing.assert_allclose(mean, np.mean([attention[layer, h] for h in range(4)], axis=0))
        for head in range(4):
            rows = way(layer=layer, head=head, step="raw").rows(attention)
            np.testing.assert_array_equal(rows, attention[layer, head])


def test_every_way_is_told_apart_and_read_back_from_json():
    ways = ReadOut.every(3, 2)
    assert len({(w.block, w.manner) for w in ways}) == len(set(ways)) == 3 * (2 + 1) * 4
    for one in ways:
        section = {**json.loads(json.dumps(vars(one))), "chosen_on": "val"}
        assert ReadOut.of(section) == one


def test_unmeasured_the_guided_head_is_read_or_the_last_block_but_one():
    mean = ReadOut(layer=2, head=None, step="shifted", end="no_word")
    assert ReadOut.unmeasured(4, guided=False) == mean
    assert ReadOut.unmeasured(1, guided=False).layer == 0
    for num_layers in (1, 2, 4):
        way = ReadOut.unmeasured(num_layers, guided=True)
        assert (way.layer, way.head) == guided_head(num_layers)
        assert way.step == "shifted"


def guided_head(num_layers):
    """The block and head on which the loss of guidance acts: the last that it has a gradient in."""
    model = build_model(replace(TINY, num_decoder_layers=num_layers, num_heads=4))
    ids = np.array([[5, 6, 7, 2]])
    words = np.array([[1, 2, 3, 0]])
    inputs = {"source": ids, "previous": ids, "source_words": words, "linked_words": words}
    kernels = [block.cross_attention._query_dense.kernel.value for block in model.decoder]
    with tf.GradientTape() as tape:
        model(inputs)
        (loss,) = model.losses
    gradients = tape.gradient(loss, kernels)
    layer = max(i for i, gradient in enumerate(gradients) if gradient is not None)
    (head,) = np.flatnonzero(np.abs(gradients[layer]).sum(axis=(0, 2)))
    return layer, head


def test_a_section_of_an_earlier_version_is_read_as_it_was_meant():
    assert ReadOut.of({"layer": 1, "head": 3}) == ReadOut(
        layer=1, head=3, step="shifted", end="no_word"
    )


def test_the_best_way_is_that_of_least_error_and_each_step_has_one():
    errors = {
        way(step="raw", head=0): 0.4,
        way(step="raw", head=1): 0.2,
        way(step="shifted", head=0): 0.3,
        way(step="shifted", head=1): 0.1,
    }
    best = best_read_outs(errors)
    assert list(best.items()) == [
        ("shifted", way(step="shifted", head=1)),
        ("raw", way(step="raw", head=1)),
    ]


class Planted(ForcedAttention):
    """Attention that aligns in one place only, and in one step only."""

    def __init__(self, place, step, lengths, gold):
        self.num = (2, 3)
        self.alignment_step = "shifted"
        self._planted = []
        generator = np.random.default_rng(1)
        for (num_source, num_target), links in zip(lengths, gold, strict=True):
            # The other heads look past every right word: their mean with the planted one is wrong.
            weights = generator.uniform(size=(*self.num, num_target + 1, num_source + 1))
            weights[:, :, [t + (step == "shifted") for _, t in links], [s for s, _ in links]] = 0
            weights /= weights.sum(axis=-1, keepdims=True)
            rows = np.zeros((num_target + 1, num_source + 1))
            for source, target in links:
                rows[target + (step == "shifted"), source] = 0.2
            weights[place] = rows
            words = [np.append(np.arange(n), -1) for n in (num_source, num_target)]
            self._planted.append((weights, *words))

    @property
    def num_layers_and_heads(self):
        return self.num

    def maps(self, corpus, batch_size=64):
        yield from self._planted


def planted(place, step):
    generator = np.random.default_rng(2)
    lengths = [(int(a), int(b)) for a, b in generator.integers(4, 9, size=(12, 2))]
    gold = [[(int(generator.integers(s)), j) for j in range(t)] for s, t in lengths]
    corpus = Corpus(
        "val",
        [" ".join(f"s{i}" for i in range(s)) for s, _ in lengths],
        [" ".join(f"t{j}" for j in range(t)) for _, t in lengths],
        gold,
    )
    return Planted(place, step, lengths, gold), corpus


@pytest.mark.parametrize("step", ["raw", "shifted"])
@pytest.mark.parametrize("place", [(0, 2), (1, 0)])
def test_validation_finds_where_attention_aligns(place, step):
    forced, corpus = planted(place, step)
    choice = choose_read_out(forced, corpus, guided=False)
    assert (choice.best.layer, choice.best.head, choice.best.step) == (*place, step)
    assert choice.validation_errors[step] == 0
    other = "raw" if step == "shifted" else "shifted"
    assert choice.validation_errors[other] > 0.3
    assert ReadOut.of(choice.section()) == choice.best
    assert ReadOut.of(choice.section()[other]) == choice.by_step[other]
    gold = gold_of(corpus)
    figures = alignment_figures(forced, corpus, gold, choice)
    assert figures["alignment_error"] == figures[f"alignment_error_{step}"] == 0
    assert figures["alignment_precision"] == figures["alignment_recall"] == 1
    expected = min(e for kind, e in choice.validation_errors.items() if kind.startswith(other))
    assert figures[f"alignment_error_{other}"] == expected
    dictionary = IbmModel1([(["s0"], ["t0"])])
    floors = alignment_floors(corpus, corpus, gold, dictionary)
    diagonal, ibm1 = (floors[f"floor_alignment_error_{name}"] for name in ("diagonal", "ibm1"))
    assert 0 < diagonal < ibm1


@pytest.mark.parametrize("step", ["raw", "shifted"])
def test_without_gold_the_default_of_the_model_is_taken_and_said(step):
    forced, corpus = planted((0, 0), "raw")
    forced.alignment_step = step
    choice = choose_read_out(forced, Corpus("val", corpus.sources, corpus.targets), guided=False)
    assert choice.best == ReadOut(layer=0, head=None, step=step)
    assert set(choice.by_step) == {"raw", "shifted"}
    assert choice.by_step["raw"] == ReadOut(layer=0, head=None, step="raw")
    assert choice.validation_errors == {}
    assert "no gold" in choice.section()["chosen_on"]
