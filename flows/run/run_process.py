"""The process of a run under Prefect: its SIGTERM, and its console that others read.

SIGTERM is noticed wherever it arrives; the time that it leaves is defined here.
"""

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console

# Prefect kills a process 30 s after telling it to stop; a run must be done before that.
SECONDS_TO_END_AGENT = 23.0
SECONDS_TO_CONCLUDE = 27.0

# If the exception of Prefect's own handler arrives at all, it arrives within this time.
_ARRIVAL_SECONDS = 0.5
_NO_DESCRIPTOR = -1


@contextmanager
def cancelled_by_sigterm() -> Generator[None, None, None]:
    """Cancel the current task on SIGTERM, even if the signal handler's exception gets lost.

    Prefect's handler raises an exception in the code that happens to run. If that is the step of
    another task or a callback, asyncio keeps the exception there and continues. The handler cannot
    be replaced, because Prefect acknowledges requests to reschedule only while its own handler is
    installed. So the signal's number is read from Python's wake-up file descriptor.
    """
    task = asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        # Only the main thread receives signals.
        yield
        return
    loop = asyncio.get_running_loop()
    pending: list[asyncio.TimerHandle] = []
    with _notified_of_signals(
        loop,
        lambda numbers: (
            signal.SIGTERM in numbers
            and pending.append(loop.call_later(_ARRIVAL_SECONDS, task.cancel))
        ),
    ):
        try:
            yield
        finally:
            for handle in pending:
                handle.cancel()


@contextmanager
def _notified_of_signals(
    loop: asyncio.AbstractEventLoop, notify: Callable[[bytes], object]
) -> Generator[None, None, None]:
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())

    def read() -> None:
        numbers = reader.recv(4096)
        if before != _NO_DESCRIPTOR:
            # Pass it on to the event loop, for the handlers that were added to it.
            os.write(before, numbers)
        notify(numbers)

    loop.add_reader(reader, read)
    try:
        yield
    finally:
        loop.remove_reader(reader)
        signal.set_wakeup_fd(before)
        reader.close()
        writer.close()


def outlive_console() -> None:
    """Let the run go on when nobody reads its console any more.

    Runners and workers read the console of their runs. When one of them is killed, the next log
    record of its run hits a broken pipe, and rich, which Prefect prints with, raises `SystemExit`.
    The log goes to Prefect's API too, so the console is given up instead.
    """
    names = [None, *logging.root.manager.loggerDict]
    for handler in [handler for name in names for handler in logging.getLogger(name).handlers]:
        if isinstance(handler, PrefectConsoleHandler):
            handler.console.on_broken_pipe = partial(_give_up, handler.console)


def _give_up(console: Console) -> None:
    console.quiet = True
