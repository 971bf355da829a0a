"""How far a run has got, told by its events while it works."""

import re
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.claude_code.event_types import (
    ApiRetryEvent,
    AssistantEvent,
    EventParseError,
    InitEvent,
    ResultEvent,
    StreamEvent,
    TextBlock,
    TokenCounts,
    ToolResultBlock,
    ToolUseBlock,
    UserEvent,
)
from tasks.claude_code.json_fields import number_field
from tasks.claude_code.rendering import render_event
from tasks.claude_code.session_totals import OwnCost, sum_usage
from tasks.text.markdown import code_span, escape_markdown, table
from tasks.text.safe_text import duration_text, one_line

_TEXT_CHARACTERS = 200
# Kept until somebody asks: enough to tell that there is more.
_LAST_TEXT_CHARACTERS = 8 * _TEXT_CHARACTERS
# More at once would not be read.
_TOOLS_LIMIT = 8

# The model may ask for any limit. Claude Code grants 600 s, or what BASH_MAX_TIMEOUT_MS says, which
# stands in settings that a run does not see; so twelve times as much (a guess).
_LONGEST_TOOL_SECONDS = 7_200.0

_BAR_CELLS = 10
_COST_ROW = re.compile(r"^\| Cost(?: so far)? \| \$([0-9]+\.[0-9]+) \|$", re.MULTILINE)
# Claude Code counts what it has paid at the end of a turn only.
_TOLD_LATER = "told when the turn ends"

_NO_TOKENS = TokenCounts(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run has got.

    Attributes:
        turns: Answers of the model to the main agent so far; what `--max-turns` limits.
        activity: What goes on, as one safe line.
        last_text: Beginning of what the main agent said last, as one safe line.
        read_tokens: What the main agent's model was given so far, by kind; its output is told by
            results only.
        output_tokens: Of the results so far; `None` before the first.
        cost_usd: Cumulative, of the last result that tells it; `None` before.
    """

    turns: int = 0
    activity: str = "starting"
    last_text: str | None = None
    read_tokens: TokenCounts = _NO_TOKENS
    output_tokens: int | None = None
    cost_usd: float | None = None


class ProgressState:
    """Takes a run's events in order; memory does not grow with them."""

    def __init__(self) -> None:
        self._turns = 0
        self._activity = "starting"
        self._last_text: str | None = None
        self._read_tokens = _NO_TOKENS
        self._output_tokens: int | None = None
        self._cost = OwnCost()
        self._message_id: str | None = None
        # The answer's tools by id, until their results come.
        self._tools: dict[str, str] = {}
        # Of those, the time limits in seconds that they name.
        self._tool_limits: dict[str, float] = {}
        self._retry_seconds = 0.0

    @property
    def progress(self) -> RunProgress:
        """What is known so far."""
        text = self._last_text
        return RunProgress(
            turns=self._turns,
            activity=self._activity,
            last_text=None if text is None else one_line(text, _TEXT_CHARACTERS),
            read_tokens=self._read_tokens,
            output_tokens=self._output_tokens,
            cost_usd=self._cost.usd,
        )

    @property
    def allowed_silence_seconds(self) -> float:
        """How much longer than usual the agent may be silent: for its tools, or until a retry."""
        return max([self._retry_seconds, *self._tool_limits.values()])

    def apply(self, event: StreamEvent | EventParseError) -> None:
        """Take the next event."""
        self._retry_seconds = 0.0
        match event:
            case AssistantEvent():
                if event.parent_tool_use_id is None and not event.is_synthetic:
                    self._apply_assistant(event)
            case UserEvent():
                if event.parent_tool_use_id is None:
                    self._apply_user(event)
            case InitEvent():
                self._activity = "waiting for the model"
            case ApiRetryEvent():
                [line] = render_event(event)
                self._activity = line.text
                self._retry_seconds = (event.retry_delay_ms or 0.0) / 1000
            case ResultEvent():
                self._apply_result(event)
            case _:
                pass

    def _apply_assistant(self, event: AssistantEvent) -> None:
        if event.message_id is None or event.message_id != self._message_id:
            self._message_id = event.message_id
            self._tools.clear()
            self._tool_limits.clear()
            self._turns += 1
            self._read_tokens = sum_usage(self._read_tokens, event.usage)
        for block in event.blocks:
            if isinstance(block, TextBlock) and block.text.strip():
                self._last_text = block.text[:_LAST_TEXT_CHARACTERS]
            elif isinstance(block, ToolUseBlock) and len(self._tools) < _TOOLS_LIMIT:
                [line] = render_event(replace(event, blocks=(block,)))
                self._tools[block.tool_use_id or ""] = one_line(line.text, _TEXT_CHARACTERS)
                # In milliseconds, as the tool `Bash` takes it.
                limit = (number_field(block.tool_input, "timeout") or 0.0) / 1000
                limit = min(limit, _LONGEST_TOOL_SECONDS)
                self._tool_limits[block.tool_use_id or ""] = limit
        self._activity = self._at_work() or "the model answers"

    def _apply_user(self, event: UserEvent) -> None:
        for block in event.blocks:
            if isinstance(block, ToolResultBlock):
                self._tools.pop(block.tool_use_id or "", None)
                self._tool_limits.pop(block.tool_use_id or "", None)
        self._activity = self._at_work() or "waiting for the model"

    def _apply_result(self, event: ResultEvent) -> None:
        self._tools.clear()
        self._tool_limits.clear()
        known = self._output_tokens
        output = event.usage.output_tokens
        self._activity = "turn ended"
        self._output_tokens = output if known is None or output is None else known + output
        self._cost.add(event)

    def _at_work(self) -> str:
        return "; ".join(self._tools.values())


def render_progress(
    progress: RunProgress,
    *,
    max_turns: int | None,
    running_seconds: float,
    silent_seconds: float,
    at: datetime,
    outcome: str | None = None,
) -> str:
    """Return the progress as markdown, or what it came to.

    Args:
        progress: How far the run has got.
        max_turns: Of the main agent; null for no limit.
        running_seconds: Since output was first looked for.
        silent_seconds: Since the last line of output.
        at: Now, UTC.
        outcome: How the run ended; null while it works.
    """
    ended = outcome is not None
    not_told = "not told" if ended else _TOLD_LATER
    rows = [
        ("Turns", _turns(progress.turns, max_turns)),
        ("Tokens", _tokens(progress) or not_told),
        ("Cost" if ended else "Cost so far", _cost(progress) or not_told),
        ("Ran for" if ended else "Running for", duration_text(running_seconds)),
    ]
    if not ended:
        rows.append(("Last output", f"{duration_text(silent_seconds)} ago"))
    if progress.last_text:
        rows.append(("Said last", escape_markdown(progress.last_text)))
    head = ("Now", code_span(progress.activity)) if outcome is None else ("Ended", outcome)
    word = "Ended at" if ended else "As of"
    return "\n\n".join([table(head, rows), f"*{word} {at:%Y-%m-%d %H:%M:%S} UTC.*"])


def read_cost(page: str) -> float | None:
    """Return the cost in USD that a page of `render_progress` tells; `None` where it tells none."""
    found = _COST_ROW.search(page)
    return float(found[1]) if found else None


def _turns(turns: int, max_turns: int | None) -> str:
    if max_turns is None:
        return f"{turns:,}"
    filled = min(_BAR_CELLS, _BAR_CELLS * turns // max_turns)
    return f"{'▰' * filled}{'▱' * (_BAR_CELLS - filled)} {turns:,} of at most {max_turns:,}"


def _tokens(progress: RunProgress) -> str:
    read = progress.read_tokens
    counts = {
        "in": read.input_tokens,
        "cache read": read.cache_read_input_tokens,
        "cache write": read.cache_creation_input_tokens,
        "out": progress.output_tokens,
    }
    known = [f"{name} {count:,}" for name, count in counts.items() if count is not None]
    return ", ".join(known)


def _cost(progress: RunProgress) -> str:
    return "" if progress.cost_usd is None else f"${progress.cost_usd:.4f}"
