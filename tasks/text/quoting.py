"""Other people's words inside our sentences: one line, bounded, safe, and never raw stream-json."""

import json
import re
from collections.abc import Iterable
from typing import Any, cast

from tasks.text.safe_text import one_line

QUOTE_LIMIT_CHARACTERS = 300

# Keys of stream-json; a text with one of them is, or holds, a piece of an event.
_STREAM_JSON = re.compile(r'"(type|uuid|session_id|message|content|parent_tool_use_id)"\s*:')
_SEARCH_LIMIT_CHARACTERS = 20_000
_TRACEBACK = "Traceback (most recent call last)"
# Where Node quotes the source that threw: file and line, alone.
_NODE_SOURCE = re.compile(r"(node:|file:///|/)\S*:\d+$")
_NODE_VERSION = re.compile(r"Node\.js v\d")
_NODE_ERROR = re.compile(r"(Uncaught )?[A-Za-z_$][\w$.]*(Error|Exception)\b.*|\[?Error\b.*")
_HEAP = re.compile(r"heap out of memory|Reached heap limit", re.IGNORECASE)
_TELLING = (
    _HEAP,
    re.compile(r"command not found|: not found$|exec format error", re.IGNORECASE),
)


def quote(text: str | None) -> str:
    """Return `text` in quotation marks, or nothing where there is nothing to quote.

    JSON in it, as API errors often carry, is replaced by the message it holds.
    """
    words = plain_words(text or "", QUOTE_LIMIT_CHARACTERS)
    return f"“{words}”" if words else ""


def plain_words(text: str, limit_characters: int) -> str:
    """Return what may be repeated of `text`: one safe line of bounded length, maybe empty."""
    text = text[:_SEARCH_LIMIT_CHARACTERS]
    start = text.find("{")
    if start >= 0 and _STREAM_JSON.search(text):
        text = f"{text[:start]} {_message_in(text[start:])}"
    # What is left of a damaged event has no beginning to parse from.
    return "" if _STREAM_JSON.search(text) else one_line(text, limit_characters)


def telling_line(lines: Iterable[str]) -> str | None:
    """Return the line that says most of what a program wrote to stderr; `None` where it is silent.

    Of a trace the error itself, wherever the language puts it: after a Python traceback's frames,
    below the quoted source of a Node trace, and before V8's own frames where its heap was full. A
    program that could not be started is named before what came of it. Else the first line, since
    later ones follow from it.
    """
    said = [line for line in lines if line.strip()]
    if not said:
        return None
    for pattern in _TELLING:
        found = next((line for line in said if pattern.search(line)), None)
        if found is not None:
            return found
    headers = [index for index, line in enumerate(said) if line.startswith(_TRACEBACK)]
    if headers:
        # Frames are indented, and the error follows them; of several the last one is the outcome.
        return next((line for line in said[headers[-1] + 1 :] if not line[0].isspace()), None)
    if _NODE_SOURCE.match(said[0]) or any(_NODE_VERSION.match(line) for line in said):
        error = next((line for line in said if _NODE_ERROR.match(line)), None)
        return error or said[0]
    return said[0]


def is_heap_exhaustion(line: str | None) -> bool:
    """Tell whether a line is V8's about its heap, which is full."""
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
    return f"[a line of JSON, {len(stripped):,} characters]" if "type" in value else line


def _message_in(text: str) -> str:
    try:
        value: Any = json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return ""
    error: Any = cast("dict[str, Any]", value).get("error")
    message: Any = cast("dict[str, Any]", error).get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else ""
