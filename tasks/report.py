"""What people find on the flow run's page when a run has ended."""

import asyncio
from pathlib import Path
from uuid import UUID

from prefect import get_run_logger

from tasks.orchestrator.artifacts import artifact_address, publish_markdown
from tasks.orchestrator.stage import stage
from tasks.outcome.forensics_page import render_forensics
from tasks.outcome.report_page import (
    Link,
    outcome_name,
    render_output,
    render_report,
    summarize_result,
)
from tasks.outcome.run_result import AgentRunResult, WorkResult
from tasks.run.agent_run import AgentRun
from tasks.run.ended_attempt import ConcludedAttempt, EndedAttempt
from tasks.run.evidence_reads import see_job_finished, take_forensics
from tasks.run.progress_page import publish_progress
from tasks.text.markdown import code_span
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, artifact_key
from tasks.work.work_page import render_work_page

# For all details together, and once more for the report: a busy server takes a while.
_PUBLISH_SECONDS = 15.0
# Time that a process about to be killed reserves for the report, and for cleaning up after it.
_REPORT_SECONDS, _CLEAN_UP_SECONDS = 2.5, 1.5
# More than the page shows of a patch.
_PATCH_READ_BYTES = 256 * 1024


@stage("Report")
async def publish_report(ended: EndedAttempt, concluded: ConcludedAttempt) -> bool:
    """Publish report, transcript and, if the run failed, forensics; before anything is deleted.

    If that fails, the verdict does not change.

    Returns:
        Whether the report was published.
    """
    run, result = ended.run, concluded.result
    after_details = _REPORT_SECONDS + _CLEAN_UP_SECONDS
    seconds = run.outside.controls.bounded(_PUBLISH_SECONDS, leaving_seconds=after_details)
    links = await _publish_details(ended, concluded, seconds)
    seconds = run.outside.controls.bounded(_PUBLISH_SECONDS, leaving_seconds=_CLEAN_UP_SECONDS)
    report = run.outside.redactor.text(render_report(result, links))
    description = run.outside.redactor.text(summarize_result(result))
    published = await _publish(run, "report", report, description, seconds)
    return published is not None


async def publish_refusal(result: AgentRunResult) -> None:
    """Publish the report of a run that was refused before it had connections."""
    try:
        key = artifact_key(AgentId(result.agent_id), "report")
        report, description = render_report(result), summarize_result(result)
        await publish_markdown(key, report, description, seconds=_PUBLISH_SECONDS)
    except AgentRunError:
        # The agent's id is what was refused, and there is no key without one.
        return
    except Exception as error:
        get_run_logger().info(_not_published("report", error))


async def _publish_details(
    ended: EndedAttempt, concluded: ConcludedAttempt, seconds: float
) -> list[Link]:
    """Publish what the report links to; return the links to what was published."""
    run, work, result = ended.run, ended.work, concluded.result
    pages: dict[str, tuple[str, str]] = {}
    if not result.succeeded:
        await see_job_finished(ended)
    bundle = take_forensics(ended, concluded)
    if bundle is not None:
        pages["forensics"] = (render_forensics(bundle), "The facts behind the verdict.")
    if work is not None:
        page = work.page.render(_transcript_file(run, result))
        pages["transcript"] = (page, "What the agent said and did, in readable form.")
    collected = ended.collected
    if result.work is not None and collected is not None:
        page = await asyncio.to_thread(_render_work, result.work, collected.patch, run)
        pages["work"] = (page, "What the agent made of its repository.")
    if result.output is not None:
        pages["output"] = (render_output(result), "The answer as JSON.")
    *published, _ = await asyncio.gather(
        *(_publish(run, kind, *page, seconds) for kind, page in pages.items()),
        _end_progress(ended, result),
    )
    links = [
        Link(kind.capitalize(), artifact_address(artifact_id), is_address=True)
        for kind, artifact_id in zip(pages, published, strict=True)
        if artifact_id is not None
    ]
    key = result.transcript.storage_key
    if key is not None:
        links.append(Link(f"Transcript file in {run.outside.storage.description}", key))
    return links


def _render_work(work: WorkResult, patch: Path | None, run: AgentRun) -> str:
    content, is_cut = None, False
    if patch is not None:
        with patch.open("rb") as file:
            content = file.read(_PATCH_READ_BYTES)
            is_cut = bool(file.read(1))
    page = render_work_page(
        work,
        agent_name=run.prepared.agent_id,
        patch=content,
        patch_is_cut=is_cut,
    )
    return run.outside.redactor.text(page)


async def _end_progress(ended: EndedAttempt, result: AgentRunResult) -> None:
    if ended.work is not None:
        await publish_progress(ended.run, ended.work, outcome_name(result))


async def _publish(
    run: AgentRun, kind: str, markdown: str, description: str, seconds: float
) -> UUID | None:
    key = artifact_key(run.prepared.agent_id, kind)
    try:
        return await publish_markdown(key, markdown, description, seconds=seconds)
    except Exception as error:
        # The verdict is already decided; nothing that the API does may change it.
        run.outside.say(_not_published(kind, error))
        return None


def _transcript_file(run: AgentRun, result: AgentRunResult) -> str:
    key = result.transcript.storage_key
    if key is None:
        return "The transcript file is not in the result storage."
    where = code_span(run.outside.storage.description)
    return f"The transcript file is {code_span(key)} in {where} (stream-json, gzip)."


def _not_published(kind: str, error: Exception) -> str:
    return (
        f"The {kind} could not be published ({type(error).__name__}); the result is not affected."
    )
