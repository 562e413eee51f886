"""A sample of mechanisms in every room: trained, exported, read back and asked."""

import dataclasses
import importlib

import numpy as np
import pytest

from attention_apps.attention.words import WORDS, accepted
from attention_apps.running.flags import RunOptions
from benchmarks.demo import rooms

# One training for every line. Words that can go together do, so that few trainings hold them all.
RUNS = [
    (
        "translation",
        {
            "encoder_attention": "cosine+rotary+window:6+global:1+top-k:4",
            "decoder_attention": "grouped:1+general+alibi+soft-cap:20+chunked:4",
            "cross_attention": "additive+local-p:4",
        },
    ),
    (
        "captioning",
        {
            "decoder": "transformer",
            "num_encoder_layers": 1,
            "encoder_attention": "multi-scale:2+sparsemax",
            "decoder_attention": "uniform+relative-bias:16+dense",
            "cross_attention": "scaled_dot+gumbel+grouped:2",
        },
    ),
    ("recommendation", {"attention": "dot+qk-norm+relative-keys:4+local+window:5+top-k:3"}),
    ("recommendation", {"attention": "span:6+rotary-linear:2+grouped:1"}),
    (
        "recommendation",
        {"model": "bert4rec", "attention": "linear:16+rotary-ntk:2+grouped:1"},
    ),
    (
        "forecasting",
        {
            "num_layers": 1,
            "time_attention": "random:1:4:16+blocks:4+rotary-yarn:2+grouped:1",
            "horizon_attention": "low-rank:4:64+hard",
        },
    ),
]


def words_of(changes):
    """Names of the words that a run's flags hold."""
    flags = [value for name, value in changes.items() if name.endswith("attention")]
    return {word.split(":")[0] for flag in flags for word in flag.split("+")}


def test_every_word_is_in_a_run_and_every_kind_of_choice_in_every_room():
    held = {room: set() for room in rooms()}
    for room, changes in RUNS:
        held[room] |= words_of(changes)
    assert set().union(*held.values()) == set(WORDS) - {"full"}  # What all other tests run with.
    for room, words in held.items():
        choices = {{"mask": "scope"}.get(WORDS[name].choice, WORDS[name].choice) for name in words}
        missing = {"normalizer", "position", "algorithm", "num_key_value_heads"} - choices
        assert not missing, f"{room} trains without a choice of {missing}"


@pytest.mark.parametrize(("room", "changes"), RUNS)
def test_a_run_names_words_that_its_flags_take(room, changes):
    config = importlib.import_module(f"{room}.config").Config
    sites = {field.name: field.metadata.get("attention") for field in dataclasses.fields(config)}
    for name, value in changes.items():
        if sites[name]:
            assert words_of({name: value}) <= set(accepted(*sites[name]))


@pytest.mark.verify
@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # Uniform attention asks no query.
@pytest.mark.parametrize(("room", "changes"), RUNS)
def test_mechanisms_train_export_and_answer(room, changes, tmp_path, embedded_data):
    import tensorflow as tf

    part = {name: importlib.import_module(f"{room}.{name}") for name in ("config", "train")}
    config = dataclasses.replace(part["config"].TINY, data_dir=embedded_data, **changes)
    if hasattr(config, "validate_every"):  # Every epoch is validated in the rooms without it.
        config = dataclasses.replace(config, validate_every=1)
    config = dataclasses.replace(config, epochs=1)
    run_dir = part["train"].train(config, RunOptions(runs_dir=tmp_path))["run_dir"]
    # Reads the weights back, and refuses a SavedModel that does not answer as Python does.
    folder = importlib.import_module(f"{room}.export").export(run_dir)
    ask = tf.saved_model.load(str(folder)).signatures["with_attention"]
    (asked,) = ask.structured_input_signature[1].values()
    batch = getattr(part["config"], "EXAMPLE_BATCH", [part["config"].EXAMPLE])
    answer = ask(tf.constant(batch, asked.dtype))
    assert np.isfinite(answer["attention"]).all()
    assert np.any(answer["attention"])
