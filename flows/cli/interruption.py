"""Turns the signals that end a process into one exception."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP was received; not an `Exception`, since it is not a failure.

    Attributes:
        exit_code: 128 plus the signal's number, as shells report it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Generator[None]:
    """Raise `Interrupted` at the first of these signals, and ignore others during clean-up."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
