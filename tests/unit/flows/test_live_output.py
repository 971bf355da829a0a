"""What `claude-jobs logs` prints on a terminal, whole screens."""

import io
import json

import pytest
from rich.console import Console

from flows.cli.live_output import LiveOutput
from tasks.claude_code.rendering import Extent
from tests.unit.claude_code.test_transcript_page import REVIEW

SCREEN = """\
0:00 turn 1: tokens in 12
0:00 thinking: # Plan
    1. `look`
    2. fix
0:03 turn 2: tokens in 12
0:03 tool call TodoWrite (1 of 2 done):
    ☑ Read *all*
    ▶ Fix <it>
0:04 turn 3: tokens in 12
0:04 tool call Agent (Look around; Explore): Look.
0:04 tool call Bash (Read the history): git log \\
      --oneline
0:05 │ [Explore] tool call Agent (Deeper): Deeper.
0:07 │ │ [Explore] assistant: Found it.
0:08 │ [Explore] tool result: Found it.
0:09 tool result (Agent: Look around; Explore): It is in `a.py`.
0:59 turn 4: tokens in 12
0:59 tool call Edit (a.py):
     a
    -b
    +B
     c
0:59 tool call Write (b.md):
    +# B
    +```
    +code
    +```
"""
HISTORY = "tool result (Bash: Read the history)"


def _printed(width: int, extent: Extent, *, colours: bool = False) -> str:
    screen = io.StringIO()
    console = Console(
        file=screen,
        width=width,
        highlight=False,
        soft_wrap=True,
        force_terminal=colours,
        color_system="standard" if colours else None,
        legacy_windows=False,
    )
    lines = [json.dumps(event).encode() for event in REVIEW]
    LiveOutput(console, extent).show_lines_of_transcript(lines)
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_transcript_on_a_terminal(width: int) -> None:
    before, _, rest = _printed(width, Extent(printed_by="claude-jobs logs demo --full")).partition(
        f"0:06 {HISTORY}"
    )
    history, separator, after = rest.partition("0:07 ")

    assert before + separator + after == SCREEN
    assert "lines, 2 KB left out; `claude-jobs logs demo --full` prints them]" in history


def test_whole_transcript_has_every_line() -> None:
    whole = _printed(80, Extent(is_whole=True))

    assert whole.count(" A commit\n") == 300
    assert "left out" not in whole


def test_changes_have_their_colours() -> None:
    printed = _printed(80, Extent(), colours=True)

    assert "\x1b[31m    -b\x1b[0m" in printed
    assert "\x1b[32m    +B\x1b[0m" in printed
