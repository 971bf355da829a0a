"""Waiting for what others do: a node, a server, a process."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


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
    wait_for_value(condition, seconds, pause_seconds=pause_seconds, describe=describe)


def wait_for_value(
    find: Callable[[], T],
    seconds: float = 60,
    *,
    pause_seconds: float = 0.1,
    describe: Callable[[], str] = lambda: "it did not happen in time",
) -> T:
    """Look again until something is there, and return it; what is empty or false is nothing.

    Raises:
        WaitRanOut: Nothing was there in time; says what `describe` returns then.
    """
    deadline = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > deadline:
            raise WaitRanOut(describe())
        time.sleep(pause_seconds)
    return found
