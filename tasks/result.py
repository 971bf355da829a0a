"""The verdict of a run, and its files in the result storage."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime

from tasks.observation.cluster_evidence import ClusterEvidence
from tasks.observation.completion_rules import find_replacement
from tasks.orchestrator.stage import stage
from tasks.outcome.result_building import AttemptRecord, agent_timed_out, build_result
from tasks.outcome.run_facts import JobGone, PodReplacement, RunFacts, StageFailure
from tasks.outcome.run_result import AgentRunResult, TranscriptProof
from tasks.outcome.verdict import judge_run
from tasks.run.evidence_reads import gather_evidence
from tasks.run.run_context import AttemptInProgress, RunContext
from tasks.run.task_sessions import note_session
from tasks.storage.result_storage import compress_file
from tasks.storage.storage_keys import transcript_key
from tasks.storage.stored_results import write_result
from tasks.transcript.line_grammar import parse_trailer_text
from tasks.usage.usage_records import record_usage

# Storages may hang; what could not be stored in time is read again by the next run.
_STORE_SECONDS = 120.0
# What the small file needs, in a process that will be killed.
_RESULT_SECONDS = 2.0


@stage("Result")
async def conclude_run(context: RunContext) -> AgentRunResult:
    """Judge the run by all that was seen, and keep result and transcript where the runtime says.

    A storage that cannot be written does not change the verdict; the Job is then not marked as
    read, so that the next run can read it again. A run that has lost its Lease stores nothing: its
    successor writes the same files.
    """
    attempt = context.attempt
    stored_key = None
    if attempt is not None and not context.lease_lost:
        stored_key = await _store_transcript(context, attempt)
    facts = collect_facts(context)
    outcome = judge_run(facts)
    if outcome.code is not None:
        # A success needs no explanation, and these reads take time.
        context.evidence = await gather_evidence(context)
        facts = collect_facts(context)
        outcome = judge_run(facts)
    result = build_result(
        context.prepared,
        outcome,
        _record(context, attempt, stored_key) if attempt is not None else None,
        namespace=context.namespace,
        started_at=context.started_at,
        ended_at=datetime.now(UTC),
        timed_out=agent_timed_out(facts),
        redactor=context.redactor,
    )
    if attempt is not None and not context.lease_lost:
        await _record_usage(context, result)
        stored = await _store_result(context, result, attempt)
        await note_session(context, result)
        context.result_stored = stored and (stored_key is not None or not attempt.spool.exists())
    return result


def collect_facts(context: RunContext) -> RunFacts:
    """Return everything that is known about the run, nothing concluded yet."""
    prepared, failure = context.prepared, context.failure
    common = RunFacts(
        stage_failure=StageFailure(failure.code, failure.message, failure.cause, failure.advice)
        if failure is not None
        else None,
        resume_requested=prepared.resume_session is not None,
        namespace=context.namespace,
        cancelled=context.cancelled,
        timeout_seconds=float(prepared.timeout_seconds),
        flow_deadline_reached=context.deadline_reached,
        stalled_seconds=context.stalled_seconds,
        api_lost_seconds=context.api_lost_seconds,
        model=prepared.agent.model,
        image=prepared.runtime.image,
    )
    if context.attempt is None:
        return common
    return _with_attempt(
        common,
        context.attempt,
        context.evidence,
        now=context.server_now(),
        deleted_by_us=context.deleted_by_us,
    )


def _with_attempt(
    common: RunFacts,
    attempt: AttemptInProgress,
    evidence: ClusterEvidence,
    *,
    now: datetime,
    deleted_by_us: bool,
) -> RunFacts:
    pod, job = attempt.pod, attempt.job
    agent = pod.agent if pod else None
    ended = agent.terminated if agent else None
    observation = attempt.observer.observation
    followed = attempt.followed_so_far
    return replace(
        common,
        session=attempt.session.summary(),
        transcript=_proof(attempt, None),
        resume_requested=attempt.resumed,
        stderr_line=attempt.stderr_line,
        trailer=followed.trailer if followed else None,
        termination_trailer=parse_trailer_text(ended.message or "") if ended else None,
        container_started=attempt.agent_started or (agent.has_run if agent else None),
        container_exit_code=ended.exit_code if ended else None,
        container_signal=ended.signal if ended else None,
        container_reason=ended.reason if ended else None,
        container_message=ended.message if ended else None,
        container_finished_at=ended.finished_at if ended else None,
        pod_name=pod.name if pod else None,
        pod_phase=pod.phase if pod else None,
        pod_reason=pod.reason if pod else None,
        pod_message=pod.message if pod else None,
        init_containers=pod.init_containers if pod else (),
        pod_deleting=bool(pod and pod.deleting),
        pod_gone=attempt.pod_is_gone if pod else None,
        pod_conditions=pod.conditions if pod else (),
        pod_replaced=_replacement(attempt),
        job_name=attempt.job_name,
        job_conditions=job.conditions if job else (),
        job_gone=_job_gone(attempt, now) if observation.job_is_gone and not deleted_by_us else None,
        job_deletion_seen=bool(job and job.deleting) and not deleted_by_us,
        job_deletion_at=job.deletion_at if job else None,
        node_name=pod.node_name if pod else None,
        kubernetes_events=evidence.kubernetes_events,
        node=evidence.node,
    )


def _replacement(attempt: AttemptInProgress) -> PodReplacement | None:
    first = attempt.pod
    later = find_replacement(attempt.pods, first)
    return PodReplacement(first.name, later.name) if first and later else None


def _job_gone(attempt: AttemptInProgress, now: datetime) -> JobGone:
    agent = attempt.pod.agent if attempt.pod else None
    started_at = agent.started_at if agent else None
    return JobGone(
        detected_by="two reads of the Job by name",
        seconds_since_pod_ran=(now - started_at).total_seconds() if started_at else None,
        observations=attempt.observer.observation.version,
    )


def _proof(attempt: AttemptInProgress, storage_key: str | None) -> TranscriptProof:
    followed = attempt.followed_so_far
    proof = followed.proof if followed else TranscriptProof()
    return proof.model_copy(update={"storage_key": storage_key})


def _record(
    context: RunContext, attempt: AttemptInProgress, stored_key: str | None
) -> AttemptRecord:
    return AttemptRecord(
        number=attempt.number,
        job_name=attempt.job_name,
        job_uid=attempt.job_uid,
        flow_run_id=attempt.flow_run_id,
        resumed=attempt.resumed,
        asked_for_by_us=attempt.flow_run_id == context.flow_run_id,
        created_at=attempt.created_at,
        pod=attempt.pod,
        session=attempt.session.summary(),
        transcript=_proof(attempt, stored_key),
    )


async def _store_transcript(context: RunContext, attempt: AttemptInProgress) -> str | None:
    if not attempt.spool.exists():
        return None
    key = transcript_key(attempt.storage_folder)
    # A name of its own: a compression that was given up on may still be writing.
    packed = attempt.spool.with_suffix(f".{uuid.uuid4().hex[:8]}.gz")
    try:
        limit_seconds = context.bounded(_STORE_SECONDS, leaving_seconds=_RESULT_SECONDS)
        async with asyncio.timeout(limit_seconds):
            await asyncio.to_thread(compress_file, attempt.spool, packed)
            context.lease.check_may_write()
            await context.storage.write_file(key, packed)
    except Exception as error:
        # The verdict is worth more than its archive; the Job stays to be read again.
        _say_not_stored(context, "transcript", error)
        return None
    where = context.storage.description
    context.log.whole_output_at = f"The whole transcript is {key} in {where}."
    return key


async def _store_result(
    context: RunContext, result: AgentRunResult, attempt: AttemptInProgress
) -> bool:
    try:
        context.lease.check_may_write()
        async with asyncio.timeout(context.bounded(_STORE_SECONDS)):
            await write_result(context.storage, attempt.storage_folder, result)
    except Exception as error:
        _say_not_stored(context, "result", error)
        return False
    return True


async def _record_usage(context: RunContext, result: AgentRunResult) -> None:
    """Record what the Job has used, before its result, so that no stored one is missing there."""
    try:
        context.lease.check_may_write()
        limit_seconds = context.bounded(_STORE_SECONDS, leaving_seconds=_RESULT_SECONDS)
        async with asyncio.timeout(limit_seconds):
            await record_usage(context.storage, result)
    except Exception as error:
        # The verdict is worth more than its bookkeeping.
        why = str(error) or type(error).__name__
        context.say(f"What this run has used is not recorded for budgets and reports: {why}")


def _say_not_stored(context: RunContext, what: str, error: Exception) -> None:
    why = str(error) or type(error).__name__
    context.say(f"The {what} could not be stored ({why}); the Job is kept to be read again.")
