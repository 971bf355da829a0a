"""`claude-jobs ls | show | logs | stop | attach | pause | resume`: agent commands for operators.

Exit code 0: done. 1: not done, for example because the cluster does not answer. 2: nothing has that
name, or the command is not possible in the current state. 3: the Prefect API in use, without which
the command is not possible, gives no usable answer. `attach` has the exit codes of `run`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

from flows.cli import operator_tables
from flows.cli.agent_table import ListFormat
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
from tasks.claude_code.rendering import Extent
from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnauthorised,
    KubeconfigInvalid,
    NamespaceTerminating,
)
from tasks.cluster.refused_access import explain_refused_access
from tasks.operators.operator_errors import CommandRefused, NotDone, require_target
from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_controls import RunControls, RunCrashed
from tasks.vocabulary.errors import AgentRunError, InputInvalid, PrefectUnusable
from tasks.vocabulary.names import parse_agent_id

if TYPE_CHECKING:
    from tasks.operators.cluster_look import ClusterAccess

T = TypeVar("T")

Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        help="Kubeconfig of the cluster. Default: the pod's own cluster, else KUBECONFIG."
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(help="Namespace of the agents. Default: the pod's own, else the kubeconfig's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Name = Annotated[
    str, typer.Argument(metavar="AGENT", help="An agent's id, a flow run's id, or a Job's name.")
]
AgentName = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id.")]


def ls(
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    all_jobs: Annotated[
        bool, typer.Option("--all", "-a", help="List every Job, not only each agent's last run.")
    ] = False,
    output: Annotated[
        ListFormat | None,
        typer.Option(
            "--output", "-o", help="`wide`: also task, Job, flow run, why paused, last line."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Then print each agent that changes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the agents: for each one, its last run with state, age and cost; a dash means unknown.

    What the cluster does not have comes from Prefect and the result storage, if they can be read.
    """
    as_json = as_json or output is ListFormat.JSON

    async def command() -> None:
        from flows.cli.list_command import row_printer, watch_rows

        async with reach_cluster(kubeconfig, namespace) as access:
            form = ListFormat.JSON if as_json else output
            show = row_printer(plain_console(), access.namespace, form)
            async with reach_records(kubeconfig, as_json=as_json) as records:
                async for rows in watch_rows(access, records, all_jobs=all_jobs, watch=watch):
                    show(rows)

    carry_out(command(), as_json=as_json)


def show(
    name: Name,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Show one run with verdict, cause, advice, timeline, cost, transcript, Job and Lease.

    For an agent's id, this is its live run, else its last one, also if it was cancelled or refused.
    """

    async def command() -> None:
        from flows.cli.operator_runs import find_run

        async with reach_cluster(kubeconfig, namespace) as access:
            look = await access.look()
            async with reach_records(kubeconfig, as_json=as_json) as records:
                run = await find_run(look, records, name)
        if as_json:
            operator_tables.print_json(run.for_machines(look))
        else:
            operator_tables.show_run(plain_console(), run.report, run.facts(look))

    carry_out(command(), as_json=as_json)


def logs(
    name: Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the output until the agent has ended.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Print long outputs whole, not their two ends.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Print an agent's transcript from its pod, or from the result storage if the pod is gone.

    Each line is printed once and in order, with API keys masked; times count from the first message
    on. `--json` prints Claude Code's own lines.
    """

    async def command() -> None:
        from flows.cli.operator_runs import show_transcript

        extent = Extent(is_whole=full, printed_by=f"claude-jobs logs {name} --full")
        output = LiveOutput(plain_console(), extent)
        async with reach_cluster(kubeconfig, namespace) as access:
            look = await access.look()
            async with reach_records(kubeconfig, as_json=as_json) as records:
                await show_transcript(
                    access,
                    look,
                    records,
                    name,
                    follow=follow,
                    show=_print_lines if as_json else output.show_lines_of_transcript,
                    say=progress_printer(as_json=as_json),
                )

    carry_out(command(), as_json=as_json)


def stop(
    name: Name,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Stop an agent with its grace period, wait, and report what is gone.

    If its run is alive, the flow run is cancelled in Prefect, which keeps the agent's output. If
    nobody owns it, this command takes the agent's Lease and deletes the Job.
    """

    async def command() -> None:
        from tasks.operators.stop_agent import stop_agent

        async with reach_cluster(kubeconfig, namespace) as access:
            look = await access.look()
            target = require_target(look, name)
            report = await stop_agent(access, look, target, progress_printer(as_json=as_json))
        if as_json:
            operator_tables.print_json(asdict(report))

    carry_out(command(), as_json=as_json)


def attach(
    name: Name,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Take over a Job that has no owner, by continuing its flow run in this process.

    Shows the transcript from the beginning. As with `run`, press Ctrl-C once to stop the agent with
    its grace period, twice to leave its Job running.
    """

    def load() -> StartRun:
        from flows.cli.attach_run import AttachRequest, attach_in_this_process

        def start(controls: RunControls) -> Awaitable[AgentRunResult]:
            return attach_in_this_process(AttachRequest(name, namespace, kubeconfig), controls)

        return start

    output = LiveOutput(plain_console())
    try:
        result = run_to_its_end(load, kubeconfig, output)
    except (CommandRefused, AgentRunError, ClusterError, RunCrashed, PrefectUnusable) as error:
        _refuse(error, as_json=as_json)
    if result is None:
        raise typer.Exit(EXIT_INTERRUPTED)
    output.show_result(result)
    if as_json:
        typer.echo(result.model_dump_json())
    raise typer.Exit(exit_code_of(result))


def pause(
    agent: AgentName,
    reason: Annotated[
        str | None, typer.Option(help="Reason; shown to people whose runs are blocked.")
    ] = None,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """Pause an agent: no new run of it starts until `resume`; a working agent continues.

    Runs of a paused agent end as blocked, with the reason.
    """

    async def command() -> None:
        from tasks.run.pause_switch import pause_agent

        async with reach_cluster(kubeconfig, namespace) as access:
            before = await pause_agent(
                access.client, access.namespace, parse_agent_id(agent), reason
            )
            progress_printer(as_json=as_json)(
                f"Agent {agent} is paused in namespace {access.namespace}"
                + (f"; it was already {before.describe()}." if before else ".")
            )
            if as_json:
                operator_tables.print_json({"agent_id": agent, "paused": True, "reason": reason})

    carry_out(command(), as_json=as_json)


def resume(
    agent: AgentName,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> None:
    """End the pause of an agent, so that new runs of it start again."""

    async def command() -> None:
        from tasks.run.pause_switch import resume_agent

        async with reach_cluster(kubeconfig, namespace) as access:
            ended = await resume_agent(access.client, access.namespace, parse_agent_id(agent))
            progress_printer(as_json=as_json)(
                f"Agent {agent} may start again; it was {ended.describe()}."
                if ended
                else f"Agent {agent} was not paused in namespace {access.namespace}."
            )
            if as_json:
                operator_tables.print_json({"agent_id": agent, "paused": False})

    carry_out(command(), as_json=as_json)


@asynccontextmanager
async def reach_records(kubeconfig: Path | None, *, as_json: bool) -> AsyncGenerator[Any, None]:
    """Read what is stored about runs; afterwards, say what could not be read."""
    # Importing Prefect takes two seconds, so it is imported only if needed.
    from flows.cli.run_records import open_records

    async with open_records(kubeconfig) as records:
        yield records
    for note in records.notes:
        progress_printer(as_json=as_json)(note)


@asynccontextmanager
async def reach_cluster(
    kubeconfig: Path | None, namespace: str | None
) -> AsyncGenerator["ClusterAccess", None]:
    """Connect to the cluster that a command refers to."""
    # Importing the Kubernetes client takes one second, so it is imported only if needed.
    from tasks.operators.cluster_look import open_cluster

    async with open_cluster(kubeconfig, namespace) as access:
        yield access


def carry_out(command: Coroutine[Any, Any, T], *, as_json: bool) -> T:
    """Return what a command does, or end with its refusal and exit code."""
    try:
        return asyncio.run(command)
    except (CommandRefused, AgentRunError, ClusterError) as error:
        _refuse(error, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Exception as error:
        # Imported here: a command that needs no Prefect does not wait for it.
        from tasks.orchestrator.prefect_api import explain_prefect_failure

        unusable = explain_prefect_failure(error)
        if unusable is None:
            raise
        _refuse(unusable, as_json=as_json)


def _refuse(error: Exception, *, as_json: bool) -> NoReturn:
    message, advice, exit_code = _explain(error)
    if as_json:
        operator_tables.print_json({"error": message, "advice": advice})
    else:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(f"✘ {message}", style="bold red", markup=False)
        if advice:
            console.print(f"What to do: {advice}", style="yellow", markup=False)
    raise typer.Exit(exit_code) from None


def _explain(error: Exception) -> tuple[str, str | None, int]:
    """Return the sentence, what to do and the exit code."""
    match error:
        case NotDone():
            return error.message, error.advice, EXIT_RUN_FAILED
        case CommandRefused():
            return error.message, error.advice, EXIT_INPUT_INVALID
        case InputInvalid():
            return error.message, error.advice, EXIT_INPUT_INVALID
        case KubeconfigInvalid():
            return (
                error.message,
                "Correct it, or select another one with --kubeconfig.",
                (EXIT_INPUT_INVALID),
            )
        case NamespaceTerminating():
            return error.message, "Its agents end with it; wait until it is gone.", EXIT_RUN_FAILED
        case ClusterUnauthorised() | ClusterForbidden():
            return error.message, explain_refused_access(error).sentence, EXIT_RUN_FAILED
        case AgentRunError():
            return error.message, error.advice, EXIT_RUN_FAILED
        case ClusterError():
            return error.message, "Check that the cluster answers, then try again.", EXIT_RUN_FAILED
        case PrefectUnusable():
            return error.message, error.advice, EXIT_PREFECT_UNUSABLE
        case _:
            return str(error), None, EXIT_RUN_FAILED


def plain_console() -> Console:
    """Return a console that changes and wraps nothing by itself."""
    return Console(highlight=False, soft_wrap=True)


def progress_printer(*, as_json: bool) -> Callable[[str], None]:
    """Return a function that prints progress; with JSON on stdout, it prints to stderr."""
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print(text, style="cyan", markup=False)

    return say


def _print_lines(lines: Sequence[bytes]) -> None:
    for line in lines:
        typer.echo(line.decode("utf-8", errors="replace"))
