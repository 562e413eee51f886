"""The recurrent translator: masks, causality, cached steps, learning, choices of attention."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.observation.observe import observe
from translation.config import TINY
from translation.losses import SmoothedCrossEntropy
from translation.model import PAD, START, build_model

SIZE = 20
CONFIG = replace(TINY, model="rnn", vocabulary_size=SIZE, dim=16, dropout_rate=0.0)
RNG = np.random.default_rng(0)
SOURCE = RNG.integers(4, SIZE, size=(3, 6)).astype("int32")
SOURCE[1, 4:] = PAD
PREVIOUS = np.concatenate([np.full((3, 1), START), RNG.integers(4, SIZE, (3, 4))], 1).astype("i4")
INPUTS = {"source": SOURCE, "previous": PREVIOUS}
# Every choice that changes what a step computes, between them all.
CHOICES = [
    {"cross_attention": "additive"},
    {"cross_attention": "additive+local-p:2", "rnn_cell": "lstm", "num_encoder_layers": 2},
    {"cross_attention": "dot"},
    {"cross_attention": "general+local-p:2", "rnn_cell": "lstm", "num_decoder_layers": 2},
    {"cross_attention": "general", "input_feeding": False},
    {"cross_attention": "full", "num_decoder_layers": 2},
]


def named(choice):
    return ",".join(str(value) for value in choice.values())


@pytest.fixture(scope="module", params=CHOICES, ids=named)
def model(request):
    keras.utils.set_random_seed(0)
    return build_model(replace(CONFIG, **request.param))


def test_what_pads_the_source_cannot_matter(model):
    longer = np.concatenate([SOURCE, np.full((3, 3), PAD, "int32")], axis=1)
    once, again = model(INPUTS), model({**INPUTS, "source": longer})
    np.testing.assert_allclose(once, again, atol=1e-5)


def test_what_pads_the_source_may_be_anything(model):
    encoded, key_mask = model.encode(SOURCE)
    spoiled = np.where(np.array(key_mask)[..., None], encoded, np.nan)
    embedded = RNG.normal(size=(3, 5, CONFIG.dim)).astype("float32")
    np.testing.assert_array_equal(
        model.decoder(embedded, spoiled, key_mask), model.decoder(embedded, encoded, key_mask)
    )


def test_later_target_tokens_cannot_matter(model):
    changed = PREVIOUS.copy()
    changed[:, 3] = (changed[:, 3] - 4 + 1) % (SIZE - 4) + 4
    before = np.array(model(INPUTS))
    after = np.array(model({**INPUTS, "previous": changed}))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


def test_steps_equal_one_call_and_attend_to_what_it_reports(model):
    whole, maps = observe(model)(INPUTS, training=False)
    (path, reported), *others = maps.items()
    assert path.endswith("decoder_0/cross_attention")
    assert not others
    assert reported.shape == (3, 1, 5, 6)
    np.testing.assert_array_equal(whole, model(INPUTS))
    state, encoded = model.begin(SOURCE, 8)
    for position in range(PREVIOUS.shape[1]):
        logits, state, weights = model.step(state, PREVIOUS[:, position], encoded)
        np.testing.assert_allclose(logits, whole[:, position], atol=2e-5)
        np.testing.assert_allclose(weights[:, 0], reported[:, :, position], atol=1e-5)
    np.testing.assert_allclose(np.array(reported).sum(-1), 1, atol=1e-5)
    assert not np.array(reported)[1, ..., 4:].any()


def test_order_matters_in_source_and_target(model):
    swapped = SOURCE.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    assert np.abs(np.array(model({**INPUTS, "source": swapped}) - model(INPUTS))).max() > 1e-3
    again = PREVIOUS.copy()
    again[:, [1, 2]] = again[:, [2, 1]]
    changed = np.array(model({**INPUTS, "previous": again}) - model(INPUTS))
    assert np.abs(changed[:, -1]).max() > 1e-4
