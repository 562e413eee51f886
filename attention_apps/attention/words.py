"""The words by which a command's flag names an attention: what each stands for, in one line.

Pure data until a word is built, so that `--help` can list them without a framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Word:
    """One word of a flag.

    Attributes:
        name: as it is typed.
        choice: which choice of a `Mechanism` it makes.
        line: what it stands for.
        home: `module:name` of what builds it, in this package; empty for a plain value.
        value: what the choice becomes, where nothing is built.
        arguments: names and types of what follows behind colons.
        optional: how many of them may be left out, the last ones.
        fixed: further arguments.
    """

    name: str
    choice: str
    line: str
    home: str = ""
    value: Any = None
    arguments: tuple[tuple[str, type], ...] = ()
    optional: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Write the word as `--help` shows it, e.g. `window:SIZE`."""
        first = len(self.arguments) - self.optional
        parts = [
            f":{name.upper()}" if index < first else f"[:{name.upper()}]"
            for index, (name, _) in enumerate(self.arguments)
        ]
        return self.name + "".join(parts)

    def build(self, given: list[str]) -> Any:
        """Make what the word stands for.

        Args:
            given: what followed behind colons.

        Raises:
            ValueError: for too many, too few or no numbers, and for what the choice refuses.
        """
        fewest = len(self.arguments) - self.optional
        if not fewest <= len(given) <= len(self.arguments):
            raise ValueError(f"the word is {self}")
        values = {}
        for (name, kind), text in zip(self.arguments, given, strict=False):
            try:
                values[name] = kind(text)
            except ValueError:
                number = "a whole number" if kind is int else "a number"
                raise ValueError(f"{name.upper()} of {self} is {number}") from None
        if not self.home:
            return values[self.arguments[0][0]] if self.arguments else self.value
        module, _, builder = self.home.partition(":")
        home = import_module(f"attention_apps.attention.{module}")
        return getattr(home, builder)(**self.fixed, **values)


def _scoring(name: str, line: str) -> Word:
    return Word(name, "scoring", line, value=name)


_SIZE = (("size", int),)
_FACTOR = (("factor", float), ("original_length", int))

WORDS: Mapping[str, Word] = {
    word.name: word
    for word in (
        Word("full", "scope", "attend to everything", home="masks:Everything"),
        _scoring("dot", "score q.k"),
        _scoring("scaled_dot", "score q.k / sqrt(dim), the default"),
        _scoring("cosine", "score cos(q, k) times a learned temperature"),
        _scoring("general", "score q W k with a learned matrix per head"),
        _scoring("additive", "score v.tanh(q + k)"),
        _scoring("uniform", "score everything alike: the control"),
        Word("qk-norm", "qk_norm", "bring queries and keys to one length", value=True),
        Word(
            "soft-cap",
            "soft_cap",
            "keep scores between -CAP and CAP",
            arguments=(("cap", float),),
        ),
        Word(
            "sparsemax",
            "normalizer",
            "weights of which many are exactly 0",
            home="sparse_normalizers:Sparsemax",
        ),
        Word(
            "top-k",
            "normalizer",
            "only the COUNT highest scores of a row",
            home="sparse_normalizers:TopK",
            arguments=(("count", int),),
        ),
        Word("hard", "normalizer", "one key, learned straight through", home="hard:Hard"),
        Word(
            "gumbel",
            "normalizer",
            "one key, learned from noisy draws",
            home="hard:Gumbel",
            arguments=(("temperature", float),),
            optional=1,
        ),
        Word(
            "window",
            "mask",
            "only keys less than SIZE away",
            home="masks:Window",
            arguments=_SIZE,
        ),
        Word(
            "global",
            "mask",
            "the first COUNT positions see and are seen by all",
            home="masks:GlobalTokens",
            arguments=(("count", int),),
        ),
        Word(
            "random",
            "mask",
            "COUNT random blocks of SIZE keys for every block of queries",
            home="random_blocks:RandomBlocks",
            arguments=(("count", int), ("size", int), ("length", int), ("seed", int)),
            optional=3,
        ),
        Word(
            "local-p",
            "scope",
            "within SIZE of a place that the query predicts",
            home="predicted_window:PredictedWindow",
            arguments=_SIZE,
        ),
        Word(
            "span",
            "scope",
            "a span per head that is learned, at most SIZE",
            home="adaptive_span:AdaptiveSpan",
            arguments=_SIZE,
        ),
        Word(
            "multi-scale",
            "scope",
            "heads over keys pooled by 1, 2, 4, ... up to LARGEST",
            home="multi_scale:doubling",
            arguments=(("largest", int),),
        ),
        Word("rotary", "position", "turn queries and keys by position", home="rotary:Rotary"),
        *(
            Word(
                f"rotary-{scaling}",
                "position",
                f"rotary, stretched FACTOR times ({how})",
                home="rotary:Rotary",
                arguments=_FACTOR,
                optional=1,
                fixed={"scaling": scaling},
            )
            for scaling, how in (
                ("linear", "interpolated"),
                ("ntk", "longer wavelengths"),
                ("yarn", "slow pairs only"),
            )
        ),
        Word("alibi", "position", "lower scores with distance", home="relative_positions:Alibi"),
        Word(
            "relative-bias",
            "position",
            "learn a bias per distance, in buckets up to MAX_DISTANCE",
            home="relative_positions:RelativeBias",
            arguments=(("max_distance", int),),
            optional=1,
        ),
        Word(
            "relative-keys",
            "position",
            "learn a vector per distance up to MAX_DISTANCE",
            home="relative_positions:RelativeKeys",
            arguments=(("max_distance", int),),
            optional=1,
        ),
        Word(
            "grouped",
            "num_key_value_heads",
            "HEADS heads of keys and values, shared by groups of query heads",
            arguments=(("heads", int),),
        ),
        Word("dense", "algorithm", "exact, the whole matrix", home="algorithms.choices:Dense"),
        Word(
            "chunked",
            "algorithm",
            "exact, ROWS queries at a time",
            home="algorithms.choices:Chunked",
            arguments=(("rows", int),),
            optional=1,
        ),
        Word(
            "blocks",
            "algorithm",
            "exact, only the blocks of SIZE that the masks touch",
            home="algorithms.choices:BlockSparse",
            arguments=_SIZE,
            optional=1,
        ),
        Word("local", "algorithm", "exact within a window", home="algorithms.choices:Local"),
        Word(
            "low-rank",
            "algorithm",
            "keys projected to RANK, of at most LENGTH",
            home="algorithms.choices:LowRank",
            arguments=(("rank", int), ("length", int)),
            optional=1,
        ),
        Word(
            "linear",
            "algorithm",
            "approximate by FEATURES random features",
            home="algorithms.choices:Linear",
            arguments=(("features", int),),
            optional=1,
        ),
    )
}


# What compares or bounds positions, which only queries and keys of one sequence share.
_IN_ONE_SEQUENCE = (
    *(name for name, word in WORDS.items() if word.choice in ("mask", "position")),
    *("span", "local", "blocks"),
)

# Where a flag can put an attention, and the words that are refused there.
SITES: Mapping[str, tuple[str, ...]] = {
    # A sequence attends to itself, as in an `EncoderBlock`.
    "self": ("local-p",),
    # It attends to what came before, as in a `CausalBlock`, and is asked step by step.
    "causal": ("local-p", "low-rank"),
    # It attends to another, as in a `DecoderBlock`.
    "cross": _IN_ONE_SEQUENCE,
    # It attends to another, whose places it cannot guess.
    "unplaced": (*_IN_ONE_SEQUENCE, "local-p", "multi-scale"),
    # It attends to another in a loop with one head, as `StepwiseAttention` does.
    "stepwise": (
        *_IN_ONE_SEQUENCE,
        *("multi-scale", "qk-norm", "gumbel", "grouped", "chunked", "low-rank", "linear"),
    ),
}


def accepted(*sites: str) -> tuple[str, ...]:
    """Names of the words that an attention at one of these `SITES` takes."""
    return tuple(name for name in WORDS if any(name not in SITES[site] for site in sites))


def described(flags: Mapping[str, tuple[str, ...]]) -> str:
    """The words that flags take with a line each, for `--help`.

    Args:
        flags: for every flag, such as `--cross-attention`, the `SITES` that it may stand for.

    Returns:
        A line for every word that any flag takes, words of the same flags below one title.
    """
    taken = {flag: accepted(*sites) for flag, sites in flags.items()}
    groups: dict[tuple[str, ...], list[Word]] = {}
    for name, word in WORDS.items():
        takers = tuple(flag for flag, names in taken.items() if name in names)
        groups.setdefault(takers, []).append(word)
    groups.pop((), None)
    width = max(len(str(word)) for words in groups.values() for word in words)
    lines = []
    for takers, words in groups.items():
        lines.append(f"words of {', '.join(takers)}, joined by '+':")
        lines += [f"  {word!s:{width}}  {word.line}" for word in words]
    return "\n".join(lines)
