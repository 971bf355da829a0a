"""A run in this process: its output is shown live, Ctrl-C stops it, a second Ctrl-C leaves it."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import typer

from flows.cli.live_output import LiveOutput
from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_controls import RunControls
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import PrefectUnusable

EXIT_RUN_FAILED = 1
EXIT_INPUT_INVALID = 2
EXIT_PREFECT_UNUSABLE = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_TERMINATED = 143  # 128 + SIGTERM

_NOTHING_LEFT = "Stopped before a Job was created; nothing is left behind."

StartRun = Callable[[RunControls], Awaitable[AgentRunResult]]


def exit_code_of(result: AgentRunResult) -> int:
    """Return the exit code for a run's outcome."""
    match result.error_code:
        case None:
            return 0
        case ErrorCode.INPUT_INVALID | ErrorCode.PROMPT_TOO_LARGE | ErrorCode.AGENT_ID_INVALID:
            return EXIT_INPUT_INVALID
        case ErrorCode.CANCELLED:
            return EXIT_INTERRUPTED
        case _:
            return EXIT_RUN_FAILED


def run_to_its_end(
    load: Callable[[], StartRun], kubeconfig: Path | None, output: LiveOutput
) -> AgentRunResult | None:
    """Run a flow in this process; return `None` if its Job was left running.

    Args:
        load: Imports Prefect, which takes seconds, and returns the function that starts the run.
        kubeconfig: Kubeconfig to use instead of the runtime's cluster credentials.
        output: Shows the output of the run.

    Raises:
        PrefectUnusable: Prefect gave no usable answer; what became of the Job is in its sentence.
        typer.Exit: The process was told to stop.
    """
    try:
        with _keeping_what_is_imported():
            from prefect.exceptions import TerminationSignal

            start = load()
    except KeyboardInterrupt:
        output.show_note(_NOTHING_LEFT)
        return None
    try:
        return asyncio.run(_run_here(start, kubeconfig, output))
    except TerminationSignal:
        raise typer.Exit(EXIT_TERMINATED) from None


@contextmanager
def _keeping_what_is_imported() -> Generator[None]:
    """Import without the garbage collector, which finds nothing there and takes a sixth of it."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


async def _run_here(
    start: StartRun, kubeconfig: Path | None, output: LiveOutput
) -> AgentRunResult | None:
    controls = RunControls(kubeconfig=kubeconfig, on_lines=output.show_lines)
    running = asyncio.ensure_future(_run_on_prefect(start, controls))

    def interrupt() -> None:
        if controls.cancel_requested.is_set():
            running.cancel()
            return
        controls.cancel_requested.set()
        output.show_note(
            "Stopping the agent with its grace period; press Ctrl-C again to leave its Job running."
        )

    # Kept until the loop is closed: an interrupt after the run's end must not lose its result.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
    try:
        return await running
    except asyncio.CancelledError:
        output.show_note(_describe_left_job(controls))
        return None


async def _run_on_prefect(start: StartRun, controls: RunControls) -> AgentRunResult:
    from tasks.orchestrator.prefect_api import check_prefect, explain_prefect_failure

    await check_prefect()
    try:
        return await start(controls)
    except Exception as error:
        unusable = explain_prefect_failure(error)
        if unusable is None:
            raise
        raise PrefectUnusable(
            f"{unusable.message} {_describe_left_job(controls)}", unusable.advice
        ) from error


def _describe_left_job(controls: RunControls) -> str:
    if controls.job_reference is None:
        return _NOTHING_LEFT
    namespace, _, job_name = controls.job_reference.partition("/")
    if controls.job_deleted:
        return (
            f"Job {controls.job_reference} is being deleted. Its agent has its grace period, "
            "and any further output is lost."
        )
    return (
        f"Job {controls.job_reference} keeps running. Take it over with `claude-jobs attach "
        f"{job_name} --namespace {namespace}`, which reads the transcript from the beginning, or "
        "stop it with `claude-jobs stop`."
    )
