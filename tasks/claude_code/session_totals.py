"""Sums over a run's results, and its last texts, in bounded memory."""

from collections import deque
from typing import TypeVar

from tasks.claude_code.event_types import ResultEvent, TokenCounts

TEXT_LIMIT_CHARACTERS = 64_000

Number = TypeVar("Number", int, float)


class ResultTotals:
    """Sums over the results; a sum is unknown as soon as one of its parts is."""

    def __init__(self) -> None:
        self.count = 0
        self.last: ResultEvent | None = None
        self.usage = TokenCounts()
        self.num_turns: int | None = None
        self.duration_ms: float | None = None
        self.cost_usd: float | None = None

    def add(self, event: ResultEvent) -> None:
        """Take the next result."""
        if self.count == 0:
            self.usage = event.usage
            self.num_turns, self.duration_ms = event.num_turns, event.duration_ms
        else:
            self.usage = sum_usage(self.usage, event.usage)
            self.num_turns = _sum(self.num_turns, event.num_turns)
            self.duration_ms = _sum(self.duration_ms, event.duration_ms)
        if event.total_cost_usd is not None:
            self.cost_usd = event.total_cost_usd
        self.count += 1
        self.last = event


class Answers:
    """What the results answered: the prompt's own answer before that of a notification's turn."""

    def __init__(self) -> None:
        # By whether they answer the prompt.
        self._texts: dict[bool, str] = {}
        self._outputs: dict[bool, object] = {}

    def add(self, event: ResultEvent) -> None:
        """Take the next result; the text of one that is an error is no answer."""
        if event.is_error is True:
            return
        text = (event.text or "").strip()
        if text:
            self._texts[event.answers_the_prompt] = text[:TEXT_LIMIT_CHARACTERS]
        if event.has_structured_output:
            self._outputs[event.answers_the_prompt] = event.structured_output

    @property
    def text(self) -> str | None:
        """The answer as text; `None` where every result is empty."""
        return self._texts.get(True) or self._texts.get(False)

    @property
    def structured_output(self) -> object:
        """The answer as a JSON value; `None` where no result has one."""
        return self._outputs.get(True, self._outputs.get(False))


class TurnCount:
    """Which turns of the main agent began and which ended.

    A result may stand behind the events of the turn after its own, so turns are counted: one begins
    with the first init, with each init after a notification, and with anything after a result.
    """

    def __init__(self) -> None:
        self._begun = self._ended = 0
        self._notified = False

    @property
    def is_open(self) -> bool:
        """Whether a turn began that no result has closed."""
        return self._begun > self._ended

    def note_init(self) -> None:
        """Take an init event."""
        if self._notified or not self.is_open:
            self._begun += 1
        self._notified = False

    def note_notification(self) -> None:
        """Take the note that a background task has ended; the next init is a turn about it."""
        self._notified = True

    def note_output(self) -> None:
        """Take what the main agent, or a tool for it, has said."""
        if not self.is_open:
            self._begun += 1

    def note_result(self) -> None:
        """Take a result."""
        self._ended = min(self._ended + 1, self._begun)


class LastTexts:
    """The last texts, whole ones but for the oldest kept; at most `TEXT_LIMIT_CHARACTERS`."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        # Together with the oldest one, which is cut when they are asked for.
        self._kept = 0
        self._added = 0

    def add(self, text: str) -> None:
        """Take the next text; blank ones are skipped."""
        if not text.strip():
            return
        # Of one longer than all that is kept, no more than its end.
        self._texts.append(text[-TEXT_LIMIT_CHARACTERS:])
        self._added += len(text)
        self._kept += len(self._texts[-1])
        while self._kept - len(self._texts[0]) >= TEXT_LIMIT_CHARACTERS:
            self._kept -= len(self._texts.popleft())

    def joined(self) -> str | None:
        """Return the texts with a blank line between them, or `None` without any."""
        if not self._texts:
            return None
        oldest, *others = self._texts
        kept = [oldest[max(0, self._kept - TEXT_LIMIT_CHARACTERS) :], *others]
        left_out = self._added - sum(map(len, kept))
        note = [f"[{left_out:,} characters of earlier text left out]"] if left_out else []
        return "\n\n".join([*note, *kept])


def sum_usage(first: TokenCounts, second: TokenCounts) -> TokenCounts:
    """Return the sums by kind; unknown where one of the two is."""
    return TokenCounts(
        input_tokens=_sum(first.input_tokens, second.input_tokens),
        output_tokens=_sum(first.output_tokens, second.output_tokens),
        cache_creation_input_tokens=_sum(
            first.cache_creation_input_tokens, second.cache_creation_input_tokens
        ),
        cache_read_input_tokens=_sum(first.cache_read_input_tokens, second.cache_read_input_tokens),
    )


def _sum(first: Number | None, second: Number | None) -> Number | None:
    return None if first is None or second is None else first + second
