"""The layout of Flickr8k and Flickr30k: captions, split lists, and photos in folders or zips."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from attention_apps.running.command import UserError
from attention_apps.running.lines import text_lines
from captioning.entities import has_entities, read_boxes
from captioning.photos import Photos

ENDINGS = (".jpg", ".jpeg", ".png")


class PhotoFiles:
    """All photos under a folder, in folders or zips, found by their names.

    Args:
        folder: where they lie, at any depth; zips in the folder itself.

    Raises:
        UserError: for a zip that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._paths: dict[str, Path] = {}
        self._members: dict[str, tuple[Path, str]] = {}
        self._zips: dict[Path, zipfile.ZipFile] = {}
        self._lock = threading.Lock()
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in ENDINGS and path.is_file():
                self._paths.setdefault(path.name, path)
        for path in sorted(folder.glob("*.zip")):
            try:
                self._zips[path] = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                raise UserError(f"{path} must be a zip of photos. Received: {error}") from error
            for member in self._zips[path].namelist():
                if member.lower().endswith(ENDINGS):
                    self._members.setdefault(Path(member).name, (path, member))

    def __contains__(self, name: str) -> bool:
        return name in self._paths or name in self._members

    def __len__(self) -> int:
        return len(self._paths.keys() | self._members.keys())

    def read(self, name: str) -> bytes:
        """The bytes of a photo; none where its zip is damaged there, like any corrupt photo."""
        if name in self._paths:
            return self._paths[name].read_bytes()
        archive, member = self._members[name]
        with self._lock:
            try:
                return self._zips[archive].read(member)
            except (zipfile.BadZipFile, OSError):
                return b""


def read_captions(folder: Path) -> dict[str, list[str]]:
    """Read `PHOTO#NUMBER<tab>CAPTION` lines of the one `*.token` or `*.token.txt` file.

    Flickr8k brings a second one, `*.lemma.token.txt`, whose words are no captions.

    Args:
        folder: where it lies.

    Returns:
        Captions by photo, in the order of the file.

    Raises:
        UserError: for no such file or several, text that is not UTF-8, or a line without a caption.
    """
    paths = sorted([*folder.glob("*.token.txt"), *folder.glob("*.token")])
    paths = [path for path in paths if ".lemma." not in path.name]
    if len(paths) > 1:
        raise UserError(
            f"{folder} must hold one file of captions, *.token.txt. It holds: "
            f"{', '.join(path.name for path in paths)}"
        )
    if not paths:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
        raise UserError(
            f"{folder} must hold the captions, a file *.token.txt. It holds: {held or 'nothing'}"
        )
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(text_lines(paths[0].read_bytes(), str(paths[0])), start=1):
        name, tab, caption = line.partition("\t")
        photo, mark, _ = name.partition("#")
        if not (tab and mark and caption.strip()):
            raise UserError(
                "Every line of captions is PHOTO#NUMBER, a tab and a caption. "
                f"Received: line {number} of {paths[0]}: {line[:60]!r}"
            )
        captions.setdefault(photo, []).append(" ".join(caption.split()))
    return captions


def read_list(folder: Path, name: str) -> list[str]:
    """Read the names of a split's photos, one a line: `*NAMEImages.txt` or `NAME.txt`.

    Args:
        folder: where the list lies.
        name: of the split.

    Returns:
        The photos' names, with their ending.

    Raises:
        UserError: for a missing or an empty list.
    """
    paths = sorted([*folder.glob(f"*{name}Images.txt"), *folder.glob(f"{name}.txt")])
    if not paths:
        held = ", ".join(sorted(path.name for path in folder.glob("*.txt"))[:8])
        raise UserError(
            f"{folder} must hold a list of the split {name!r}, *{name}Images.txt. Its text files "
            f"are: {held or 'none'}"
        )
    names = [
        line.strip() for line in text_lines(paths[0].read_bytes(), str(paths[0])) if line.strip()
    ]
    if not names:
        raise UserError(f"A split must have photos. Received: the empty list {paths[0]}")
    return [name if name.lower().endswith(ENDINGS) else f"{name}.jpg" for name in names]


def read_split(
    folder: Path, name: str, files: PhotoFiles, captions: Mapping[str, list[str]]
) -> tuple[Photos, list[str]]:
    """Put a split's photos and captions together; what lacks one of them is left out and named.

    Args:
        folder: where the list lies.
        name: of the split.
        files: the photos.
        captions: by photo.

    Returns:
        The split, and sentences about what was left out.

    Raises:
        UserError: when nothing is left.
    """
    names = read_list(folder, name)
    notes = []
    kept = [photo for photo in names if photo in files and photo in captions]
    for lacking, what in (
        ([photo for photo in names if photo not in captions], "no caption"),
        ([photo for photo in names if photo in captions and photo not in files], "no photo file"),
    ):
        if lacking:
            notes.append(
                f"left out {len(lacking)} of {len(names)} photos of {name!r} with {what}: "
                + ", ".join(lacking[:3])
                + (", ..." if len(lacking) > 3 else "")
            )
    if not kept:
        raise UserError(
            f"No photo of {name!r} has both a file and captions. Received: {len(names)} names, "
            f"{len(files)} photo files under {folder} and captions of {len(captions)} photos"
        )
    photos = Photos(
        name=name,
        names=kept,
        captions=[captions[photo] for photo in kept],
        read=lambda index: files.read(kept[index]),
    )
    if has_entities(folder):
        boxes = read_boxes(folder, photos.names, photos.captions)
        photos = replace(photos, boxes=boxes)
        known = sum(any(any(words) for words in of_photo) for of_photo in boxes)
        notes.append(f"boxes of Flickr30k Entities for {known} of {len(kept)} photos of {name!r}")
    return photos, notes
