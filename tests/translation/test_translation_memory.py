"""A translation memory: what it holds, how it is attended to, and what comes of it."""

import itertools
import json
import math
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from attention_apps.running.command import UserError
from attention_apps.running.export import exported_model
from attention_apps.running.runs import load_run
from translation import predict
from translation.config import TINY, Config
from translation.corpus import Corpus
from translation.data import read_corpora
from translation.evaluate import Comparisons, evaluate
from translation.export import export
from translation.memory_attention import MemoryAttention, Recall
from translation.memory_tuning import chosen_memory, tune_recall, tune_with_memory
from translation.model import build_model
from translation.report import report
from translation.translate import Translate, translate_all
from translation.translation_memory import MEMORY, TranslationMemory
from translation.vocabularies import Vocabularies
from translation.words import END, PAD, START

DIM, VOCABULARY = 6, 11


@pytest.fixture(scope="module")
def run(finished_run):
    _, run_dir = finished_run("translation")
    return load_run(run_dir, "translation", Config)


@pytest.fixture(scope="module")
def translate(run):
    return Translate(run.model, Vocabularies.read(run.run_dir), run.config)


@pytest.fixture(scope="module")
def corpora(run):
    training, validation, _ = read_corpora(run.config)
    return first(training, 120), first(validation, 40)


@pytest.fixture(scope="module")
def memory(translate, corpora):
    return remembered(translate, corpora[0])


def first(corpus, count):
    return Corpus(corpus.name, corpus.sources[:count], corpus.targets[:count])


def remembered(translate, corpus):
    model, config = translate.model, translate.config
    return TranslationMemory.of(model, translate.vocabularies, corpus, config.max_length)


def drawn_memory(seed=0, lengths=((3, 2), (5, 4), (2, 1), (4, 3), (6, 5))):
    """Random states and ids for pairs of these source and target lengths."""
    rng = np.random.default_rng(seed)
    sources, targets = ([length[side] for length in lengths] for side in (0, 1))
    lines = [f"{side} {number}" for number in range(len(lengths)) for side in ("source", "target")]
    return TranslationMemory(
        states=rng.normal(size=(sum(targets), DIM)).astype(np.float16),
        next_tokens=rng.integers(2, VOCABULARY, sum(targets)).astype(np.int32),
        target_splits=np.cumsum([0, *targets]),
        source_ids=rng.integers(2, 9, sum(sources)).astype(np.int32),
        source_splits=np.cumsum([0, *sources]),
        texts=np.frombuffer("\n".join(lines).encode(), np.uint8),
    )


def rows_of(values, splits):
    return [values[start:end] for start, end in itertools.pairwise(splits)]


def naive_cosines(source, memory):
    """Cosines of TF-IDF vectors, by dictionaries."""
    documents = [list(map(int, row)) for row in rows_of(memory.source_ids, memory.source_splits)]
    found_in = Counter(token for document in documents for token in set(document))

    def vector(tokens):
        known = {token: count for token, count in Counter(tokens).items() if token in found_in}
        terms = {
            token: (1 + math.log(count)) * math.log(len(documents) / found_in[token])
            for token, count in known.items()
        }
        length = math.sqrt(sum(value**2 for value in terms.values()))
        return {token: value / length for token, value in terms.items()} if length else {}

    query = vector([token for token in source if token != PAD])
    return [
        sum(value * query.get(token, 0.0) for token, value in vector(document).items())
        for document in documents
    ]


def naive_mixture(logits, state, source, memory, recall):
    """The formula at the head of the module, key by key."""
    cosines = naive_cosines(source, memory)
    pairs = sorted(range(len(cosines)), key=lambda pair: (-cosines[pair], pair))[: recall.num_pairs]
    states = memory.states.astype(np.float64)
    spread = np.mean(np.sum((states - states.mean(axis=0)) ** 2, axis=1))
    scored = []
    for pair in pairs:
        for place in range(memory.target_splits[pair], memory.target_splits[pair + 1]):
            distance = np.sum((state - states[place]) ** 2)
            score = -recall.sharpness * distance / spread + recall.similarity * cosines[pair]
            scored.append((math.exp(score), memory.next_tokens[place]))
    total = sum(weight for weight, _ in scored)
    said = np.zeros(VOCABULARY)
    for weight, token in scored:
        said[token] += weight / total
    model = np.exp(logits - np.logaddexp.reduce(logits))
    return np.log(recall.share * said + (1 - recall.share) * model)


@pytest.mark.parametrize(
    "recall", [Recall(2, 0.4, 5.0, 3.0), Recall(9, 0.9, 0.5, 0.0), Recall(3, 0.5, 20.0, 8.0)]
)
def test_the_mixture_is_the_formula(recall):
    memory = drawn_memory()
    rng = np.random.default_rng(1)
    source = np.array([[3, 4, 4, 10, 0], [2, 5, 0, 0, 0]], np.int32)
    logits, states = rng.normal(size=(6, VOCABULARY)), rng.normal(size=(6, DIM))
    attention = MemoryAttention(memory, recall)
    mixed = attention.mixed(
        tf.constant(logits, tf.float32),
        tf.constant(states, tf.float32),
        attention.nearest(tf.constant(source)),
    )
    for row in range(6):  # three hypotheses of each sentence
        expected = naive_mixture(logits[row], states[row], source[row // 3], memory, recall)
        np.testing.assert_allclose(mixed[row], expected, atol=1e-4)


def test_what_pads_a_batch_and_pairs_that_are_not_nearest_cannot_matter():
    memory, recall = drawn_memory(), Recall(2, 0.5, 2.0, 1.0)
    attention = MemoryAttention(memory, recall)
    query = tf.random.stateless_normal((2, 3, DIM), (1, 2))
    source = tf.constant([[3, 4, 0], [2, 5, 7]])
    together = attention.predictions(query, attention.nearest(source), VOCABULARY)
    alone = attention.predictions(query[:1], attention.nearest(source[:1, :2]), VOCABULARY)
    np.testing.assert_allclose(together[:1], alone, atol=1e-6)
    pairs = attention.nearest(source[:1]).pairs.numpy()[0]
    others = [pair for pair in range(len(memory)) if pair not in pairs]
    tokens = memory.next_tokens.copy()
    for pair in others:
        tokens[memory.target_splits[pair] : memory.target_splits[pair + 1]] = 2
    changed = MemoryAttention(replace(memory, next_tokens=tokens), recall)
    same = changed.predictions(query[:1], changed.nearest(source[:1]), VOCABULARY)
    np.testing.assert_array_equal(
        same, attention.predictions(query[:1], attention.nearest(source[:1]), VOCABULARY)
    )
    tokens[memory.target_splits[pairs[0]] : memory.target_splits[pairs[0] + 1]] = 3
    changed = MemoryAttention(replace(memory, next_tokens=tokens), recall)
    assert (
        np.abs(same - changed.predictions(query[:1], changed.nearest(source[:1]), VOCABULARY)).max()
        > 1e-3
    )


def test_what_is_shown_are_the_weights_of_the_pairs():
    memory = drawn_memory()
    attention = MemoryAttention(memory, Recall(5, 0.5, 1.0, 0.0))
    source, query = tf.constant([[3, 4], [6, 0]]), tf.random.stateless_normal((2, 3, DIM), (3, 4))
    mask = tf.constant([[True, True, True], [True, False, False]])
    shown = attention.shown(query, source, mask)
    nearest = attention.nearest(source)
    weights = attention.weights(query, nearest).numpy()
    assert shown["memory_weights"].shape == (2, 3, 5)
    np.testing.assert_allclose(np.sum(shown["memory_weights"], -1), mask.numpy(), atol=1e-5)
    for row in range(2):
        sums = np.sum(shown["memory_weights"][row], axis=0)
        assert list(sums) == sorted(sums, reverse=True)
        for place in range(5):
            name = shown["memory_sources"][row, place].numpy().decode()
            assert shown["memory_targets"][row, place].numpy().decode() == name.replace(
                "source", "target"
            )
            belongs = nearest.pairs.numpy()[row][nearest.places[row]] == int(name.split()[1])
            belongs &= nearest.key_mask.numpy()[row]
            for token in np.flatnonzero(mask[row]):
                expected = weights[row, token, belongs].sum()
                assert float(shown["memory_weights"][row, token, place]) == pytest.approx(
                    expected, abs=1e-5
                )


@pytest.mark.parametrize(
    "kind", [{}, {"model": "rnn"}, {"model": "rnn", "cross_attention": "additive"}]
)
def test_a_memory_holds_what_the_decoder_knows_before_each_token(kind, translate, corpora):
    config = replace(TINY, num_heads=1, **kind) if kind else TINY
    model, vocabularies = build_model(config), translate.vocabularies
    pairs = first(corpora[0], 5)
    memory = TranslationMemory.of(model, vocabularies, pairs, config.max_length)
    tokens = rows_of(memory.next_tokens, memory.target_splits)
    states = rows_of(memory.states, memory.target_splits)
    for index, text in enumerate(pairs.targets):
        ids = vocabularies.target.encode_all([text]).to_list()[0]
        assert [*ids, END] == tokens[index].tolist()
        source = vocabularies.source.encode_all([pairs.sources[index]])
        source = vocabularies.source.finish(source).to_tensor()
        assert memory.source_ids[slice(*memory.source_splits[index : index + 2])].tolist() == (
            source.numpy()[0].tolist()
        )
        state, encoded = model.begin(source, config.max_length)
        for token, expected in zip([START, *ids], states[index], strict=True):
            found, state, _ = model.step_states(state, tf.constant([token]), encoded)
            np.testing.assert_allclose(found[0], expected, atol=5e-3, rtol=2e-3)
    assert memory.pairs == (pairs.sources, pairs.targets)


def test_pairs_too_long_for_the_model_are_left_out_and_a_file_gives_all_back(
    translate, corpora, tmp_path
):
    pairs = first(corpora[0], 8)
    lengths = [
        max(len(row) + 1 for row in both)
        for both in zip(
            *(
                translate.vocabularies.target.encode_all(texts).to_list()
                for texts in (pairs.sources, pairs.targets)
            ),
            strict=True,
        )
    ]
    longest = sorted(lengths)[4]
    memory = TranslationMemory.of(translate.model, translate.vocabularies, pairs, longest)
    kept = [index for index, length in enumerate(lengths) if length <= longest]
    assert 0 < len(kept) < 8
    assert memory.pairs[0] == [pairs.sources[index] for index in kept]
    memory.write(tmp_path / MEMORY)
    again = TranslationMemory.read(tmp_path / MEMORY)
    for name, value in vars(memory).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def with_recall(translate, memory, recall):
    attention = MemoryAttention(memory, recall)
    return Translate(translate.model, translate.vocabularies, translate.config, attention)


def test_a_share_of_none_changes_nothing_and_a_share_of_nearly_all_repeats(translate, corpora):
    training, _ = corpora
    plain = translate_all(translate.translate, training.sources[:20])
    none = with_recall(translate, remembered(translate, training), Recall(8, 0.0, 9.0, 4.0))
    for one, other in zip(plain, translate_all(none.translate, training.sources[:20]), strict=True):
        assert one["translations"] == other["translations"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
    # The memory of a pair, asked for its source, says its target.
    pair = first(training, 1)
    nearly_all = with_recall(translate, remembered(translate, pair), Recall(8, 0.999, 40.0, 0.0))
    said = nearly_all.translate(tf.constant(pair.sources))["translations"].numpy()[0].decode()
    assert said == pair.targets[0]
    assert plain[0]["translations"].decode() != said


def test_the_batch_a_sentence_is_in_does_not_change_what_it_remembers(translate, memory, corpora):
    remembering = with_recall(translate, memory, Recall(16, 0.5, 9.0, 4.0))
    sentences = corpora[1].sources[:15]
    together = translate_all(remembering.translate_with_attention, sentences, batch_size=15)
    apart = translate_all(
        remembering.translate_with_attention, sentences[::-1], batch_size=4, sort=False
    )
    for one, other in zip(together, apart[::-1], strict=True):
        assert one["translations"] == other["translations"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        length = int((one["target_ids"] != PAD).sum())
        np.testing.assert_allclose(
            one["memory_weights"][:length], other["memory_weights"][:length], atol=1e-4
        )


def test_how_to_attend_is_chosen_by_first_guesses(translate, corpora):
    validation = first(corpora[1], 5)  # a memory that holds the answers is worth more than none
    attention, section = tune_recall(translate, remembered(translate, validation), validation, 4)
    assert section["validation_accuracy"] > section["validation_accuracy_without"] + 0.1
    assert attention.recall == Recall(
        4, *(section[n] for n in ("share", "sharpness", "similarity"))
    )
    # Counted by hand, one token at a time.
    hits = total = 0
    vocabularies = translate.vocabularies
    for source, target in zip(validation.sources, validation.targets, strict=True):
        ids = vocabularies.source.finish(vocabularies.source.encode_all([source])).to_tensor()
        state, encoded = translate.model.begin(ids, translate.config.max_length)
        step, previous = attention.step(translate.model, ids), START
        for token in [*vocabularies.target.encode_all([target]).to_list()[0], END]:
            logits, state, _ = step(state, tf.constant([previous]), encoded)
            hits, total, previous = hits + (int(np.argmax(logits[0])) == token), total + 1, token
    assert section["validation_accuracy"] == pytest.approx(hits / total, abs=1.5 / total)


def test_a_memory_that_makes_translations_worse_is_not_chosen(translate, memory, corpora):
    validation = first(corpora[1], 12)
    wrong = replace(memory, next_tokens=np.full_like(memory.next_tokens, 7))
    chosen, section = tune_with_memory(translate, wrong, validation, 8, (1.0,))
    assert chosen is translate
    assert section["memory"] == {}
    assert section["other"]["memory"]["num_pairs"] == 8
    assert section["best_validation_bleu"] > section["other"]["best_validation_bleu"]
    answers = remembered(translate, validation)
    chosen, section = tune_with_memory(translate, answers, validation, 8, (0.0, 1.0))
    assert chosen.memory.recall.num_pairs == section["memory"]["num_pairs"] == 8
    assert section["other"]["memory"] == {}
    assert section["best_validation_bleu"] == max(section["validation_bleu"].values())


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """A copy of the run whose decoding attends to its memory, and its export."""
    run_dir = shutil.copytree(run.run_dir, tmp_path_factory.mktemp("remembering") / "run")
    sections = evaluate(
        run_dir, Comparisons(memory=True, memory_pairs=16, beam_size=3, length_penalties=(1.0,))
    )
    assert sections["decoding"]["memory"], "of so small a model the memory knows more"
    export(run_dir, parity_sentences=60)
    return run_dir, sections


def test_an_export_attends_to_the_memory_and_says_what_it_remembered(evaluated, capsys):
    run_dir, sections = evaluated
    folder = exported_model(run_dir, "translation")
    card = json.loads((folder / "assets.extra" / "model_card.json").read_text("utf-8"))
    chosen = {name: sections["decoding"]["memory"][name] for name in card["decoding"]["memory"]}
    assert card["decoding"] == {"beam_size": 3, "length_penalty": 1.0, "memory": chosen}
    training, _, tests = read_corpora(TINY)
    assert predict.main(["--run-dir", str(run_dir), tests[0].sources[0]]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("memory")]
    assert len(lines) == predict.PAIRS_TOLD
    pairs = set(zip(training.sources, training.targets, strict=True))
    for line in lines:
        source, target = line.split("%", 1)[1].strip().split("  →  ")
        assert (source, target) in pairs
    assert predict.main(["--run-dir", str(run_dir), "--n-best", "2", tests[0].sources[0]]) == 0
    assert "\nmemory " in capsys.readouterr().out


def test_an_evaluation_tells_what_the_memory_is_worth(evaluated):
    run_dir, sections = evaluated
    assert (run_dir / "evaluation" / "memory.png").stat().st_size > 0
    text = report(sections)
    assert "translation memory of 16 pairs a sentence" in text
    assert f"without {sections['decoding']['other']['best_validation_bleu']:.2f}" in text
    turned = {**sections["decoding"]["other"], "other": sections["decoding"]}
    text = report({**sections, "decoding": turned})
    assert "no translation memory: validation BLEU" in text


def test_what_cannot_work_is_refused(evaluated, run, tmp_path):
    with pytest.raises(ValueError, match="--memory-pairs must be at least 1"):
        Comparisons(memory_pairs=0)
    with pytest.raises(ValueError, match="--beam-size must be at least 1"):
        Comparisons(beam_size=0)
    assert chosen_memory(run.run_dir, run.metrics) is None
    _, sections = evaluated
    with pytest.raises(UserError, match="evaluate again, with or without it"):
        chosen_memory(tmp_path, sections)
