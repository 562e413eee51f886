"""How good a recommender is while it trains: NDCG@10 and HR@10 over the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from recommendation.config import Config
from recommendation.metrics import figures, rank
from recommendation.scoring import ModelScorer
from recommendation.splits import Cases

MONITOR = "val_ndcg_10"


class ValidationRanking(keras.callbacks.Callback):
    """Adds `val_ndcg_10` and `val_hr_10` to the logs of every `validate_every`-th epoch.

    The last epoch is validated in any case. Stands before the callbacks that read the logs.

    Args:
        config: `validate_every` and what the model is built from are used.
        cases: the validation.
        weights: what to put into the model while it is validated, e.g. `averaged_weights`; called
            with the model, gives a context manager. None takes the weights as they are.
    """

    def __init__(
        self,
        config: Config,
        cases: Cases,
        weights: Callable[[keras.Model], AbstractContextManager[Any]] | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._cases = cases
        self._weights = weights or nullcontext
        self._scorer: ModelScorer | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Rank the validation's targets with the weights that would be kept."""
        every, epochs = self._config.validate_every, self._config.epochs
        if logs is None or ((epoch + 1) % every and epoch + 1 < epochs):
            return
        with self._weights(self.model):
            logs.update(self.figures(self.model))

    def figures(self, model: Any) -> dict[str, float]:
        """`val_ndcg_10` and `val_hr_10` of a model as it is."""
        if self._scorer is None:
            self._scorer = ModelScorer(self._config, model.num_items)
        found = figures(rank(self._scorer.load(model), self._cases))
        return {f"val_{name}": found[name] for name in ("ndcg_10", "hr_10")}

    def answer(self, case: int) -> str:
        """What is recommended to one of the cases, as text for a person."""
        items = self._cases.interactions.items
        target = items.title(int(self._cases.targets()[case]))
        if self._scorer is None:
            return f"{target}: not asked yet"
        scores = self._scorer(self._cases, [case])[0]
        scores[self._cases.history(case)] = -np.inf
        best = [i for i in (-scores).argsort(kind="stable")[:5] if np.isfinite(scores[i])]
        return f"{target} ← {', '.join(items.title(int(item)) for item in best)}"
