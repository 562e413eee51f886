"""How good a translator is while it trains: BLEU of the validation set, by greedy search."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import keras

from translation.config import Config
from translation.corpus import Corpus
from translation.quality import bleu_metric
from translation.translate import Translate, translate_all
from translation.vocabularies import Vocabularies


class ValidationBleu(keras.callbacks.Callback):
    """Adds `val_bleu` to the logs of every `validate_every`-th epoch and of the last.

    Stands before the callbacks that read the logs.

    Args:
        config: `validate_every` and `bleu_tokenizer` are used.
        vocabularies: of both languages.
        corpus: the validation pairs.
        weights: the weights that would be kept, as for `BestModel`.
    """

    def __init__(
        self,
        config: Config,
        vocabularies: Vocabularies,
        corpus: Corpus,
        weights: Callable[[keras.Model], AbstractContextManager[Any]] | None = None,
    ) -> None:
        super().__init__()
        self._weights = weights or nullcontext
        self._config = config
        self._vocabularies = vocabularies
        self._corpus = corpus
        self._translate: Translate | None = None
        self._hypotheses: dict[str, str] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Translate the validation set with the weights that would be kept."""
        config = self._config
        if logs is None or ((epoch + 1) % config.validate_every and epoch + 1 < config.all_epochs):
            return
        if self._translate is None:
            self._translate = Translate(
                self.model, self._vocabularies, replace(config, beam_size=1)
            )
        with self._weights(self.model):
            self._translate.load(self.model)
        rows = translate_all(self._translate.translate, self._corpus.sources, batch_size=128)
        hypotheses = [row["translations"].decode() for row in rows]
        self._hypotheses = dict(zip(self._corpus.sources, hypotheses, strict=True))
        references = [self._corpus.targets]
        logs["val_bleu"] = bleu_metric(config).corpus_score(hypotheses, references).score

    def answer(self, sentence: str) -> str:
        """The last translation of a sentence of the validation set, as text for a person."""
        return f"{sentence} → {self._hypotheses.get(sentence, 'not translated yet')}"

    def get_state(self) -> dict[str, str]:
        """Return what a resumed run must know: the last translations."""
        return self._hypotheses

    def set_state(self, state: dict[str, str]) -> None:
        """Take over what `get_state` returned."""
        self._hypotheses = state
