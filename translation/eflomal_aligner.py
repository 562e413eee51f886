"""A statistical aligner of today beside attention: eflomal, where it is installed."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

from translation.alignments import Link, symmetrise


def is_installed() -> bool:
    """Whether eflomal is there; it is compiled where it is installed, and no room needs it."""
    return importlib.util.find_spec("eflomal") is not None


def eflomal_links(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
) -> dict[str, list[list[Link]]]:
    """Align sentence pairs with nothing but themselves.

    Its samples are drawn anew in every call: the answers differ a little.

    Args:
        pairs: `(source words, target words)` of each sentence pair.

    Returns:
        By `forward`, at most one link for each target word, and `grow_diag`, the links of both
        directions symmetrised, the links of every pair.

    Reference:
        Östling and Tiedemann 2016, "Efficient Word Alignment with Markov Chain Monte Carlo".
    """
    import eflomal

    sources, targets = ([" ".join(pair[side]) for pair in pairs] for side in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        forward, backward = Path(folder) / "forward", Path(folder) / "backward"
        eflomal.Aligner().align(
            sources,
            targets,
            links_filename_fwd=str(forward),
            links_filename_rev=str(backward),
        )
        links = {name: _read(path) for name, path in (("f", forward), ("b", backward))}
    return {
        "forward": links["f"],
        "grow_diag": [symmetrise(f, b) for f, b in zip(links["f"], links["b"], strict=True)],
    }


def _read(path: Path) -> list[list[Link]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        numbers = [entry.split("-") for entry in line.split()]
        found.append(sorted((int(source), int(target)) for source, target in numbers))
    return found
