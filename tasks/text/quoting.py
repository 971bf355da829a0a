"""Other people's words inside our sentences: one line, bounded, safe, and never raw stream-json."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

from tasks.text.safe_text import one_line, without_terminal_codes

QUOTE_LIMIT_CHARACTERS = 300

# Keys of stream-json. Of these each is the stream's own; other programs have the others too, but
# hardly two of them in what is no JSON.
_STREAM_MARKS = frozenset({"uuid", "session_id", "parent_tool_use_id"})
_STREAM_TYPES = frozenset({"assistant", "result", "stream_event", "system", "user"})
_STREAM_JSON = re.compile(r'"(type|uuid|session_id|message|content|parent_tool_use_id)"\s*:')
_EVENT_HEAD = re.compile(r"\{\s*" + _STREAM_JSON.pattern)
_SEARCH_LIMIT_CHARACTERS = 20_000
# Where a text has more braces, what follows them is left as it is.
_OBJECTS_LIMIT = 50
# With the margin that groups of exceptions and whoever prints a traceback in a box put before it.
_TRACEBACK = re.compile(
    r"(?P<margin>[ \t|+]*)(?:Exception Group )?Traceback \(most recent call last\)"
)
# How a syntax error begins, which has no header.
_PYTHON_FRAME = re.compile(r'\s*File ".*", line \d+')
# Where Node quotes the source that threw: file and line, alone; Bun puts the line before it. And
# the mark of both below the place.
_NODE_SOURCE = re.compile(r"(node:|file:///|/)\S*:\d+$|\d+ \| ")
_NODE_MARK = re.compile(r"\s*\^+\s*$")
_NODE_VERSION = re.compile(r"Node\.js v\d")
_NODE_ERROR = re.compile(
    r"(Uncaught )?[A-Za-z_$][\w$.]*(Error|Exception)\b.*|\[?Error\b.*|error: .*"
)
# What is said and does not end a program.
_WARNING = re.compile(
    r"\s*(\(node:\d+\)|\(Use `node --trace|(npm )?warn(ing)?\b|\S+:\d+: \w*Warning:)", re.IGNORECASE
)
_HEAP = re.compile(
    r"heap out of memory|Reached heap limit|(JavaScript|process) out of memory", re.IGNORECASE
)
_WORD = re.compile(r"\w")
_NOT_STARTED = re.compile(r"command not found|: not found$|exec format error", re.IGNORECASE)


def quote(text: str | None) -> str:
    """Return `text` in quotation marks, or nothing where there is nothing to quote.

    JSON in it, as API errors often carry, is replaced by the message it holds.
    """
    words = plain_words(text or "", QUOTE_LIMIT_CHARACTERS)
    return f"“{words}”" if words else ""


def plain_words(text: str, limit_characters: int) -> str:
    """Return what may be repeated of `text`: one safe line of bounded length, maybe empty."""
    text = text[:_SEARCH_LIMIT_CHARACTERS]
    if _STREAM_JSON.search(text):
        text = _with_messages_only(text)
    # What is left of a damaged event has no beginning to parse from.
    return "" if _holds_piece_of_event(text) else one_line(text, limit_characters)


def _with_messages_only(text: str) -> str:
    """Return `text` with each JSON object in it replaced by the message that it holds."""
    parts: list[str] = []
    begin = at = 0
    for _ in range(_OBJECTS_LIMIT):
        at = text.find("{", at)
        if at < 0:
            break
        try:
            value, end = json.JSONDecoder().raw_decode(text, at)
        except (ValueError, RecursionError):
            if _EVENT_HEAD.match(text, at) and not _STREAM_JSON.search(text, begin, at):
                text = text[:at]
                break
            at += 1
            continue
        if value:
            parts += [text[begin:at], " ", _message_of(value)]
            begin = end
        at = end
    return "".join([*parts, text[begin:]])


def _holds_piece_of_event(text: str) -> bool:
    keys = {found[1] for found in _STREAM_JSON.finditer(text)}
    return len(keys) > 1 or not keys.isdisjoint(_STREAM_MARKS)


def telling_line(lines: Iterable[str]) -> str | None:
    """Return the line that says most of what a program wrote to stderr; `None` where it is silent.

    V8's word about its memory before all else. A program that could not be started is named before
    what came of it. Of a trace the error itself, wherever the language puts it: after a Python
    traceback's frames, below the quoted source of a Node trace. Else the first line that is no
    warning, since later ones follow from it.
    """
    said = [bare for line in lines if (bare := without_terminal_codes(line)).strip()]
    serious = [line for line in said if not _WARNING.match(line)]
    return (
        _first_with(_HEAP, said)
        or _first_with(_NOT_STARTED, serious)
        or _python_error(serious)
        or _node_error(serious)
        or next(iter(serious or said), None)
    )


def last_telling_line(lines: Sequence[str]) -> str | None:
    """Return the last line with a word that is no warning; `None` where there is no word at all.

    What runs tests says at the end what came of them.
    """
    said = [line for line in lines if _WORD.search(line)]
    serious = (line for line in reversed(said) if not _WARNING.match(line))
    return next(serious, said[-1] if said else None)


def _first_with(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    return next((line for line in lines if pattern.search(line)), None)


def _python_error(lines: list[str]) -> str | None:
    """Return the error of the last whole traceback, else what stands nearest to it."""
    headers = [
        (index, len(found["margin"]))
        for index, line in enumerate(lines)
        if (found := _TRACEBACK.match(line))
    ]
    if not headers and lines and _PYTHON_FRAME.match(lines[0]):
        headers = [(0, 0)]
    for index, margin in reversed(headers):
        # Frames are indented, and the error follows them; of several the last one is the outcome.
        below = (line for line in lines[index + 1 :] if not line[margin : margin + 1].isspace())
        error = next((line for line in below if len(line) > margin), None)
        if error is not None:
            return error[margin:]
    # Cut off before the error: what was said before it, or else where it got to.
    return (lines[0] if headers[0][0] else lines[-1].strip()) if headers else None


def _node_error(lines: list[str]) -> str | None:
    """Return the error below the source that Node quotes; `None` where it quotes none."""
    quotes_source = bool(lines) and _NODE_SOURCE.match(lines[0])
    if not quotes_source and not any(_NODE_VERSION.match(line) for line in lines):
        return None
    error = next((line for line in lines if _NODE_ERROR.match(line)), None)
    if error is not None:
        return error
    # Anything may be thrown: a text, or a rejection that nobody has handled.
    marks = (index for index, line in enumerate(lines) if _NODE_MARK.match(line))
    return next(iter(lines[next(marks, len(lines)) + 1 :]), None)


def is_heap_exhaustion(line: str | None) -> bool:
    """Tell whether a line is V8's about its memory, which is used up."""
    return line is not None and _HEAP.search(line) is not None


def without_json_events(text: str) -> str:
    """Return `text` with every line that is an event of stream-json, or looks like one, named.

    For texts of several lines that people read and programs may collect.
    """
    return "\n".join(_named_if_event(line) for line in text.split("\n"))


def _named_if_event(line: str) -> str:
    stripped = line.strip()
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return line
    try:
        value: Any = json.loads(stripped)
    except (ValueError, RecursionError):
        return line
    kind = value.get("type")
    is_event = isinstance(kind, str) and (
        kind in _STREAM_TYPES or not _STREAM_MARKS.isdisjoint(value)
    )
    return f"[a line of JSON, {len(stripped):,} characters]" if is_event else line


def _message_of(fields: dict[str, Any]) -> str:
    """Return what an object says, unless it is one of the stream's."""
    if not _STREAM_MARKS.isdisjoint(fields):
        return ""
    error: Any = fields.get("error")
    within = cast("dict[str, Any]", error) if isinstance(error, dict) else fields
    message: Any = within.get("message")
    return message if isinstance(message, str) else ""
