"""The API server's clock, the only one that everybody who meets at a Lease can see."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# An estimate is at most one second behind; a larger step back is another server or a set clock.
_STEP_BACK = timedelta(seconds=2)


def parse_server_time(date_header: str | None) -> datetime | None:
    """Read a `Date` header: whole seconds, UTC; None when absent or malformed."""
    if date_header is None:
        return None
    try:
        parsed = parsedate_to_datetime(date_header)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):  # the last day there is, of a zone in the west
        return None


class ServerClock:
    """Tells the API server's time between its answers, without our own clock.

    Never ahead of the server, and behind it by less than one second (the header has whole
    seconds) plus the time an answer travels. Does not run backwards, unless an answer is more
    than two seconds behind the estimate.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._latest: tuple[datetime, float] | None = None

    def observe(self, server_time: datetime | None) -> None:
        """Take the time of an answer that has just come."""
        if server_time is None:
            return
        estimate = self.now()
        # Each answer is a lower bound; the greatest is the closest to the truth.
        if estimate is None or not estimate - _STEP_BACK <= server_time <= estimate:
            self._latest = (server_time, self._monotonic())

    def now(self) -> datetime | None:
        """Return the server's time in UTC; None before the first answer."""
        if self._latest is None:
            return None
        server_time, at = self._latest
        return server_time + timedelta(seconds=self._monotonic() - at)
