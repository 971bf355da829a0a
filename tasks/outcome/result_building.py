"""Builds the result of a run from everything that was observed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.agent_job.prepared_run import PreparedRun
from tasks.claude_code.session_summary import SessionSummary
from tasks.observation.beside_agent import still_running
from tasks.observation.snapshots import PodSnapshot
from tasks.outcome.run_facts import CheckFacts, RunFacts, WorkFacts
from tasks.outcome.run_result import (
    AgentRunResult,
    CheckResult,
    KubernetesNames,
    PermissionDenial,
    PublishedWork,
    SessionParameters,
    Timings,
    TokenUsage,
    TranscriptProof,
    WorkResult,
)
from tasks.outcome.verdict import Outcome
from tasks.text.redaction import Redactor
from tasks.text.safe_text import escape_control_characters
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import JobName, JobUid

_CHECK_LINES = 50
_CHECK_CHARACTERS = 8 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """What is known about the Job of an attempt, apart from its ending.

    Attributes:
        flow_run_id: The flow run that created the Job.
        resumed: Its session was resumed.
        asked_for_by_us: Its prompt and workspace come from this run's request.
    """

    number: int
    job_name: str
    job_uid: str
    flow_run_id: str
    resumed: bool
    asked_for_by_us: bool = True
    created_at: datetime | None = None
    pod: PodSnapshot | None = None
    session: SessionSummary = field(default_factory=SessionSummary)
    transcript: TranscriptProof = field(default_factory=TranscriptProof)


def build_result(
    prepared: PreparedRun,
    outcome: Outcome,
    attempt: AttemptRecord | None,
    *,
    namespace: str,
    started_at: datetime,
    ended_at: datetime,
    timed_out: bool,
    check: CheckResult | None = None,
    work: WorkResult | None = None,
    redactor: Redactor,
) -> AgentRunResult:
    """Return the result of a run; known secrets are masked in all texts.

    Args:
        prepared: The prepared request.
        outcome: The verdict.
        attempt: The attempt, if there was one.
        namespace: Namespace of its Job.
        started_at: When the run started, UTC.
        ended_at: Now, UTC.
        timed_out: The agent was stopped because it reached its time limit.
        check: From `build_check_result`.
        work: From `build_work_result`.
        redactor: Knows the secrets.
    """
    # For a Job of another run, the observations are known, but not the request.
    own = attempt is None or attempt.asked_for_by_us
    fields: dict[str, Any] = {
        "agent_id": prepared.agent_id,
        "flow_run_id": prepared.flow_run_id,
        "task_id": prepared.request.task_id,
        "attempt": attempt.number if attempt else None,
        "error_code": outcome.code,
        "cause": outcome.cause,
        "message": redactor.text(outcome.message),
        "check_first": redactor.text(outcome.check) if outcome.check else None,
        "advice": redactor.text(outcome.advice) if outcome.advice else None,
        "observed": tuple((name, redactor.text(value)) for name, value in outcome.observed),
        "cluster_said": redactor.text(outcome.cluster_said) if outcome.cluster_said else None,
        "facts_used": tuple(map(redactor.text, outcome.facts_used)),
        "not_observed": outcome.not_observed,
        "warnings": tuple(map(redactor.text, outcome.warnings)),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "timed_out": timed_out,
        "check": check,
        "work": work,
        "session": session_parameters(prepared) if own else SessionParameters(),
        "clear_session": outcome.clear_session,
        "recurs_in_session": outcome.recurs_in_session,
        "resumed": attempt.resumed if attempt else False,
        "transcript": attempt.transcript if attempt else TranscriptProof(),
        "timings": _timings(attempt, started_at, ended_at),
        "kubernetes": _names(prepared, attempt, namespace),
        "reattached_from": _reattached_from(prepared, attempt),
        "prompt_bytes": prepared.prompt.size_bytes if own else None,
        "system_prompt_bytes": prepared.system_prompt_bytes if own else None,
    }
    session = attempt.session if attempt is not None else SessionSummary()
    return AgentRunResult(**fields, **_session_fields(session, redactor))


def build_check_result(
    check: CheckFacts | None, lines: Sequence[bytes], redactor: Redactor
) -> CheckResult | None:
    """Return how the check ended; `None` where none was asked for.

    Args:
        check: What is known of it.
        lines: What was kept of its output, as far as it was read.
        redactor: Knows the secrets.
    """
    if check is None:
        return None
    end, last = check.end, last_lines_of_check(lines, redactor)
    ended = end if end is not None and end.exit_code is not None else None
    return CheckResult(
        exit_code=check.exit_code,
        timed_out=ended is not None and ended.timed_out,
        timeout_seconds=check.timeout_seconds,
        duration_seconds=ended.seconds if ended else None,
        last_lines="\n".join(last),
        # A masked secret may have had several lines.
        lines_skipped=max(0, ended.lines + ended.skipped - len(last)) if ended else None,
    )


def last_lines_of_check(lines: Sequence[bytes], redactor: Redactor) -> list[str]:
    """Return the end of a check's output as safe lines, bounded; known secrets are masked."""
    if not lines:
        return []
    # Masked as a whole: a secret may have several lines.
    text = redactor.text(b"\n".join(lines).decode("utf-8", errors="replace"))
    last = escape_control_characters(text).split("\n")[-_CHECK_LINES:]
    size = 0
    for number, line in enumerate(reversed(last)):
        size += len(line) + 1
        if size > _CHECK_CHARACTERS:
            # A line that alone is too long is shown by its beginning.
            return last[len(last) - number :] or [f"{line[:_CHECK_CHARACTERS]}…"]
    return last


def build_work_result(work: WorkFacts | None, redactor: Redactor) -> WorkResult | None:
    """Return what came of collecting the work; `None` where it was not to be collected.

    Args:
        work: What is known of it.
        redactor: Knows the secrets, which the agent may have put into names.
    """
    if work is None:
        return None
    result = work.result
    if result is None:
        return WorkResult(collected=False, problem=f"{work.problem}.")
    return result.model_copy(
        update={
            "problem": redactor.text(result.problem) if result.problem else None,
            "branch": redactor.text(result.branch) if result.branch else None,
            "files": tuple(
                file.model_copy(update={"path": redactor.text(file.path)}) for file in result.files
            ),
            "left_out": tuple(map(redactor.text, result.left_out)),
            "published": _redacted(result.published, redactor) if result.published else None,
        }
    )


def _redacted(published: PublishedWork, redactor: Redactor) -> PublishedWork:
    texts = {"problem": published.problem, "advice": published.advice}
    return published.model_copy(
        update={name: redactor.text(text) for name, text in texts.items() if text}
    )


def _session_fields(session: SessionSummary, redactor: Redactor) -> dict[str, Any]:
    """Return what Claude Code itself reported, by the field names of results."""
    last = session.last_result
    return {
        "session_id": session.session_id,
        "model": session.model,
        "provider": session.provider,
        "usage": _usage(session),
        "cost_usd": session.cost_usd,
        "num_turns": session.num_turns,
        "duration_ms": None if session.duration_ms is None else round(session.duration_ms),
        "summary": redactor.text(session.summary) if session.summary else None,
        "output": redactor.json(session.structured_output),
        "permission_denials": tuple(
            PermissionDenial(tool_name=denial.tool_name, tool_use_id=denial.tool_use_id)
            for denial in session.permission_denials
        ),
        "unknown_events": session.unknown_events,
        "last_result": redactor.json(dict(last.raw)) if last else None,
    }


def build_refusal(
    error: AgentRunError,
    *,
    agent_id: str,
    flow_run_id: str,
    task_id: str | None,
    namespace: str | None,
    job: tuple[JobName, JobUid] | None,
    started_at: datetime,
    ended_at: datetime,
    redactor: Redactor,
) -> AgentRunResult:
    """Return the result of a run that ended before it could be concluded.

    Args:
        error: Why.
        agent_id: Of the agent, or the name of its block.
        flow_run_id: Of the run.
        task_id: As the request says.
        namespace: Where the Job is, or would have been; null if that is not known.
        job: The Job that was at work by then, and is left; null if there was none.
        started_at: When the run began.
        ended_at: When it ended.
        redactor: Masks what is secret in the error.
    """
    job_name, job_uid = job or (None, None)
    return AgentRunResult(
        agent_id=agent_id,
        flow_run_id=flow_run_id,
        task_id=task_id,
        error_code=error.code,
        cause=error.cause,
        message=redactor.text(error.message),
        advice=redactor.text(error.advice) if error.advice else None,
        timings=Timings(started_at=started_at, ended_at=ended_at),
        kubernetes=KubernetesNames(namespace=namespace or "", job_name=job_name, job_uid=job_uid),
    )


def agent_timed_out(facts: RunFacts) -> bool:
    """Return whether we or the run script stopped the agent at its time limit."""
    trailer = facts.any_trailer
    return facts.agent_timed_out or (trailer is not None and trailer.timed_out)


def _usage(session: SessionSummary) -> TokenUsage:
    usage = session.usage
    return TokenUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_creation_input_tokens=usage.cache_creation_input_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
    )


def _timings(attempt: AttemptRecord | None, started_at: datetime, ended_at: datetime) -> Timings:
    agent = attempt.pod.agent if attempt and attempt.pod else None
    ended = agent.terminated if agent else None
    return Timings(
        started_at=started_at,
        job_created_at=attempt.created_at if attempt else None,
        agent_started_at=agent.started_at if agent else None,
        agent_ended_at=ended.finished_at if ended else None,
        ended_at=ended_at,
    )


def _names(prepared: PreparedRun, attempt: AttemptRecord | None, namespace: str) -> KubernetesNames:
    pod = attempt.pod if attempt else None
    return KubernetesNames(
        namespace=namespace,
        job_name=attempt.job_name if attempt else None,
        job_uid=attempt.job_uid if attempt else None,
        pod_name=pod.name if pod else None,
        pod_uid=pod.uid if pod else None,
        node_name=pod.node_name if pod else None,
        image=prepared.runtime.image,
        still_running=still_running(pod),
    )


def _reattached_from(prepared: PreparedRun, attempt: AttemptRecord | None) -> str | None:
    if attempt is None or attempt.flow_run_id == prepared.flow_run_id:
        return None
    return attempt.flow_run_id


def session_parameters(prepared: PreparedRun) -> SessionParameters:
    """Return what a later run needs to resume this session in the same environment."""
    workspace = prepared.request.workspace
    return SessionParameters(
        cwd=prepared.working_directory,
        workspace_id=workspace.id,
        repo_url=workspace.repo_url,
        repo_ref=workspace.repo_ref,
        bundle_sha256=prepared.bundle.sha256 if prepared.bundle else None,
    )
