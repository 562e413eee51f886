"""Every room's `--help` lists the words that its attention flags take, a line each."""

import dataclasses
import importlib

import pytest

from attention_apps.attention.words import WORDS, accepted
from benchmarks.demo import rooms


@pytest.mark.parametrize("room", rooms())
def test_help_lists_every_word_that_a_flag_of_the_room_takes(room, capsys):
    config = importlib.import_module(f"{room}.config").Config
    named = {field.name for field in dataclasses.fields(config) if field.name.endswith("attention")}
    fields = {field.name: field for field in dataclasses.fields(config)}
    sites = {name: field.metadata.get("attention") for name, field in fields.items()}
    assert {name for name, site in sites.items() if site} == named
    with pytest.raises(SystemExit):
        importlib.import_module(f"{room}.train").main(["--help"])
    listed, titles = {}, ()
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("words of "):
            titles = line.removeprefix("words of ").partition(", joined")[0].split(", ")
        elif titles:
            listed |= {(title, line): None for title in titles}
    for name in named:
        flag = f"--{name.replace('_', '-')}"
        lines = [line.split(maxsplit=1) for title, line in listed if title == flag]
        expected = [[str(WORDS[word]), WORDS[word].line] for word in accepted(*sites[name])]
        assert sorted(lines) == sorted(expected)
