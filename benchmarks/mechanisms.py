"""Every mechanism drawn by itself: writes docs/mechanisms.md and its pictures.

python -m benchmarks.mechanisms

Each word of a flag is built, put into a layer over the same 32 tokens, and what the layer attends
to is drawn; formulas and papers are read from the docstrings of what the word builds.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from attention_apps.running.command import quiet_start, run_command
from benchmarks.in_turn import ROOT

LENGTH = 32
FAMILIES = {
    "scoring": "Scoring: how alike a query and a key are",
    "normalizer": "Normalizers: from scores to weights",
    "scope": "Scopes: who may attend to whom",
    "form": "Forms: which heads share keys and values",
    "position": "Positions inside attention",
    "algorithm": "Algorithms: how it is computed",
}
# With what a word is drawn that needs numbers or company.
DRAWN = {
    "soft-cap": "soft-cap:2",
    "top-k": "top-k:4",
    "gumbel": "gumbel",
    "window": "window:5",
    "global": "window:5+global:2",
    "random": "window:3+random:1:4:32",
    "local-p": "local-p:4",
    "span": "span:6",
    "multi-scale": "multi-scale:8",
    "rotary-linear": "rotary-linear:4",
    "rotary-ntk": "rotary-ntk:4",
    "rotary-yarn": "rotary-yarn:4:32",
    "relative-bias": "relative-bias:16",
    "relative-keys": "relative-keys:4",
    "chunked": "chunked:8",
    "blocks": "blocks:8+window:5+global:2",
    "local": "local+window:5",
    "low-rank": "low-rank:8:32",
    "linear": "linear:256",
    "grouped": "grouped:2",
}


def family_of(choice: str) -> str:
    """The family in which a word's choice is shown."""
    families = {"mask": "scope", "qk_norm": "scoring", "soft_cap": "scoring"}
    return {**families, "num_key_value_heads": "form"}.get(choice, choice)


def weights_of(text: str, contrast: float) -> Any:
    """What four heads attend to, `(heads, query, key)`, by a mechanism over 32 smooth tokens."""
    import keras
    import numpy as np

    from attention_apps.attention.layers import MultiHeadAttention
    from attention_apps.attention.mechanism import parse_mechanism

    keras.utils.set_random_seed(0)
    layer = MultiHeadAttention(4, 8, mechanism=parse_mechanism(text))
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(1, LENGTH, 16)).cumsum(1)
    x = ((steps - steps.mean(1)) / steps.std(1)).astype("float32")
    layer.build(x.shape, x.shape)
    projections = np.random.default_rng(1).normal(size=layer.query_dense.kernel.shape) * contrast
    for dense in (layer.query_dense, layer.key_dense):
        # The same projection for queries and keys, of the first head of every group: neighbours
        # are alike.
        dense.kernel.assign(projections[:, :: layer.num_heads // dense.kernel.shape[1]])
    _, weights = layer(x, x, return_attention_scores=True)
    return np.array(weights)[0]


def paper_of(text: str) -> str:
    """The reference of a docstring in one line."""
    found = re.search(r"Reference:\s*(.*?)(?:\n\s*\n|$)", text, re.DOTALL)
    named = re.search(r"\(([A-Z][^()]* \d{4}[^()]*)\)", text)
    reference = found.group(1) if found else named.group(1) if named else ""
    return " ".join(reference.split()).removesuffix(".")


def described(word: Any) -> str:
    """The docstring of what a word builds."""
    if word.choice == "scoring":
        from attention_apps.attention.scoring import SCORINGS

        return inspect.cleandoc(type(SCORINGS[word.name]).__doc__ or "")
    home = word.home
    if word.choice == "algorithm":
        home = {
            "dense": "algorithms.dense:dense_attention",
            "chunked": "algorithms.chunked:chunked_attention",
            "blocks": "algorithms.block_sparse:block_sparse_attention",
            "local": "algorithms.local:local_attention",
            "low-rank": "algorithms.low_rank:low_rank_attention",
            "linear": "algorithms.linear:linear_attention",
        }[word.name]
    if word.name in ("qk-norm", "soft-cap"):
        home = f"score_shaping:{word.name.replace('-', '_')}"
    if word.name == "multi-scale":
        home = "multi_scale:MultiScale"
    if word.name == "grouped":
        home = "grouped_query:GroupedQueryAttention"
    module, _, name = home.partition(":")
    return inspect.getdoc(getattr(import_module(f"attention_apps.attention.{module}"), name)) or ""


def draw(words: Sequence[Any], path: Path) -> None:
    """Draw what the first and the last head of every word attend to."""
    import matplotlib.pyplot as plt

    columns = min(len(words), 8)
    rows = -(-len(words) // columns)
    figure, axes = plt.subplots(
        2 * rows, columns, figsize=(1.5 * columns, 3.3 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for place, word in enumerate(words):
        text = DRAWN.get(word.name, word.name)
        # Flat scores show a scope, steep ones what scoring and normalizer make of them.
        weights = weights_of(text, 0.1 if family_of(word.choice) == "scope" else 0.35)
        row, column = divmod(place, columns)
        for half, head in enumerate((0, -1)):
            axis = axes[2 * row + half, column]
            axis.imshow(weights[head], cmap="Blues", vmin=0, vmax=weights[head].max() * 0.8)
            axis.axis("on")
            axis.set_xticks([])
            axis.set_yticks([])
            if half == 0:
                axis.set_title(text.replace("+", "\n+"), fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def page(folder: Path) -> str:
    """Draw every family into `folder` and write the page that shows them."""
    from attention_apps.attention.words import WORDS

    lines = [
        "# Mechanisms",
        "",
        "Made by `python -m benchmarks.mechanisms` from the code. A flag joins words with `+`,",
        "such as `cosine+rotary+window:16`; masks add up, every other choice is made once, and",
        "what makes no sense together is refused with the reason. Drawn is what the first and the",
        "last of four heads attend to, queries downwards, keys to the right, over 32 tokens.",
    ]
    folder.mkdir(exist_ok=True)
    for family, title in FAMILIES.items():
        words = [word for word in WORDS.values() if family_of(word.choice) == family]
        draw(words, folder / f"{family}.png")
        lines += ["", f"## {title}", "", f"![{title}]({folder.name}/{family}.png)", ""]
        lines += ["| word | what it does | formula or law | paper |", "|---|---|---|---|"]
        for word in words:
            text = described(word)
            law = " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
            paper = paper_of(text)
            law = law if len(law) < 200 else law[:197].rsplit(" ", 1)[0] + " ..."
            cells = (f"`{word}`", word.line, law, paper.replace("|", "\\|"))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    quiet_start()
    docs = ROOT / "docs"
    (docs / "mechanisms.md").write_text(page(docs / "mechanisms"))
    print(docs / "mechanisms.md")
    return 0


if __name__ == "__main__":
    run_command(main)
