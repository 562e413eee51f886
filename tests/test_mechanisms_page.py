"""The page of mechanisms is made from the code and says what the code says."""

import pytest

from attention_apps.attention.words import WORDS
from benchmarks.demo import ROOT
from benchmarks.mechanisms import FAMILIES, described, family_of, page, paper_of

PAGE = (ROOT / "docs" / "mechanisms.md").read_text()


def test_every_word_belongs_to_a_family_and_stands_on_the_page():
    for word in WORDS.values():
        assert family_of(word.choice) in FAMILIES
        assert f"| `{word}` | {word.line} |" in PAGE
        assert described(word)


def test_papers_are_read_from_docstrings():
    assert paper_of("Does.\n\nReference: A et al. 2001,\n    B.\n\nMore.") == "A et al. 2001, B"
    assert paper_of("`q k` (Luong et al. 2015, dot).") == "Luong et al. 2015, dot"
    assert paper_of("Nothing.") == ""


@pytest.mark.verify
def test_the_page_is_what_the_command_makes(tmp_path):
    assert page(tmp_path / "mechanisms") == PAGE
    assert {path.stem for path in (tmp_path / "mechanisms").iterdir()} == set(FAMILIES)
