"""How good a run is: honest figures of the test part beside those of every floor.

python -m forecasting.evaluate --run-dir RUN
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from attention_apps.running.flags import parse
from forecasting.config import Config

MODEL, WALK = "model", "random walk"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command takes."""

    run_dir: Path
    """The finished run to evaluate."""
    floors: tuple[str, ...] = ()
    """Floors to measure beside the random walk, such as ridge HAR; by default all."""


def evaluate(run_dir: Path, *, floors: tuple[str, ...] = ()) -> dict[str, Any]:
    """Score a finished run and its floors at every origin of the test part.

    Args:
        run_dir: the run folder.
        floors: names of those to measure beside the random walk; none for all.

    Returns:
        The sections `test`, `links` and `demo` of `metrics.json`. Pictures are written to
        `evaluation/`.

    Raises:
        UserError: for a run that is missing or unfinished, data that is gone, or an unknown floor.
    """
    from attention_apps.running.runs import load_run, write_metrics
    from forecasting.adaptive import adaptive_figures
    from forecasting.calibration import forecast_all
    from forecasting.charts import draw_fan
    from forecasting.data import load
    from forecasting.model import with_uniform_attention
    from forecasting.scores import Scores
    from forecasting.train import ROOM

    run = load_run(run_dir, ROOM, Config)
    splits = load(run.config)
    run.model.units.refuse_others(splits.scaling)
    origins = splits.parts.origins("test")
    scores = Scores(run.config, splits, origins)
    tables, daily = {}, {}
    uniform = with_uniform_attention(run.model)
    named = forecasters(run.model, uniform, run.config, splits, floors)
    for name, forecast in named.items():
        values = forecast(origins)
        level = scores.variance_level(forecast)
        tables[name] = scores.figures(values, level)
        daily[name] = scores.daily_losses(values, level)
        if name == MODEL:
            pictured = run.run_dir / "evaluation" / "fan.png"
            draw_fan(run.config, splits, origins, values, pictured)
            answered = values
    section: dict[str, Any] = {
        "origins": len(origins),
        MODEL: tables.pop(MODEL),
        "floors": tables,
        "better_than": {name: scores.compared(daily[name], daily[MODEL]) for name in tables},
    }
    if run.config.levels:
        before = splits.parts.origins("validation")
        section["adaptive"] = adaptive_figures(
            (forecast_all(run.model, splits.windows, before), splits.windows.changes(before)),
            (answered, splits.windows.changes(origins)),
            levels=run.config.levels,
            rate=run.config.adaptation_rate,
            unit=scores.unit,
        )
    sections: dict[str, Any] = {"test": {run.config.target: section}}
    if splits.gold is not None and run.config.form == "both":
        sections["links"] = _score_links(run, splits)
    figure = scores.main_figure
    sections["demo"] = {
        "figure": figure,
        "value": section[MODEL][figure],
        "floor": section["floors"][WALK][figure],
        "better": "lower",
    }
    write_metrics(run.run_dir, **sections)
    return sections


def forecasters(
    model: Any, uniform: Any, config: Config, splits: Any, names: tuple[str, ...] = ()
) -> dict[str, Callable[..., Any]]:
    """The model, the model without attention, every floor, and where it is known the best there is.

    Args:
        model: the forecaster.
        uniform: the same with uniform attention.
        config: the room's configuration.
        splits: the data.
        names: of the floors beside the random walk; none for all.

    Returns:
        Functions from origins to changes in scaled units, `(origins, horizon, targets, outputs)`.
    """
    from forecasting.baselines import floors
    from forecasting.calibration import forecast_all

    named: dict[str, Callable[..., Any]] = {
        MODEL: lambda origins: forecast_all(model, splits.windows, origins),
        "model, attention made uniform": lambda origins: forecast_all(
            uniform, splits.windows, origins
        ),
        **floors(config, splits, names),
    }
    if splits.gold is not None and config.target == "returns" and config.levels:
        named["generator's own"] = lambda origins: splits.best(origins, config.levels)
    return named


def _score_links(run: Any, splits: Any) -> dict[str, float]:
    """Whether attention names the planted leaders and lags, beside correlations of returns."""
    from forecasting.links import attention_scores, correlation_scores, share_found, sharpest
    from forecasting.market import LINKS

    names = splits.panel.names
    training = splits.gold.returns[1 : splits.parts.cutoff]
    attention = attention_scores(run.model, splits.windows, splits.parts.origins("test"))
    return {
        "found_by_attention": share_found(sharpest(attention), names, LINKS),
        "floor_found_by_correlation": share_found(
            correlation_scores(training, run.config.lookback), names, LINKS
        ),
        "floor_found_by_chance": 1 / (len(names) * attention.shape[-1]),
    }


def _one_day(test: dict[str, Any]) -> str:
    """Said where one origin makes most of a difference, which then proves little."""
    if test["largest_share"] <= 0.5:
        return ""
    return f"; {test['largest_share']:.0%} of the difference after {test['largest_after']}"


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the figures beside their floors."""
    options = parse(Options, argv, prog="python -m forecasting.evaluate", description=__doc__)
    quiet_start()
    sections = evaluate(options.run_dir, floors=options.floors)
    from forecasting.scores import table

    for name, section in sections["test"].items():
        print(f"{name}, {section['origins']} origins of the test part:")
        print(table({MODEL: section[MODEL], **section["floors"]}))
        print("better than (Diebold-Mariano, one-sided p; independent of all origins):")
        for floor, tests in section["better_than"].items():
            found = [
                # Of losses that never differ, or of too few of them.
                f"{figure} p not known"
                if math.isnan(test["p_value"])
                else f"{figure} p = {test['p_value']:.3g} ({test['effective_size']:.0f} of "
                f"{test['size']}{_one_day(test)})"
                for figure, test in tests.items()
            ]
            print(f"  {floor}: {', '.join(found)}")
        if "adaptive" in section:
            adaptive = section["adaptive"]
            print(
                f"calibrated day by day: coverage {adaptive['coverage']:.1%}, width "
                f"{adaptive['width']:.4g}"
            )
    if "links" in sections:
        links = sections["links"]
        print(
            f"planted links named by attention {links['found_by_attention']:.0%}, by correlation "
            f"{links['floor_found_by_correlation']:.0%}, by chance "
            f"{links['floor_found_by_chance']:.1%}"
        )
    print(f"figures: {options.run_dir / 'metrics.json'}")
    return 0


if __name__ == "__main__":
    run_command(main)
