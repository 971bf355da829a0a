"""Text of unknown origin made fit for people: no control characters, and a bounded length."""

import re

# C0 but for tab and line feed, DEL, C1, the line separators beyond ASCII, and the characters that
# turn the direction of writing: they steer terminals or make a line look like another one. Lone
# surrogates cannot be encoded.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_control_characters(text: str) -> str:
    r"""Return `text` with everything that could steer a terminal written out, such as `\x1b`.

    Tabs and line feeds stay; CR LF becomes LF.
    """
    return _UNSAFE.sub(_written_out, text.replace("\r\n", "\n"))


def cut_text(text: str, limit_characters: int) -> str:
    """Return at most `limit_characters` of `text`, and after them how much was cut."""
    excess = len(text) - limit_characters
    return text if excess <= 0 else f"{text[:limit_characters]}… [{excess:,} more characters cut]"


def one_line(text: str, limit_characters: int) -> str:
    """Return `text` as one safe line of bounded length; white space is collapsed."""
    # Cut before the work as well: a text may be many megabytes.
    words = " ".join(text[: 4 * limit_characters].split())
    excess = len(words) > limit_characters or len(text) > 4 * limit_characters
    return escape_control_characters(words[:limit_characters] + ("…" if excess else ""))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
