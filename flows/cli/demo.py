"""`claude-jobs demo`: one agent on an embedded cluster with a temporary Prefect server."""

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

# Enough for the agent's grace period and the report.
_RUN_END_SECONDS = 20.0


@dataclass(frozen=True)
class DemoOptions:
    """Options of the demo.

    Attributes:
        ui: Whether to serve Prefect's UI until Ctrl-C.
        real: Whether to run the real `claude` instead of a replay.
        base_url: URL of the model's API; Anthropic's if `None`.
        as_json: Whether to print the result as JSON on the last line.
    """

    ui: bool = False
    real: bool = False
    base_url: str | None = None
    as_json: bool = False


def demo(
    ui: Annotated[
        bool, typer.Option("--ui", help="Serve Prefect's UI until Ctrl-C and print the run's URL.")
    ] = False,
    real: Annotated[
        bool,
        typer.Option("--real", help="Run `claude` from PATH on a small task; this costs money."),
    ] = False,
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --real: URL of the model's API."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --real: do not ask to confirm.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on the last line.")
    ] = False,
) -> None:
    """Run one agent on an embedded cluster with a temporary Prefect server.

    The agent replays a recorded session of Claude Code, which costs nothing. Everything that the
    demo starts is stopped when it ends. Exit code 0 means that the run succeeded and that its
    transcript is complete, proven by line count and hash.
    """
    console = Console(highlight=False, soft_wrap=True)
    options = DemoOptions(ui=ui, real=real, base_url=base_url, as_json=as_json)
    if base_url and not real:
        _refuse(console, "--base-url needs --real; a replayed session calls no model.")
    if real:
        _check_real(console, options, confirmed=yes)
    try:
        with interruptible():
            code = show_demo(options, console)
    except StartFailed as error:
        console.print(f"[bold red]✘[/] {error}", markup=True)
        code = EXIT_FAILED
    except Interrupted as interruption:
        console.print("Interrupted; everything that the demo started was stopped.", style="cyan")
        code = interruption.exit_code
    raise typer.Exit(code)


def show_demo(options: DemoOptions, console: Console) -> int:
    """Start everything, run the agent, stop everything, and return the exit code.

    Raises:
        StartFailed: The cluster or Prefect did not start.
        Interrupted: A signal was received; everything was stopped.
    """
    with tempfile.TemporaryDirectory(prefix="claude-jobs-demo-") as name:
        folder = Path(name)
        # If this user is root, containers run as another user.
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
    """Run `claude-jobs run`, pass on its output live, and return the run's result.

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
            # It prints into a pipe, whose output goes to our terminal.
            **({"FORCE_COLOR": "1"} if console.is_terminal else {}),
            "COLUMNS": str(console.width),
        },
        surroundings.folder,
    )
    last = b""
    try:
        for line in run.output:
            # A line that may be the result is held back until another line follows.
            if last:
                _pass_on(last)
            last = line if line.startswith(b"{") else b""
            if not last:
                _pass_on(line)
        code = run.wait()
    except Interrupted:
        # Like Ctrl-C on its own terminal: the agent is stopped with its grace period.
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
    """Print what was shown and where to look next; return whether the run succeeded."""
    complete = result.get("transcript", {}).get("complete") is True
    succeeded = complete and result.get("error_code") is None
    console.print()
    if not complete:
        console.print("[bold red]✘ The transcript is not complete.[/]")
    if not options.real:
        console.print(
            "[dim]This was a recorded session: no model was called, nothing was paid. Tokens and "
            "cost are those of the recording.[/]"
        )
    flow_run_id = result.get("flow_run_id")
    if options.ui and flow_run_id:
        console.print(
            "In Prefect's UI: [link]"
            f"{surroundings.prefect_url}/runs/flow-run/{flow_run_id}[/link]\n"
            "Its tabs: Logs (the output above), Task Runs (the stages), Artifacts (the report)."
        )
    elif not options.ui:
        console.print(
            "Next: [bold]claude-jobs demo --ui[/] keeps Prefect's UI open, with the run's log, "
            "stages and report."
        )
    return succeeded


def _pass_on(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _wait_for_interrupt(console: Console) -> None:
    try:
        console.print("[cyan]Press Ctrl-C to stop everything.[/]")
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
    # Imported here because they load the HTTP client, which other commands do not need.
    from tasks.cluster.cluster_client import ClusterClient
    from tasks.cluster.connection import ClusterConnection
    from tasks.cluster.kinds.secrets import create_secret

    connection = ClusterConnection.from_kubeconfig_file(str(kubeconfig))
    async with ClusterClient(connection) as client:
        await create_secret(client, NAMESPACE, build_credentials_secret(credentials))


def _read_credentials(options: DemoOptions) -> dict[str, str]:
    found = {name: os.environ[name] for name in CREDENTIAL_NAMES if os.environ.get(name)}
    if not found and options.base_url:
        # Claude Code requires a key even if the API ignores it.
        return {"ANTHROPIC_API_KEY": "none"}
    return found


def _check_real(console: Console, options: DemoOptions, *, confirmed: bool) -> None:
    claude = shutil.which("claude")
    if claude is None:
        _refuse(console, "`claude` is not on PATH; install Claude Code first.")
    if not _read_credentials(options):
        _refuse(
            console,
            "Claude Code needs credentials in one of these environment variables: "
            f"{', '.join(CREDENTIAL_NAMES)} (`claude setup-token` creates the last one, for a "
            "subscription).",
        )
    console.print(
        f"This runs {claude} for real on a small task, against "
        f"{options.base_url or 'the Anthropic API'}. It may cost up to about "
        f"${REAL_BUDGET_USD:.2f}, at which Claude Code stops by itself; a few cents are usual. "
        "It may run any command as a process on this machine, without a sandbox."
    )
    if not confirmed and not typer.confirm("Continue?"):
        raise typer.Exit(EXIT_REFUSED)


def _refuse(console: Console, message: str) -> NoReturn:
    console.print(message, style="red", markup=False)
    raise typer.Exit(EXIT_REFUSED)
