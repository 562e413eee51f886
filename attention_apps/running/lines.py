"""Text files as lines: UTF-8 alone, ended where files end lines."""

from __future__ import annotations

from attention_apps.running.command import UserError


def text_lines(raw: bytes, origin: str) -> list[str]:
    """Decode lines of text.

    Bytes end them (`\\n`, `\\r\\n`, `\\r`), as editors and other programs count lines. Decoded text
    would also be cut at whatever else Unicode calls an end, such as U+2028, and lines of two files
    that belong together would no longer stand beside each other.

    Args:
        raw: the file's bytes; byte order marks at the beginning of lines, where files were joined,
            are left out.
        origin: how a message names the text, such as its path.

    Returns:
        The lines without their ends.

    Raises:
        UserError: for bytes that are not UTF-8, with the number of the line.
    """
    lines = []
    for number, line in enumerate(raw.splitlines(), start=1):
        try:
            lines.append(line.decode("utf-8").lstrip("\ufeff"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"Text must be UTF-8. Received: byte 0x{line[error.start]:02x} in line {number} of "
                f"{origin}"
            ) from error
    return lines
