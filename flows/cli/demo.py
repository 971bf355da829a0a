"""`claude-jobs demo`: one agent on an embedded cluster, with a Prefect server, from nothing."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from flows.cli.demo_requests import (
    CREDENTIAL_NAMES,
    NAMESPACE,
    REAL_BUDGET_USD,
    build_credentials_secret,
    build_real_request,
    build_replay_request,
)
from flows.cli.demo_surroundings import RECORDINGS, Surroundings, start_surroundings
from flows.cli.local_processes import Interrupted, OwnProcess, StartFailed, interruptible, program

EXIT_FAILED = 1
EXIT_REFUSED = 2

# Enough for the agent's grace and the report.
_RUN_END_SECONDS = 20.0


@dataclass(frozen=True)
class DemoOptions:
    """How the demo is shown.

    Attributes:
        ui: Whether Prefect's UI is served, until Ctrl-C.
        real: Whether the real `claude` runs instead of the replaying one.
        base_url: Where the model's API is; Anthropic's where None.
        as_json: Whether the last line is the result as JSON.
    """

    ui: bool = False
    real: bool = False
    base_url: str | None = None
    as_json: bool = False


def demo(
    ui: Annotated[
        bool, typer.Option("--ui", help="Serve Prefect's UI until Ctrl-C and name the run's page.")
    ] = False,
    real: Annotated[
        bool,
        typer.Option("--real", help="Run `claude` from PATH on a small task; this costs money."),
    ] = False,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --real: where the model's API is."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --real: do not ask first.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on the last line.")
    ] = False,
) -> None:
    """Run one agent on an embedded cluster with a Prefect server of its own; needs nothing else.

    The agent replays a recorded session of Claude Code, which costs nothing. Everything that is
    started ends with the demo. Exit code 0 means that the run succeeded and that its transcript is
    complete, proven by count and hash.
    """
    console = Console(highlight=False, soft_wrap=True)
    options = DemoOptions(ui=ui, real=real, base_url=base_url, as_json=as_json)
    if base_url and not real:
        _refuse(console, "--base-url is for --real; the replayed session asks no model.")
    if real:
        _check_real(console, options, confirmed=yes)
    try:
        with interruptible():
            code = show_demo(options, console)
    except StartFailed as error:
        console.print(f"[bold red]✘[/] {error}", markup=True)
        code = EXIT_FAILED
    except Interrupted as interruption:
        console.print("Interrupted; everything that was started has ended.", style="cyan")
        code = interruption.exit_code
    raise typer.Exit(code)


def show_demo(options: DemoOptions, console: Console) -> int:
    """Start everything, run the agent, end everything; returns the exit code.

    Raises:
        StartFailed: The cluster or Prefect did not come up.
        Interrupted: A signal came; everything has ended.
    """
    with tempfile.TemporaryDirectory(prefix="claude-jobs-demo-") as name:
        folder = Path(name)
        # Containers run as another user where this one is root.
        folder.chmod(0o755)
        with start_surroundings(
            folder, console, serve_ui=options.ui, replay=not options.real
        ) as surroundings:
            request_path = folder / "request.json"
            request_path.write_text(json.dumps(_build_request(options, surroundings), indent=2))
            console.print(f"[dim]$ claude-jobs run {request_path.name} --kubeconfig …[/]\n")
            result = run_agent_live(request_path, surroundings, console)
            succeeded = tell_outcome(result, options, surroundings, console)
            if options.as_json:
                typer.echo(json.dumps(result))
            if options.ui:
                _wait_for_interrupt(console)
    return 0 if succeeded else EXIT_FAILED


def run_agent_live(
    request_path: Path, surroundings: Surroundings, console: Console
) -> dict[str, Any]:
    """Run `claude-jobs run`, pass on what it prints as it comes, and return the run's result.

    Raises:
        StartFailed: It ended without a result.
    """
    run = OwnProcess(
        "claude-jobs run",
        [
            *(program("claude-jobs"), "run", request_path, "--json"),
            *("--kubeconfig", surroundings.kubeconfig),
        ],
        {
            **surroundings.environment,
            # It prints into a pipe; the terminal behind it is ours.
            **({"FORCE_COLOR": "1"} if console.is_terminal else {}),
            "COLUMNS": str(console.width),
        },
        surroundings.folder,
    )
    last = b""
    try:
        for line in run.output:
            # What may be the result is held back until another line follows.
            if last:
                _pass_on(last)
            last = line if line.startswith(b"{") else b""
            if not last:
                _pass_on(line)
        code = run.wait()
    except Interrupted:
        # As Ctrl-C on its own terminal: the agent ends with grace and its Job goes away.
        run.ask_to_end(signal.SIGINT)
        raise
    finally:
        run.end(_RUN_END_SECONDS)
    try:
        result = json.loads(last)
    except ValueError:
        raise StartFailed(f"The run ended without a result (exit code {code}).") from None
    return result


def tell_outcome(
    result: Mapping[str, Any], options: DemoOptions, surroundings: Surroundings, console: Console
) -> bool:
    """Say what it was and where to look; returns whether all is as it should be."""
    complete = result.get("transcript", {}).get("complete") is True
    succeeded = complete and result.get("error_code") is None
    console.print()
    if not complete:
        console.print("[bold red]✘ The transcript is not complete.[/]")
    if not options.real:
        console.print(
            "[dim]This was a recorded session: no model was asked and nothing was paid; tokens and "
            "cost are the recording's.[/]"
        )
    flow_run_id = result.get("flow_run_id")
    if options.ui and flow_run_id:
        console.print(
            "In Prefect's UI: [link]"
            f"{surroundings.prefect_url}/runs/flow-run/{flow_run_id}[/link]\n"
            "Its tabs: Logs (what you saw here), Task Runs (the stages), Artifacts (the report)."
        )
    elif not options.ui:
        console.print(
            "Where to look: [bold]claude-jobs demo --ui[/] keeps Prefect open on the run's page, "
            "with log, stages and report."
        )
    return succeeded


def _pass_on(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _wait_for_interrupt(console: Console) -> None:
    try:
        console.print("[cyan]Ctrl-C ends everything.[/]")
        while True:
            signal.pause()
    except Interrupted as interruption:
        if interruption.exit_code != 128 + signal.SIGINT:
            raise


def _build_request(options: DemoOptions, surroundings: Surroundings) -> dict[str, Any]:
    storage = surroundings.folder / "results"
    if not options.real:
        return build_replay_request(surroundings.folder / RECORDINGS, storage)
    credentials = _read_credentials(options)
    asyncio.run(_store_credentials(surroundings.kubeconfig, credentials))
    return build_real_request(credentials, options.base_url, storage)


async def _store_credentials(kubeconfig: Path, credentials: Mapping[str, str]) -> None:
    # They bring the HTTP client, which no other command line need wait for.
    from tasks.cluster.cluster_client import ClusterClient
    from tasks.cluster.connection import ClusterConnection
    from tasks.cluster.kinds.secrets import create_secret

    connection = ClusterConnection.from_kubeconfig_file(str(kubeconfig))
    async with ClusterClient(connection) as client:
        await create_secret(client, NAMESPACE, build_credentials_secret(credentials))


def _read_credentials(options: DemoOptions) -> dict[str, str]:
    found = {name: os.environ[name] for name in CREDENTIAL_NAMES if os.environ.get(name)}
    if not found and options.base_url:
        # Claude Code wants a key, whatever the other side makes of it.
        return {"ANTHROPIC_API_KEY": "none"}
    return found


def _check_real(console: Console, options: DemoOptions, *, confirmed: bool) -> None:
    claude = shutil.which("claude")
    if claude is None:
        _refuse(console, "There is no `claude` on PATH; install Claude Code first.")
    if not _read_credentials(options):
        _refuse(
            console,
            "Claude Code needs credentials in the environment: one of "
            f"{', '.join(CREDENTIAL_NAMES)} (`claude setup-token` makes the last, for a "
            "subscription).",
        )
    console.print(
        f"This runs {claude} for real on a small task, against "
        f"{options.base_url or 'the API of Anthropic'}. It may cost up to about "
        f"${REAL_BUDGET_USD:.2f}, where Claude Code stops by itself; a few cents are usual. "
        "It may run any command as a process of this machine, without a sandbox."
    )
    if not confirmed and not typer.confirm("Go on?"):
        raise typer.Exit(EXIT_REFUSED)


def _refuse(console: Console, message: str) -> NoReturn:
    console.print(message, style="red", markup=False)
    raise typer.Exit(EXIT_REFUSED)
