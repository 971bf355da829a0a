"""A queue of keys, each at most once at a time, worked off by one task."""

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)

_log = logging.getLogger(__name__)


class WorkQueue(Generic[KeyT]):
    """Calls `work` for every key that was added, after whatever added it has returned.

    A key that is added while it waits is worked off once. Failures are logged; a controller must
    not die of one object.
    """

    def __init__(self, work: Callable[[KeyT], None]) -> None:
        self._work = work
        self._waiting: dict[KeyT, None] = {}
        self._timers: dict[KeyT, asyncio.TimerHandle] = {}
        self._is_scheduled = False

    def add(self, key: KeyT) -> None:
        """Work on a key soon."""
        self._waiting[key] = None
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._drain)

    def add_after(self, key: KeyT, seconds: float) -> None:
        """Work on a key later; a later call for the same key replaces an earlier one."""
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(max(0.0, seconds), self._ripen, key)

    def _ripen(self, key: KeyT) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _drain(self) -> None:
        self._is_scheduled = False
        waiting, self._waiting = self._waiting, {}
        for key in waiting:
            try:
                self._work(key)
            except Exception:
                _log.exception("a controller failed on %s", key)
