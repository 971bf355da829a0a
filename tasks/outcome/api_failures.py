"""Which kind of model API failure ended a run, according to the CLI's fields.

The fields count if the last result says that the work was not finished, names a failed request or
follows one that the model did not recover from; or if there is no result but the CLI reported a
failed request and then exited by itself with an error. Neither the subtype `success` nor
`is_error: false` proves anything.

Source:
    Recordings of Claude Code 2.1.329, `tests/data/transcripts`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from tasks.claude_code.event_types import ApiFailure, ResultEvent
from tasks.claude_code.session_summary import SessionSummary
from tasks.outcome.ending_vocabulary import find_word, says_unfinished
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import Ending, RunFacts

LOGIN_STATUSES = frozenset({401, 403})
RATE_LIMIT_STATUS = 429


class ApiField(NamedTuple):
    """A field and its value, as the CLI printed it."""

    name: str
    value: str | int

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


_LOGIN = frozenset(
    {
        *(ApiField("api_error_status", status) for status in LOGIN_STATUSES),
        ApiField("api_error_type", "authentication_error"),
        ApiField("api_error_type", "permission_error"),
        ApiField("error", "authentication_failed"),
    }
)
_RATE_LIMIT = frozenset(
    {
        ApiField("api_error_status", RATE_LIMIT_STATUS),
        ApiField("api_error", "usage_limit_reached"),
        ApiField("api_error_type", "rate_limit_error"),
        ApiField("error", "rate_limit"),
    }
)
_MODEL_UNKNOWN = frozenset(
    {
        ApiField("api_error_type", "not_found_error"),
        ApiField("error", "model_not_found"),
    }
)
_OUTPUT_LIMIT = frozenset(
    {ApiField("api_error", "max_output_tokens"), ApiField("error", "max_output_tokens")}
)
_BILLING = frozenset({ApiField("error", "billing_error")})
_CONNECTION = frozenset({ApiField("api_error", "connection_failed")})
_REJECTED = frozenset(
    {ApiField("api_error_type", "invalid_request_error"), ApiField("error", "invalid_request")}
)
_UNAVAILABLE = frozenset(
    {
        ApiField("api_error_type", "overloaded_error"),
        ApiField("api_error_type", "api_error"),
        ApiField("error", "overloaded"),
        ApiField("error", "server_error"),
    }
)


def shows_failure(session: SessionSummary) -> bool:
    """Tell whether the last result is a failure, by its own fields or by what came before it."""
    result = session.last_result
    return result is not None and (
        result.is_error is True
        or bool(result.errors)
        or result.names_api_failure
        or says_unfinished(result)
        or session.api_failure is not None
        or session.refusal is not None
    )


def with_judged_result(facts: RunFacts) -> RunFacts:
    """Return the facts with the result that the verdict is about as the last one.

    The last result of all, but for a good one that answers a notification after the prompt's own
    turn has failed.
    """
    session, ending = facts.session, facts.session.prompt_ending
    if ending is None or shows_failure(session):
        return facts
    judged = replace(
        session,
        last_result=ending.result,
        api_failure=ending.api_failure,
        refusal=ending.refusal,
        error_text=ending.error_text,
    )
    fails = shows_failure(judged) or ending.result.is_error is None
    return replace(facts, session=judged) if fails else facts


def login_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows that the credentials were rejected or missing."""
    return _first(facts, ending, _LOGIN)


def rate_limit_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows that a rate or usage limit was reached."""
    return _first(facts, ending, _RATE_LIMIT)


def billing_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows that the account has no credit."""
    return _first(facts, ending, _BILLING)


def model_unknown_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows that the model does not exist."""
    return _first(facts, ending, _MODEL_UNKNOWN)


def output_limit_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows that the answer was longer than allowed."""
    return _first(facts, ending, _OUTPUT_LIMIT)


def connection_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows that the connection to the API failed or broke off."""
    return _first(facts, ending, _CONNECTION)


def rejected_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows that the API rejects the request, and will do so again."""
    if not _counts(facts, ending):
        return None
    status = api_status(facts)
    if status is not None:
        return f"api_error_status={status}" if 400 <= status < 500 else None
    return _first(facts, ending, _REJECTED) or _word(facts, Reason.API_REJECTED)


def unavailable_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the field that shows a failure that usually passes: a 5xx, or overload."""
    if not _counts(facts, ending):
        return None
    status = api_status(facts)
    if status is not None and status >= 500:
        return f"api_error_status={status}"
    return _first(facts, ending, _UNAVAILABLE)


def refusal_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the fact that shows that the model declined to answer."""
    if not _counts(facts, ending):
        return None
    failure = facts.session.api_failure
    if failure is not None and failure.is_refusal:
        return "an error message about a refusal"
    # A request that failed with an HTTP status failed for that reason, not for an earlier refusal.
    if facts.session.refusal is not None and api_status(facts) is None:
        return "a model_refusal_no_fallback event"
    return _word(facts, Reason.REFUSED)


def failed_request_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return any field that shows that the model API failed."""
    if not _counts(facts, ending):
        return None
    for field in api_fields(facts):
        if field.name.startswith(("api_error", "error")):
            return str(field)
    if facts.session.api_failure is not None:
        return "an API error message instead of an answer"
    return _word(facts, Reason.API_FAILED)


def api_status(facts: RunFacts) -> int | None:
    """Return the HTTP status of the failed request, if there was an answer."""
    result, failure = facts.session.last_result, facts.session.api_failure
    if result is not None and result.api_error_status is not None:
        return result.api_error_status
    return failure.status if failure is not None else None


def reset_epoch(facts: RunFacts) -> float | None:
    """Return when the limit resets, in epoch seconds, if the CLI reported it."""
    failure, limit = facts.session.api_failure, facts.session.last_rate_limit
    if failure is not None and failure.resets_at_epoch_seconds is not None:
        return failure.resets_at_epoch_seconds
    # One that still allows requests is not the limit that was reached.
    if limit is None or (limit.status or "").lower().startswith("allowed"):
        return None
    return limit.resets_at_epoch_seconds


def api_fields(facts: RunFacts) -> Iterator[ApiField]:
    """Yield every field about the failed request, the result's before the message's."""
    result, failure = facts.session.last_result, facts.session.api_failure
    pairs = [
        *(_result_pairs(result) if result is not None else ()),
        *(_failure_pairs(failure) if failure is not None else ()),
    ]
    for name, value in pairs:
        if value is not None:
            yield ApiField(name, value)


def _result_pairs(result: ResultEvent) -> tuple[tuple[str, str | int | None], ...]:
    return (
        ("api_error_status", result.api_error_status),
        ("api_error", result.api_error),
        ("api_error_type", result.api_error_type),
    )


def _failure_pairs(failure: ApiFailure) -> tuple[tuple[str, str | int | None], ...]:
    return (
        ("error", failure.error),
        ("api_error", failure.api_error),
        ("api_error_status", failure.status),
        ("api_error_type", failure.api_error_type),
    )


def _counts(facts: RunFacts, ending: Ending) -> bool:
    if facts.session.last_result is not None:
        return shows_failure(facts.session)
    return facts.session.api_failure is not None and ending.by_itself and ending.exit_code != 0


def _word(facts: RunFacts, reason: Reason) -> str | None:
    result = facts.session.last_result
    word = find_word(result, reason) if result is not None else None
    return str(word) if word is not None else None


def _first(facts: RunFacts, ending: Ending, wanted: frozenset[ApiField]) -> str | None:
    if not _counts(facts, ending):
        return None
    return next((str(field) for field in api_fields(facts) if field in wanted), None)
