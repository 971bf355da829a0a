"""Protects a run from the loss of its console, which other processes read."""

import logging
from functools import partial

from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console


def outlive_console() -> None:
    """Let the run continue when nobody reads its console any more.

    Runners and workers read the output of their runs. If one of them is killed, its run's next log
    record fails with a broken pipe, and rich, which Prefect uses for printing, then ends the
    process with `SystemExit`. Since the log is also sent to Prefect's API, only the console is
    given up.
    """
    names = [None, *logging.root.manager.loggerDict]
    for handler in [handler for name in names for handler in logging.getLogger(name).handlers]:
        if isinstance(handler, PrefectConsoleHandler):
            handler.console.on_broken_pipe = partial(_give_up, handler.console)


def _give_up(console: Console) -> None:
    console.quiet = True
