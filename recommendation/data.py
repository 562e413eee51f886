"""From files, a set of tensorflow-datasets or the embedded viewers to what a run trains on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_apps.running.command import UserError
from attention_apps.running.datasets import named_builder, prepare
from recommendation.config import Config
from recommendation.files import read_groups, read_interactions, read_titles
from recommendation.interactions import Interactions, Items, Spool
from recommendation.splits import Splits, at_time, leave_one_out

_MOST_GROUPS = 30
"""Groups of one attribute; a name or a postcode tells persons apart, not groups."""


def load(config: Config, known_items: Sequence[str] = ()) -> Splits:
    """Read all interactions and split them as the configuration says.

    Args:
        config: the room's configuration.
        known_items: keys of items that have numbers already, from an earlier run.

    Returns:
        The splits.

    Raises:
        UserError: for data that cannot be read or split, with what was received and expected.
    """
    interactions = read(config, known_items)
    if config.time_bias and interactions.times is None:
        raise UserError("--time-bias needs a time with every interaction. Received: none")
    if config.split == "leave_one_out":
        return leave_one_out(interactions)
    return at_time(
        interactions,
        test_share=config.test_share,
        validation_share=config.validation_share,
        target=config.target,
    )


def read(config: Config, known_items: Sequence[str] = ()) -> Interactions:
    """Read all interactions from where the configuration says.

    Args:
        config: the room's configuration.
        known_items: keys of items that have numbers already.

    Returns:
        The interactions.

    Raises:
        UserError: for data that cannot be read.
    """
    if config.dataset == "generated":
        return _read_generated(config)
    if config.dataset == "files":
        return _read_files(config, known_items)
    return _read_tensorflow_datasets(config, known_items)


def _read_files(config: Config, known_items: Sequence[str]) -> Interactions:
    folder = Path(config.data_dir)
    if not folder.is_dir():
        raise UserError(f"--data-dir must be a folder. Received: {folder}")
    titles = read_titles(folder / config.items_name) if config.items_name else {}
    interactions = read_interactions(
        folder / config.interactions_name, titles=titles, known_items=known_items
    )
    if config.users_name:
        for name, groups in read_groups(folder / config.users_name, interactions.users).items():
            if len(set(groups)) > _MOST_GROUPS:
                interactions.notes.append(
                    f"{config.users_name}: {len(set(groups)):,} different {name} are too many to "
                    f"tell groups of users apart by (at most {_MOST_GROUPS}): left out"
                )
            else:
                interactions.groups[name] = groups
    return interactions


def _read_generated(config: Config) -> Interactions:
    from recommendation.catalogue import catalogue
    from recommendation.synthetic import GeneratedRecommendation

    builder = GeneratedRecommendation(
        config=config.generated_size, **({"data_dir": config.data_dir} if config.data_dir else {})
    )
    prepare(builder, downloads=False)
    columns: dict[str, list[Any]] = {name: [] for name in builder.info.features}
    for batch in builder.as_dataset(split="users").ragged_batch(1024):
        for name, column in columns.items():
            column += list(batch[name].numpy())
    films = catalogue(config.generated_size)
    lengths = [len(items) for items in columns["items"]]
    return Interactions(
        items=Items(
            [f"f{number}" for number in range(1, len(films) + 1)], [film.title for film in films]
        ),
        users=[name.decode() for name in columns["user"]],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        item_ids=np.concatenate(columns["items"]).astype(np.int32) + 1,
        times=np.concatenate(columns["times"]),
        causes=np.concatenate(columns["causes"]),
        groups={"age": [age.decode() for age in columns["age"]]},
    )


_FEATURES = {
    "user": ("user_id",),
    "item": ("movie_id", "item_id", "product_id"),
    "title": ("movie_title", "item_title", "product_title"),
    "time": ("timestamp",),
}
_GROUPS = {"age": "bucketized_user_age", "gender": "user_gender"}


def _read_tensorflow_datasets(config: Config, known_items: Sequence[str]) -> Interactions:
    builder = named_builder(
        config.dataset,
        config.data_dir,
        expected="generated, files or a set of tensorflow-datasets with ratings such as "
        "movielens/1m-ratings",
    )
    known = tuple(builder.info.features or ())
    columns = {
        column: next((name for name in names if name in known), None)
        for column, names in _FEATURES.items()
    }
    if columns["user"] is None or columns["item"] is None:
        raise UserError(
            "A set of ratings must hold users and items (user_id, movie_id). Received: "
            f"{config.dataset} with {', '.join(known)}"
        )
    prepare(builder)
    titles: dict[str, str] = {}
    groups: dict[str, dict[str, str]] = {
        group: {} for group, name in _GROUPS.items() if name in known
    }
    with Spool(known_items) as spool:
        for example in builder.as_dataset(split="train").as_numpy_iterator():
            user, item = _text(example[columns["user"]]), _text(example[columns["item"]])
            time = None if columns["time"] is None else int(example[columns["time"]])
            spool.add(user, item, time)
            if columns["title"] is not None and item not in titles:
                titles[item] = _text(example[columns["title"]])
            for group, of_user in groups.items():
                of_user[user] = _text(example[_GROUPS[group]])
        interactions = spool.histories(titles)
    for group, of_user in groups.items():
        interactions.groups[group] = [of_user[user] for user in interactions.users]
    return interactions


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    value = value.item() if hasattr(value, "item") else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
