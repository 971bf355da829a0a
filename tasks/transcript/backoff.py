"""How long to wait before the next try."""

from collections.abc import Callable

_FIRST_DELAY_SECONDS = 0.2  # most often an idle connection was dropped; live output shall not stall
_LONGEST_DELAY_SECONDS = 10.0
_LONGEST_ASKED_SECONDS = 60.0


class Backoff:
    """Delays from 0.2 s, doubling to 10 s, each between half and whole of that by chance."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Begin with the shortest delay; `jitter` returns numbers from 0 to 1."""
        self._jitter = jitter
        self._delay_seconds = _FIRST_DELAY_SECONDS

    def next_delay_seconds(self, asked_seconds: float | None) -> float:
        """Return the next delay, on top of what the server asked for (at most a minute of it)."""
        delay = self._delay_seconds
        self._delay_seconds = min(2 * delay, _LONGEST_DELAY_SECONDS)
        asked = min(asked_seconds or 0.0, _LONGEST_ASKED_SECONDS)
        return asked + delay * (0.5 + 0.5 * self._jitter())

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._delay_seconds = _FIRST_DELAY_SECONDS
