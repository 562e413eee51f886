"""The captioner: every decoder's laws, and what training can reach."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.observation.observe import observe
from captioning.config import TINY
from captioning.model import build_model

WORDS = 11
DECODERS = {
    "soft": {},
    "soft, of the paper": {"word_asks": False},
    "soft, scaled dot product": {"cross_attention": "scaled_dot"},
    "soft, beside others": {"collage_share": 0.5},
    "soft, without input feeding": {"input_feeding": False},
    "hard, reinforce": {"decoder": "hard"},
    "hard, straight through": {"decoder": "hard", "hard_estimator": "straight_through"},
    "hard, without input feeding": {"decoder": "hard", "input_feeding": False},
    "hard, with surroundings": {
        "decoder": "hard",
        "hard_estimator": "straight_through",
        "hard_glimpse": 3,
    },
    "transformer": {
        "decoder": "transformer",
        "cross_attention": "full",
        "decoder_attention": "rotary",
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,
        "num_heads": 2,
        "feedforward_dim": 32,
    },
}


@pytest.fixture(params=DECODERS)
def config(request):
    return replace(TINY, image_size=32, dim=16, embedding_dim=8, **DECODERS[request.param])


def batch(photos=3, captions=2, words=5, seed=0):
    random = np.random.default_rng(seed)
    target = random.integers(4, WORDS, (photos, captions, words)).astype(np.int32)
    target[:, :, -1] = 2
    previous = np.full_like(target, 1)
    previous[:, :, 1:] = target[:, :, :-1]
    # A colour for every cell: cells of noise are all alike to an encoder that sees little of it.
    pixels = random.integers(0, 256, (photos, 4, 4, 3)).astype(np.float32)
    pixels = pixels.repeat(8, axis=1).repeat(8, axis=2)
    weights = np.ones(target.shape, np.float32)
    return {"pixels": pixels, "previous": previous}, target, weights


def test_a_step_equals_the_call_at_its_position(config):
    model = build_model(config, WORDS)
    inputs, _, _ = batch(captions=1)
    whole, maps = observe(model)(inputs, training=False)
    crossing = next(value for path, value in maps.items() if "cross_attention" in path)
    state, encoded = model.begin({"pixels": inputs["pixels"]}, 5)
    for place in range(5):
        logits, state, weights = model.step(state, inputs["previous"][:, 0, place], encoded)
        np.testing.assert_allclose(logits, whole["logits"][:, 0, place], atol=2e-5)
        np.testing.assert_allclose(weights[:, 0], crossing[:, :, place], atol=2e-5)


def test_later_words_and_other_captions_cannot_matter(config):
    model = build_model(config, WORDS)
    inputs, _, _ = batch()
    before = np.array(model(inputs, training=False)["logits"])
    inputs["previous"][:, 1] = 7
    inputs["previous"][:, 0, 3:] = 9
    after = np.array(model(inputs, training=False)["logits"])
    np.testing.assert_allclose(after[:, 0, :3], before[:, 0, :3], atol=1e-5)
    assert abs(after[:, 0, 3:] - before[:, 0, 3:]).max() > 1e-4


def test_removed_cells_cannot_matter(config):
    config = replace(config, num_encoder_layers=0)
    model = build_model(config, WORDS)
    inputs, _, _ = batch()
    grid = np.array(model.encoder(inputs["pixels"]))
    key_mask = np.ones((3, 16), bool)
    key_mask[:, [0, 5, 9]] = False
    asked = {"previous": inputs["previous"], "key_mask": key_mask, "grids": (grid,)}
    before, maps = observe(model)(asked, training=False)
    other = grid.reshape(3, 16, -1).copy()
    other[:, [0, 5, 9]] = 50.0
    after = model({**asked, "grids": (other.reshape(grid.shape),)}, training=False)
    np.testing.assert_array_equal(after["logits"], before["logits"])
    for path, weights in maps.items():
        if "cross_attention" in path:
            assert not np.array(weights)[..., [0, 5, 9]].any()
            np.testing.assert_allclose(np.array(weights).sum(-1), 1, atol=1e-5)


def compiled(config, **changes):
    model = build_model(replace(config, **changes), WORDS)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    return model


def test_one_step_changes_every_weight(config):
    model = compiled(config, dropout_rate=0.0, hard_soft_share=0.0)
    model.run_eagerly = True
    before = [np.array(variable) for variable in model.trainable_variables]
    inputs, target, weights = batch()
    model.train_on_batch(inputs, target, sample_weight=weights)
    same = [
        variable.path
        for variable, value in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(variable, value)
        # Softmax does not see what is added to all keys alike.
        and not (variable.path.endswith("key/bias"))
    ]
    assert same == []


@pytest.mark.parametrize("decoder", ["soft", "hard"])
@pytest.mark.parametrize("input_feeding", [True, False])
def test_without_input_feeding_nothing_seen_is_remembered(decoder, input_feeding):
    config = replace(TINY, image_size=32, decoder=decoder, input_feeding=input_feeding)
    model = build_model(config, WORDS)
    inputs, _, _ = batch(photos=2, captions=1)
    pictures = [{"pixels": inputs["pixels"][row : row + 1]} for row in range(2)]
    (state, shown), (other, _) = (model.begin(one, 5) for one in pictures)
    for place in range(3):
        word = inputs["previous"][:1, 0, place]
        _, state, weights = model.step(state, word, shown)
        _, other, of_other = model.step(other, word, model.begin(pictures[1], 5)[1])
        assert not np.array_equal(weights, of_other)
    # The same word is asked of the same picture, behind the same words, after another picture.
    word = inputs["previous"][:1, 0, 3]
    logits, of_other = (model.step(one, word, shown)[0] for one in (state, other))
    assert np.array_equal(logits, of_other) is not input_feeding


def test_padding_has_no_part_in_the_loss(config):
    model = compiled(config, dropout_rate=0.0)
    inputs, target, weights = batch()
    weights[:, :, 3:] = 0
    told = model(inputs, training=False)
    first = float(model.compute_loss(inputs, target, told, weights, training=False))
    target[:, :, 3:] = 4
    second = float(model.compute_loss(inputs, target, told, weights, training=False))
    assert first == pytest.approx(second)


@pytest.mark.parametrize(
    ("name", "rate", "steps"),
    [
        ("soft", 0.005, 250),
        pytest.param("hard, reinforce", 0.01, 500, marks=pytest.mark.verify),
        pytest.param("transformer", 0.003, 500, marks=pytest.mark.verify),
    ],
)
def test_eight_pictures_can_be_learned_by_heart(name, rate, steps):
    config = replace(TINY, image_size=32, dim=32, embedding_dim=16, **DECODERS[name])
    model = compiled(
        config, dropout_rate=0.0, label_smoothing=0.0, feedforward_dim=64, num_encoder_layers=0
    )
    inputs, target, weights = batch(photos=8, captions=1)
    # Batches whose length is not known when the graph is made, as those of training are.
    shapes = {"pixels": [32, 32, 3], "previous": [None, None]}, [None, None], [None, None]
    data = tf.data.Dataset.from_tensor_slices((inputs, target, weights)).repeat()
    data = data.padded_batch(8, padded_shapes=shapes)
    model.optimizer.learning_rate = rate
    model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)
    said = np.argmax(model(inputs, training=False)["logits"], axis=-1)
    assert (said == target).mean() > 0.95


def test_a_model_read_back_answers_the_same(config, tmp_path):
    model = build_model(config, WORDS)
    inputs, _, _ = batch()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    first, second = (m(inputs, training=False)["logits"] for m in (model, again))
    np.testing.assert_array_equal(first, second)


def test_the_baseline_of_hard_attention_follows_the_rewards_and_is_saved(tmp_path):
    config = replace(TINY, image_size=32, decoder="hard", hard_soft_share=0.0)
    model = build_model(config, WORDS)
    assert not model.baseline.trainable
    inputs, target, weights = batch()
    weights[:, :, 3:] = 0
    expected = 0.0
    for _ in range(3):
        told = model(inputs, training=True)
        told_well = np.array(tf.nn.log_softmax(tf.cast(told["logits"], "float32")))
        told_well = np.take_along_axis(told_well, target[..., None].astype(int), axis=-1)[..., 0]
        rewards = [
            np.mean(caption[start:3])
            for photo in told_well
            for caption in photo
            for start in range(3)
        ]
        model.compute_loss(inputs, target, told, weights, training=True)
        expected += 0.1 * (np.mean(rewards) - expected)
        np.testing.assert_allclose(model.baseline, expected, rtol=1e-4)
    model.compute_loss(inputs, target, told, weights, training=False)
    np.testing.assert_allclose(model.baseline, expected, rtol=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.baseline, model.baseline)


def test_hard_attention_looks_at_one_cell():
    config = replace(TINY, image_size=32, decoder="hard", hard_soft_share=0.0)
    model = build_model(config, WORDS)
    inputs, _, _ = batch()
    for training in (False, True):
        told = model(inputs, training=training)
        looked = np.array(told["looked"])
        np.testing.assert_array_equal(np.sort(looked, axis=-1)[..., :-1], 0)
        np.testing.assert_array_equal(looked.sum(-1), 1)
        weights = np.array(told["weights"])[:, :, 0, 0]
        at_largest = (looked.argmax(-1) == weights.argmax(-1)).mean()
        assert at_largest == 1 if not training else at_largest < 1
    sure = replace(config, hard_estimator="straight_through", hard_temperature=0.0)
    told = build_model(sure, WORDS)(inputs, training=True)
    weights = np.array(told["weights"])[:, :, 0, 0]
    np.testing.assert_array_equal(np.argmax(told["looked"], -1), weights.argmax(-1))
    soft = build_model(replace(config, hard_soft_share=0.999999), WORDS)
    told = soft(inputs, training=True)
    np.testing.assert_array_equal(told["looked"], np.array(told["weights"])[:, :, 0, 0])


def test_a_glimpse_takes_in_the_neighbours_of_a_cell_and_no_others():
    config = replace(TINY, decoder="hard", hard_glimpse=3, dim=16, embedding_dim=8)
    decoder = build_model(config, WORDS).decoder
    side = decoder.side
    regions = np.random.default_rng(0).normal(size=(1, side * side, 16)).astype(np.float32)
    mask = np.ones((1, side * side), bool)
    _, one = decoder.begin(regions, mask)
    alone = decoder.cross_attention.project(regions, mask)
    np.testing.assert_array_equal(one["key"], alone["key"])
    changed = regions.copy()
    row, column = 2, 3
    changed[0, row * side + column] += 1.0
    _, other = decoder.begin(changed, mask)
    moved = np.abs(np.array(other["value"]) - np.array(one["value"])).max(-1).reshape(side, side)
    near = np.zeros((side, side), bool)
    near[row - 1 : row + 2, column - 1 : column + 2] = True
    np.testing.assert_array_equal(moved > 0, near)
    # Of two photos put side by side each keeps its own surroundings.
    _, both = decoder.begin(np.concatenate([regions, changed], 1), np.concatenate([mask, mask], 1))
    apart = np.concatenate([one["value"], other["value"]], 1)
    np.testing.assert_allclose(both["value"], apart, rtol=1e-5, atol=1e-6)


def test_the_answer_starts_at_word_frequencies():
    frequencies = np.log(np.arange(1, WORDS + 1, dtype=np.float32) / 66)
    model = build_model(replace(TINY, image_size=32), WORDS, frequencies)
    np.testing.assert_array_equal(model.output_layer.bias, frequencies)
