"""Reads the rows of `claude-jobs ls`, once or again and again."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from rich.console import Console

from flows.cli import operator_tables
from flows.cli.agent_table import AgentTable, ListFormat
from flows.cli.run_records import RunRecords
from tasks.operators.agent_listing import ClusterLook, Target, agents_of
from tasks.operators.agent_rows import AgentRow, find_changes, job_row, run_row, sort_rows
from tasks.operators.cluster_look import ClusterAccess
from tasks.operators.last_run import PrefectRun, choose_last_run

_LOOK_SECONDS = 2.0


async def read_rows(look: ClusterLook, records: RunRecords, *, all_jobs: bool) -> list[AgentRow]:
    """Return one row for each agent, that of its last run.

    Args:
        look: The cluster.
        records: Prefect and the result storage.
        all_jobs: Also return a row for each other Job.
    """
    last_runs: list[tuple[Target, PrefectRun | None]] = []
    for agent, runs in (await records.runs_of(look, agents_of(look))).items():
        target = choose_last_run(look, agent, runs)
        last_runs.append((target, _run_of(target, runs)))
    run_of_job = {target.job.uid: run for target, run in last_runs if target.job is not None}
    jobs = [job for job in look.jobs if all_jobs or job.uid in run_of_job]
    of_jobs = await records.records_of(jobs)
    rows = [job_row(look, job, of_jobs[job.uid], run_of_job.get(job.uid)) for job in jobs]
    for target, run in last_runs:
        if target.job is None:
            record = await records.record_of_run(look, target)
            rows.append(run_row(look, target, record, run))
    return sort_rows(rows)


async def watch_rows(
    access: ClusterAccess, records: RunRecords, *, all_jobs: bool, watch: bool
) -> AsyncGenerator[Sequence[AgentRow], None]:
    """Yield all rows, and with `watch` those that have changed since, without an end."""
    before: Sequence[AgentRow] | None = None
    while True:
        rows = await read_rows(await access.look(), records, all_jobs=all_jobs)
        changed = rows if before is None else find_changes(before, rows)
        if changed or before is None:
            yield changed
        if not watch:
            return
        before = rows
        await asyncio.sleep(_LOOK_SECONDS)


def row_printer(
    console: Console, namespace: str, output: ListFormat | None
) -> Callable[[Sequence[AgentRow]], None]:
    """Return what prints the rows, and when called again those that have changed."""
    if output is ListFormat.JSON:
        return lambda rows: operator_tables.print_json(operator_tables.rows_for_machines(rows))
    table = AgentTable(console, wide=output is ListFormat.WIDE)
    has_titles = False

    def show(rows: Sequence[AgentRow]) -> None:
        nonlocal has_titles
        if not rows:
            console.print(f"There is no agent in namespace {namespace}.")
        elif has_titles:
            table.print_more(rows)
        else:
            has_titles = True
            table.print_titles_and(rows)

    return show


def _run_of(target: Target, runs: Sequence[PrefectRun]) -> PrefectRun | None:
    return next((run for run in runs if run.flow_run_id == target.flow_run_id), None)
