import pytest

from attention_apps.running.command import UserError
from attention_apps.running.lines import text_lines


def test_bytes_end_lines_and_not_what_unicode_calls_an_end():
    separators = "a\u2028b\u0085c\x0bd\x1ce"
    raw = f"{separators}\nzwei\r\ndrei\rvier".encode()
    assert text_lines(raw, "x") == [separators, "zwei", "drei", "vier"]


def test_marks_of_byte_order_are_no_text_where_files_were_joined():
    one, other = "ä\nb\n".encode("utf-8-sig"), "ö\n".encode("utf-8-sig")
    assert text_lines(one + other, "x") == ["ä", "b", "ö"]


def test_an_empty_line_is_a_line_and_nothing_is_none():
    assert text_lines(b"a\n\nb\n", "x") == ["a", "", "b"]
    assert text_lines(b"", "x") == []


def test_other_encodings_are_refused_by_line_and_byte():
    with pytest.raises(UserError) as caught:
        text_lines("gut\nschön".encode("latin-1"), "notes.txt")
    assert str(caught.value) == ("Text must be UTF-8. Received: byte 0xf6 in line 2 of notes.txt")
