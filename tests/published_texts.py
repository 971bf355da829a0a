"""What the runs of a test session have published in Prefect, and what must never be in it."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

_STACK_TRACE = re.compile(
    r"Traceback \(most recent call last\)|^\s*File \"[^\"]+\", line \d+", re.MULTILINE
)
_KEY_SHAPE = re.compile(r"sk-ant-[A-Za-z0-9_-]{16,}")
_MESSAGES = {
    "state of a flow run": "SELECT message FROM flow_run_state",
    "state of a task run": "SELECT message FROM task_run_state",
    "log record": "SELECT message FROM log",
    "description of an artifact": "SELECT description FROM artifact WHERE key IS NOT NULL",
}
# An unexpected error's trace belongs into the log; and what the agent said is shown as it said it.
_MAY_HOLD_TRACES = re.compile("log record|artifact .*-(transcript|forensics|progress)-")

_planted: set[str] = set()


def plant(*values: str) -> None:
    """Have these values looked for, at the end of the session, in all that was published."""
    _planted.update(values)


def published_texts(database: Path) -> Iterator[tuple[str, str]]:
    """Yield every text that a Prefect server shows to people, with what it is."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        for place, query in _MESSAGES.items():
            yield from ((place, text) for (text,) in db.execute(query) if text)
        # Results of states are artifacts too, without a key and only for Prefect.
        for key, data in db.execute("SELECT key, data FROM artifact WHERE key IS NOT NULL"):
            yield f"artifact {key}", _artifact_text(data)
        for (event,) in db.execute("SELECT payload FROM events WHERE event LIKE 'claude%'"):
            yield "Prefect event", json.dumps(json.loads(event), indent=1)


def _artifact_text(data: str) -> str:
    value: Any = json.loads(data)
    return value if isinstance(value, str) else json.dumps(value, indent=1)


def find_leaks(texts: Iterator[tuple[str, str]]) -> list[str]:
    """Return what stands where it must not, each with its place; secrets are not repeated."""
    return sorted({f"{place}: {what}" for place, text in texts for what in _leaks(place, text)})


def _leaks(place: str, text: str) -> Iterator[str]:
    yield from (f"an event, {line[:80]}" for line in text.splitlines() if _is_event(line))
    if not _MAY_HOLD_TRACES.match(place) and (trace := _STACK_TRACE.search(text)):
        yield f"a stack trace, {text[trace.start() : trace.start() + 200]!r}"
    if _KEY_SHAPE.search(text):
        yield "a key of Anthropic's shape"
    yield from ("a planted value" for value in _planted if value in text)


def _is_event(line: str) -> bool:
    try:
        value: Any = json.loads(line.strip(" >`|-"))
    except ValueError:
        return False
    return isinstance(value, dict) and "type" in value
