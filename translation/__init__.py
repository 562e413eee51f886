"""Sentence in, sentence out: translation with attention that is an alignment."""
