"""Words and their numbers."""

import numpy as np
import pytest

from attention_apps.running.command import UserError
from captioning.words import END, PAD, START, UNKNOWN, Vocabulary

CAPTIONS = ["A dog runs.", "A dog and a cat", "A cat's tail"]


def test_ids_and_back():
    vocabulary = Vocabulary.learn(CAPTIONS, 2)
    assert vocabulary.words[4:] == ["a", "cat", "dog"]
    ids = vocabulary.encode("A cat and a dog", 10)
    assert ids == [4, 5, UNKNOWN, 4, 6, END]
    assert vocabulary.text([START, *ids, PAD]) == "a cat <unknown> a dog"
    assert vocabulary.encode("A cat and a dog", 3) == [4, 5, UNKNOWN]


def test_what_is_written_is_read(tmp_path):
    vocabulary = Vocabulary.learn(CAPTIONS, 1)
    vocabulary.write(tmp_path / "words")
    again = Vocabulary.read(tmp_path / "words")
    assert again.words == vocabulary.words
    np.testing.assert_array_equal(again.log_frequencies(), vocabulary.log_frequencies())


def test_frequencies_are_shares_of_the_text():
    vocabulary = Vocabulary.learn(CAPTIONS, 2)
    shares = np.exp(vocabulary.log_frequencies())
    # Four times a, twice cat, twice dog, three ends.
    np.testing.assert_allclose(shares[[4, 5, 6, END]], np.array([4, 2, 2, 3]) / 11, rtol=1e-5)
    assert shares[[PAD, START, UNKNOWN]].max() < 0.01


def test_a_vocabulary_has_words():
    with pytest.raises(UserError, match="--min-word-count"):
        Vocabulary.learn(CAPTIONS, 9)
