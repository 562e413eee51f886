"""A finished run, ready to caption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from attention_apps.running.runs import Run, load_run
from captioning.caption import Captioner
from captioning.config import Config
from captioning.train import ROOM, VOCABULARY
from captioning.words import Vocabulary


def load_captioner(run_dir: Path) -> tuple[Run[Config], Captioner]:
    """Load a finished run and its captioner.

    Args:
        run_dir: the run folder.

    Returns:
        The run, and a captioner with the beam and the length penalty that its evaluation chose on
        validation, where there was one; else with the configuration's.

    Raises:
        UserError: for a run that is missing or unfinished.
    """
    run = load_run(run_dir, ROOM, Config)
    chosen = {
        name: value
        for name, value in run.metrics.get("decoding", {}).items()
        if name in ("beam_size", "length_penalty")
    }
    vocabulary = Vocabulary.read(run.run_dir / VOCABULARY)
    return run, Captioner(run.model, vocabulary, replace(run.config, **chosen))
