"""Features of a frozen encoder, kept on disk: each photo's are computed once, also over kills.

    <cache>/<encoder>/part-<photos>/grid_0.npy     (photos, rows, columns, channels) float16; a file
                                                   for each grid
                                    valid.npy      which photos could be read
                                    photos.json    hashes of the photos' bytes

`<encoder>` is a hash of the encoder's layers, its weights and the size of pictures. A part is
written whole or not at all: a kill loses at most one. Photos are found by their bytes, so that
another choice of splits computes nothing anew.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attention_apps.running.atomic import whole_folder, write_json
from attention_apps.running.command import UserError
from attention_apps.running.holding import alone
from captioning.encoder import read_grids
from captioning.images import prepare
from captioning.photos import Photos

FORMAT = 1
_PART, _BATCH = 256, 32
"""Photos of a part on disk, and of a batch of the encoder."""


@dataclass(frozen=True)
class Features:
    """The features of some photos, read from disk as they are asked for.

    Attributes:
        parts: of every part its memory-mapped grids, `(photos, rows, columns, channels)` float16,
            fine before coarse.
        places: `(photos, 2)`: the part and the row of each photo.
        valid: `(photos,)` booleans, whether a photo could be read.
    """

    parts: list[list[np.ndarray]]
    places: np.ndarray
    valid: np.ndarray

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Rows, columns and channels of every grid."""
        return [grid.shape[1:] for grid in self.parts[0]]

    def rows(self, indexes: np.ndarray) -> list[np.ndarray]:
        """The features of some photos, in the order of `indexes`: an array for every grid."""
        places = self.places[indexes].tolist()
        return [
            np.stack([self.parts[part][grid][row] for part, row in places])
            for grid in range(len(self.shapes))
        ]

    def take(self, indexes: np.ndarray) -> Features:
        """Those of some photos alone, in the order of `indexes`."""
        return Features(self.parts, self.places[indexes], self.valid[indexes])


def extract(encoder: keras.Model, photos: Photos, size: int, cache: Path) -> Features:
    """Read the features of a split from the cache; compute what is not there yet.

    Args:
        encoder: from pixels to a list of grids.
        photos: the split.
        size: pixels of a side.
        cache: the folder of all caches.

    Returns:
        The features.

    Raises:
        UserError: when no photo can be read.
    """
    folder = cache / encoder_digest(encoder, size)[:16]
    digests = [hashlib.sha256(photos.encoded(i)).hexdigest() for i in range(len(photos))]
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):  # Another training may want the same features at the same time.
        known = {digest for part in _parts(folder) for digest in _digests(part)}
        missing = [i for i, digest in enumerate(digests) if digest not in known]
        if missing:
            _compute(encoder, photos, size, folder, digests, missing)
    # Every part stays open; of a hundred thousand photos there are more than is usual.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    wanted = set(digests)
    parts, places, valid = [], {}, {}
    for part in _parts(folder):
        held = _digests(part)
        if wanted.isdisjoint(held):
            continue  # Of another split: every file that is open counts.
        paths = (part / f"grid_{grid}.npy" for grid in range(len(encoder.outputs)))
        parts.append([np.load(path, mmap_mode="r") for path in paths])
        readable = np.load(part / "valid.npy")
        for row, digest in enumerate(held):
            places[digest], valid[digest] = (len(parts) - 1, row), bool(readable[row])
    found = np.array([valid[digest] for digest in digests])
    if not found.any():
        raise UserError(f"No photo of {photos.name!r} can be read. Received: {len(photos)} photos")
    return Features(parts, np.array([places[digest] for digest in digests]), found)


def _compute(
    encoder: keras.Model,
    photos: Photos,
    size: int,
    folder: Path,
    digests: Sequence[str],
    missing: Sequence[int],
) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode(encoded: Any) -> Any:
        pixels, readable = prepare(encoded, size)
        return read_grids(encoder, pixels), readable

    began = time.monotonic()
    print(f"features of {len(missing)} photos of {photos.name!r} into {folder}", flush=True)
    for start in range(0, len(missing), _PART):
        indexes = missing[start : start + _PART]
        batches = []
        for first in range(0, len(indexes), _BATCH):
            encoded = [photos.encoded(index) for index in indexes[first : first + _BATCH]]
            grids, readable = encode(tf.constant(encoded))
            batches.append([*(grid.numpy().astype(np.float16) for grid in grids), readable.numpy()])
        *joined, valid = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        write_part(folder, joined, valid, [digests[index] for index in indexes])
        done = start + len(indexes)
        rate = done / (time.monotonic() - began)
        left = (len(missing) - done) / rate
        print(f"  {done}/{len(missing)}  {rate:.1f} photos/s  {left:.0f} s left", flush=True)


def write_part(
    folder: Path, grids: Sequence[np.ndarray], valid: np.ndarray, digests: Sequence[str]
) -> None:
    """Write one part whole.

    Args:
        folder: of the encoder.
        grids: `(photos, rows, columns, channels)` float16 each.
        valid: `(photos,)` booleans.
        digests: a hash of every photo's bytes.
    """
    name = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
    with whole_folder(folder / f"part-{name}") as partial:
        for number, grid in enumerate(grids):
            np.save(partial / f"grid_{number}.npy", grid)
        np.save(partial / "valid.npy", valid)
        write_json(partial / "photos.json", list(digests))


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*"))


def _digests(part: Path) -> list[str]:
    return json.loads((part / "photos.json").read_text())


def encoder_digest(encoder: keras.Model, size: int) -> str:
    """A hash of what an encoder computes: its kinds of layers, its weights, the pictures' size."""
    layers = [
        [type(layer).__name__, getattr(layer, "scale", None), getattr(layer, "offset", None)]
        for layer in encoder._flatten_layers(include_self=False)
    ]
    shapes = [output.shape for output in encoder.outputs]
    told = json.dumps([FORMAT, size, shapes, layers], default=str)
    digest = hashlib.sha256(told.encode())
    for variable in encoder.variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.hexdigest()
