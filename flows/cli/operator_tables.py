"""Shows agents to operators: tables for people, JSON values for machines."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tasks.observation.api_fields import Condition
from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot
from tasks.operators.agent_listing import ClusterLook, describe_job
from tasks.operators.agent_rows import AgentRow
from tasks.outcome.report_page import UNKNOWN
from tasks.outcome.run_result import AgentRunResult
from tasks.text.safe_text import escape_control_characters

_TABLE_COLUMNS = 4096


def print_json(value: Any) -> None:
    """Print a JSON value on one line, without the console, which would wrap or colour it."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def rows_for_machines(rows: Sequence[AgentRow]) -> list[dict[str, Any]]:
    """Return the rows as JSON values; null means unknown."""
    return [asdict(row) for row in rows]


def show_run(
    console: Console, report: str | None, facts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
) -> None:
    """Print a run's report, given as Markdown, and the facts about its Job and Lease."""
    if report is not None:
        _print_page(console, escape_control_characters(report))
    for title, rows in facts:
        console.print(f"\n[bold]{escape(title)}[/]")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in rows:
            table.add_row(f"[dim]{escape(name)}[/]", Text(_safe(value)))
        _print_uncut(console, table)


def job_facts(
    look: ClusterLook, job: JobSnapshot, result: AgentRunResult | None
) -> list[tuple[str, str]]:
    """Return the facts about a Job, for people."""
    pods = look.pods_of(job)
    condition = job.final_condition
    return [
        ("Name", f"{look.namespace}/{job.name}"),
        ("State", describe_job(look, job, result)),
        ("Created", _instant(job.created_at)),
        ("Attempt", str(job.attempt or UNKNOWN)),
        ("Task", job.task_id or UNKNOWN),
        ("Owner", job.owner_flow_run_id or job.flow_run_id or UNKNOWN),
        ("Owner's epoch", UNKNOWN if job.owner_epoch is None else str(job.owner_epoch)),
        ("Condition", _describe_condition(condition)),
        ("Result stored", _instant(job.harvested_at)),
        ("Pods", ", ".join(f"{pod.name} ({pod.phase})" for pod in pods) or UNKNOWN),
    ]


def _print_page(console: Console, markdown: str) -> None:
    """Print a page with its prose wrapped at words; in tables, where names are, nothing is."""
    for is_table, blocks in groupby(markdown.split("\n\n"), lambda block: block.startswith("|")):
        page = Markdown("\n\n".join(blocks))
        if is_table:
            _print_uncut(console, page)
        else:
            console.print(page, soft_wrap=False)


def _print_uncut(console: Console, renderable: RenderableType) -> None:
    """Print a table with all of its cells; Rich cuts off what is beyond the console's width."""
    columns = console.width
    console.width = _TABLE_COLUMNS
    try:
        console.print(renderable)
    finally:
        console.width = columns


def _describe_condition(condition: Condition | None) -> str:
    if condition is None:
        return UNKNOWN
    return f"{condition.type} ({condition.reason})" if condition.reason else condition.type


def lease_facts(look: ClusterLook, lease: LeaseSnapshot) -> list[tuple[str, str]]:
    """Return the facts about an agent's Lease, for people."""
    pause = look.pause_of(lease.agent_id) if lease.agent_id else None
    return [
        ("Name", f"{look.namespace}/{lease.name}"),
        ("Held by", lease.holder or "nobody"),
        ("Renewed", _instant(lease.renewed_at)),
        ("Epoch", str(lease.epoch)),
        ("Last Job", lease.committed_job_name or UNKNOWN),
        ("Paused", pause.describe() if pause else "no"),
    ]


def job_for_machines(
    look: ClusterLook, job: JobSnapshot, result: AgentRunResult | None
) -> dict[str, Any]:
    """Return the facts about a Job as JSON values."""
    values = {**asdict(job), "state": describe_job(look, job, result)}
    values["still_running"] = look.still_running(job)
    values["pods"] = [{"name": pod.name, "phase": pod.phase} for pod in look.pods_of(job)]
    return values


def _safe(text: str) -> str:
    return escape_control_characters(text)


def _instant(at: datetime | None) -> str:
    return UNKNOWN if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
