"""Sets of tensorflow-datasets: found by name, prepared once, refused at once without a network."""

from __future__ import annotations

from typing import Any

from attention_apps.running.command import UserError
from attention_apps.running.network import online

_STORE = "storage.googleapis.com"


def named_builder(name: str, data_dir: str, *, expected: str) -> Any:
    """Find the builder of a set of tensorflow-datasets.

    Args:
        name: of the set, with its configuration, e.g. `ted_hrlr_translate/pt_to_en`.
        data_dir: where sets are kept; empty takes the library's own folder.
        expected: what `--dataset` takes in this room, in words.

    Returns:
        The builder.

    Raises:
        UserError: when there is no such set.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, **({"data_dir": data_dir} if data_dir else {}))
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise UserError(f"--dataset must be {expected}. Received: {name}") from error


def prepare(builder: Any, *, downloads: bool = True) -> None:
    """Prepare a set unless it is prepared already.

    Args:
        builder: of the set.
        downloads: whether that takes a network.

    Raises:
        UserError: when it does and there is none.
    """
    import tensorflow_datasets as tfds

    if not builder.is_prepared():
        if downloads and not online(_STORE):
            raise UserError(
                f"{builder.info.full_name} is not prepared in {builder.data_path} and this machine "
                "has no network. Prepare it where there is one and pass its folder as --data-dir"
            )
        print(f"preparing {builder.info.full_name} in {builder.data_path}, once")
        tfds.disable_progress_bar()
    builder.download_and_prepare()
