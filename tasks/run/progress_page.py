"""The live progress of an attempt: an artifact that is updated in place while the agent works."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

from tasks.claude_code.session_progress import render_progress
from tasks.orchestrator.artifacts import publish_markdown, update_markdown
from tasks.run.run_context import AttemptInProgress, RunContext
from tasks.vocabulary.names import artifact_key

_LOOK_SECONDS = 5.0
# While the agent is silent there is little to tell.
_SILENT_SECONDS = 30.0
# The API may be away or slow; then an update is dropped and the next one tells all.
_UPDATE_SECONDS = 3.0


async def keep_progress_published(context: RunContext) -> None:
    """Publish how far the agent has got, at most every 5 s, until cancelled.

    Runs beside the stream and shares nothing with it but what has been counted: an API that is slow
    or away costs updates, never lines.
    """
    attempt = context.attempt_at_work
    shown_lines, shown_at = -1, -_SILENT_SECONDS
    while True:
        lines, now = attempt.delivered_lines, time.monotonic()
        if lines != shown_lines or now - shown_at >= _SILENT_SECONDS:
            shown_lines, shown_at = lines, now
            await publish_progress(context)
        await asyncio.sleep(_LOOK_SECONDS)


async def publish_progress(context: RunContext, outcome: str | None = None) -> None:
    """Publish how far the agent has got, or how it ended; raises nothing.

    Args:
        context: The run; nothing is published where no Job is at work.
        outcome: How the run ended; null while it works.
    """
    attempt = context.attempt
    if attempt is None:
        return
    page = _render(context, attempt, outcome)
    seconds = context.bounded(_UPDATE_SECONDS)
    try:
        if attempt.progress_artifact is not None:
            await update_markdown(attempt.progress_artifact, page, seconds=seconds)
        elif outcome is None:
            attempt.progress_artifact = await publish_markdown(
                artifact_key(context.prepared.agent_id, "progress"),
                page,
                "What the agent is doing; updated while it works.",
                seconds=seconds,
            )
    except Exception:
        # Nobody waits for it, and the report tells the same in the end.
        return


def _render(context: RunContext, attempt: AttemptInProgress, outcome: str | None) -> str:
    redact, progress = context.redactor.text, attempt.progress.progress
    now = time.monotonic()
    return render_progress(
        replace(
            progress,
            activity=redact(outcome or progress.activity),
            last_text=redact(progress.last_text) if progress.last_text else None,
        ),
        max_turns=context.prepared.agent.max_turns,
        running_seconds=now - attempt.put_to_work_at,
        silent_seconds=now - attempt.last_output_at,
        at=datetime.now(UTC),
    )
