"""Attention records in TensorBoard's event files: the one format, written and read here.

Each record is one tensor summary of plugin `attention`, data class `DATA_CLASS_TENSOR`, tag
`attention/<layer>/<title>`, at the step of the event. The tensor holds three strings:

0. JSON: `format` (1), `layer`, `title`, `shape` (heads, query, key), `heads` (names), `query` and
   `key` (each `kind`, `labels`, `grid` or null), `has_gold`;
1. the weights, `(heads, query, key)` row by row as little-endian float16;
2. the gold, `(query, key)` likewise, or nothing.

One tensor carries all, because a reader may keep only a sample of the steps of each tag, and text
may differ from step to step. In float16 a weight keeps 3 decimal digits from 1 down to 0.0001 and
something of itself down to 6e-8; 8 heads of 64 x 64 take 64 KiB.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.util.tensor_util import make_ndarray

from attention_apps.observation.record import AttentionRecord, Axis

PLUGIN_NAME = "attention"
FORMAT = 1
_PACKED = np.dtype("<f2")


def to_event(record: AttentionRecord) -> list[bytes]:
    """Pack a record into the three strings of its event."""
    header = {
        "format": FORMAT,
        "layer": record.layer,
        "title": record.title,
        "shape": record.weights.shape,
        "heads": record.heads,
        "query": asdict(record.query),
        "key": asdict(record.key),
        "has_gold": record.gold is not None,
    }
    gold = b"" if record.gold is None else record.gold.astype(_PACKED).tobytes()
    header_json = json.dumps(header, ensure_ascii=False)
    return [header_json.encode(), record.weights.astype(_PACKED).tobytes(), gold]


def from_event(parts: Iterable[bytes], step: int) -> AttentionRecord:
    """Unpack the record that `to_event` packed.

    Raises:
        ValueError: if the strings are of another format.
    """
    header_json, weights, gold = parts
    header = json.loads(header_json)
    if header["format"] != FORMAT:
        raise ValueError(
            f"Attention records of format {FORMAT} can be read. "
            f"Received: format {header['format']}, written by another version."
        )
    shape = tuple(header["shape"])
    return AttentionRecord(
        weights=np.frombuffer(weights, _PACKED).reshape(shape),
        layer=header["layer"],
        query=Axis(**header["query"]),
        key=Axis(**header["key"]),
        step=step,
        gold=np.frombuffer(gold, _PACKED).reshape(shape[1:]) if header["has_gold"] else None,
        title=header["title"],
        heads=tuple(header["heads"]),
    )


def write_records(
    writer: tf.summary.SummaryWriter, records: Iterable[AttentionRecord], step: int
) -> None:
    """Write records to an event file.

    Args:
        writer: of `tf.summary.create_file_writer`.
        records: what to write; layer and title tell them apart.
        step: the step they are written under, whatever their own.

    Raises:
        ValueError: for two records of one layer and title.
    """
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data={"plugin_name": PLUGIN_NAME},
        data_class="DATA_CLASS_TENSOR",
    )
    tags = set()
    with writer.as_default():
        for record in records:
            tag = "/".join(part for part in (PLUGIN_NAME, record.layer, record.title) if part)
            if tag in tags:
                raise ValueError(
                    "Records of one layer are told apart by their titles. "
                    f"Received: two of layer {record.layer!r} with title {record.title!r}"
                )
            tags.add(tag)
            tf.summary.write(tag, tf.constant(to_event(record)), step=step, metadata=metadata)


def read_records(log_dir: str | Path) -> list[AttentionRecord]:
    """Read all attention records of the event files in a folder and the folders in it.

    Of a step written twice, as after a resumed run, the later one counts.

    Args:
        log_dir: the folder.

    Returns:
        The records by folder, step and order of writing.
    """
    records: list[AttentionRecord] = []
    folders = sorted({path.parent for path in Path(log_dir).rglob("*tfevents*")})
    for folder in folders:
        found: dict[tuple[int, str], AttentionRecord] = {}
        for event in _events(folder):
            if event.session_log.status == SessionLog.START:
                found = {key: record for key, record in found.items() if key[0] < event.step}
            for value in event.summary.value:
                # The writer gives the metadata of a tag with its first event only, the loader
                # carries it over to the others.
                if value.metadata.plugin_data.plugin_name == PLUGIN_NAME:
                    record = from_event(make_ndarray(value.tensor).tolist(), event.step)
                    found[event.step, value.tag] = record
        records += sorted(found.values(), key=lambda record: record.step)
    return records


def mark_restart(log_dir: str | Path, step: int) -> None:
    """Tell readers that what `log_dir` holds from `step` on counts no more: it is done again.

    To be called before the new writer of `log_dir` is made; does nothing in an empty folder.

    Args:
        log_dir: folder with event files.
        step: the first step that is done again.
    """
    stamps = [int(path.name.split(".")[3]) for path in Path(log_dir).glob("events.out.tfevents.*")]
    if not stamps:
        return
    # Readers take the files of a folder in the order of their names, which go by whole seconds:
    # this one must come after those before, and ("-") ahead of those of the same second.
    while time.time() < max(stamps) + 1:
        time.sleep(0.05)
    path = Path(log_dir) / f"events.out.tfevents.{int(time.time()):010d}.-restart"
    with tf.io.TFRecordWriter(str(path)) as file:
        version = Event(wall_time=time.time(), file_version="brain.Event:2")
        start = Event(
            wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)
        )
        for event in (version, start, start):  # TensorBoard takes the first of a run for its begin.
            file.write(event.SerializeToString())


def _events(folder: Path) -> Iterator[Any]:
    for path in sorted(folder.glob("*tfevents*")):
        yield from EventFileLoader(str(path)).Load()
