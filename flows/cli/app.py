"""The application `claude-jobs`, and its command `run`."""

import json
import logging
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.demo import demo
from flows.cli.foreground_run import (
    EXIT_INPUT_INVALID,
    EXIT_INTERRUPTED,
    EXIT_PREFECT_UNUSABLE,
    EXIT_RUN_FAILED,
    StartRun,
    exit_code_of,
    run_to_its_end,
)
from flows.cli.live_output import LiveOutput
from flows.cli.local_processes import local_cluster
from flows.cli.operator_commands import attach, logs, ls, pause, resume, show, stop
from flows.cli.preflight_command import preflight
from flows.cli.request_file import read_request
from flows.cli.usage_command import usage
from flows.cli.work_command import work
from tasks.agent_job.run_request import AgentRunRequest, refuse_oversize
from tasks.outcome.run_result import AgentRunResult
from tasks.run.check_request import check_request
from tasks.run.run_controls import RunControls, RunCrashed
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid, PrefectUnusable

app = typer.Typer(
    name="claude-jobs",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


# Prefect's handlers for its console, and for what it says of its own threads.
_PREFECT_LEVELS = (
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",
    "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL",
)


@app.callback()
def main() -> None:
    """Run Claude Code agents as Kubernetes Jobs under Prefect."""
    # Each command tells in sentences of its own what a person must know, also of Prefect; retries
    # and lost connections of Prefect's threads are not that. The API still gets the whole log.
    for level in _PREFECT_LEVELS:
        os.environ.setdefault(level, "CRITICAL")
    # Else handlers that cannot reach the API write so to the terminal, past all levels.
    logging.raiseExceptions = False


app.command()(demo)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    local_cluster
)
for command in (ls, show, logs, work, stop, attach, pause, resume, usage, preflight):
    app.command()(command)


@app.command()
def run(
    parameters: Annotated[
        Path, typer.Argument(help="JSON file with the run's request; `-` reads standard input.")
    ],
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="Kubeconfig to use instead of the runtime's cluster credentials."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on the last line.")
    ] = False,
) -> None:
    """Run one agent in this process and show its output live.

    The flow run appears in the Prefect API in use, or in a temporary one. Exit code 0 means that
    the run succeeded, 1 that it failed, 2 that the request is invalid, 3 that the Prefect API
    cannot be used. Press Ctrl-C once to stop the agent with its grace period, twice to leave its
    Job running.
    """
    output = LiveOutput(Console(highlight=False, soft_wrap=True))
    try:
        request = read_request(parameters)
        check_request(request, kubeconfig)
    except InputInvalid as error:
        _end_without_result(error.code, error.message, output, as_json=as_json)
        raise typer.Exit(EXIT_INPUT_INVALID) from None
    try:
        result = run_to_its_end(lambda: _load_run(request), kubeconfig, output)
    except InputInvalid as error:
        _end_without_result(error.code, error.message, output, as_json=as_json)
        raise typer.Exit(EXIT_INPUT_INVALID) from None
    except RunCrashed as error:
        # The code of all endings without a code of their own.
        _end_without_result(ErrorCode.CLAUDE_FAILED, str(error), output, as_json=as_json)
        raise typer.Exit(EXIT_RUN_FAILED) from None
    except PrefectUnusable as error:
        message = f"{error.message} {error.advice}"
        _end_without_result(ErrorCode.CLAUDE_FAILED, message, output, as_json=as_json)
        raise typer.Exit(EXIT_PREFECT_UNUSABLE) from None
    if result is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    output.show_result(result)
    if as_json:
        # Not printed through the console, which would wrap or colour it.
        typer.echo(result.model_dump_json())
    raise typer.Exit(exit_code_of(result))


def _load_run(request: AgentRunRequest) -> StartRun:
    # Importing Prefect takes two seconds; an invalid request is rejected before that.
    from prefect.settings import get_current_settings

    from flows.run_agent import run_in_this_process

    # Prefect would answer with the request, and its client print it in a traceback.
    refuse_oversize(request, get_current_settings().server.api.max_parameter_size)

    def start(controls: RunControls) -> Awaitable[AgentRunResult]:
        return run_in_this_process(request, controls)

    return start


def _end_without_result(code: str, message: str, output: LiveOutput, *, as_json: bool) -> None:
    output.show_refusal(code, message)
    if as_json:
        typer.echo(json.dumps({"error_code": code, "message": message}))
