"""From pairs to batches: what an epoch holds, in which order, split how, and linked to what."""

from dataclasses import replace

import numpy as np
import pytest

from translation.batches import Batches
from translation.config import Config
from translation.corpus import Corpus
from translation.subwords import Subwords
from translation.vocabularies import Vocabularies
from translation.words import END, PAD, START, words_of

WORDS = "der die ein eine Hund Katze Haus Baum läuft sieht kennt schön alt groß . ,".split()  # noqa: SIM905
RNG = np.random.default_rng(0)


def sentences(count, longest=12):
    return [" ".join(RNG.choice(WORDS, RNG.integers(2, longest))) for _ in range(count)]


SOURCES, TARGETS = sentences(150), sentences(150)
CORPUS = Corpus("train", SOURCES, TARGETS)
CONFIG = Config(vocabulary_size=60, batch_tokens=200, max_length=40, seed=3, alignment_weight=0.0)
SAMPLED = replace(CONFIG, subword_dropout=0.3)


@pytest.fixture(scope="module")
def vocabularies():
    return Vocabularies.shared(Subwords.learn([*SOURCES, *TARGETS], 60))


def test_long_pairs_are_left_out_and_counted(vocabularies):
    corpus = Corpus("train", [*SOURCES, "Hund " * 500], [*TARGETS, "Katze"])
    batches = Batches(CONFIG, vocabularies, corpus)
    assert "left out 1 of 151 training pairs" in batches.notes[0]
    assert "pair 151, has 501" in batches.notes[0]


def epoch_of(batches, epoch):
    return list(batches.epochs_from(epoch).take(batches.steps_per_epoch))


def pairs_of(epoch):
    rows = []
    for inputs, target, weights in epoch:
        for source, previous, ids, weight in zip(
            inputs["source"].numpy(),
            inputs["previous"].numpy(),
            target.numpy(),
            weights.numpy(),
            strict=True,
        ):
            length = int(weight.sum())
            assert weight[:length].all()
            assert ids[length - 1] == END
            assert previous[0] == START
            np.testing.assert_array_equal(previous[1:length], ids[: length - 1])
            assert not ids[length:].any()
            assert not previous[length:].any()
            kept = source[source != PAD]
            assert kept[-1] == END
            rows.append((tuple(kept[:-1]), tuple(ids[: length - 1])))
    return rows


def test_an_epoch_holds_every_pair_once(vocabularies):
    batches = Batches(CONFIG, vocabularies, CORPUS)
    ids = [
        [tuple(row) for row in vocabularies.target.encode_all(texts).to_list()]
        for texts in (SOURCES, TARGETS)
    ]
    assert sorted(pairs_of(epoch_of(batches, 0))) == sorted(zip(*ids, strict=True))


def test_the_order_depends_on_seed_and_epoch_alone(vocabularies):
    batches = Batches(CONFIG, vocabularies, CORPUS)
    steps = batches.steps_per_epoch
    both = list(batches.epochs_from(0).take(2 * steps))
    first, second = pairs_of(both[:steps]), pairs_of(both[steps:])
    assert pairs_of(epoch_of(batches, 1)) == second
    assert first != second
    assert pairs_of(epoch_of(Batches(CONFIG, vocabularies, CORPUS), 0)) == first
    other = Batches(replace(CONFIG, seed=4), vocabularies, CORPUS)
    assert pairs_of(epoch_of(other, 0)) != first


def test_batches_keep_to_their_tokens_in_few_shapes(vocabularies):
    shapes = [
        tuple(target.shape) for _, target, _ in epoch_of(Batches(CONFIG, vocabularies, CORPUS), 0)
    ]
    assert max(rows * length for rows, length in shapes) <= CONFIG.batch_tokens
    assert {length for _, length in shapes} <= {8, 12, 16, 20, 24, 28, 32, 40}


def texts_of(subwords, pairs):
    return sorted(
        tuple(subwords.decode([row])[0].numpy().decode() for row in pair) for pair in pairs
    )


def test_subwords_are_drawn_anew_in_every_epoch_and_say_the_same(vocabularies):
    batches = Batches(SAMPLED, vocabularies, CORPUS)
    plain = sum(
        len(source) for source, _ in pairs_of(epoch_of(Batches(CONFIG, vocabularies, CORPUS), 0))
    )
    first = pairs_of(epoch_of(batches, 0))
    held = set(texts_of(vocabularies.target, first))
    # The number of batches is that of epoch 0, which is therefore whole.
    assert held == set(zip(SOURCES, TARGETS, strict=True))
    assert sum(len(source) for source, _ in first) > 1.1 * plain
    assert set(first) != set(pairs_of(epoch_of(batches, 1)))


def test_drawn_subwords_depend_on_seed_and_epoch_alone(vocabularies):
    batches = Batches(SAMPLED, vocabularies, CORPUS)
    steps = batches.steps_per_epoch
    both = [pairs_of([batch]) for batch in batches.epochs_from(0).take(2 * steps)]
    again = [pairs_of([batch]) for batch in epoch_of(Batches(SAMPLED, vocabularies, CORPUS), 1)]
    assert again == both[steps:]
    other = Batches(replace(SAMPLED, seed=4), vocabularies, CORPUS)
    assert [pairs_of([batch]) for batch in epoch_of(other, 0)] != both[:steps]


def test_a_pair_that_is_drawn_too_long_is_split_as_usual(vocabularies):
    longest = 1 + max(
        len(ids) for ids in vocabularies.target.encode_all([*SOURCES, *TARGETS]).to_list()
    )
    batches = Batches(replace(SAMPLED, max_length=longest), vocabularies, CORPUS)
    assert not batches.notes
    epoch = epoch_of(batches, 0)
    assert max(target.shape[1] for _, target, _ in epoch) <= longest
    assert set(texts_of(vocabularies.target, pairs_of(epoch))) == set(
        zip(SOURCES, TARGETS, strict=True)
    )


@pytest.mark.parametrize("config", [CONFIG, SAMPLED])
def test_links_follow_their_words_through_any_subwords(vocabularies, config):
    """Each target word's subwords, as decoder inputs, carry the number of its source word."""
    subwords = vocabularies.target
    teacher = [
        sorted(
            (int(RNG.integers(len(source.split()))), target)
            for target in RNG.choice(
                len(targets.split()), RNG.integers(0, len(targets.split())), replace=False
            )
        )
        for source, targets in zip(SOURCES, TARGETS, strict=True)
    ]
    by_text = dict(zip(zip(SOURCES, TARGETS, strict=True), teacher, strict=True))
    seen = 0
    for inputs, target, _ in epoch_of(Batches(config, vocabularies, CORPUS, teacher), 0):
        for source, previous, source_words, linked in zip(
            *(
                inputs[name].numpy()
                for name in ("source", "previous", "source_words", "linked_words")
            ),
            strict=True,
        ):
            texts = tuple(subwords.decode([ids])[0].numpy().decode() for ids in (source, previous))
            numbers = words_of([text.decode() for text in subwords.texts([source])[0].numpy()])
            np.testing.assert_array_equal(source_words - 1, numbers)
            links = {target: source for source, target in by_text[texts]}
            expected = [
                links.get(word, -1) + 1 if word >= 0 else 0
                for word in words_of(
                    [text.decode() for text in subwords.texts([previous])[0].numpy()]
                )
            ]
            np.testing.assert_array_equal(linked, expected)
            seen += 1
    assert seen >= len(SOURCES)


def test_r_drop_shows_every_pair_twice_in_a_batch(vocabularies):
    batches = Batches(replace(CONFIG, r_drop_weight=1.0), vocabularies, CORPUS)
    for inputs, target, weights in epoch_of(batches, 0):
        for values in (*inputs.values(), target, weights):
            first, second = np.split(values.numpy(), 2)
            np.testing.assert_array_equal(first, second)
        assert target.shape[0] * target.shape[1] <= CONFIG.batch_tokens or target.shape[0] == 2
