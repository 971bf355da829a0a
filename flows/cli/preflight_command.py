"""`claude-jobs preflight`: checks whether a run is possible from here, and what is missing."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.foreground_run import EXIT_INPUT_INVALID, EXIT_RUN_FAILED
from flows.cli.operator_tables import print_json
from flows.cli.request_file import read_request
from tasks.preflight.preflight_facts import LONGEST_OUTAGE_SECONDS, PreflightConfig
from tasks.preflight.preflight_results import (
    Level,
    PreflightReport,
    build_preflight_table,
    render_pod,
)
from tasks.text.safe_text import escape_control_characters
from tasks.vocabulary.errors import InputInvalid

_STYLES = {Level.OK.value: "green", Level.WARNING.value: "yellow", Level.ERROR.value: "bold red"}


def preflight(
    parameters: Annotated[
        Path, typer.Argument(help="JSON file with a run's request; `-` reads standard input.")
    ],
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="Kubeconfig to use instead of the runtime's cluster credentials."),
    ] = None,
    longest_outage_seconds: Annotated[
        int,
        typer.Option(
            min=0, help="Longest outage of Prefect or its workers that must not lose a result."
        ),
    ] = LONGEST_OUTAGE_SECONDS,
    show_pod: Annotated[
        bool,
        typer.Option("--pod", help="Print the agent's pod too, as the cluster would store it."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Check whether a run is possible with your credentials, and report what is missing.

    Nothing is started or changed, except for a small file in the result storage. Exit code 0: no
    errors, perhaps warnings. 1: the run would fail. 2: the request is not valid.
    """
    try:
        request = read_request(parameters)
    except InputInvalid as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(EXIT_INPUT_INVALID) from None
    config = PreflightConfig(request=request, longest_outage_seconds=longest_outage_seconds)
    report = asyncio.run(_check(config, kubeconfig))
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report)
        if show_pod and report.pod is not None:
            typer.echo(escape_control_characters(render_pod(report.pod)))
    raise typer.Exit(EXIT_RUN_FAILED if report.errors else 0)


async def _check(config: PreflightConfig, kubeconfig: Path | None) -> PreflightReport:
    # Importing Prefect and the Kubernetes client takes seconds; an invalid request is rejected
    # before that.
    from flows.preflight import Surroundings, check_surroundings

    report, _ = await check_surroundings(config, Surroundings(kubeconfig=kubeconfig))
    return report


def _show(report: PreflightReport) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("Level", "Check", "Finding", "What to do"):
        table.add_column(name, overflow="fold")
    for row in build_preflight_table(report):
        level, *texts = row.values()
        table.add_row(
            Text(level, style=_STYLES[level]),
            *(Text(escape_control_characters(text)) for text in texts),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(report.summary, markup=False)
