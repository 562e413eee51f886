"""How captions are split into words before they are compared, without Java."""

from __future__ import annotations

import re

DESCRIPTION = "lower case, Penn Treebank words by regular expression, punctuation removed"

_CLITIC = r"(?:n't|'(?:s|re|ve|ll|d|m))\b"
_TOKEN = re.compile(
    rf"""
      (?:[a-z]\.)+(?=\W|$)                               # initials: u.s.
    | [^\W_]+(?=n't\b)                                    # do|n't
    | {_CLITIC}
    | \d+(?:[.,:/]\d+)+                                  # 1,000  10:30
    | [^\W_]+(?:[-/&'][^\W_]+?)*(?={_CLITIC})            # boy|'s
    | [^\W_]+(?:[-/&'][^\W_]+)*                          # t-shirt
    """,
    re.VERBOSE,
)


def words_of(caption: str) -> list[str]:
    """Split a caption as the evaluation of COCO does, but for what the docstring says.

    The words are those of the Penn Treebank (`boy's` is `boy 's`, `don't` is `do n't`, `t-shirt`
    stays), in lower case, without punctuation. Of the captions of Flickr8k (train and dev) 99.9 %
    come out exactly as from the Java tokenizer of `pycocoevalcap`; the others hold brackets,
    `#`, `&` or web addresses, which that one keeps.

    Args:
        caption: as written.

    Returns:
        The words; none for a caption without a letter or digit.
    """
    return _TOKEN.findall(caption.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
