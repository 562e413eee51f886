"""What the axes of this room's attention mean: tokens of the source and of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from attention_apps.observation.observe import observe
from attention_apps.observation.record import AttentionRecord, Axis
from translation.alignments import Link
from translation.corpus import Corpus
from translation.forced import ForcedAttention, padded
from translation.readout import ReadOut
from translation.translate import Translate
from translation.vocabularies import Vocabularies
from translation.words import END, PAD, SPECIAL, START, words_of


@dataclass(frozen=True)
class Probe:
    """A fixed batch whose attention is watched: real sentences with their reference translations.

    Attributes:
        source: `(batch, source)` ids, padded.
        previous: `(batch, target)` ids the decoder reads: the start token, then the reference.
        source_tokens: texts of the source subwords of each sentence.
        previous_tokens: texts of the subwords the decoder reads.
        gold: for each sentence word links, or None where they are not known.
        titles: the source sentences.
    """

    source: np.ndarray
    previous: np.ndarray
    source_tokens: list[list[str]]
    previous_tokens: list[list[str]]
    gold: list[list[Link]] | None
    titles: list[str]

    @classmethod
    def of(cls, corpus: Corpus, vocabularies: Vocabularies, count: int) -> Probe:
        """Take sentences of ordinary length from the front of a corpus.

        Args:
            corpus: the pairs.
            vocabularies: of both languages.
            count: number of sentences.

        Returns:
            The probe.
        """
        # A sentence that is there twice is looked at once: its title tells pictures apart.
        first = {title: index for index, title in reversed([*enumerate(corpus.sources)])}
        ordinary = [title for title in first if 5 <= len(title.split()) <= 14]
        chosen = sorted(first[title] for title in ordinary or first)[:count]
        reads, writes = vocabularies.source, vocabularies.target
        sources = reads.encode_all([corpus.sources[index] for index in chosen])
        targets = writes.encode_all([corpus.targets[index] for index in chosen])
        source = reads.finish(sources).to_list()
        previous = [[START, *ids] for ids in targets.to_list()]
        links = None if corpus.alignments is None else [corpus.alignments[i] for i in chosen]
        return cls(
            source=padded(source),
            previous=padded(previous),
            source_tokens=[reads.pieces(ids) for ids in source],
            previous_tokens=[writes.pieces(ids) for ids in previous],
            gold=links,
            titles=[corpus.sources[index] for index in chosen],
        )


def attention_maps(model: Any, probe: Probe) -> list[AttentionRecord]:
    """Every attention map of the model on the probe.

    A row is labelled with the token the decoder reads in that step. For cross-attention this is
    the shifted read-out (Chen et al. 2020): what is attended to while a word is read is the source
    word it came from. A recurrent model attends to where the next word comes from: its rows are
    labelled with the tokens they predict.

    Args:
        model: the translator.
        probe: the fixed batch.

    Returns:
        A record for every layer and sentence; those of cross-attention carry gold where there is.
    """
    inputs = {"source": probe.source, "previous": probe.previous}
    _, maps = observe(model)(inputs, training=False)
    records = []
    for path, weights in maps.items():
        site = "source" if "encoder" in path else "cross" if "cross" in path else "target"
        for index, title in enumerate(probe.titles):
            source, target = probe.source_tokens[index], probe.previous_tokens[index]
            if site == "cross" and model.alignment_step == "raw":
                target = [*target[1:], SPECIAL[END]]
            query = source if site == "source" else target
            key = target if site == "target" else source
            gold = None
            if site == "cross" and probe.gold is not None:
                gold = gold_of_tokens(probe.gold[index], source, target)
            records.append(
                AttentionRecord(
                    weights=np.asarray(weights[index])[:, : len(query), : len(key)],
                    layer=path,
                    query=Axis(tuple(query)),
                    key=Axis(tuple(key)),
                    gold=gold,
                    title=title,
                )
            )
    return records


def alignment_record(
    forced: ForcedAttention, vocabularies: Vocabularies, corpus: Corpus, way: ReadOut
) -> AttentionRecord:
    """What is read as an alignment, for the first pair of ordinary length.

    Args:
        forced: the translator's attention.
        vocabularies: of both languages.
        corpus: the pairs.
        way: how attention is read.

    Returns:
        A record of one head; each row belongs to the target token that it is labelled with.
    """
    index = _ordinary(corpus)
    source, target = corpus.sources[index], corpus.targets[index]
    weights, _, _ = next(forced.maps(Corpus(corpus.name, [source], [target])))
    reads, writes = vocabularies.source, vocabularies.target
    source_tokens = reads.pieces(reads.finish(reads.encode_all([source])).to_list()[0])
    target_tokens = writes.pieces(writes.encode_all([target]).to_list()[0])
    gold = None
    if corpus.alignments is not None:
        gold = gold_of_tokens(corpus.alignments[index], source_tokens, target_tokens)
    return AttentionRecord(
        weights=way.rows(weights)[None, :-1],
        layer=way.block,
        query=Axis(tuple(target_tokens)),
        key=Axis(tuple(source_tokens)),
        gold=gold,
        title=source,
        heads=(way.manner,),
    )


def memory_record(translate: Translate, corpus: Corpus) -> AttentionRecord:
    """Which training pairs a translation came from: the first sentence of ordinary length.

    Args:
        translate: a translator with a memory.
        corpus: its first sentence of 5 to 14 words is translated, without one its first.

    Returns:
        A record of one head: for every token of the translation the part of its attention to the
        memory that is in each of the pairs, whose targets label the keys.
    """
    sentence = corpus.sources[_ordinary(corpus)]
    found = translate.translate_with_attention(tf.constant([sentence]))
    row = {name: value.numpy()[0] for name, value in found.items()}
    length = int((row["target_ids"] != PAD).sum())
    tokens = [token.decode() for token in row["target_tokens"][:length]]
    targets = [target.decode() for target in row["memory_targets"]]
    return AttentionRecord(
        weights=row["memory_weights"][None, :length],
        layer="translation memory",
        query=Axis(tuple(tokens)),
        key=Axis(tuple(targets)),
        title=sentence,
        heads=("training pairs",),
    )


def _ordinary(corpus: Corpus) -> int:
    return next((i for i, s in enumerate(corpus.sources) if 5 <= len(s.split()) <= 14), 0)


def gold_of_tokens(
    links: Sequence[Link], source_tokens: Sequence[str], target_tokens: Sequence[str]
) -> np.ndarray:
    """Spread word links over the subwords of the words.

    Args:
        links: `(source word, target word)`.
        source_tokens: subwords of the source.
        target_tokens: subwords of the target.

    Returns:
        `(target, source)` float32, 1 where the words of both subwords are linked.
    """
    linked = set(links)
    source_words, target_words = words_of(source_tokens), words_of(target_tokens)
    return np.array(
        [[(s, t) in linked for s in source_words] for t in target_words], dtype=np.float32
    )
