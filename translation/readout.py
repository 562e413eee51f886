"""Where and how a word alignment is read off cross-attention, and which of all ways is best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from translation.alignments import Link, links, shifted, word_weights


@dataclass(frozen=True, kw_only=True)
class ReadOut:
    """One way to read a word alignment off the cross-attention of a translator.

    Reference:
        Garg et al. 2019, "Jointly Learning to Align and Translate with Transformer Models" (mean of
        the heads of the last block but one); Chen et al. 2020, "Accurate Word Alignment Induction
        from Neural Machine Translation" (the shifted read-out).
    """

    layer: int
    """The decoder block."""
    head: int | None
    """One of its heads; None is their mean."""
    step: Literal["raw", "shifted"] = "shifted"
    """`raw`: the step in which a word is predicted; `shifted`: the one in which it is the decoder's
    input."""
    end: Literal["no_word", "last_word"] = "no_word"
    """What attention to the end of the source counts for: nothing, or the last source word, mostly
    the full stop."""

    @classmethod
    def unmeasured(
        cls, num_layers: int, *, guided: bool, step: Literal["raw", "shifted"] = "shifted"
    ) -> ReadOut:
        """What is read where no gold alignments chose.

        Args:
            num_layers: number of decoder blocks.
            guided: whether the run guided attention: then that head is read, see
                `model.Translator`.
            step: the one in which the model looks where a word comes from.

        Returns:
            The guided head, or the mean of the last block but one, in that step.
        """
        if guided:
            return cls(layer=num_layers // 2, head=0, step=step)
        return cls(layer=max(0, num_layers - 2), head=None, step=step)

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> ReadOut:
        """Read what an evaluation wrote into metrics or a model card.

        Args:
            section: fields by name, others beside them. A section of a version that knew neither
                step nor end gives what that version did.

        Returns:
            The way.
        """
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in section.items() if name in names})

    @classmethod
    def every(cls, num_layers: int, num_heads: int) -> list[ReadOut]:
        """All ways there are.

        Args:
            num_layers: number of decoder blocks.
            num_heads: number of heads of each.

        Returns:
            Both steps and both meanings of the end for every head and every block's mean.
        """
        return [
            cls(layer=layer, head=head, step=step, end=end)
            for step in ("raw", "shifted")
            for end in ("no_word", "last_word")
            for layer in range(num_layers)
            for head in (None, *range(num_heads))
        ]

    @property
    def block(self) -> str:
        """Where it is read, in words."""
        return f"decoder block {self.layer}"

    @property
    def manner(self) -> str:
        """How it is read there, in words."""
        head = "mean of heads" if self.head is None else f"head {self.head}"
        end = ", end as last word" if self.end == "last_word" else ""
        return f"{head}, {self.step}{end}"

    @property
    def name(self) -> str:
        """Where and how, in words."""
        return f"{self.block}, {self.manner}"

    def rows(self, attention: np.ndarray) -> np.ndarray:
        """Take the map that is read, one row per target token.

        Args:
            attention: `(layers, heads, target, source)`, row t while target token t was predicted.

        Returns:
            `(target, source)`.
        """
        weights = attention[self.layer]
        weights = weights.mean(axis=0) if self.head is None else weights[self.head]
        return shifted(weights) if self.step == "shifted" else weights

    def links(
        self, attention: np.ndarray, source_words: np.ndarray, target_words: np.ndarray
    ) -> list[Link]:
        """Link each target word to the source word it attends to most.

        Args:
            attention: `(layers, heads, target, source)`, row t while target token t was predicted.
            source_words: `(source,)` the word of each subword, -1 for special ones; the end token
                comes last.
            target_words: `(target,)` likewise.

        Returns:
            `(source word, target word)` links.
        """
        if self.end == "last_word":
            source_words = np.append(source_words[:-1], source_words.max(initial=-1))
        return links(word_weights(self.rows(attention), source_words, target_words))


def best_read_outs(errors: Mapping[ReadOut, float]) -> dict[str, ReadOut]:
    """Choose by the alignment error on validation.

    Args:
        errors: the error of every way; of equals the first is taken.

    Returns:
        The best way at each step, `raw` and `shifted`, the better of both first.
    """
    best: dict[str, ReadOut] = {}
    for way in sorted(errors, key=errors.__getitem__):
        best.setdefault(way.step, way)
    return best
