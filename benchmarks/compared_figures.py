"""What a finished run says of quality, attention and cost, under one name in all rooms."""

from __future__ import annotations

import io
import itertools
import math
import statistics
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attention_apps.running.runs import MODEL, read_metrics
from benchmarks.compared_runs import WantedRun, spent


@dataclass(frozen=True)
class Figure:
    """One column of a comparison.

    Attributes:
        name: in tables for machines.
        title: in tables and pictures for people.
        better: `higher`, `lower`, or empty where neither is.
        floor: what it is to be compared with, where that is known.
        floor_name: what the floor is.
    """

    name: str
    title: str
    better: str
    floor: float | None = None
    floor_name: str = ""


@dataclass(frozen=True)
class Gold:
    """Where a room's evaluation says how right its attention is."""

    title: str
    better: str
    floor_name: str
    value: float
    floor: float


def gold_of(room: str, metrics: Mapping[str, Any]) -> Gold | None:
    """The room's own score of its attention against the gold; None where there is no gold.

    Args:
        room: the room's package.
        metrics: of an evaluated run.
    """
    tests = list(metrics.get("test", {}).values())
    if room == "recommendation" and tests and "causes" in tests[0]:
        causes = tests[0]["causes"]
        return Gold(
            "causes attended to most",
            "higher",
            "most recent item",
            causes["top_attended_is_cause"],
            causes["floor_most_recent"],
        )
    if room == "forecasting" and "links" in metrics:
        links = metrics["links"]
        return Gold(
            "planted links named",
            "higher",
            "lagged correlation",
            links["found_by_attention"],
            links["floor_found_by_correlation"],
        )
    if room == "translation" and tests and "alignment_error" in tests[0]:
        return Gold(
            "alignment error",
            "lower",
            "diagonal",
            tests[0]["alignment_error"],
            tests[0]["floor_alignment_error_diagonal"],
        )
    if room == "captioning" and metrics.get("attention", {}).get("pointing"):
        pointing = metrics["attention"]["pointing"]
        return Gold(
            "words that look into their box",
            "higher",
            "middle of the picture",
            pointing["hit"],
            pointing["floor_centre_hit"],
        )
    return None


def figures_of(wanted: WantedRun) -> dict[str, tuple[Figure, float | None]]:
    """All figures of a finished run, by name; None for what it does not say.

    Args:
        wanted: the run, trained and evaluated.

    Returns:
        - `quality`: the figure of the room's demonstration, on the test part.
        - `gold`: the room's score of its attention, see `gold_of`.
        - `cpu_seconds`: of the training up to its last validation, start-up included; what a kill
          undid is not counted.
        - `epoch_cpu_seconds`: of an epoch, validation included, the median: the start left out.
        - `peak_megabytes`: the most memory that the training process held.
        - `parameters`: numbers that the model holds.
        - `entropy`: of the attention of the probe that training looks at, in nats, at its end.
        - `epochs`: trained.
    """
    run_dir = wanted.run_dir()
    assert run_dir is not None
    metrics = read_metrics(run_dir)
    demo, curve = metrics["demo"], metrics["train"]["curve"]
    gold = gold_of(wanted.room, metrics)
    peaks = [entry["peak_megabytes"] for entry in spent(run_dir) if entry["step"] == "train"]
    found: list[tuple[Figure, float | None]] = [
        (
            Figure("quality", demo["figure"], demo["better"], demo["floor"], "the room's floor"),
            demo["value"],
        ),
        (Figure("cpu_seconds", "CPU-seconds", "lower"), curve[-1]["cpu_minutes"] * 60),
        (Figure("epoch_cpu_seconds", "CPU-seconds an epoch", "lower"), epoch_seconds(curve)),
        (Figure("peak_megabytes", "peak memory, MB", "lower"), max(peaks, default=None)),
        (Figure("parameters", "parameters", "lower"), num_parameters(run_dir)),
        (Figure("entropy", "attention entropy, nats", ""), entropy_of_probe(run_dir)),
        (Figure("epochs", "epochs", ""), metrics["run"]["epochs"]),
    ]
    if gold is not None:
        told = Figure("gold", gold.title, gold.better, gold.floor, gold.floor_name)
        found.insert(1, (told, gold.value))
    return {figure.name: (figure, value) for figure, value in found}


def epoch_seconds(curve: list[dict[str, float]]) -> float | None:
    """CPU-seconds of an epoch: the median over those between two validations.

    Args:
        curve: of `metrics.json`.

    Returns:
        None for a curve of fewer than two points. A median, because a run that was resumed
        started twice, which is in one of the differences.
    """
    rates = [
        60 * (after["cpu_minutes"] - before["cpu_minutes"]) / (after["epoch"] - before["epoch"])
        for before, after in itertools.pairwise(curve)
    ]
    return statistics.median(rates) if rates else None


def num_parameters(run_dir: Path) -> int:
    """Numbers in the model that validation chose, without the state of random generators."""
    import h5py

    counts = []

    def count(path: str, entry: Any) -> None:
        stateful = any(part.startswith(("seed_generator", "optimizer")) for part in path.split("/"))
        if isinstance(entry, h5py.Dataset) and not stateful:
            counts.append(math.prod(entry.shape))

    with zipfile.ZipFile(run_dir / MODEL) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights) as file:
        file.visititems(count)
    return sum(counts)


def entropy_of_probe(run_dir: Path) -> float | None:
    """Entropy of attention, in nats, at the last look of the training at its probe.

    `-sum_k w_k log(w_k)`, the mean over the rows of all heads, examples and layers; its exponential
    is how many keys a row attends to as if alike. Not as a share of the largest possible, for
    mechanisms differ in what is possible.

    Args:
        run_dir: the run folder.

    Returns:
        None for a run without attention, and where some weights are negative and so no shares.
    """
    if not (run_dir / "attention").is_dir():
        return None
    from attention_apps.observation.events import read_records

    records = read_records(run_dir / "attention")
    last = [record for record in records if record.step == records[-1].step]
    entropies = [mean_entropy(np.asarray(record.weights, np.float64)) for record in last]
    if not entropies or any(entropy is None for entropy in entropies):
        return None
    return float(np.mean(np.array(entropies)))


def mean_entropy(weights: np.ndarray) -> float | None:
    """Mean entropy of rows of weights, in nats.

    Args:
        weights: `(heads, query, key)`; rows of zeros, in which nothing may be attended to, are left
            out, and what rounding took from a row's sum is given back.

    Returns:
        None where a weight is below -0.001.
    """
    if weights.min() < -1e-3:
        return None
    rows = weights.clip(0).reshape(-1, weights.shape[-1])
    rows = rows[rows.sum(-1) > 0]
    shares = rows / rows.sum(-1, keepdims=True)
    return float(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1).mean())
