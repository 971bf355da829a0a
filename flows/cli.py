"""`claude-jobs`: runs from the command line."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from flows.check_request import check_request
from flows.demo import demo
from flows.live_output import LiveOutput
from flows.local_cluster import local_cluster
from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.errors import InputInvalid
from tasks.agent_job.run_request import AgentRunRequest, parse_request
from tasks.agent_job.run_result import AgentRunResult
from tasks.run_controls import RunControls, RunCrashed

EXIT_RUN_FAILED = 1
EXIT_INPUT_INVALID = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_TERMINATED = 143  # 128 + SIGTERM

_NOTHING_LEFT = "Stopped before a Job was created; nothing is left behind."

app = typer.Typer(
    name="claude-jobs",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def main() -> None:
    """Run Claude Code agents as Kubernetes Jobs under Prefect."""


app.command()(demo)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    local_cluster
)


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
    """Run one agent in this process and show what it prints as it comes.

    The flow run appears in the Prefect API in use, or in a temporary one. Exit code 0 means that
    the run succeeded. Ctrl-C once ends the agent with grace; twice leaves its Job running.
    """
    output = LiveOutput(Console(highlight=False, soft_wrap=True))
    try:
        request = _read_request(parameters)
        check_request(request, kubeconfig)
    except InputInvalid as error:
        _end_without_result(error.code, error.message, output, as_json=as_json)
        raise typer.Exit(EXIT_INPUT_INVALID) from None
    try:
        result = _run_to_its_end(request, kubeconfig, output)
    except RunCrashed as error:
        # The code of every ending that has none of its own.
        _end_without_result(ErrorCode.CLAUDE_FAILED, str(error), output, as_json=as_json)
        raise typer.Exit(EXIT_RUN_FAILED) from None
    if result is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    output.show_result(result)
    if as_json:
        # Not through the console, which would wrap or colour it.
        typer.echo(result.model_dump_json())
    raise typer.Exit(_exit_code(result))


def _end_without_result(code: str, message: str, output: LiveOutput, *, as_json: bool) -> None:
    output.show_refusal(code, message)
    if as_json:
        typer.echo(json.dumps({"error_code": code, "message": message}))


def _read_request(parameters: Path) -> AgentRunRequest:
    try:
        if str(parameters) == "-":
            text = typer.get_text_stream("stdin").read()
        else:
            text = parameters.read_text(encoding="utf-8")
    except OSError as error:
        raise InputInvalid(f"The request {parameters} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputInvalid(f"The request {parameters} is not UTF-8 text.") from error
    try:
        raw: Any = json.loads(text)
    except ValueError as error:
        raise InputInvalid(f"The request {parameters} is not JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise InputInvalid(f"The request {parameters} is not a JSON object.")
    return parse_request(cast("dict[str, Any]", raw))


def _exit_code(result: AgentRunResult) -> int:
    match result.error_code:
        case None:
            return 0
        case ErrorCode.INPUT_INVALID | ErrorCode.PROMPT_TOO_LARGE | ErrorCode.AGENT_ID_INVALID:
            return EXIT_INPUT_INVALID
        case ErrorCode.CANCELLED:
            return EXIT_INTERRUPTED
        case _:
            return EXIT_RUN_FAILED


def _run_to_its_end(
    request: AgentRunRequest, kubeconfig: Path | None, output: LiveOutput
) -> AgentRunResult | None:
    """Run the flow in this process; `None` when the Job was left to itself.

    Raises:
        typer.Exit: The process was told to stop.
    """
    # What Prefect's console handler would print is shown by `output`; the API still gets it all.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    try:
        # Prefect takes two seconds to import, which a wrong request need not wait for.
        from prefect.exceptions import TerminationSignal

        from flows.run_agent import run_in_this_process
    except KeyboardInterrupt:
        output.show_note(_NOTHING_LEFT)
        return None
    try:
        return asyncio.run(_run_here(run_in_this_process, request, kubeconfig, output))
    except TerminationSignal:
        raise typer.Exit(EXIT_TERMINATED) from None


async def _run_here(
    run_in_this_process: Callable[[AgentRunRequest, RunControls], Awaitable[AgentRunResult]],
    request: AgentRunRequest,
    kubeconfig: Path | None,
    output: LiveOutput,
) -> AgentRunResult | None:
    controls = RunControls(kubeconfig=kubeconfig, on_lines=output.show_lines)
    running = asyncio.ensure_future(run_in_this_process(request, controls))

    def interrupt() -> None:
        if controls.cancel_requested.is_set():
            running.cancel()
            return
        controls.cancel_requested.set()
        output.show_note(
            "Ending the agent with grace; press Ctrl-C again to leave its Job running."
        )

    # Until the loop is closed: an interrupt after the run's end must not lose what it ended with.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    try:
        return await running
    except asyncio.CancelledError:
        output.show_note(_describe_left_job(controls, request))
        return None


def _describe_left_job(controls: RunControls, request: AgentRunRequest) -> str:
    if controls.job_reference is None:
        return _NOTHING_LEFT
    if controls.job_deleted:
        return (
            f"The deletion of Job {controls.job_reference} was asked for: its agent ends within "
            "its grace, and what it still prints is not collected."
        )
    if request.task_id is None:
        return (
            f"Job {controls.job_reference} keeps running. The request names no task_id, so no "
            "later run can take it over: follow it with kubectl, or delete it."
        )
    return (
        f"Job {controls.job_reference} keeps running. Run the same request again (task "
        f"{request.task_id!r}) to take it over: the next run waits until this one's Lease has run "
        "out and reads the transcript from its beginning."
    )
