"""Text of unknown origin made fit for people: no control characters, and a bounded length."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

# C0 but for tab and line feed, DEL, C1, the line separators beyond ASCII, and the characters that
# turn the direction of writing: they steer terminals or make a line look like another one. Lone
# surrogates cannot be encoded.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

# Of ASCII text, where deleting them is how a long one is looked through in a fifth of the time.
_UNSAFE_ASCII = bytes([*range(9), *range(0x0B, 0x20), 0x7F])

# CSI sequences, strings such as OSC and DCS with either end, other two-character escapes, and
# single controls; the first two also by their controls of one character (U+0080 to U+009F).
_TERMINAL_CODES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]"
)

# NUL ends a C string, and PostgreSQL stores none in JSON. A lone surrogate, half of a character
# that was cut in two, has no UTF-8.
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_PLACE_CHARACTERS = 200

_KILOBYTE = 1000
_SPACES = " \n\t"
# Longer than any key of one line.
_WORD_CHARACTERS = 300


def escape_control_characters(text: str) -> str:
    r"""Return `text` with everything that could steer a terminal written out, such as `\x1b`.

    Tabs and line feeds stay; CR LF becomes LF.
    """
    if text.isascii():
        raw = text.encode()
        if len(raw.translate(None, _UNSAFE_ASCII)) == len(raw):
            return text
    return _UNSAFE.sub(_written_out, text.replace("\r\n", "\n"))


def without_terminal_codes(text: str) -> str:
    """Return `text` without what steers a terminal."""
    return _TERMINAL_CODES.sub("", text)


def cut_text(text: str, limit_characters: int) -> str:
    """Return at most `limit_characters` of `text`, and after them how much was cut."""
    excess = len(text) - limit_characters
    return text if excess <= 0 else f"{text[:limit_characters]}… [{excess:,} more characters cut]"


def fold_text(text: str, head_characters: int, tail_characters: int, hint: str = "") -> str:
    """Return the beginning and the end of a long `text`, and between them how much was left out.

    Args:
        text: Any text.
        head_characters: Of its beginning, at most.
        tail_characters: Of its end, at most.
        hint: Where the whole can be read, as the end of a sentence.

    Both parts end at white space where there is some near the limit, so that a word, which may be a
    secret that nobody knows of, is not cut in two. Like that of `cut_text`, the ellipses touch the
    text: where a known secret was cut nevertheless, its halves are found there.
    """
    if len(text) <= head_characters + tail_characters:
        return text
    head, tail = text[:head_characters], text[-tail_characters:]
    last_space = max(head.rfind(space) for space in _SPACES)
    if last_space > max(0, head_characters - _WORD_CHARACTERS):
        head = head[:last_space]
    first_space = min((at for at in map(tail.find, _SPACES) if at >= 0), default=-1)
    if 0 <= first_space < _WORD_CHARACTERS:
        tail = tail[first_space + 1 :]
    left_out = text[len(head) : len(text) - len(tail)]
    return f"{head}…\n[{size_text(left_out)} left out{hint}]\n…{tail}"


def size_text(text: str) -> str:
    """Return how much a text is: its lines, where it has several, and its size as UTF-8."""
    size, lines = len(text.encode(errors="replace")), text.count("\n")
    amount = f"{size:,} bytes" if size < _KILOBYTE else f"{size / _KILOBYTE:,.0f} KB"
    return f"{lines:,} lines, {amount}" if lines > 1 else amount


def one_line(text: str, limit_characters: int) -> str:
    """Return `text` as one safe line of bounded length; white space is collapsed."""
    # Cut before the work as well: a text may be many megabytes.
    words = " ".join(text[: 4 * limit_characters].split())
    excess = len(words) > limit_characters or len(text) > 4 * limit_characters
    return escape_control_characters(words[:limit_characters] + ("…" if excess else ""))


def find_unusable(value: object, place: str = "") -> Iterator[str]:
    """Yield a phrase for each text in `value` that cannot be used; it names the place, no text.

    Args:
        value: A JSON value; whatever is no text, list or mapping is passed over.
        place: Of the value, with dots: `wake.comments.0.body`.
    """
    if isinstance(value, str):
        found = _UNUSABLE.search(value)
        if found is not None:
            yield f"{place} contains the character U+{ord(found[0]):04X}, which cannot be stored"
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield from find_unusable(key, f"a name in {place}" if place else "a name")
            yield from find_unusable(item, _inside(place, key))
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for number, item in enumerate(cast("Sequence[object]", value)):
            yield from find_unusable(item, _inside(place, number))


def _inside(place: str, key: object) -> str:
    return one_line(f"{place}.{key}" if place else str(key), _PLACE_CHARACTERS)


def duration_text(seconds: float) -> str:
    """Return a duration as people read it, to the second; a negative one is none."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def age_text(seconds: float) -> str:
    """Return an age in few characters, as `kubectl` does: 119s, 119m, 47h, 3d; rounded down."""
    whole = max(0, int(seconds))
    for unit_seconds, unit, below in ((1, "s", 120), (60, "m", 7200), (3600, "h", 172_800)):
        if whole < below:
            return f"{whole // unit_seconds}{unit}"
    return f"{whole // 86_400}d"


def clock_text(seconds: float) -> str:
    """Return a time since the start as `0:07`, `12:34` or `1:02:03`."""
    whole = max(0, int(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
