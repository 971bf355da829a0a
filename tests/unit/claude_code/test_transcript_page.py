import tracemalloc

from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import LineKind, RenderedLine, render_event, render_stderr
from tasks.claude_code.transcript_page import HEAD_CHARACTERS, TAIL_CHARACTERS, TranscriptPage
from tests.unit.outcome.recordings import read_recording

WHOLE = "The transcript file is in `/results`."


def _page(*lines: RenderedLine, head: int = 1_000, tail: int = 1_000) -> str:
    page = TranscriptPage(head, tail)
    page.add(lines)
    return page.render(WHOLE)


def test_page_of_a_recording_reads_from_top_to_bottom() -> None:
    page = TranscriptPage()
    for line in read_recording("tools").lines:
        page.add(render_event(parse_event_leniently(line)))

    text = page.render(WHOLE)

    assert text.startswith(f"{WHOLE}\n\n> Claude Code ready: model claude-opus-5-5, session ")
    assert (
        "> thinking: I should look at the directory first.\n\n"
        "**assistant**\n\nI'll list the directory first.\n\n"
        "**tool call Bash**\n\n```text\npwd; ls -la; cat hello.txt (and description)\n```\n\n"
        "**tool result**\n\n```text\n/srv/workspace\ntotal 12\n"
    ) in text
    assert "left out" not in text


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

    kept = [line for line in text.split("\n") if line.startswith("> line")]
    assert kept == ["> line 0", "> line 1", "> line 98", "> line 99"]
    assert f"*96 entries left out here. {WHOLE}*" in text


def test_entry_too_long_for_the_head_begins_the_tail() -> None:
    text = _page(
        RenderedLine(LineKind.NOTE, "a"), RenderedLine(LineKind.NOTE, "b" * 99), head=60, tail=30
    )

    assert "left out" not in text
    assert text.endswith(f"> a\n\n> {'b' * 99}")


def test_page_and_memory_do_not_grow_with_the_run() -> None:
    page = TranscriptPage()
    tracemalloc.start()
    for number in range(20_000):
        page.add([RenderedLine(LineKind.TOOL_RESULT, f"{number} " + "x" * 500, "tool result")])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 4 * (HEAD_CHARACTERS + TAIL_CHARACTERS)
    assert len(page.render(WHOLE)) < 1.5 * (HEAD_CHARACTERS + TAIL_CHARACTERS)
