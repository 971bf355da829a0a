"""The behaviour cases of `tests/data/cases`, and which of our rules override some of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES = Path(__file__).parents[2] / "data" / "cases"


@dataclass(frozen=True)
class Case:
    file: str
    function: str
    name: str
    given: dict[str, Any]
    expected: Any

    @property
    def key(self) -> str:
        return f"{self.function}: {self.name}"


def read_cases(file: str) -> list[Case]:
    raw: list[dict[str, Any]] = json.loads((CASES / file).read_text())
    return [Case(file, c["function"], c["name"], c["input"], c["expect"]) for c in raw]


OUTPUT_NEEDS_RESULT = (
    "success needs a result, so output of the model without one is truncated, whether its tokens "
    "were counted or not"
)
TURNS_END_WITH_THEIR_RESULT = "a turn that begins after a result and gets none was cut off"
EXACTLY_ONCE_BY_NUMBER = "lines are told apart by their numbers, so that equal texts are both kept"
SUMMED_OVER_RESULTS = "usage is summed over the results of a run"
FIELDS_DECIDE = "a run is judged by fields; texts are quoted and decide nothing"
UNKNOWN_IS_NULL = "unknown is null, never zero"
NO_SIGNAL_ZERO = "a signal is 128 + n or the kubelet's; 0 is none"
RENDERED_NOT_RAW = "logs show rendered lines, never raw JSON"
NOTHING_LOST = "what is no event, malformed or unknown is shown or named, and so is what users say"

OVERRIDDEN: dict[str, str] = {
    **dict.fromkeys(
        (
            "parseClaudeStreamJson: two assistant messages without ids are joined by a blank line",
            "parseClaudeStreamJson: tool_use block is tolerated",
            "parseClaudeStreamJson: non-object content entries are skipped",
            "parseClaudeStreamJson: without a result line the summary is the assistant text",
        ),
        OUTPUT_NEEDS_RESULT,
    ),
    "parseClaudeStreamJson: content AFTER the result is not reported as truncation": (
        TURNS_END_WITH_THEIR_RESULT
    ),
    "parseClaudeStreamJson: replayed message without id is counted once by its text": (
        EXACTLY_ONCE_BY_NUMBER
    ),
    "parseClaudeStreamJson: the last of two result lines wins": SUMMED_OVER_RESULTS,
    **dict.fromkeys(
        (
            "isClaudeMaxTurnsResult: text: Maximum turns exceeded",
            "isClaudeMaxTurnsResult: text: max turn singular",
            "isClaudeMaxTurnsResult: text: several blanks between words",
            "isClaudeUnknownSessionError: no conversation found",
            "isClaudeUnknownSessionError: capitals",
            "isClaudeUnknownSessionError: unknown session",
            "isClaudeUnknownSessionError: session X not found",
            "detectClaudeLoginRequired: phrase in result: Please log in",
            "detectClaudeLoginRequired: phrase in result: not logged in",
            "detectClaudeLoginRequired: phrase in result: please run `claude login`",
            "detectClaudeLoginRequired: phrase in result: please run claude login",
            "detectClaudeLoginRequired: phrase in result: unauthorized",
            "detectClaudeLoginRequired: phrase in stdout",
            "detectClaudeLoginRequired: phrase and address together",
        ),
        FIELDS_DECIDE,
    ),
    "buildPartialRunError: signal zero is appended": NO_SIGNAL_ZERO,
    "formatClaudeStreamLine: user text is not shown": NOTHING_LOST,
    "formatClaudeStreamLine: QUIRK: JSON 42 as a line": NOTHING_LOST,
    "printClaudeStreamEvent: QUIRK: JSON 42 as a line": NOTHING_LOST,
    "printClaudeStreamEvent: assistant without message": NOTHING_LOST,
    "printClaudeStreamEvent: unknown type": NOTHING_LOST,
    "printClaudeStreamEvent: unknown type (debug)": RENDERED_NOT_RAW,
    "formatClaudeStreamLine: result: nothing": UNKNOWN_IS_NULL,
    "printClaudeStreamEvent: result: nothing": UNKNOWN_IS_NULL,
    "parseStdoutLine: error result": UNKNOWN_IS_NULL,
    "parseStdoutLine: system of another subtype": RENDERED_NOT_RAW,
    "parseStdoutLine: empty thinking": RENDERED_NOT_RAW,
    "parseStdoutLine: unknown block type only": RENDERED_NOT_RAW,
    "parseStdoutLine: user with empty content": RENDERED_NOT_RAW,
}
