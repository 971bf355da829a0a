"""`claude-jobs usage`: tokens, cost, time and outcomes per agent and day.

Exit code 0: complete. 1: something could not be read. 2: the storage or block does not exist. 3:
the block cannot be read, because the Prefect API in use gives no usable answer.
"""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli import operator_tables
from flows.cli.foreground_run import (
    EXIT_INPUT_INVALID,
    EXIT_PREFECT_UNUSABLE,
    EXIT_RUN_FAILED,
)
from tasks.text.safe_text import escape_control_characters
from tasks.usage.usage_config import UsageConfig, parse_usage_config
from tasks.usage.usage_tables import (
    UsageReport,
    UsageRow,
    build_usage_csv,
    build_usage_table,
)
from tasks.vocabulary.errors import InputInvalid, PrefectUnusable

if TYPE_CHECKING:
    from flows.usage_report import Usage


def usage(
    agents: Annotated[
        list[str] | None, typer.Argument(metavar="[AGENT]...", help="Ids of agents. Default: all.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=366, help="Number of days, today included (UTC).")
    ] = 7,
    runtime: Annotated[
        str | None, typer.Option(help="Agent Runtime block whose result storage to read.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Result storage to read instead: absolute path or block-type/block-name."
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Show tokens, cost, time and outcomes per agent and day, from the result storage."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        config = parse_usage_config(
            {
                "agent_ids": agents or (),
                "days": days,
                "runtime": runtime,
                "result_storage": storage,
            }
        )
        found = asyncio.run(_read(config))
    except InputInvalid as error:
        errors.print(f"✘ {error.message}", style="bold red", markup=False)
        raise typer.Exit(EXIT_INPUT_INVALID) from None
    except PrefectUnusable as error:
        if as_json:
            operator_tables.print_json({"error": error.message, "advice": error.advice})
        else:
            errors.print(f"✘ {error.message}", style="bold red", markup=False)
            errors.print(f"What to do: {error.advice}", style="yellow", markup=False)
        raise typer.Exit(EXIT_PREFECT_UNUSABLE) from None
    if as_csv:
        typer.echo(build_usage_csv(found.rows), nl=False)
    elif as_json:
        operator_tables.print_json(
            {**found.report.model_dump(mode="json"), "rows": [asdict(row) for row in found.rows]}
        )
    else:
        _show(found.rows, found.report)
    for problem in found.report.problems:
        errors.print(problem, style="yellow", markup=False)
    if found.report.problems:
        raise typer.Exit(EXIT_RUN_FAILED)


async def _read(config: UsageConfig) -> "Usage":
    # Importing Prefect takes two seconds, which `--help` does not need.
    from flows.usage_report import read_usage
    from tasks.orchestrator.prefect_api import check_prefect, explain_prefect_failure

    try:
        if config.needs_prefect:
            await check_prefect()
        return await read_usage(config, datetime.now(UTC).date())
    except Exception as error:
        raise explain_prefect_failure(error) or error from None


def _show(rows: list[UsageRow], report: UsageReport) -> None:
    console = Console(highlight=False, soft_wrap=True)
    shown, left_out = build_usage_table(rows)
    if shown:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in shown[0]:
            table.add_column(name, overflow="fold")
        for row in shown:
            table.add_row(*(Text(escape_control_characters(value)) for value in row.values()))
        console.print(table)
    summary = report.model_copy(update={"problems": []}).summary
    more = f" {left_out} more rows are left out; --csv has them." if left_out else ""
    console.print(f"{summary}{more}", markup=False)
