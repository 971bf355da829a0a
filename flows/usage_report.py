"""`usage_report`: tokens, cost, time and outcomes per agent and day, as a table and as CSV."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.run.inputs import load_runtime_block
from tasks.orchestrator.artifacts import publish_table
from tasks.storage.result_storage import ResultStorage, open_result_storage
from tasks.storage.storage_keys import usage_csv_key
from tasks.usage.usage_config import UsageConfig, parse_usage_config
from tasks.usage.usage_records import read_recorded_usage
from tasks.usage.usage_tables import (
    UsageReport,
    UsageRow,
    build_usage_csv,
    build_usage_report,
    build_usage_rows,
    build_usage_table,
)
from tasks.vocabulary.errors import InputInvalid

ARTIFACT_KEY = "usage-report"
_PUBLISH_SECONDS = 15.0
_STORE_SECONDS = 60.0
_DEFAULTS = UsageConfig()


@dataclass(frozen=True)
class Usage:
    """Recorded usage.

    Attributes:
        storage: The storage it was read from.
    """

    rows: list[UsageRow]
    report: UsageReport
    storage: ResultStorage


@flow(
    name="usage-report",
    description="Reports tokens, cost, time and outcomes per agent and day.",
    # The body parses them, so that it can say what is wrong.
    validate_parameters=False,
)
async def usage_report(config: UsageConfig = _DEFAULTS) -> State[dict[str, object]]:
    """Sum up what agents have used, publish it as a table, and store it as CSV.

    Args:
        config: The agents and days to report.

    Returns:
        Completed, or Failed if something could not be read or stored; its data is the
        `UsageReport`.
    """
    logger = get_run_logger()
    try:
        usage = await read_usage(parse_usage_config(config), datetime.now(UTC).date())
    except InputInvalid as error:
        return Failed(name="Invalid input", message=error.message)
    report = await _store_csv(usage)
    await _publish(usage.rows, report, logger.warning)
    logger.info(report.summary)
    data = report.model_dump(mode="json")
    if report.problems:
        return Failed(name="Usage incomplete", message=report.summary, data=data)
    return Completed(message=report.summary, data=data)


async def read_usage(config: UsageConfig, today: date) -> Usage:
    """Return the usage of the days up to today; the report names what could not be read.

    Raises:
        InputInvalid: The block does not exist, or its storage cannot list its contents.
    """
    reference = config.result_storage
    if config.runtime is not None:
        reference = (await load_runtime_block(config.runtime, None)).spec.result_storage
    storage = await open_result_storage(reference)
    days = [today - timedelta(days=back) for back in range(config.days)]
    recorded = await read_recorded_usage(storage, days)
    wanted = set(config.agent_ids)
    rows = build_usage_rows(day for day in recorded.days if not wanted or day.agent_id in wanted)
    report = build_usage_report(rows, since=days[-1], until=today, problems=recorded.problems)
    return Usage(rows, report, storage)


async def _store_csv(usage: Usage) -> UsageReport:
    """Store all rows; return the report with their location, or with the reason of the failure."""
    report = usage.report
    key = usage_csv_key(report.since, report.until)
    try:
        async with asyncio.timeout(_STORE_SECONDS):
            await usage.storage.write(key, build_usage_csv(usage.rows).encode())
    except Exception as error:
        # A block may raise any exception of its library.
        why = str(error) or type(error).__name__
        problem = f"The CSV could not be stored in {usage.storage.description}: {why}."
        return report.model_copy(update={"problems": [*report.problems, problem]})
    location = f"{usage.storage.description}/{key}"
    return report.model_copy(update={"csv_location": location})


async def _publish(rows: list[UsageRow], report: UsageReport, warn: Callable[[str], None]) -> None:
    table, left_out = build_usage_table(rows)
    more = f" {left_out} more rows are left out." if left_out else ""
    try:
        await publish_table(
            ARTIFACT_KEY, table, f"{report.summary}{more}", seconds=_PUBLISH_SECONDS
        )
    except Exception as error:
        warn(f"The table could not be published ({type(error).__name__}).")
