"""Sums over a run's results, and its last texts, in bounded memory."""

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

from tasks.claude_code.event_types import (
    ApiFailure,
    AssistantEvent,
    ModelRefusalEvent,
    ResultEvent,
    TextBlock,
    TokenCounts,
    ending_word,
)

TEXT_LIMIT_CHARACTERS = 64_000
_OWN_WORDS_LIMIT_CHARACTERS = 2_000

_FINISHED = frozenset({"", "success", "completed", "end_turn", "stop_sequence"})
_REFUSAL = "refusal"

# Costs are summed in another order here and there, which moves the last digits.
_LEAST_COST_USD = 1e-9

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class TurnEnding:
    """A result, and what happened in the turn that it closed."""

    result: ResultEvent
    api_failure: ApiFailure | None
    refusal: ModelRefusalEvent | None
    error_text: str | None


class OwnCost:
    """What the results of one process have cost, without what its session had cost before."""

    def __init__(self) -> None:
        self.usd: float | None = None
        self._brought_usd = 0.0
        self._is_first = True

    def add(self, event: ResultEvent) -> None:
        """Take the next result; one that tells no cost leaves what is known."""
        total_usd = event.total_cost_usd
        if total_usd is not None:
            if self._is_first:
                self._brought_usd = _brought_usd(total_usd, event.new_cost_usd)
            self.usd = max(0.0, total_usd - self._brought_usd)
        self._is_first = False


class ResultTotals:
    """Sums over the results; a sum is unknown as soon as one of its parts is."""

    def __init__(self) -> None:
        self.count = 0
        self.last: ResultEvent | None = None
        self.usage = TokenCounts()
        self.num_turns: int | None = None
        self.duration_ms: float | None = None
        self._cost = OwnCost()

    @property
    def cost_usd(self) -> float | None:
        """Of the last result that tells it."""
        return self._cost.usd

    def add(self, event: ResultEvent) -> None:
        """Take the next result."""
        if self.count == 0:
            self.usage = event.usage
            self.num_turns, self.duration_ms = event.num_turns, event.duration_ms
        else:
            self.usage = sum_usage(self.usage, event.usage)
            self.num_turns = _sum(self.num_turns, event.num_turns)
            self.duration_ms = _sum(self.duration_ms, event.duration_ms)
        self._cost.add(event)
        self.count += 1
        self.last = event


def _brought_usd(total_usd: float, new_usd: float | None) -> float:
    """Return what a resumed session had cost before, which an earlier run has paid.

    Args:
        total_usd: Of the first result.
        new_usd: What came since the process began; without it, all counts as this run's.
    """
    brought = total_usd - new_usd if new_usd is not None else 0.0
    return brought if brought > _LEAST_COST_USD else 0.0


class Answers:
    """What the results answered: the prompt's own answer, else that of a notification's turn.

    The latter says nothing where the prompt's turn failed.
    """

    def __init__(self) -> None:
        self._prompt_failed = False
        # What the model said instead of an answer, where nothing came after it.
        self._refusal: str | None = None
        # By whether they answer the prompt.
        self._texts: dict[bool, str] = {}
        self._outputs: dict[bool, object] = {}

    def add(self, event: ResultEvent, *, model_failed: bool) -> None:
        """Take the next result; the text of one that is an error is no answer.

        Args:
            event: The result.
            model_failed: Its text is what the CLI said of a failed request, or a refusal.
        """
        is_error = model_failed or event.is_error is True or event.names_api_failure
        if event.answers_the_prompt:
            self._prompt_failed = is_error or not _ran_to_its_end(event)
        self._refusal = None
        if is_error:
            return
        text = (event.text or "").strip()
        if ending_word(event.stop_reason) == _REFUSAL:
            self._refusal = text[:TEXT_LIMIT_CHARACTERS] or None
            return
        if text:
            self._texts[event.answers_the_prompt] = text[:TEXT_LIMIT_CHARACTERS]
        if event.has_structured_output:
            self._outputs[event.answers_the_prompt] = event.structured_output

    @property
    def text(self) -> str | None:
        """The answer as text; `None` where every result is empty."""
        notified = None if self._prompt_failed else self._texts.get(False)
        return self._texts.get(True) or self._refusal or notified

    @property
    def structured_output(self) -> object:
        """The answer as a JSON value; `None` where no result has one."""
        return self._outputs.get(True, None if self._prompt_failed else self._outputs.get(False))


def own_words(event: AssistantEvent) -> str | None:
    """Return what a message of the CLI's own says, its beginning; `None` where it is blank."""
    texts = (block.text.strip() for block in event.blocks if isinstance(block, TextBlock))
    return next((text[:_OWN_WORDS_LIMIT_CHARACTERS] for text in texts if text), None)


def repeats(result: ResultEvent, own: str | None) -> bool:
    """Tell whether all that a result says is what the CLI itself has said instead of an answer."""
    text = (result.text or "").strip()
    return (
        bool(own) and not result.has_structured_output and text[:_OWN_WORDS_LIMIT_CHARACTERS] == own
    )


def _ran_to_its_end(event: ResultEvent) -> bool:
    """Tell whether a turn was finished, as far as what it says of itself is known."""
    words = map(ending_word, (event.subtype, event.terminal_reason, event.stop_reason))
    return not event.errors and all(word in _FINISHED for word in words)


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
