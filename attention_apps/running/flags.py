"""From a dataclass to command-line flags, and from a bad flag to one clear line.

Imports no tensorflow, so that `--help` and mistakes are answered at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from attention_apps.attention.words import described
from attention_apps.running.command import UserError
from attention_apps.running.runs import is_finished, read_config

T = TypeVar("T")
ConfigT = TypeVar("ConfigT")

_WORDS = {int: "a whole number", float: "a number", str: "a text", Path: "a path"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every training command takes besides the numbers of its room."""

    resume: Path | None = None
    """Run folder to continue; its own config is used, so no other flag goes beside this one."""

    runs_dir: Path = Path("runs")
    """Folder that new runs are written into."""


def parse(
    kind: type[T], argv: Sequence[str] | None = None, *, prog: str, description: str | None
) -> T:
    """Fill one dataclass from flags; the docstring under each field is its help.

    Args:
        kind: a dataclass; `learning_rate` becomes `--learning-rate`. A field whose metadata names
            sites of `attention` has the words it takes listed below the help.
        argv: the arguments after the command's name; None takes those of this process.
        prog: the command as the user types it, e.g. `python -m translation.predict`.
        description: what the command does, for `--help`.

    Raises:
        UserError: naming the flag, what it received and what it expects.
    """
    (filled,) = _parse([kind], argv, prog=prog, description=description)
    return filled


def parse_run(
    config_class: type[ConfigT],
    argv: Sequence[str] | None = None,
    *,
    room: str,
    description: str | None,
    default: ConfigT | None = None,
) -> tuple[ConfigT, RunOptions]:
    """Read a training command's flags: the room's own and those of `RunOptions`, in one flat list.

    With `--resume RUN` the config comes from the run folder.

    Args:
        config_class: the room's Config.
        argv: the arguments after the command's name; None takes those of this process.
        room: the room's package, e.g. `translation`.
        description: what the command does, for `--help`.
        default: the config whose values hold where no flag is given; None takes the fields' own.

    Returns:
        The config, and the options with `resume` either None or the folder of an unfinished run.

    Raises:
        UserError: for bad flags, for any flag beside `--resume`, or a run that cannot be continued.
    """
    argv = sys.argv[1:] if argv is None else argv
    config, options = _parse(
        [config_class, RunOptions],
        argv,
        prog=f"python -m {room}.train",
        description=description,
        default={} if default is None else vars(default),
    )
    if options.resume is None:
        return config, options
    others = [flag for flag in _flags_in(argv) if flag != "--resume"]
    if others:
        raise UserError(
            f"--resume continues a run with the config it was started with. Received: {others[0]} "
            f"beside --resume. Leave {others[0]} out, or start a new run without --resume."
        )
    config = read_config(options.resume, room, config_class)
    if is_finished(options.resume):
        raise UserError(
            f"{options.resume} is finished: there is nothing to resume. Its figures are in "
            "metrics.json; start a new run without --resume."
        )
    return config, options


def _parse(
    kinds: Sequence[type],
    argv: Sequence[str] | None,
    *,
    prog: str,
    description: str | None,
    default: Mapping[str, Any] = MappingProxyType({}),
) -> list[Any]:
    """Let tyro fill several dataclasses from one flat list of flags."""
    argv = sys.argv[1:] if argv is None else argv
    # tyro fills a twin that has the fields and help of all of them, but not their checks: what
    # those say must reach the user as it was written.
    twin = dataclasses.make_dataclass(
        "Flags",
        [],
        bases=tuple(kinds),
        frozen=True,
        kw_only=True,
        namespace={"__post_init__": lambda self: None},
    )
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            answer: Any = tyro.cli(
                twin,
                args=argv,
                prog=prog,
                description=description,
                default=twin(**default) if default else tyro.MISSING_NONPROP,
                return_unknown_args=True,
            )
    except SystemExit as end:
        if not end.code:
            if {"--help", "-h"} & set(argv):
                _print_words(twin)
            raise
        _refuse_value(twin, argv, complaint.getvalue(), prog)
    filled, unknown = answer
    if unknown:
        _refuse_unknown(twin, unknown[0], prog)
    values = {field.name: getattr(filled, field.name) for field in dataclasses.fields(twin)}
    try:
        return [
            kind(**{field.name: values[field.name] for field in dataclasses.fields(kind)})
            for kind in kinds
        ]
    except ValueError as error:
        raise UserError(str(error)) from error


def _print_words(twin: type) -> None:
    """Below the help, list what the flags take whose fields name sites of attention."""
    sites = {
        _flag(field.name): field.metadata["attention"]
        for field in dataclasses.fields(twin)
        if "attention" in field.metadata
    }
    if sites:
        print(described(sites))


def _refuse_unknown(twin: type, token: str, prog: str) -> NoReturn:
    if not token.startswith("-"):
        raise UserError(f"unexpected argument. Received: {token}. `{prog} --help` lists the flags.")
    flag = token.split("=")[0]
    flags = [_flag(field.name) for field in dataclasses.fields(twin)]
    similar = difflib.get_close_matches(flag, flags, n=1)
    hint = f"Did you mean {similar[0]}? " if similar else ""
    raise UserError(f"unknown flag. Received: {flag}. {hint}`{prog} --help` lists the flags.")


def _refuse_value(twin: type, argv: Sequence[str], complaint: str, prog: str) -> NoReturn:
    """Say in one line what tyro says in a box: which flag, what it got, what it takes."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m|[╭╮╰╯│─]", " ", complaint).split())
    hints = get_type_hints(twin)
    for name in sorted(hints, key=len, reverse=True):
        flag = _flag(name)
        if not re.search(rf"{flag}(?![\w-])", text):
            continue
        received = _values_of(flag, argv)
        if received is None:
            raise UserError(f"{flag} is required: {_expected(hints[name])}. See `{prog} --help`.")
        raise UserError(
            f"{flag} takes {_expected(hints[name])}. Received: {' '.join(received) or 'nothing'}."
        )
    raise UserError(text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _flags_in(argv: Sequence[str]) -> list[str]:
    return [_flag(token[2:].split("=")[0]) for token in argv if token.startswith("--")]


def _values_of(flag: str, argv: Sequence[str]) -> list[str] | None:
    """Return the tokens that follow the last `flag`, or None where it was not given."""
    values: list[str] | None = None
    reading = False
    for token in argv:
        if token.startswith("--"):
            name, _, value = token[2:].partition("=")
            reading = _flag(name) == flag
            if reading:
                values = [value] if value else []
        elif reading and values is not None:
            values.append(token)
    return values


def _expected(hint: Any) -> str:
    """Describe in words what a field of this type takes, e.g. `a whole number`."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_expected(option) for option in arguments)
    if get_origin(hint) is tuple:
        return f"{_expected(arguments[0])}, or several separated by spaces"
    if hint is type(None):
        return "None"
    return _WORDS.get(hint, str(hint))
