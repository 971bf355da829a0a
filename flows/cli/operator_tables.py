"""Shows agents to operators: tables for people, JSON values for machines."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tasks.observation.snapshots import JobSnapshot, LeaseSnapshot
from tasks.operators.agent_listing import ClusterLook, describe_job
from tasks.operators.agent_rows import AgentRow
from tasks.outcome.report_page import UNKNOWN
from tasks.outcome.run_result import AgentRunResult
from tasks.text.safe_text import escape_control_characters


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
        console.print(Markdown(escape_control_characters(report)))
    for title, rows in facts:
        console.print(f"\n[bold]{escape(title)}[/]")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in rows:
            table.add_row(f"[dim]{escape(name)}[/]", Text(_safe(value)))
        console.print(table)


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
        ("Condition", f"{condition.type} ({condition.reason})" if condition else UNKNOWN),
        ("Result stored", _instant(job.harvested_at)),
        ("Pods", ", ".join(f"{pod.name} ({pod.phase})" for pod in pods) or UNKNOWN),
    ]


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
