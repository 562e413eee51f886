"""The recurrent translator: masks, causality, cached steps, learning, choices of attention."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_apps.observation.events import read_records
from attention_apps.observation.observe import observe
from attention_apps.running.command import UserError
from attention_apps.running.flags import RunOptions
from benchmarks.demo import ROOT
from translation import predict
from translation.config import EXAMPLE, TINY
from translation.evaluate import evaluate
from translation.losses import SmoothedCrossEntropy
from translation.model import build_model
from translation.train import main, train
from translation.words import PAD, START

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
    for one, other in zip(
        model.decoder(embedded, spoiled, key_mask),
        model.decoder(embedded, encoded, key_mask),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


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


@pytest.mark.parametrize(
    ("attention", "feeding"), [("additive", True), ("general", True), ("dot", False)]
)
def test_a_decoder_does_in_its_order_what_its_paper_says(attention, feeding):
    keras.utils.set_random_seed(3)
    config = replace(CONFIG, cross_attention=attention, input_feeding=feeding)
    decoder = build_model(config).decoder
    embedded, encoded = (RNG.normal(size=(3, n, CONFIG.dim)).astype("float32") for n in (5, 6))
    key_mask = SOURCE != PAD
    outputs, weights = decoder(embedded, encoded, key_mask)

    def attend(state):
        context, its_weights = decoder.cross_attention(state[:, None], encoded, key_mask)
        return np.array(context)[:, 0], np.array(its_weights)[:, :, 0]

    def dense(layer, *parts):
        return np.tanh(np.concatenate(parts, -1) @ layer.kernel.numpy() + layer.bias.numpy())

    mean = [row[mask].mean(0) for row, mask in zip(encoded, key_mask, strict=True)]
    state = dense(decoder.start[0], np.array(mean))
    output = np.zeros_like(state)
    for step in range(5):
        token = embedded[:, step]
        if attention == "additive":  # Bahdanau: the state before the step asks.
            context, its_weights = attend(state)
            state = np.array(decoder.cells[0](np.concatenate([token, context], -1), [state])[0])
            output = dense(decoder.combine, state, context, token)
        else:  # Luong: the state after the step asks.
            read = np.concatenate([token, output], -1) if feeding else token
            state = np.array(decoder.cells[0](read, [state])[0])
            context, its_weights = attend(state)
            output = dense(decoder.combine, context, state)
        np.testing.assert_allclose(np.array(outputs)[:, step], output, atol=1e-5)
        np.testing.assert_allclose(np.array(weights)[:, :, step], its_weights, atol=1e-5)


def test_order_matters_in_source_and_target(model):
    swapped = SOURCE.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    assert np.abs(np.array(model({**INPUTS, "source": swapped}) - model(INPUTS))).max() > 1e-3
    again = PREVIOUS.copy()
    again[:, [1, 2]] = again[:, [2, 1]]
    changed = np.array(model({**INPUTS, "previous": again}) - model(INPUTS))
    assert np.abs(changed[:, -1]).max() > 1e-4


@pytest.mark.parametrize("choice", CHOICES, ids=named)
def test_one_step_of_training_changes_every_weight(choice):
    keras.utils.set_random_seed(1)
    model = build_model(replace(CONFIG, dropout_rate=0.2, **choice))
    model.compile("adam", SmoothedCrossEntropy(0.1), run_eagerly=True)
    before = [weight.copy() for weight in model.get_weights()]
    model.train_on_batch(INPUTS, PREVIOUS, sample_weight=np.ones(PREVIOUS.shape))
    for variable, old in zip(model.trainable_variables, before, strict=False):
        assert np.abs(variable.numpy() - old).max() > 0, variable.path


@pytest.mark.parametrize(
    ("attention", "cell"),
    [
        ("additive", "gru"),
        pytest.param("general+local-p:3", "lstm", marks=pytest.mark.verify),
    ],
)
def test_eight_pairs_can_be_learned_by_heart(attention, cell):
    keras.utils.set_random_seed(2)
    model = build_model(replace(CONFIG, dim=32, cross_attention=attention, rnn_cell=cell))
    model.compile(keras.optimizers.Adam(0.01), SmoothedCrossEntropy())
    source = RNG.integers(4, SIZE, size=(8, 5)).astype("int32")
    target = source[:, ::-1]
    previous = np.concatenate([np.full((8, 1), START, "int32"), target[:, :-1]], axis=1)
    inputs = {"source": source, "previous": previous}
    dataset = tf.data.Dataset.from_tensors((inputs, target)).repeat()
    model.fit(dataset, steps_per_epoch=120, verbose=0, shuffle=False)
    assert (np.argmax(model(inputs), axis=-1) == target).mean() == 1


@pytest.mark.verify
def test_guided_attention_looks_where_the_predicted_word_comes_from():
    """Reversed links, which no translation asks for, are learned."""
    keras.utils.set_random_seed(0)
    model = build_model(replace(CONFIG, cross_attention="general", alignment_weight=1.0))
    words = np.where(SOURCE == PAD, 0, np.arange(1, 7))
    inputs = {**INPUTS, "source_words": words, "linked_words": np.array([[0, 4, 3, 2, 1]] * 3)}
    model.compile(keras.optimizers.Adam(0.01), SmoothedCrossEntropy())
    model.fit(inputs, PREVIOUS, epochs=80, verbose=0)
    _, maps = observe(model)(INPUTS, training=False)
    (weights,) = maps.values()
    np.testing.assert_array_equal(np.array(weights)[:, 0, :4].argmax(-1), [[3, 2, 1, 0]] * 3)


def test_a_saved_model_is_the_same_model(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(INPUTS), model(INPUTS))


def test_half_precision_says_about_the_same():
    wide, half = (
        build_model(replace(CONFIG, cross_attention="additive+local-p:2", precision=precision))
        for precision in ("float32", "mixed_bfloat16")
    )
    half.set_weights(wide.get_weights())
    expected = np.array(wide(INPUTS))
    logits, maps = observe(half)(INPUTS, training=False)
    assert np.abs(np.array(keras.ops.cast(logits, "float32")) - expected).max() < 0.1
    (weights,) = maps.values()
    assert weights.dtype == "float32"
    np.testing.assert_allclose(np.array(weights).sum(-1), 1, atol=1e-5)


def test_dropout_acts_in_training_alone():
    model = build_model(replace(CONFIG, cross_attention="additive", dropout_rate=0.3))
    np.testing.assert_array_equal(model(INPUTS), model(INPUTS, training=False))
    assert np.abs(np.array(model(INPUTS, training=True) - model(INPUTS))).max() > 1e-2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"cross_attention": "window:4"}, "two sequences"),
        ({"cross_attention": "general+rotary"}, "two sequences"),
        ({"cross_attention": "nearby"}, "words joined with"),
        ({"cross_attention": "additive", "input_feeding": False}, "--no-input-feeding"),
        ({"rnn_cell": "elman"}, "--rnn-cell must be gru or lstm. Received: elman"),
        ({"model": "cnn"}, "--model must be transformer or rnn. Received: cnn"),
        ({"encoder_attention": "cosine"}, "--encoder-attention means nothing to --model rnn"),
        ({"model": "transformer", "rnn_cell": "lstm"}, "--rnn-cell means nothing to"),
        ({"model": "transformer", "encoder_attention": "local-p:4"}, "another sequence"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(flags, message):
    with pytest.raises(ValueError, match="Received") as refusal:
        build_model(replace(CONFIG, **flags))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.verify
def test_a_run_is_trained_read_exported_and_asked_as_any_other(embedded_data, tmp_path, capsys):
    config = replace(
        TINY, model="rnn", cross_attention="additive", data_dir=embedded_data, epochs=1
    )
    run_dir = train(config, RunOptions(runs_dir=tmp_path))["run_dir"]
    metrics = evaluate(run_dir)["test"]
    assert all(0 <= figures["alignment_error_raw"] <= 1 for figures in metrics.values())
    assert (run_dir / "evaluation" / "attention.png").exists()
    # A process of its own knows the model only by what the room imports.
    command = [sys.executable, "-m", "translation.export", "--run-dir", str(run_dir)]
    answer = subprocess.run(
        [*command, "--parity-sentences", "40"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "40 sentences: the export answers as Python does" in answer.stdout
    records = read_records(run_dir / "attention")
    assert {record.weights.shape[0] for record in records} == {1}
    # Each row belongs to the token that was predicted, gold included.
    assert {record.query.labels[-1] for record in records} == {"</s>"}
    assert all((record.gold.sum(axis=-1)[:-1] > 0).mean() > 0.5 for record in records)
    assert not any(record.gold[-1].any() for record in records)
    capsys.readouterr()
    assert predict.main(["--run-dir", str(run_dir), EXAMPLE]) == 0
    assert "alignment:" in capsys.readouterr().out


def test_a_bad_attention_ends_training_before_a_run_begins(embedded_data, tmp_path):
    flags = ["--model", "rnn", "--cross-attention", "rotary", "--generated-size", "tiny"]
    with pytest.raises(UserError, match="two sequences"):
        main([*flags, "--data-dir", embedded_data, "--runs-dir", str(tmp_path)])
    assert not list(tmp_path.iterdir())
