"""What splits the sentences of each language: one shared set of subwords, or a preset's and one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from translation.preset_tokens import PresetTokens
from translation.subwords import Subwords

SUBWORDS = "subwords.model"
PRESET = "source_tokenizer"


class SourceTokens(Protocol):
    """What an encoder's tokenizer must do; ids are 0 for padding."""

    def encode_all(self, sentences: Any) -> Any:
        """Split many sentences: ragged ids `(sentences, tokens)`."""

    def encode(self, sentences: Any) -> Any:
        """Split `(batch,)` strings in a graph: ragged ids `(batch, tokens)`."""

    def finish(self, ids: Any) -> Any:
        """Add what the encoder wants around every sentence."""

    def pieces(self, ids: Any) -> list[str]:
        """Write ids as people read them; `▁` opens a word."""

    def texts(self, ids: Any) -> Any:
        """The same inside TensorFlow."""

    def word_numbers(self, ids: Any) -> Any:
        """Number the word of every token from 1; 0 for special ones."""


@dataclass(frozen=True)
class Vocabularies:
    """The tokens of both languages."""

    source: SourceTokens
    target: Subwords

    @classmethod
    def shared(cls, subwords: Subwords) -> Vocabularies:
        """The same subwords for both languages."""
        return cls(subwords, subwords)

    @classmethod
    def read(cls, run_dir: Path) -> Vocabularies:
        """Read those of a run."""
        target = Subwords.read(run_dir / SUBWORDS)
        preset = run_dir / PRESET
        return cls(PresetTokens.read(preset), target) if preset.is_dir() else cls.shared(target)

    def write(self, run_dir: Path) -> None:
        """Write them into the folder of a run."""
        self.target.write(run_dir / SUBWORDS)
        if isinstance(self.source, PresetTokens):
            self.source.write(run_dir / PRESET)
