"""The live progress of an attempt: an artifact that is updated in place while the agent works."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

from tasks.claude_code.session_progress import render_progress
from tasks.orchestrator.artifacts import publish_markdown, update_markdown
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.vocabulary.names import artifact_key

_LOOK_SECONDS = 5.0
# While the agent is silent there is little to tell.
_SILENT_SECONDS = 30.0
# The API may be away or slow; then an update is dropped and the next one tells all.
_UPDATE_SECONDS = 3.0


async def keep_progress_published(run: AgentRun, work: AttemptAtWork) -> None:
    """Publish how far the agent has got, at most every 5 s, until cancelled.

    Runs beside the stream and shares nothing with it but what has been counted: an API that is slow
    or away costs updates, never lines.
    """
    shown_lines, shown_at = -1, -_SILENT_SECONDS
    while True:
        lines, now = work.delivered_lines, time.monotonic()
        if lines != shown_lines or now - shown_at >= _SILENT_SECONDS:
            shown_lines, shown_at = lines, now
            await publish_progress(run, work)
        await asyncio.sleep(_LOOK_SECONDS)


async def publish_progress(run: AgentRun, work: AttemptAtWork, outcome: str | None = None) -> None:
    """Publish how far the agent has got, or how it ended; raises nothing.

    Args:
        run: The run.
        work: Its attempt at work.
        outcome: How the run ended; null while it works.
    """
    page = _render(run, work, outcome)
    seconds = run.outside.controls.bounded(_UPDATE_SECONDS)
    try:
        if work.progress_artifact is not None:
            await update_markdown(work.progress_artifact, page, seconds=seconds)
        else:
            # Also in the end: a page that was being published then would say forever what goes on.
            work.progress_artifact = await publish_markdown(
                artifact_key(run.prepared.agent_id, "progress"),
                page,
                "What the agent is doing, and in the end how it ended.",
                seconds=seconds,
            )
    except Exception:
        # Nobody waits for it, and the report tells the same in the end.
        return


def _render(run: AgentRun, work: AttemptAtWork, outcome: str | None) -> str:
    redact, progress = run.outside.redactor.text, work.progress.progress
    now = time.monotonic()
    return render_progress(
        replace(
            progress,
            activity=redact(progress.activity),
            last_text=redact(progress.last_text) if progress.last_text else None,
        ),
        max_turns=run.prepared.agent.max_turns,
        running_seconds=now - work.put_to_work_at,
        silent_seconds=now - work.last_output_at,
        at=datetime.now(UTC),
        outcome=outcome,
    )
