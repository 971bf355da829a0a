"""Whether an ended run is answered by another attempt of the same flow run, and with what."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.run_result import AgentRunResult
from tasks.agent_job.runtime_spec import WholeRunRetry


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """Another attempt is due.

    Attributes:
        session_id: The session in which it goes on; `None` for a fresh one.
        budget_usd: What is left of the agent's budget; `None` where it has none.
        reason: The sentence people read.
    """

    delay_seconds: int
    session_id: str | None
    budget_usd: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class NoMoreAttempts:
    """The last result stands.

    Attributes:
        reason: Why an ending that the runtime wants answered is not; `None` for all others.
    """

    reason: str | None = None


def plan_next_attempt(
    rules: WholeRunRetry, results: Sequence[AgentRunResult], budget_usd: float | None
) -> NextAttempt | NoMoreAttempts:
    """Tell what follows on the last of a flow run's results.

    Args:
        rules: The runtime's.
        results: Of all attempts that this process has seen, in order, at least one.
        budget_usd: The agent's for the whole run; `None` where it has none.
    """
    last = results[-1]
    if last.error_code not in rules.codes or last.error_code in {None, ErrorCode.CANCELLED}:
        return NoMoreAttempts()
    # An earlier process of this flow run may have made some, which the number tells.
    made = max(len(results), last.attempt or 0)
    ended = f"Attempt {made} of {rules.max_attempts} ended with {last.error_code}"
    if made >= rules.max_attempts:
        return NoMoreAttempts(f"{ended}; no more are allowed.")
    left = budget_usd
    if budget_usd is not None:
        costs = [result.cost_usd for result in results if result.attempt is not None]
        known = [cost for cost in costs if cost is not None]
        if len(known) < len(costs):
            return NoMoreAttempts(f"{ended}; what it cost is not known, so no other is made.")
        left = budget_usd - sum(known)
        if left <= 0:
            return NoMoreAttempts(f"{ended}; nothing is left of the budget of ${budget_usd:.2f}.")
    session = None if last.clear_session else last.session_id
    return NextAttempt(
        rules.delay_seconds,
        session,
        left,
        f"{ended}; the next one begins in {rules.delay_seconds} s, "
        f"{f'resuming session {session}' if session else 'in a fresh session'}"
        f"{'' if left is None else f', with ${left:.4f} left to spend'}.",
    )
