"""What people should know about a run although its verdict does not rest on it.

A warning never turns a run red: an update of Claude Code that has a new word for an ending must not
fail every run, but neither may it pass unseen.
"""

from collections.abc import Iterator

from tasks.claude_code.json_fields import DEPTH_LIMIT, holds_gap
from tasks.outcome.ending_vocabulary import unknown_words
from tasks.outcome.run_facts import RunFacts
from tasks.text.quoting import QUOTE_LIMIT_CHARACTERS, plain_words

_NAME_LIMIT_CHARACTERS = 100
_NAMED_TASKS = 5


def find_warnings(facts: RunFacts) -> tuple[str, ...]:
    """Return the warnings about a run, each one sentence."""
    return (
        *_unknown_endings(facts),
        *_cut_output(facts),
        *_stopped_tasks(facts),
        *_stayed(facts),
        *_left_out(facts),
    )


def _unknown_endings(facts: RunFacts) -> Iterator[str]:
    """Name the values of the last result, and of the prompt's own, that are not in the table."""
    ending = facts.session.prompt_ending
    results = (facts.session.last_result, ending.result if ending is not None else None)
    words = (word for result in results if result is not None for word in unknown_words(result))
    for word in dict.fromkeys(words):
        yield (
            f"The result's {word.field} {_name(word.value)} is unknown to this version, so it was "
            "not taken for a failure; check that the work is done."
        )


def _cut_output(facts: RunFacts) -> Iterator[str]:
    """Say that the JSON answer is not all that the agent gave."""
    if holds_gap(facts.session.structured_output):
        yield (
            f"The JSON answer is nested more than {DEPTH_LIMIT} levels deep and was cut there; "
            "`output` is not exactly what the agent gave, and may no longer fit its schema."
        )


def _stopped_tasks(facts: RunFacts) -> Iterator[str]:
    """Name the background tasks that ended with the agent instead of by themselves."""
    tasks = facts.session.stopped_tasks
    if not tasks:
        return
    named = ", ".join(map(_name, tasks[:_NAMED_TASKS]))
    more = f" and {len(tasks) - _NAMED_TASKS:,} more" if len(tasks) > _NAMED_TASKS else ""
    yield f"Background work was stopped before it was done: {named}{more}."


def _stayed(facts: RunFacts) -> Iterator[str]:
    """Say that Claude Code did not exit by itself."""
    if facts.ended_after_result:
        yield (
            "Claude Code stayed after its result and was ended; a server or a shell that it left "
            "in the background was ended with it."
        )


def _left_out(facts: RunFacts) -> Iterator[str]:
    """Say that what was collected of the work is not all of it."""
    work = facts.work.result if facts.work is not None else None
    if work is None or not work.left_out:
        return
    first, *others = work.left_out
    more = f" And {len(others):,} more, in the report." if others else ""
    said = plain_words(first, QUOTE_LIMIT_CHARACTERS).rstrip(".") or "(unreadable)"
    yield f"Not all of the agent's work was collected. {said}.{more}"


def _name(text: str) -> str:
    return plain_words(text, _NAME_LIMIT_CHARACTERS) or "(unreadable)"
