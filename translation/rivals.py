"""Translations of the same test set by others: another run, or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_apps.running.command import UserError
from attention_apps.running.lines import text_lines
from attention_apps.running.runs import read_config
from translation.config import Config
from translation.corpus import Corpus
from translation.quality import bleu_metric
from translation.significance import paired_bootstrap
from translation.train import ROOM


@dataclass(frozen=True)
class Rival:
    """Someone else's translations.

    Attributes:
        name: the run's folder or the file.
        hypotheses: by test set, one translation for each sentence.
    """

    name: str
    hypotheses: dict[str, list[str]]


def read_rivals(
    config: Config, tests: Sequence[Corpus], against_run: Path | None, against_file: Path | None
) -> list[Rival]:
    """Read what a run is to be compared with.

    Args:
        config: of the run that is evaluated.
        tests: its test sets, the main one first.
        against_run: a run that was evaluated on the same sets, or None.
        against_file: translations of the main set, or None.

    Returns:
        The rivals that were given.

    Raises:
        UserError: for translations that are missing or as many as the test set has not.
    """
    rivals = []
    if against_run is not None:
        other = read_config(against_run, ROOM, Config)
        if other.target_language != config.target_language:
            raise UserError(
                f"--against-run must translate into {config.target_language}. Received: "
                f"{against_run}, into {other.target_language}"
            )
        found = {}
        for test in tests:
            path = against_run / "evaluation" / f"{test.name}.{config.target_language}"
            if not path.is_file():
                raise UserError(
                    f"{against_run} has no translations of {test.name}. Make them with: "
                    f"python -m {ROOM}.evaluate --run-dir {against_run}"
                )
            found[test.name] = _read_hypotheses(path, test)
        rivals.append(Rival(str(against_run), found))
    if against_file is not None:
        found = {tests[0].name: _read_hypotheses(against_file, tests[0])}
        rivals.append(Rival(str(against_file), found))
    return rivals


def _read_hypotheses(path: Path, test: Corpus) -> list[str]:
    lines = [line.strip() for line in text_lines(path.read_bytes(), str(path))]
    if len(lines) != len(test):
        raise UserError(
            f"{path} must have a line for each of the {len(test)} sentences of {test.name}. "
            f"Received: {len(lines)} lines"
        )
    return lines


def compare(
    rivals: Sequence[Rival],
    hypotheses: Mapping[str, Sequence[str]],
    tests: Sequence[Corpus],
    config: Config,
) -> dict[str, list[dict[str, Any]]]:
    """Compare a run's translations with those of its rivals.

    Args:
        rivals: the others.
        hypotheses: the run's, by test set.
        tests: the test sets.
        config: names BLEU's tokenizer.

    Returns:
        By test set, for each rival `against`, its name, and what `paired_bootstrap` says.
    """
    metric = bleu_metric(config)
    return {
        test.name: [
            {
                "against": rival.name,
                **paired_bootstrap(
                    hypotheses[test.name], rival.hypotheses[test.name], test.targets, metric
                ),
            }
            for rival in rivals
            if test.name in rival.hypotheses
        ]
        for test in tests
        if any(test.name in rival.hypotheses for rival in rivals)
    }
