"""The recommender: padding, causality, both sides, learning, choices of attention and loss."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from recommendation.config import LOSSES, TINY
from recommendation.losses import CHUNK, make_loss
from recommendation.model import PAD, build_model
from recommendation.relative_time import NUM_BUCKETS, RelativeTime

NUM_ITEMS = 30
CONFIG = replace(TINY, max_length=10, dim=16, num_blocks=2)
RNG = np.random.default_rng(0)
HISTORY = RNG.integers(1, NUM_ITEMS + 1, size=(3, 7)).astype("int32")
HISTORY[1, :4] = PAD
BOTH = pytest.mark.parametrize("kind", ["sasrec", "bert4rec"])


def model_of(**changes):
    keras.utils.set_random_seed(0)
    model = build_model(replace(CONFIG, **changes), NUM_ITEMS)
    # Positions start small; larger ones show whether they matter.
    if model.positions is not None:
        table = model.positions.position_embeddings
        table.assign(RNG.normal(size=table.shape))
    return model


def predictions(model, history=HISTORY, times=None):
    return np.array(model.scores(model.next_hidden(history, times)))


@BOTH
@pytest.mark.parametrize("attention", ["full", "rotary", "cosine"])
def test_padding_in_front_cannot_matter(kind, attention):
    model = model_of(model=kind, attention=attention)
    longer = np.pad(HISTORY, ((0, 0), (3, 0)), constant_values=PAD)
    np.testing.assert_allclose(predictions(model), predictions(model, longer), atol=2e-5)
    assert predictions(model).shape == (3, NUM_ITEMS)


@BOTH
def test_padding_is_never_attended(kind):
    from attention_apps.observation.observe import observe

    model = model_of(model=kind)
    _, maps = observe(model)(model.question(HISTORY), training=False)
    for weights in maps.values():
        assert not np.array(weights)[1, :, :, :4].any()
        np.testing.assert_allclose(np.array(weights)[1, :, 4:].sum(-1), 1, atol=1e-5)


@BOTH
def test_an_empty_history_gives_finite_scores(kind):
    model = model_of(model=kind)
    assert np.isfinite(predictions(model, np.zeros((2, 5), "int32"))).all()


def test_sasrec_cannot_see_the_future():
    model = model_of(attention="full")
    changed = HISTORY.copy()
    changed[0, 4] = changed[0, 4] % NUM_ITEMS + 1
    before, after = np.array(model.encode(HISTORY)), np.array(model.encode(changed))
    np.testing.assert_array_equal(before[0, :4], after[0, :4])
    assert (np.abs(before - after)[0, 4:].max(axis=-1) > 1e-4).all()


def test_bert4rec_sees_both_sides():
    model = model_of(model="bert4rec")
    hidden = HISTORY.copy()
    hidden[0, 3] = model.mask_id
    for place in (1, 5):
        changed = hidden.copy()
        changed[0, place] = changed[0, place] % NUM_ITEMS + 1
        moved = np.array(model.encode(hidden) - model.encode(changed))
        assert np.abs(moved[0, 3]).max() > 1e-4


@BOTH
@pytest.mark.parametrize("attention", ["full", "rotary"])
def test_the_order_of_a_history_matters(kind, attention):
    model = model_of(model=kind, attention=attention)
    swapped = HISTORY.copy()
    swapped[:, [4, 5]] = swapped[:, [5, 4]]
    assert np.abs(predictions(model) - predictions(model, swapped)).max() > 1e-3


@BOTH
def test_how_long_ago_something_was_matters_and_what_the_clock_shows_does_not(kind):
    model = model_of(model=kind, time_bias=True)
    for bias in model.time_biases:
        bias.biases.assign(RNG.normal(size=bias.biases.shape))
    times = np.sort(RNG.integers(0, 10**6, HISTORY.shape)).astype("int32")
    plain = predictions(model, times=times)
    np.testing.assert_allclose(predictions(model, times=times + 12345), plain, atol=1e-6)
    other = times.copy()
    other[:, :5] -= 10**7
    assert np.abs(predictions(model, times=other) - plain).max() > 1e-3
    padding = times.copy()
    padding[1, :4] = 10**8  # where nothing is, the time cannot matter
    np.testing.assert_array_equal(predictions(model, times=padding), plain)


def test_gaps_fall_into_buckets_of_powers_of_two():
    layer = RelativeTime(1)
    layer.build((None, None))
    layer.biases.assign(np.arange(NUM_BUCKETS)[:, None])
    gaps = [0, 1, 2, 3, 6, 7, 2**20 - 40, 2**20 - 1, 2**27, 2**30]
    times = np.array([[0, gap] for gap in gaps], "int32")
    found = np.array(layer(times))
    expected = [min(int(math.log2(gap + 1)), NUM_BUCKETS - 1) for gap in gaps]
    assert found[:, 0, 1, 0].tolist() == found[:, 0, 0, 1].tolist() == expected
    assert not found[:, 0, 0, 0].any()


@BOTH
def test_the_places_are_those_of_the_flattened_histories(kind):
    model = model_of(model=kind)
    places = np.array([6, 13, 9], "int32")
    whole = np.array(model.encode(HISTORY)).reshape(-1, CONFIG.dim)
    picked = model({"history": HISTORY, "places": places})
    np.testing.assert_allclose(picked, whole[places], atol=1e-6)


def batch(negatives, count=8, length=6, draw=0):
    """The same histories with negatives drawn anew."""
    random = np.random.default_rng(0)
    stretches = random.integers(1, NUM_ITEMS + 1, size=(count, length + 1)).astype("int32")
    places = np.arange(count * length, dtype="int32")
    missing = -len(places) % CHUNK
    inputs = {"history": stretches[:, :-1], "places": np.pad(places, (0, missing))}
    target = np.pad(stretches[:, 1:].ravel(), (0, missing), constant_values=1)
    weights = np.pad(np.ones(count * length, "float32"), (0, missing))
    random = np.random.default_rng(draw)
    if negatives == "own":
        inputs["negatives"] = random.integers(1, NUM_ITEMS + 1, len(target)).astype("int32")
    if negatives == "shared":
        inputs["negatives"] = random.integers(1, NUM_ITEMS + 1, 20).astype("int32")
    return inputs, target, weights


def fit(model, batches, steps):
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=steps == 1)
    signature = tf.nest.map_structure(lambda a: tf.TensorSpec(a.shape, a.dtype), batches[0])
    dataset = tf.data.Dataset.from_generator(lambda: batches, output_signature=signature).repeat()
    return model.fit(dataset, steps_per_epoch=steps, verbose=0, shuffle=False)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_step_of_training_changes_every_weight(loss):
    config = replace(CONFIG, loss=loss, max_length=6, num_negatives=20)
    keras.utils.set_random_seed(1)
    model = build_model(config, NUM_ITEMS)
    model.objective = make_loss(config, np.ones(NUM_ITEMS))
    before = [weight.copy() for weight in model.get_weights()]
    fit(model, [batch(model.objective.needs)], 1)
    for variable, old in zip(model.weights, before, strict=True):
        # The bias of a key moves all scores of a row alike, which softmax cannot feel.
        if not variable.path.endswith("key/bias"):
            assert np.abs(variable.numpy() - old).max() > 0, variable.path


@pytest.mark.parametrize(
    "loss", ["softmax", *(pytest.param(loss, marks=pytest.mark.verify) for loss in LOSSES[1:])]
)
def test_eight_histories_can_be_learned_by_heart(loss):
    config = replace(
        CONFIG, loss=loss, max_length=6, dim=32, dropout_rate=0.0, num_negatives=20, temperature=0.5
    )
    keras.utils.set_random_seed(2)
    model = build_model(config, NUM_ITEMS)
    model.objective = make_loss(config, np.ones(NUM_ITEMS))
    batches = [batch(model.objective.needs, draw=draw) for draw in range(40)]
    inputs, target, weights = batches[0]
    fit(model, batches, 600 if loss == "bce" else 280)  # its one negative an item tells little
    best = np.argmax(model.scores(model(inputs)), axis=-1) + 1
    assert (best == target)[weights == 1].mean() > 0.95


def test_cosines_lie_within_their_temperature():
    model = model_of(cosine=True, temperature=0.05)
    scores = predictions(model)
    assert np.abs(scores).max() <= 20 + 1e-3
    np.testing.assert_allclose(
        np.linalg.norm(model.item_vectors(), axis=-1), np.ones(NUM_ITEMS), atol=1e-5
    )


def test_a_model_without_an_objective_cannot_be_trained():
    with pytest.raises(ValueError, match="Set `objective`"):
        fit(model_of(), [batch("none")], 1)


@BOTH
def test_a_saved_model_is_the_same_model(kind, tmp_path):
    model = model_of(model=kind, attention="cosine+window:4")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predictions(again), predictions(model))


def test_an_attention_that_is_unknown_is_refused():
    with pytest.raises(ValueError, match="Received: 'fast'"):
        build_model(replace(CONFIG, attention="fast"), NUM_ITEMS)
