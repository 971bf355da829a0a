"""When a call is made again: only where that is safe, with jitter, and within a bound."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
)

from tasks.cluster.cluster_errors import (
    ApiRefused,
    ClusterError,
    ClusterUnauthorised,
    ClusterUnavailable,
    ClusterUnreachable,
    TooManyRequests,
)
from tasks.vocabulary.backoff import Backoff

T = TypeVar("T")

_BACKOFF = Backoff(0.5, 8.0, least_share=0.0)
# Managed clusters answer 401 for a moment while credentials spread; more is a wrong credential.
_UNAUTHORISED_TRIES = 3


@dataclass(frozen=True)
class RetryPolicy:
    """How often and for what a call is made again.

    Attributes:
        tries: Calls in all, counting the first.
        repeats_ambiguous: Also after failures which leave open whether the server acted (5xx,
            time-outs, resets). Right for reads, and for writes whose second try is recognisable.
        within_seconds: No try starts later than this after the first; the last may take its own
            time-out on top.
        before_each: Called right before every try; what it raises ends the call.
    """

    tries: int = 5
    repeats_ambiguous: bool = False
    within_seconds: float = 60.0
    before_each: Callable[[], None] | None = None


RETRY_NEVER = RetryPolicy(tries=1)
RETRY_REFUSED = RetryPolicy()
"""Again only when the server cannot have acted: not connected, 401, 429."""
RETRY_SAFE = RetryPolicy(repeats_ambiguous=True)
"""Again also when the server may have acted."""


async def call_with_retries(
    call: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Make the call until it succeeds or fails for good; the last error is raised as it came.

    Args:
        call: One try.
        policy: Which failures are tried again, and how long.
        sleep: Waits between tries, in seconds.
    """
    tries = _Tries(policy)

    async def attempt() -> T:
        if policy.before_each is not None:
            policy.before_each()
        try:
            return await call()
        except ClusterError as failure:
            tries.note(failure)
            raise

    retrying = AsyncRetrying(
        retry=retry_if_exception(tries.are_worth_another),
        stop=stop_after_attempt(policy.tries) | stop_before_delay(policy.within_seconds),
        wait=_wait_seconds,
        sleep=sleep,
        reraise=True,
    )
    return await retrying(attempt)


@dataclass
class _Tries:
    """The tries of one call so far."""

    policy: RetryPolicy
    unauthorised: int = 0
    unanswered: bool = False

    def note(self, failure: ClusterError) -> None:
        """Remember how a try failed, and tell a refusal what came before it."""
        match failure:
            case ApiRefused():
                failure.earlier_try_unanswered = self.unanswered
                self.unauthorised += isinstance(failure, ClusterUnauthorised)
            case ClusterUnreachable():
                self.unanswered = self.unanswered or failure.was_sent
            case _:
                self.unanswered = True

    def are_worth_another(self, failure: BaseException) -> bool:
        if isinstance(failure, ClusterUnauthorised):
            return self.unauthorised < _UNAUTHORISED_TRIES
        if isinstance(failure, ClusterUnreachable):
            return self.policy.repeats_ambiguous or not failure.was_sent
        if isinstance(failure, ClusterUnavailable):
            return self.policy.repeats_ambiguous
        return isinstance(failure, TooManyRequests)


def _wait_seconds(state: RetryCallState) -> float:
    """Full jitter over 0.5, 1, 2, 4, 8 s; at least what the server asked for."""
    failure = state.outcome.exception() if state.outcome else None
    asked = None
    if isinstance(failure, TooManyRequests):
        asked = failure.answer.retry_after_seconds
    elif isinstance(failure, ClusterUnavailable):
        asked = failure.retry_after_seconds
    return _BACKOFF.delay_seconds(state.attempt_number, asked)
