"""A finished run to go on from with new interactions and new items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attention_apps.running.atomic import write_json
from attention_apps.running.command import UserError
from attention_apps.running.runs import Run, load_run
from recommendation.config import ROOM, Config
from recommendation.data import load
from recommendation.interactions import Items
from recommendation.model import Recommender
from recommendation.splits import Splits

ITEMS = "items.json"
_SAME = (
    "model",
    "max_length",
    "num_blocks",
    "dim",
    "num_heads",
    "feedforward_dim",
    "attention",
    "time_bias",
    "cosine",
)


def write_items(run_dir: Path, items: Items) -> None:
    """Keep the catalogue beside the run: the numbers of its items mean nothing without it."""
    write_json(run_dir / ITEMS, {"keys": items.keys, "titles": items.titles})


def read_items(run_dir: Path) -> Items:
    """Read what `write_items` wrote.

    Raises:
        UserError: when it is not there.
    """
    path = run_dir / ITEMS
    if not path.is_file():
        raise UserError(f"{run_dir} has no {ITEMS}: its training never began.")
    record = json.loads(path.read_text(encoding="utf-8"))
    return Items(record["keys"], record["titles"])


def load_again(run_dir: Path, config: Config) -> Splits:
    """Read the data of a run once more, with the numbers that its training gave to the items.

    Args:
        run_dir: the run folder.
        config: of the run.

    Returns:
        The splits.

    Raises:
        UserError: for data that cannot be read or split, or holds items that the run has not seen.
    """
    known = read_items(run_dir).keys
    splits = load(config, known)
    if new := splits.interactions.items.keys[len(known) :]:
        raise UserError(
            f"The data has changed since training: {len(new)} items are new to {run_dir}, the "
            f"first {new[0]!r}. Take the files that it was trained on, or go on with the new ones: "
            f"python -m {ROOM}.train --init-from {run_dir} ..."
        )
    return splits


def starting_point(config: Config) -> Run[Config]:
    """Load the run that `init_from` names.

    Args:
        config: of the new run.

    Returns:
        The finished run.

    Raises:
        UserError: when there is no such finished run, or its model is built otherwise.
    """
    first = load_run(config.init_from, ROOM, Config)
    differing = [name for name in _SAME if getattr(config, name) != getattr(first.config, name)]
    if differing:
        flags = " ".join(
            f"--{name.replace('_', '-')} {getattr(first.config, name)}" for name in differing
        )
        received = ", ".join(str(getattr(config, name)) for name in differing)
        raise UserError(
            f"A run goes on from another only with a model of the same shape: pass {flags}. "
            f"Received: {received}"
        )
    return first


def take_over(model: Recommender, first: Recommender) -> None:
    """Give a model the weights of an earlier one; items that are new keep their own vectors.

    Args:
        model: of the whole catalogue, whose first items are those of `first`.
        first: the earlier model.
    """
    table = model.embedding.embeddings.numpy()
    old = first.embedding.embeddings.numpy()
    table[: first.num_items + 1] = old[: first.num_items + 1]
    table[model.mask_id] = old[first.mask_id]
    taken: dict[str, Any] = {_within(v.path): v for v in first.weights}
    for variable in model.weights:
        if variable is not model.embedding.embeddings:
            variable.assign(taken[_within(variable.path)])
    model.embedding.embeddings.assign(table)


def _within(path: str) -> str:
    """A weight's path inside its model."""
    return path.split("/", 1)[-1]
