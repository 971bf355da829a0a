"""Waiting for what others do: a node, a server, a process."""

import time
from collections.abc import Callable


class WaitRanOut(AssertionError):
    """Something did not come in time, which a busy machine may be the reason of.

    Only this is looked at a second time (on a real cluster a time-out too); a wrong fact never is.
    """


def wait_until(
    condition: Callable[[], bool],
    seconds: float = 60,
    *,
    pause_seconds: float = 0.1,
    describe: Callable[[], str] = lambda: "it did not come true in time",
) -> None:
    """Ask again until it holds.

    Raises:
        WaitRanOut: It did not hold in time; says what `describe` returns then.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise WaitRanOut(describe())
        time.sleep(pause_seconds)
