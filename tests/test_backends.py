"""Layers and models compute the same on JAX as on TensorFlow."""

import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.demo import ROOT

TRANSLATION = """
import sys
from dataclasses import replace
import numpy as np
import keras
from keras import ops
from attention_apps.attention.decoding import beam_search
from attention_apps.attention.hypotheses import Rules
from attention_apps.attention.layers import AdditiveAttention, Attention, MultiHeadAttention
from attention_apps.attention.mechanism import parse_mechanism
from translation.config import TINY
from translation.losses import SmoothedCrossEntropy
from translation.model import build_model

rng = np.random.default_rng(0)
answers = {}

def keep(name, tensor):
    answers[name] = np.asarray(ops.convert_to_numpy(tensor))

def fill(layer):
    layer.set_weights([rng.normal(size=w.shape) * 0.3 for w in layer.get_weights()])

query = rng.normal(size=(2, 5, 8)).astype("float32")
value = rng.normal(size=(2, 6, 8)).astype("float32")
mask = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
for text in ("full", "dot", "cosine", "general", "additive", "rotary+window:3", "local-p:2"):
    layer = MultiHeadAttention(2, 4, mechanism=parse_mechanism(text))
    layer.build(query.shape, value.shape)
    fill(layer)
    output, weights = layer(
        query,
        value,
        key_mask=mask,
        use_causal_mask="local-p" not in text,
        return_attention_scores=True,
    )
    keep(f"{text} output", output)
    keep(f"{text} weights", weights)
for layer in (Attention(use_scale=True), AdditiveAttention()):
    layer.build([query.shape, value.shape])
    fill(layer)
    keep(layer.name, layer([query, value], mask=[None, mask]))

source = rng.integers(4, 30, size=(3, 6)).astype("int32")
source[1, 4:] = 0
previous = rng.integers(4, 30, size=(3, 5)).astype("int32")
inputs = {"source": source, "previous": previous}
rules = Rules(start_id=1, end_id=2, max_length=7, forbidden=(0, 1, 3))
for name, change in {
    "transformer": {"num_decoder_layers": 2, "cross_attention": "general+local-p:2"},
    "additive": {"model": "rnn", "cross_attention": "additive"},
    "local-p": {"model": "rnn", "cross_attention": "dot+local-p:2", "rnn_cell": "lstm"},
}.items():
    config = replace(TINY, vocabulary_size=30, **change)
    model = build_model(config)
    fill(model)
    logits = model(inputs)
    keep(f"{name} logits", logits)
    keep(f"{name} loss", SmoothedCrossEntropy(0.1)(previous, logits))
    state, encoded = model.begin(source, 7, growing=True)
    decoded = beam_search(model.step, state, encoded, rules, beam_size=3, num_hypotheses=2)
    for part, tensor in decoded._asdict().items():
        keep(f"{name} decoded {part}", tensor)

    # One training step: every gradient passes through attention and the loss.
    still = build_model(replace(config, dropout_rate=0.0))
    still.set_weights(model.get_weights())
    still.compile(keras.optimizers.SGD(0.1), SmoothedCrossEntropy(0.1))
    still.train_on_batch(inputs, previous)
    for index, weight in enumerate(still.get_weights()):
        answers[f"{name} weight {index}"] = weight
np.savez(sys.argv[1], **answers)
"""


RECOMMENDATION = """
import sys
from dataclasses import replace
import numpy as np
import keras
from keras import ops
from recommendation.config import TINY
from recommendation.losses import CHUNK, make_loss
from recommendation.model import build_model

rng = np.random.default_rng(0)
answers = {}
history = rng.integers(1, 13, size=(3, 6)).astype("int32")
history[1, :4] = 0
times = np.sort(rng.integers(-9999, 1, size=(3, 6))).astype("int32")
places = np.flatnonzero(history).astype("int32")
weights = np.pad(np.ones(len(places), "float32"), (0, CHUNK - len(places)))
inputs = {
    "history": history,
    "places": np.pad(places, (0, CHUNK - len(places))),
    "negatives": rng.integers(1, 13, size=9).astype("int32"),
}
target = rng.integers(1, 13, size=CHUNK).astype("int32")
for kind, loss, change in (
    ("sasrec", "softmax", {"time_bias": True}),
    ("bert4rec", "gbce", {"attention": "cosine+rotary"}),
    ("sasrec", "sampled_softmax", {"cosine": True, "temperature": 0.1}),
):
    config = replace(TINY, model=kind, loss=loss, dropout_rate=0.0, num_negatives=9, **change)
    model = build_model(config, 12)
    model.set_weights([rng.normal(size=w.shape) * 0.3 for w in model.get_weights()])
    timed = {**inputs, "times": times} if config.time_bias else inputs
    hidden = model.next_hidden(history, timed.get("times"))
    answers[f"{loss} scores"] = ops.convert_to_numpy(model.scores(hidden))
    model.objective = make_loss(config, np.arange(1.0, 13.0))
    model.compile(keras.optimizers.SGD(0.1))
    answers[f"{loss} loss"] = model.train_on_batch(timed, target, sample_weight=weights)
    for index, weight in enumerate(model.get_weights()):
        answers[f"{loss} weight {index}"] = weight
np.savez(sys.argv[1], **answers)
"""


MECHANISMS = """
import sys
import numpy as np
import keras
from keras import ops
from attention_apps.attention.layers import MultiHeadAttention
from attention_apps.attention.mechanism import parse_mechanism

rng = np.random.default_rng(0)
answers = {}
x = rng.normal(size=(2, 70, 6)).astype("float32")
mask = np.ones((2, 70), bool)
mask[1, 50:] = False
for text in (
    "sparsemax", "top-k:3", "hard", "qk-norm+soft-cap:3", "alibi", "relative-bias:20",
    "relative-keys:3", "rotary-yarn:4", "chunked:16+relative-bias+soft-cap:2", "local+window:9",
    "blocks:8+window:9+global:2+random:1:8:80", "span:20", "local+span:20", "low-rank:8:80",
    "linear:32", "multi-scale:2", "grouped:1+rotary",
):
    inputs, key_mask = keras.Input((70, 6)), keras.Input((70,), dtype="bool")
    layer = MultiHeadAttention(2, 4, mechanism=parse_mechanism(text))
    output = layer(
        inputs, inputs, key_mask=key_mask, use_causal_mask="low-rank" not in text
    )
    model = keras.Model([inputs, key_mask], output)
    model.set_weights([rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    answers[f"{text} output"] = ops.convert_to_numpy(model([x, mask]))
    _, weights = layer(
        x, x, key_mask=mask, use_causal_mask="low-rank" not in text, return_attention_scores=True
    )
    answers[f"{text} weights"] = ops.convert_to_numpy(weights)
    # One step of training passes every gradient, compiled.
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch([x, mask], np.cos(np.arange(70 * 6)).reshape(1, 70, 6).repeat(2, 0))
    for index, weight in enumerate(model.get_weights()):
        answers[f"{text} weight {index}"] = weight
np.savez(sys.argv[1], **answers)
"""


@pytest.mark.verify
@pytest.mark.parametrize(
    "compute",
    [TRANSLATION, RECOMMENDATION, MECHANISMS],
    ids=["translation", "recommend", "mechanisms"],
)
def test_jax_gives_the_numbers_of_tensorflow(tmp_path, compute):
    answers = {}
    for backend in ("tensorflow", "jax"):
        path = tmp_path / f"{backend}.npz"
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-c", compute, str(path)], env=environment, cwd=tmp_path, check=True
        )
        answers[backend] = dict(np.load(path))
    assert answers["tensorflow"].keys() == answers["jax"].keys()
    for name, ours in answers["tensorflow"].items():
        np.testing.assert_allclose(answers["jax"][name], ours, rtol=2e-4, atol=2e-5, err_msg=name)
