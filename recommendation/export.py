"""Make a run's SavedModel: raw histories in, recommendations and attention out.

python -m recommendation.export --run-dir RUN
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from recommendation.config import ROOM, Config

SCORE_TOLERANCE = 1e-4
# Two items this close in score are a tie: another batch size may round them the other way.
NEAR_TIE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run to export."""
    top_k: int = 20
    """Number of recommendations of an answer."""
    parity_users: int = 1000
    """Most test users for whom the export must answer as Python does."""


def export(run_dir: Path, *, top_k: int = 20, parity_users: int = 1000) -> Path:
    """Export a finished run, checked user by user against Python.

    `serving_default` gives `items`, `titles` and `scores`; `with_attention` also `attention`
    `(batch, layers, heads, history)`; `ragged` takes histories laid end to end, `numbers` (where
    all ids are whole numbers) integers; `hidden_state` gives what an index is asked with.

    Args:
        run_dir: the run folder.
        top_k: number of recommendations of an answer.
        parity_users: most test users to compare.

    Returns:
        The folder of the SavedModel.

    Raises:
        UserError: for a run that is missing or unfinished.
        ParityError: when the export answers otherwise than Python; nothing is left behind then.
    """
    from attention_apps.running.export import export_model
    from attention_apps.running.runs import load_run
    from recommendation.recommend import Recommend
    from recommendation.starting_point import load_again

    if top_k < 1:
        raise UserError(f"--top-k must be at least 1. Received: {top_k}")
    run = load_run(run_dir, ROOM, Config)
    splits = load_again(run.run_dir, run.config)
    items = splits.interactions.items
    recommend = Recommend(run.model, items, splits.training_counts(), run.config, top_k=top_k)
    users = range(min(parity_users, len(splits.test)))
    histories = [[items.keys[i - 1] for i in splits.test.history(user)] for user in users]
    times = [splits.test.times(user) for user in users] if run.config.time_bias else None
    near_ties: list[str] = []

    def parity(loaded: Any) -> list[str]:
        problems, ties = compare(recommend, loaded, histories, times, run.config.seed)
        near_ties.extend(ties)
        return problems

    figures = run.metrics.get("test", {})
    unmeasured = {"layer": run.config.num_blocks - 1, "head": None}
    folder = export_model(
        run.run_dir,
        endpoints={
            name: (function, function.input_signature)
            for name, function in recommend.signatures.items()
        },
        tracked=[recommend.model, recommend.numbers],
        parity=parity,
        model_card={
            "room": ROOM,
            "data": {
                "dataset": run.config.dataset,
                "interactions": len(splits.interactions),
                "users": len(splits.interactions.users),
                "items": len(items),
                "split": run.config.split,
            },
            "figures": {
                name: {k: v for k, v in section.items() if not k.startswith("floor")}
                for name, section in figures.items()
            },
            "floors": {
                name: {k: v for k, v in section.items() if k.startswith("floor")}
                for name, section in figures.items()
            },
            "limits": {
                "max_length": run.config.max_length,
                "top_k": recommend.top_k,
                "reads_times": run.config.time_bias,
                "not_for": "items and people unlike those of the data; see figures by group",
            },
            "labels": {
                "attention": "layers, heads, history",
                "explanation": run.metrics.get("explanation", unmeasured),
            },
        },
    )
    for tie in near_ties:
        print(f"near-tie: {tie}")
    print(f"{len(histories)} users: the export answers as Python does")
    return folder


def compare(
    recommend: Any,
    loaded: Any,
    histories: Sequence[Sequence[str]],
    times: Sequence[Any] | None,
    seed: int,
) -> tuple[list[str], list[str]]:
    """Ask Python and the export for the same users, in another order and other batches.

    Args:
        recommend: the recommender in Python.
        loaded: the reloaded SavedModel.
        histories: what to ask.
        times: when their items were taken, for a model that reads times.
        seed: of the other order.

    Returns:
        Sentences about differences, and about near-ties that came out the other way.
    """
    from recommendation.recommend import recommend_all

    shuffled = list(range(len(histories)))
    random.Random(seed).shuffle(shuffled)
    expected = recommend_all(recommend, histories, times, batch_size=64)
    answers = recommend_all(
        loaded,
        [histories[i] for i in shuffled],
        None if times is None else [times[i] for i in shuffled],
        batch_size=48,
    )
    problems, ties = [], []
    for index, answer in zip(shuffled, answers, strict=True):
        here = expected[index]
        told = f"user {index}"
        difference = max(
            (
                abs(float(a) - float(b))
                for a, b in zip(here["scores"], answer["scores"], strict=True)
                if a != b
            ),
            default=0.0,
        )
        if not difference <= SCORE_TOLERANCE:
            problems.append(f"scores of {told} differ by {difference:.2g}")
            continue
        for rank, (ours, theirs) in enumerate(zip(here["items"], answer["items"], strict=True), 1):
            if ours != theirs:
                told_items = f"{told}, rank {rank}: {ours.decode()!r}, {theirs.decode()!r}"
                if _is_near_tie(here["scores"], rank - 1):
                    ties.append(told_items)
                else:
                    problems.append(f"items differ for {told_items}")
    return problems, ties


def _is_near_tie(scores: Any, place: int) -> bool:
    """Whether the score at a place is next to an almost equal one, or to those cut off."""
    neighbours = [scores[p] for p in (place - 1, place + 1) if 0 <= p < len(scores)]
    return place == len(scores) - 1 or any(abs(scores[place] - s) <= NEAR_TIE for s in neighbours)


def main(argv: Sequence[str] | None = None) -> int:
    """Export and print where the SavedModel lies."""
    options = parse(Options, argv, prog="python -m recommendation.export", description=__doc__)
    quiet_start()
    folder = export(options.run_dir, top_k=options.top_k, parity_users=options.parity_users)
    print(f"exported: {folder}")
    return 0


if __name__ == "__main__":
    run_command(main)
