"""Gold alignments of a user's own: what is read, what is refused, what comes of it."""

from dataclasses import replace

import pytest

from attention_apps.running.command import UserError
from translation.config import TINY
from translation.own_gold import read_own_gold

CONFIG = replace(TINY, source_language="en", target_language="de")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "gold.en").write_text("the dog sleeps .\nhe reads\n", "utf-8")
    (tmp_path / "gold.de").write_text("\ufeffder Hund schläft nun .\ner liest viel\n", "utf-8")
    (tmp_path / "links").write_text("0-0 1-1 2-2 2p3 3-4\n0-0 1-1 1-2\n", "utf-8")
    return tmp_path


def test_links_and_their_text_are_read_together(folder):
    own = read_own_gold(CONFIG, folder / "links", "gold")
    assert own.corpus.targets[0] == "der Hund schläft nun ."
    assert own.gold.sure[0] == [(0, 0), (1, 1), (2, 2), (3, 4)]
    assert (2, 3) in own.gold.possible[0]
    assert own.outside == []


def test_links_of_the_opposite_direction_are_turned(folder):
    (folder / "links").write_text("0-0 1-1 2-2 3p2 4-3\n0-0 1-1 2-1\n", "utf-8")
    own = read_own_gold(CONFIG, folder / "links", "gold", "de")
    assert own.gold.sure[0] == [(0, 0), (1, 1), (2, 2), (3, 4)]
    assert (2, 3) in own.gold.possible[0]
    with pytest.raises(UserError, match=r"sentence 1.*--gold-first de"):
        read_own_gold(CONFIG, folder / "links", "gold")


@pytest.mark.parametrize(
    ("links", "first", "message"),
    [
        ("0-0\n", "", "for each of the 2 sentences of gold. Received"),
        ("0-0\n0:1\n", "", "in line 2"),
        ("0-0\n0-0\n", "fr", "must be en or de.* Received: fr"),
        ("", "", "an empty file"),
        ("0p0\n1p1\n", "", "must hold sure links.* with possible links alone"),
    ],
)
def test_gold_that_does_not_fit_is_refused_in_one_line(folder, links, first, message):
    (folder / "links").write_text(links, "utf-8")
    with pytest.raises(UserError, match=message) as refusal:
        read_own_gold(CONFIG, folder / "links", "gold", first)
    assert "\n" not in str(refusal.value)


def test_a_text_that_is_missing_is_named(folder):
    with pytest.raises(UserError, match=r"There is no file .*other\.en"):
        read_own_gold(CONFIG, folder / "links", "other")
