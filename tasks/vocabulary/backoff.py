"""How long everything that fails waits before its next try.

The wait itself is tenacity's. It is asked for a number, since most of those who wait are no calls
that are repeated: a pure policy, a watch that goes on for ever, a queue that is emptied.
"""

import random
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, wait_exponential

# A server that asks for more is asked again all the same: what it serves may end before.
_LONGEST_ASKED_SECONDS = 60.0
_NO_CALL = Retrying()


class Backoff:
    """Delays that double up to the longest, each shortened by chance; for any number of tries."""

    def __init__(
        self,
        first_seconds: float,
        longest_seconds: float,
        *,
        least_share: float = 0.5,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Set the bounds.

        Args:
            first_seconds: The delay after the first failure.
            longest_seconds: What the delays grow to.
            least_share: Which share of a delay chance leaves at least; 0 is full jitter, 1 none.
            jitter: Numbers from 0 to 1.
        """
        self._whole = wait_exponential(multiplier=first_seconds, max=longest_seconds)
        self._least_share = least_share
        self._jitter = jitter

    def delay_seconds(self, failures: int, asked_seconds: float | None = None) -> float:
        """Return how long to wait now.

        Args:
            failures: How many there were in a row, from 1.
            asked_seconds: What the server asked for; at most a minute of it is waited on top.
        """
        state = RetryCallState(_NO_CALL, None, (), {})
        state.attempt_number = failures
        share = self._least_share + (1.0 - self._least_share) * self._jitter()
        return min(asked_seconds or 0.0, _LONGEST_ASKED_SECONDS) + self._whole(state) * share
