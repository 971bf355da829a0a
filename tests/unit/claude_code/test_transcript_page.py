import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.claude_code.entry_reader import EntryReader
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import Extent, LineKind, RenderedLine, render_stderr
from tasks.claude_code.tool_calls import BodyForm
from tasks.claude_code.transcript_page import HEAD_CHARACTERS, TAIL_CHARACTERS, TranscriptPage
from tests.unit.outcome.recordings import read_recording

WHOLE = "The transcript file is in `/results`."
PAGES = Path(__file__).parents[2] / "data" / "pages"
DEMO = Path(__file__).parents[3] / "deployments" / "local" / "demo" / "fix_a_test.jsonl"


def _said(*blocks: dict[str, Any], second: int = 0, under: str | None = None) -> dict[str, Any]:
    return {
        "type": "assistant",
        "parent_tool_use_id": under,
        "subagent_type": "Explore" if under else None,
        "timestamp": f"2026-11-20T18:00:{second:02d}.000Z",
        "message": {"id": f"m{second}", "usage": {"input_tokens": 12}, "content": list(blocks)},
    }


def _call(name: str, call_id: str, **values: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": values}


def _answered(call_id: str, text: str, second: int, under: str | None = None) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": call_id, "content": text}
    return _said(block, second=second, under=under) | {"type": "user"}


REVIEW = [
    _said({"type": "thinking", "thinking": "# Plan\n1. `look`\n2. fix"}),
    _said(
        _call(
            "TodoWrite",
            "todo",
            todos=[
                {"content": "Read *all*", "status": "completed"},
                {"content": "Fix <it>", "status": "in_progress"},
            ],
        ),
        second=3,
    ),
    _said(
        _call("Agent", "look", prompt="Look.", description="Look around", subagent_type="Explore"),
        _call("Bash", "log", command="git log \\\n  --oneline", description="Read the history"),
        second=4,
    ),
    _said(_call("Agent", "deep", prompt="Deeper.", description="Deeper"), second=5, under="look"),
    _answered("log", "".join(f"{number:04d} A commit\n" for number in range(300)), 6),
    _said({"type": "text", "text": "Found it."}, second=7, under="deep"),
    _answered("deep", "Found it.", 8, under="look"),
    _answered("look", "It is in `a.py`.", 9),
    _said(
        _call("Edit", "edit", file_path="a.py", old_string="a\nb\nc", new_string="a\nB\nc"),
        _call("Write", "write", file_path="b.md", content="# B\n```\ncode\n```\n"),
        second=59,
    ),
]


def _page(*lines: RenderedLine, head: int = 1_000, tail: int = 1_000) -> str:
    page = TranscriptPage(head, tail)
    page.add(lines)
    return page.render(WHOLE)


def _page_of(lines: list[bytes]) -> str:
    page, reader = TranscriptPage(), EntryReader(Extent(printed_by="claude-jobs logs demo --full"))
    for line in lines:
        page.add(reader.read(parse_event_leniently(line)))
    return page.render(WHOLE) + "\n"


def _lines_of(name: str) -> list[bytes]:
    if name == "fix_a_test":
        return DEMO.read_bytes().split(b"\n")
    if name == "review":
        return [json.dumps(event).encode() for event in REVIEW]
    return read_recording(name).lines


@pytest.mark.parametrize("name", ["fix_a_test", "max_turns_3", "review", "subagent", "tools"])
def test_page_is_as_stored(name: str) -> None:
    assert _page_of(_lines_of(name)) == (PAGES / f"{name}.txt").read_text()


def test_page_marks_what_failed() -> None:
    text = _page(
        RenderedLine(LineKind.TOOL_ERROR, "no such file", "tool error"),
        RenderedLine(LineKind.ERROR, "API Error", "error"),
        RenderedLine(LineKind.TOOL_CALL, "", "tool call mcp"),
    )

    assert "**✘ tool error**\n\n```text\nno such file\n```" in text
    assert "**✘ error**\n\nAPI Error\n\n**tool call mcp**" in text


def test_lines_that_came_one_by_one_are_one_block() -> None:
    plain = [RenderedLine(LineKind.PLAIN, "first"), RenderedLine(LineKind.PLAIN, "second")]

    text = _page(*plain, render_stderr(b"warning: a"), render_stderr(b"warning: b"))

    assert text.endswith(
        "**printed**\n\n```text\nfirst\nsecond\n```\n\n"
        "**stderr**\n\n```text\nwarning: a\nwarning: b\n```"
    )


def test_empty_page_says_so() -> None:
    assert _page() == f"{WHOLE}\n\nThe agent printed nothing."


def test_long_run_keeps_its_beginning_and_its_end_and_says_what_is_left_out() -> None:
    lines = [RenderedLine(LineKind.NOTE, f"line {number}") for number in range(100)]

    text = _page(*lines, head=60, tail=60)

    kept = [line for line in text.split("\n") if line.startswith("line")]
    assert kept == ["line 0", "line 1", "line 98", "line 99"]
    assert f"*96 entries left out here. {WHOLE}*" in text


def test_entry_too_long_for_the_head_begins_the_tail() -> None:
    text = _page(
        RenderedLine(LineKind.NOTE, "a"), RenderedLine(LineKind.NOTE, "b" * 99), head=60, tail=30
    )

    assert "left out" not in text
    assert text.endswith(f"a\n\n{'b' * 99}")


def test_page_and_memory_do_not_grow_with_the_run() -> None:
    page = TranscriptPage()
    tracemalloc.start()
    for number in range(20_000):
        page.add([RenderedLine(LineKind.TOOL_RESULT, f"{number} " + "x" * 500, "tool result")])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 4 * (HEAD_CHARACTERS + TAIL_CHARACTERS)
    assert len(page.render(WHOLE)) < 1.5 * (HEAD_CHARACTERS + TAIL_CHARACTERS)


def test_entries_of_a_subagent_stand_under_its_call() -> None:
    def entry(body: str, call: str | None = None, under: str | None = None) -> RenderedLine:
        return RenderedLine(LineKind.NOTE, body, call_id=call, under_call_id=under)

    text = _page(
        entry("first", call="a"),
        entry("between"),
        entry("second", call="b", under="a"),
        entry("of both", under="b"),
        entry("lost", under="nobody"),
        entry("self", call="c", under="c"),
        entry("one", call="d", under="e"),
        entry("other", call="e", under="d"),
    )

    assert text.split("\n\n")[1:] == [
        *("first", "second", "of both", "between", "lost", "self", "one", "other"),
    ]


# No line separators beyond LF: entries hold none, they are written out.
HOSTILE = st.text(alphabet="ab \n\t#>*_`~<&|[]()!\\-+=.:/@{}☐", max_size=40)
ENTRIES = st.builds(
    RenderedLine,
    st.sampled_from(LineKind),
    HOSTILE,
    HOSTILE.map(lambda text: " ".join(text.split())),
    HOSTILE.map(lambda text: " ".join(text.split())),
    st.sampled_from(BodyForm),
    st.none() | st.floats(-5, 1e6),
    st.integers(0, 3),
)
OURS = {
    *("paragraph", "inline", "text", "softbreak", "hardbreak", "hr", "fence", "code_inline"),
    *("blockquote", "bullet_list", "list_item", "strong", "em"),
}
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@given(st.lists(ENTRIES, max_size=4))
def test_no_entry_structures_the_page(entries: list[RenderedLine]) -> None:
    tokens = PARSER.parse(_page(*entries))

    kinds = {token.type for token in tokens}
    kinds |= {child.type for token in tokens for child in token.children or ()}
    assert {kind.removesuffix("_open").removesuffix("_close") for kind in kinds} <= OURS


@given(ENTRIES)
def test_no_entry_leaves_its_place(entry: RenderedLine) -> None:
    """What follows stands at the margin, whatever was before it."""
    last = RenderedLine(LineKind.NOTE, "the end")

    tokens = PARSER.parse(_page(entry, last))

    assert tokens[-2].content == "the end"
    assert [token.level for token in tokens[-3:]] == [0, 1, 0]


def test_page_does_not_grow_beyond_its_bound_by_being_indented() -> None:
    page = TranscriptPage()
    for kind in (LineKind.THINKING, LineKind.TOOL_RESULT, LineKind.ASSISTANT) * 100:
        page.add([RenderedLine(kind, "a\n" * 5_000, "who", depth=3)])

    assert len(page.render(WHOLE)) < 1.5 * (HEAD_CHARACTERS + TAIL_CHARACTERS)
