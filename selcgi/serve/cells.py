"""A text in a fixed number of bytes of a page that processes share: written cut, read as it is.

Decides where a text that is too long is cut: between two characters, with dots. Used by the pages of serve/board.py.
"""


def cut(text: str, most: int) -> bytes:
    """UTF-8, at most `most` bytes."""
    raw = text.encode("utf-8", "backslashreplace")
    return raw if len(raw) <= most else raw[: most - 3].decode(errors="ignore").encode() + b"..."


def text_of(raw: bytes) -> str:
    """Without the zeros behind it; half a character, of a cell half written, shows as such."""
    return raw.rstrip(b"\0").decode("utf-8", "replace")
