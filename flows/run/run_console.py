"""The console of a run's process, which others read."""

import logging
from functools import partial

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console


def outlive_console() -> None:
    """Let the run go on when nobody reads its console any more.

    Runners and workers read what their runs print. When one of them is killed, the next record of
    its run's log meets a broken pipe, at which rich, that Prefect prints with, leaves the process
    by `SystemExit`. The log goes to Prefect's API too, so the console is given up instead.
    """
    names = [None, *logging.root.manager.loggerDict]
    for handler in [handler for name in names for handler in logging.getLogger(name).handlers]:
        if isinstance(handler, PrefectConsoleHandler):
            handler.console.on_broken_pipe = partial(_give_up, handler.console)


def _give_up(console: Console) -> None:
    console.quiet = True
