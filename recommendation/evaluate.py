"""How good a run is: ranking the whole catalogue beside its floors, for whom, and on what grounds.

python -m recommendation.evaluate --run-dir RUN
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from recommendation.config import ROOM, Config

FIGURE = "ndcg_10"
MOST_OBSERVED = 1000
"""Test cases whose attention is measured."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run to evaluate."""
    legacy_sampled_metrics: bool = False
    """Also rank among 100 random items, as papers of 2018 did; inconsistent with real ranks."""


def evaluate(run_dir: Path, *, legacy_sampled_metrics: bool = False) -> dict[str, Any]:
    """Score a finished run on its test cases and write the figures into its metrics.

    Targets are ranked among all items of the catalogue that their users had not had; a tie is
    never a win. The head that is read as an explanation is the one that finds most planted causes
    in the validation; without known causes it is the mean of the last block.

    Args:
        run_dir: the run folder.
        legacy_sampled_metrics: also give figures among 100 sampled items.

    Returns:
        The sections `test`, `explanation` and `demo` of `metrics.json`. The ranks of all cases and
        a picture of the attention are written to `evaluation/`.

    Raises:
        UserError: for a run that is missing or unfinished, or data that is gone.
    """
    from attention_apps.running.runs import load_run, write_metrics
    from recommendation.baselines import floors
    from recommendation.recommend import Recommend
    from recommendation.scoring import ModelScorer
    from recommendation.starting_point import load_again

    run = load_run(run_dir, ROOM, Config)
    splits = load_again(run.run_dir, run.config)
    items, counts = splits.interactions.items, splits.training_counts()
    model = ModelScorer(run.config, len(items)).load(run.model)
    scorers = {"model": model, **floors(splits)}
    figures = _score(scorers, splits, counts, run.run_dir / "evaluation")
    if legacy_sampled_metrics:
        figures["sampled_100_inconsistent"] = _score_sampled(scorers, splits)
    recommend = Recommend(run.model, items, counts, run.config)
    figures["entropy"] = _entropy(recommend, splits.test)
    place, causes = _score_causes(recommend, splits, run.config)
    if causes:
        figures["causes"] = causes
    picture = run.run_dir / "evaluation" / "attention.png"
    _draw_attention(run.model, splits, run.config, place, picture)
    best_floor = max(figures[f"floor_{name}"][FIGURE] for name in scorers if name != "model")
    protocol = run.config.split
    if protocol == "time":
        protocol = f"time_{run.config.target}"
    sections: dict[str, Any] = {
        "test": {protocol: figures},
        "explanation": {"layer": place[0], "head": place[1]},
        "demo": {
            "figure": "NDCG@10",
            "value": figures["model"][FIGURE],
            "floor": best_floor,
            "better": "higher",
        },
    }
    write_metrics(run.run_dir, **sections)
    return sections


def _score(scorers: dict[str, Any], splits: Any, counts: Any, folder: Path) -> dict[str, Any]:
    import numpy as np

    from recommendation.metrics import beyond_accuracy, bootstrap_interval, by_group, gains, rank
    from recommendation.metrics import figures as figures_of

    test, found, gained = splits.test, {}, {}
    folder.mkdir(exist_ok=True)
    for name, scorer in scorers.items():
        ranking = rank(scorer, test)
        section = "model" if name == "model" else f"floor_{name}"
        gained[name] = gains(ranking.ranks)[FIGURE]
        found[section] = {
            **figures_of(ranking),
            **{
                f"{figure}_interval": bootstrap_interval(gains(ranking.ranks)[figure], test.users)
                for figure in ("hr_10", FIGURE)
            },
            **beyond_accuracy(ranking.top, counts),
            "groups": by_group(ranking, figure=FIGURE),
        }
        if name == "model":
            np.savez_compressed(folder / "ranks.npz", ranks=ranking.ranks, top=ranking.top)
    best = max((name for name in scorers if name != "model"), key=lambda n: gained[n].mean())
    targets = test.targets()
    return {
        "cases": len(test),
        "items": len(splits.interactions.items),
        "targets_not_in_training": int((counts[targets] == 0).sum()),
        f"{FIGURE}_over_floor_{best}_interval": bootstrap_interval(
            gained["model"] - gained[best], test.users
        ),
        **found,
    }


def _score_sampled(scorers: dict[str, Any], splits: Any) -> dict[str, dict[str, float]]:
    from recommendation.metrics import gains, sampled_ranks

    return {
        name: {
            figure: float(values.mean())
            for figure, values in gains(sampled_ranks(scorer, splits.test)).items()
            if figure in ("hr_10", FIGURE)
        }
        for name, scorer in scorers.items()
    }


def _entropy(recommend: Any, test: Any) -> dict[str, float]:
    from dataclasses import replace

    from recommendation.causes import attention_of, entropy_by_head

    some = slice(0, MOST_OBSERVED)
    few = replace(test, users=test.users[some], places=test.places[some])
    return entropy_by_head(attention_of(recommend, few))


def _score_causes(
    recommend: Any, splits: Any, config: Config
) -> tuple[tuple[int, int | None], dict[str, Any]]:
    """Gold attention: the place that validation chooses, and how it does on the test."""
    import numpy as np

    from recommendation.catalogue import catalogue
    from recommendation.causes import (
        attention_of,
        caused,
        floors_of_causes,
        hit_rate_by_lag,
        hit_rates,
        hits,
    )
    from recommendation.metrics import bootstrap_interval

    place: tuple[int, int | None] = (config.num_blocks - 1, None)
    validation, test = caused(splits.validation), caused(splits.test)
    if not len(validation) or not len(test):
        return place, {}
    rates = hit_rates(attention_of(recommend, validation), validation)
    place = max(rates, key=rates.__getitem__)
    maps = attention_of(recommend, test)
    found = hits(maps, test, place)
    return place, {
        "cases": len(test),
        "top_attended_is_cause": float(found.mean()),
        "top_attended_is_cause_interval": bootstrap_interval(found.astype(np.float64), test.users),
        "by_lag": hit_rate_by_lag(maps, test, place),
        **floors_of_causes(test, catalogue(config.generated_size)),
    }


def _draw_attention(
    model: Any, splits: Any, config: Config, place: tuple[int, int | None], path: Path
) -> None:
    from attention_apps.observation.heatmaps import draw_heatmaps
    from recommendation.attention_maps import Probe, attention_maps

    probe = Probe.of(splits.test, config.max_length, 1)
    layer, head = place
    record = attention_maps(model, probe)[layer]  # one example: a record for every block
    draw_heatmaps(record.mean() if head is None else record.head(head)).savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the figures beside their floors."""
    options = parse(Options, argv, prog="python -m recommendation.evaluate", description=__doc__)
    quiet_start()
    sections = evaluate(options.run_dir, legacy_sampled_metrics=options.legacy_sampled_metrics)
    ((protocol, test),) = sections["test"].items()
    print(
        f"{protocol}: {test['cases']} cases, ranked among all {test['items']} items not had before"
    )
    columns = [
        "hr_1",
        "hr_10",
        "ndcg_10",
        "mrr_10",
        "coverage_10",
        "popularity_10",
        "novelty_10",
        "gini_10",
    ]
    print("  ".join((" " * 18, *(f"{column:>13}" for column in columns))))
    for name, section in test.items():
        if isinstance(section, dict) and FIGURE in section:
            values = (f"{section[column]:13.4f}" for column in columns)
            print("  ".join((f"{name:18}", *values)))
    low, high = test["model"][f"{FIGURE}_interval"]
    print(f"NDCG@10 of the model: 95 % interval over users {low:.4f} to {high:.4f}")
    for attribute, groups in test["model"]["groups"].items():
        print(f"NDCG@10 by {attribute}, with 95 % intervals:")
        for group, found in groups.items():
            low, high = found[f"{FIGURE}_interval"]
            told = f"{found[FIGURE]:.4f} ({low:.4f} to {high:.4f}), {found['cases']} cases"
            print(f"  {group:18} {told}")
    told = ", ".join(f"{head}: {value:.2f}" for head, value in test["entropy"].items())
    print(f"entropy of attention (0 = one item, 1 = all alike): {told}")
    if "causes" in test:
        causes = test["causes"]
        low, high = causes["top_attended_is_cause_interval"]
        print(
            f"planted causes: the item attended to most is the cause in "
            f"{causes['top_attended_is_cause']:.3f} of {causes['cases']} cases (95 % interval "
            f"{low:.3f} to {high:.3f}; uniform "
            f"{causes['floor_uniform']:.3f}, most recent {causes['floor_most_recent']:.3f}, best "
            f"possible {causes['best_possible']:.3f})"
        )
        told = ", ".join(f"{lag}: {rate:.3f}" for lag, rate in causes["by_lag"].items())
        print(f"planted causes by how many items back they lie: {told}")
    for name, section in test.get("sampled_100_inconsistent", {}).items():
        print(
            f"inconsistent, among 100 sampled items, {name}: HR@10 {section['hr_10']:.4f}, NDCG@10 "
            f"{section[FIGURE]:.4f}"
        )
    print(f"figures: {options.run_dir / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    run_command(main)
