"""An approximate index of item vectors for large catalogues, beside the exact answer.

python -m recommendation.index --run-dir RUN     build it, measure it against the exact answer
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_apps.running.command import UserError, quiet_start, run_command
from attention_apps.running.flags import parse
from recommendation.config import ROOM, Config

FILE = "items.faiss"
_TRAINING_ROWS = 40
"""Vectors for each cell, on which the cells are learned."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run whose items are indexed."""
    cells: int = 0
    """Cells that the vectors are sorted into; 0 takes four times the root of their number."""
    probes: int = 0
    """Cells searched for an answer; 0 takes a sixteenth of them."""
    users: int = 1000
    """Most test users on whom it is measured."""


class ItemIndex:
    """Finds the items of highest score by looking into a few cells of the space alone.

    Item vectors are sorted into cells around centres that k-means finds; a question looks into the
    cells whose centres score highest. Built and searched by faiss.

    Args:
        index: of faiss.

    Reference: Douze et al. 2024, "The Faiss library" (inverted file, IVF).
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(
        cls, vectors: NDArray[np.float32], *, cells: int = 0, probes: int = 0, seed: int = 0
    ) -> ItemIndex:
        """Sort item vectors into cells.

        Args:
            vectors: `(items, dim)`, item 1 first.
            cells: number of cells; 0 takes four times the root of the number of items.
            probes: cells searched for an answer; 0 takes a sixteenth of them.
            seed: of the rows that the cells are learned on.

        Returns:
            The index.

        Raises:
            ValueError: for more cells than items or more probes than cells.
        """
        import faiss

        count, dim = vectors.shape
        cells = cells or max(1, min(count // _TRAINING_ROWS, 4 * int(count**0.5)))
        probes = probes or -(-cells // 16)
        if cells > count or probes > cells:
            raise ValueError(
                "There can be no more cells than items and no more probes than cells. "
                f"Received: {count} items, {cells} cells, {probes} probes"
            )
        vectors = np.ascontiguousarray(vectors, np.float32)
        centres = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFFlat(centres, dim, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed + 1
        rows = np.random.default_rng(seed).permutation(count)[: cells * _TRAINING_ROWS]
        index.train(vectors[rows])
        index.add(vectors)
        index.nprobe = probes
        return cls(index)

    def search(
        self,
        hidden: NDArray[np.float32],
        seen: Sequence[NDArray[np.integer]],
        count: int,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Find the best items that were not seen.

        Args:
            hidden: `(batch, dim)` what the model made of histories.
            seen: item numbers that are not wanted, for each history.
            count: how many are wanted.

        Returns:
            Item numbers `(batch, count)` best first, 0 where no more was found, and their scores.
        """
        wanted = count + max((len(np.unique(items)) for items in seen), default=0)
        wanted = min(wanted, self._index.ntotal)
        scores, places = self._index.search(np.ascontiguousarray(hidden, np.float32), wanted)
        best = np.zeros((len(hidden), count), np.int32)
        of_best = np.full((len(hidden), count), -np.inf, np.float32)
        for row, items in enumerate(seen):
            found = places[row] + 1  # faiss says -1 for none
            kept = np.flatnonzero((found > 0) & ~np.isin(found, items))[:count]
            best[row, : len(kept)] = found[kept]
            of_best[row, : len(kept)] = scores[row, kept]
        return best, of_best

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        import faiss

        from attention_apps.running.atomic import whole_file

        with whole_file(path) as partial:
            faiss.write_index(self._index, str(partial))

    @classmethod
    def read(cls, path: Path) -> ItemIndex:
        """Read what `write` wrote.

        Raises:
            UserError: when there is no such file.
        """
        import faiss

        if not path.is_file():
            raise UserError(
                f"{path.parent} has no index. Make it with: python -m {ROOM}.index --run-dir "
                f"{path.parent}"
            )
        return cls(faiss.read_index(str(path)))


def exact(
    vectors: NDArray[np.float32],
    hidden: NDArray[np.float32],
    seen: Sequence[NDArray[np.integer]],
    count: int,
) -> NDArray[np.int32]:
    """The best items that were not seen, by comparing with all: `(batch, count)`."""
    scores = hidden @ vectors.T
    for row, items in enumerate(seen):
        scores[row, np.asarray(items) - 1] = -np.inf
    chosen = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return (np.take_along_axis(chosen, order, axis=1) + 1).astype(np.int32)


def recall(found: NDArray[np.int32], best: NDArray[np.int32]) -> float:
    """Share of the exact answer that the index found, the mean over rows."""
    rows = zip(found, best, strict=True)
    return float(np.mean([len({*ours} & {*theirs}) / len(theirs) for ours, theirs in rows]))


def measure(
    index: ItemIndex,
    vectors: NDArray[np.float32],
    hidden: NDArray[np.float32],
    seen: Sequence[NDArray[np.integer]],
    *,
    count: int = 10,
    batch_size: int = 64,
) -> dict[str, float]:
    """How much of the exact answer the index finds, and in what time.

    Args:
        index: of the vectors.
        vectors: `(items, dim)`, item 1 first.
        hidden: `(users, dim)`.
        seen: item numbers that are not wanted, for each user.
        count: how many items are wanted.
        batch_size: users asked for at once.

    Returns:
        `recall`, and milliseconds per batch `exact_ms` and `index_ms` (medians).
    """
    spent: dict[str, list[float]] = {"exact_ms": [], "index_ms": []}
    recalls = []
    for start in range(0, len(hidden), batch_size):
        rows = slice(start, start + batch_size)
        began = time.perf_counter()
        best = exact(vectors, hidden[rows], seen[rows], count)
        between = time.perf_counter()
        found, _ = index.search(hidden[rows], seen[rows], count)
        spent["exact_ms"].append(1e3 * (between - began))
        spent["index_ms"].append(1e3 * (time.perf_counter() - between))
        recalls.append(recall(found, best))
    return {
        f"recall_{count}": float(np.mean(recalls)),
        **{name: float(np.median(values)) for name, values in spent.items()},
    }


def build_index(run_dir: Path, *, cells: int = 0, probes: int = 0, users: int = 1000) -> Any:
    """Index the items of a finished run and measure the index on its test users.

    Args:
        run_dir: the run folder; the index is written into it.
        cells: see `ItemIndex.build`.
        probes: likewise.
        users: most test users on whom it is measured.

    Returns:
        The section `index` of `metrics.json`: recall against the exact answer and milliseconds.

    Raises:
        UserError: for a run that is missing or unfinished, or cells that make no sense.
    """
    from attention_apps.running.runs import load_run, write_metrics
    from recommendation.scoring import ModelScorer
    from recommendation.starting_point import load_again

    run = load_run(run_dir, ROOM, Config)
    splits = load_again(run.run_dir, run.config)
    scorer = ModelScorer(run.config, len(splits.interactions.items)).load(run.model)
    numbers = range(min(users, len(splits.test)))
    seen = [splits.test.history(number) for number in numbers]
    hidden = np.concatenate(
        [scorer.hidden(splits.test, numbers[s : s + 64]) for s in range(0, len(seen), 64)]
    )
    vectors = np.asarray(scorer.model.item_vectors())
    try:
        index = ItemIndex.build(vectors, cells=cells, probes=probes)
    except ValueError as error:
        raise UserError(str(error)) from error
    figures = {"items": len(vectors), **measure(index, vectors, hidden, seen)}
    index.write(run.run_dir / FILE)
    write_metrics(run.run_dir, index=figures)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Build the index and print how good it is."""
    options = parse(Options, argv, prog=f"python -m {ROOM}.index", description=__doc__)
    quiet_start()
    figures = build_index(
        options.run_dir, cells=options.cells, probes=options.probes, users=options.users
    )
    print(
        f"{figures['items']:,} items: recall@10 {figures['recall_10']:.4f} of the exact answer, "
        f"{figures['index_ms']:.2f} ms for 64 users ({figures['exact_ms']:.2f} ms exact)"
    )
    print(f"index: {options.run_dir / FILE}")
    return 0


if __name__ == "__main__":
    run_command(main)
