"""Whether another attempt of the same flow run follows an attempt that ended, and how."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.agent_job.runtime_spec import WholeRunRetry
from tasks.outcome.run_result import AgentRunResult
from tasks.vocabulary.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """Another attempt is due.

    Attributes:
        session_id: The session to resume; `None` for a new one.
        budget_usd: What is left of the agent's budget; `None` if it has none.
        reason: The sentence for people.
    """

    delay_seconds: int
    session_id: str | None
    budget_usd: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class NoMoreAttempts:
    """The last result is final.

    Attributes:
        reason: Why there is no retry although the runtime asks for one; `None` otherwise.
    """

    reason: str | None = None


def plan_next_attempt(
    rules: WholeRunRetry, results: Sequence[AgentRunResult], budget_usd: float | None
) -> NextAttempt | NoMoreAttempts:
    """Return what follows the last of a flow run's results.

    If the session cannot be resumed, the run starts a new one, once and without a retry rule,
    because the agent has not started to work. A session that has ended twice in a way that it may
    itself be the reason of is not resumed again.

    Args:
        rules: The retry rules of the runtime.
        results: Results of the flow run's attempts, in order, at least one; including those of
            earlier processes, as far as they are known.
        budget_usd: The agent's budget for the whole run; `None` if it has none.
    """
    last = results[-1]
    unknown = [item for item in results if item.error_code is ErrorCode.SESSION_UNAVAILABLE]
    made = max(len(results), last.attempt or 0) - len(unknown)
    if last in unknown and last.resumed and len(unknown) == 1:
        ended = "The session could not be resumed"
        delay_seconds, session = 0, None
    elif last.error_code not in rules.codes or last.error_code in {None, ErrorCode.CANCELLED}:
        return NoMoreAttempts()
    else:
        ended = f"Attempt {made} of {rules.max_attempts} ended with {last.error_code}"
        if made >= rules.max_attempts:
            return NoMoreAttempts(f"{ended}; no more attempts are allowed.")
        delay_seconds = rules.delay_seconds
        session = None if _is_lost(results) else last.session_id
    left = budget_usd
    if budget_usd is not None:
        spent = _spent_usd(results)
        if spent is None:
            return NoMoreAttempts(f"{ended}; its cost is unknown, so there is no other attempt.")
        left = budget_usd - spent
        if left <= 0:
            return NoMoreAttempts(f"{ended}; nothing is left of the budget of ${budget_usd:.2f}.")
    return NextAttempt(
        delay_seconds,
        session,
        left,
        f"{ended}; the next attempt starts in {delay_seconds} s, "
        f"{f'resuming session {session}' if session else 'in a new session'}"
        f"{'' if left is None else f', with ${left:.4f} left to spend'}.",
    )


def _is_lost(results: Sequence[AgentRunResult]) -> bool:
    """Tell whether the session of the last result must not be resumed."""
    last = results[-1]
    likewise = [
        item
        for item in results
        if item.recurs_in_session
        and (item.session_id, item.error_code) == (last.session_id, last.error_code)
    ]
    unknown = last.error_code is ErrorCode.SESSION_UNAVAILABLE
    return last.clear_session or unknown or (last.recurs_in_session and len(likewise) > 1)


def _spent_usd(results: Sequence[AgentRunResult]) -> float | None:
    """Return the total cost of all attempts; `None` if the cost of one is unknown."""
    own = {item.attempt or 0 for item in results if item.reattached_from is None}
    if any(number not in own for number in range(1, max(own, default=0))):
        return None
    spent = 0.0
    for item in results:
        # Without a Job, or without its session, the agent has not started to work.
        begun = item.attempt is not None and item.error_code is not ErrorCode.SESSION_UNAVAILABLE
        if begun and item.cost_usd is None:
            return None
        spent += item.cost_usd or 0.0
    return spent
