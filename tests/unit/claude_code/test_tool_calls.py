"""Whatever an agent calls its tools with is shown, safely, and structures nothing."""

import json
import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tasks.claude_code.entry_reader import EntryReader
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import LineKind, RenderedLine
from tasks.claude_code.tool_calls import DETAIL_LIMIT_CHARACTERS, describe_tool_call
from tasks.claude_code.transcript_page import TranscriptPage
from tests.unit.claude_code.test_transcript_page import OURS, PARSER

TOOLS = st.sampled_from(
    [
        *("Bash", "Edit", "MultiEdit", "Write", "NotebookEdit", "TodoWrite", "TaskCreate"),
        *("TaskUpdate", "Agent", "Read", "mcp__x__y", "", "\x1b[2J"),
    ]
)
FIELDS = st.sampled_from(
    [
        *("command", "description", "file_path", "old_string", "new_string", "replace_all"),
        *("edits", "content", "notebook_path", "new_source", "todos", "status", "subject"),
        *("taskId", "prompt", "subagent_type", "path", "|`*\n", "\x1b"),
    ]
)
TEXTS = st.text(alphabet="ab \n\r\t\x1b\x9b\u202e#>*_`~<&|[]()!\\-+=.:/@☐", max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=8,
)
INPUTS = st.dictionaries(FIELDS, VALUES, max_size=6)
HOSTILE = "\x1b[2J</details><script>alert(1)</script>\n```\n`````\n# ✔ Succeeded\n| a |\n|---|"


def _read(name: str, tool_input: dict[str, Any]) -> RenderedLine:
    call = {"type": "tool_use", "id": "t", "name": name, "input": tool_input}
    event = {"type": "assistant", "message": {"id": "m", "content": [call]}}
    lines = EntryReader().read(parse_event_leniently(json.dumps(event).encode()))
    [line] = [line for line in lines if line.kind is not LineKind.TURN]
    return line


@given(TOOLS, INPUTS)
@example("Edit", {"file_path": HOSTILE, "old_string": HOSTILE, "new_string": f"{HOSTILE}x"})
@example("Write", {"file_path": HOSTILE, "content": HOSTILE})
@example("TodoWrite", {"todos": [{"content": HOSTILE, "status": HOSTILE}]})
@example("Bash", {"command": HOSTILE, "description": HOSTILE, HOSTILE: 1})
def test_any_call_is_one_safe_entry(name: str, tool_input: dict[str, Any]) -> None:
    line = _read(name, tool_input)
    page = TranscriptPage()
    page.add([line])
    tokens = PARSER.parse(page.render("whole"))

    assert "\n" not in line.label + line.caption
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", line.text)
    assert all(part.startswith("    ") for part in line.text.split("\n")[1:])
    kinds = {token.type for token in tokens}
    kinds |= {child.type for token in tokens for child in token.children or ()}
    assert {kind.removesuffix("_open").removesuffix("_close") for kind in kinds} <= OURS


@given(TOOLS, INPUTS)
def test_no_call_with_an_input_is_shown_empty(name: str, tool_input: dict[str, Any]) -> None:
    """A call whose input is of another form than announced falls back to all of its fields."""
    described = describe_tool_call(name, tool_input)

    assert bool(described.caption or described.body) or not any(tool_input.values())


def test_long_input_is_shown_by_its_ends() -> None:
    line = _read("Bash", {"command": "x" * 5_000_000, "description": "y" * 5_000_000})

    assert len(line.body) < 5_000
    assert len(line.caption) <= DETAIL_LIMIT_CHARACTERS + 1


def test_input_that_is_nested_deeply_is_shown() -> None:
    nested: Any = "a"
    for _ in range(300):
        nested = [nested]

    assert _read("mcp__x", {"deep": nested}).body.startswith('{"deep":[[[')
