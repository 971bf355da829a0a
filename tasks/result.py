"""The verdict of a run, and the run's files in the result storage."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime

from tasks.log_following.log_follower import FollowedLog
from tasks.observation.cluster_evidence import ClusterEvidence
from tasks.observation.completion_rules import find_replacement
from tasks.observation.container_states import ContainerSnapshot
from tasks.orchestrator.stage import stage
from tasks.outcome.result_building import (
    AttemptRecord,
    agent_timed_out,
    build_check_result,
    build_result,
    build_work_result,
)
from tasks.outcome.run_facts import (
    CheckFacts,
    JobGone,
    PodReplacement,
    RunFacts,
    StageFailure,
    WorkFacts,
)
from tasks.outcome.run_result import AgentRunResult, TranscriptProof
from tasks.outcome.verdict import judge_run
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork, StopReason
from tasks.run.ended_attempt import ConcludedAttempt, EndedAttempt
from tasks.run.evidence_reads import gather_evidence
from tasks.run.standing_notes import note_standing
from tasks.run.task_sessions import clear_session_if_it_recurs, note_session
from tasks.storage.result_storage import compress_file
from tasks.storage.storage_keys import transcript_key
from tasks.storage.stored_results import write_result
from tasks.text.quoting import last_telling_line
from tasks.transcript.line_grammar import Trailer, parse_trailer_text
from tasks.usage.usage_records import record_usage

# A storage may hang; what could not be stored in time is read again by the next run.
_STORE_SECONDS = 120.0
# Time that the small result file needs in a process about to be killed.
_RESULT_SECONDS = 2.0


@stage("Result")
async def conclude_run(ended: EndedAttempt) -> ConcludedAttempt:
    """Judge the run by all that was seen, and store its result and transcript.

    A storage that cannot be written does not change the verdict, but the Job is then not marked as
    read, so that the next run can read it again; neither is one whose keeper waits with the work. A
    run that has lost its Lease stores nothing, because its successor writes the same files.
    """
    run, work, evidence = ended.run, ended.work, ClusterEvidence()
    stored_key = None
    if work is not None and not ended.lease_lost:
        stored_key = await _store_transcript(run, work)
    facts = collect_facts(ended, evidence)
    outcome = judge_run(facts)
    if outcome.code is not None:
        # A success needs no explanation, and these reads take time.
        evidence = await gather_evidence(ended)
        facts = collect_facts(ended, evidence)
        outcome = judge_run(facts)
    result = build_result(
        run.prepared,
        outcome,
        _record(run, work, stored_key) if work is not None else None,
        namespace=run.outside.namespace,
        started_at=run.started_at,
        ended_at=datetime.now(UTC),
        timed_out=agent_timed_out(facts),
        check=build_check_result(facts.check, _check_lines(work), run.outside.redactor),
        work=build_work_result(facts.work, run.outside.redactor),
        redactor=run.outside.redactor,
    )
    result = await clear_session_if_it_recurs(run, result)
    is_stored = False
    if work is not None and not ended.lease_lost:
        await _record_usage(run, result)
        stored = await _store_result(run, result, work)
        await note_session(run, result)
        is_stored = stored and (stored_key is not None or not work.spool.exists())
    if ended.collected is not None and ended.collected.keeper_waits:
        is_stored = False
    if not ended.lease_lost:
        await note_standing(run, result)
    return ConcludedAttempt(result=result, is_stored=is_stored, evidence=evidence)


def collect_facts(ended: EndedAttempt, evidence: ClusterEvidence) -> RunFacts:
    """Return everything that is known about the run, nothing concluded yet."""
    run, failure, stopped = ended.run, ended.failure, ended.stopped
    prepared = run.prepared
    common = RunFacts(
        stage_failure=StageFailure(failure.code, failure.message, failure.cause, failure.advice)
        if failure is not None
        else None,
        resume_requested=prepared.resume_session is not None,
        output_asked=prepared.agent.output_schema is not None,
        namespace=run.outside.namespace,
        cancelled=ended.was_stopped_for(StopReason.CANCELLED),
        preempted_by_queue=ended.was_stopped_for(StopReason.PREEMPTED),
        timeout_seconds=float(prepared.timeout_seconds),
        flow_deadline_reached=ended.was_stopped_for(StopReason.OUT_OF_TIME),
        stalled_seconds=stopped.silent_seconds if stopped else None,
        api_lost_seconds=ended.api_lost_seconds,
        api_failure=_api_failure(ended),
        api_refused=ended.work is not None and ended.work.observer.is_refused,
        model=prepared.agent.model,
        image=prepared.runtime.image,
        work=_work_facts(ended),
        memory_limit=prepared.runtime.resources.memory_limit,
    )
    if ended.work is None:
        return common
    return _with_attempt(
        common,
        ended.work,
        evidence,
        now=run.outside.server_now(),
        deleted_by_us=stopped is not None,
        asked_by_us=ended.work.flow_run_id == run.flow_run_id,
        check_asked=prepared.check is not None and ended.work.is_of(run),
    )


def _work_facts(ended: EndedAttempt) -> WorkFacts | None:
    collected = ended.collected
    if collected is None or ended.work is None:
        return None
    is_own = ended.work.flow_run_id == ended.run.flow_run_id
    return WorkFacts(
        # A Job of another run was asked what that run expects.
        expect_changes=is_own and ended.run.prepared.agent.expect_changes,
        result=collected.result,
        keeper_waits=collected.keeper_waits,
        publish_asked=ended.work.publish_plan is not None,
    )


def _check_facts(work: AttemptAtWork, trailer: Trailer | None) -> CheckFacts:
    followed = work.followed_so_far
    lines = (line.decode("utf-8", errors="replace") for line in _check_lines(work))
    return CheckFacts(
        timeout_seconds=work.check_timeout_seconds,
        begun=followed.check_begun if followed else None,
        end=trailer.check if trailer is not None else None,
        line=last_telling_line([*lines]),
    )


def _check_lines(work: AttemptAtWork | None) -> tuple[bytes, ...]:
    followed = work.followed_so_far if work is not None else None
    return followed.check_lines if followed is not None else ()


def _api_failure(ended: EndedAttempt) -> str | None:
    if ended.work is None or ended.api_lost_seconds is None:
        return None
    return ended.work.observer.last_failure


def _with_attempt(
    common: RunFacts,
    work: AttemptAtWork,
    evidence: ClusterEvidence,
    *,
    now: datetime,
    deleted_by_us: bool,
    asked_by_us: bool,
    check_asked: bool,
) -> RunFacts:
    pod, job = work.pod, work.job
    agent = pod.agent if pod else None
    ended = agent.terminated if agent else None
    observation = work.observer.observation
    followed = work.followed_so_far
    trailer = followed.trailer if followed else None
    said = parse_trailer_text(ended.message or "") if ended else None
    # The Job tells whether there is a check; a run that asks for one knows of none that is missing.
    has_check = check_asked or work.check_timeout_seconds is not None
    return replace(
        common,
        check=_check_facts(work, trailer or said) if has_check else None,
        session=work.session.summary(),
        transcript=_proof(work, None),
        resume_requested=work.resumed,
        # A Job of another run was given that run's schema, if any.
        output_asked=common.output_asked and asked_by_us,
        memory_limit=common.memory_limit if asked_by_us else None,
        stderr_line=work.stderr_line,
        log_refusal=followed.log_refusal if followed else None,
        foreign_line=_foreign_line(followed),
        trailer=trailer,
        termination_trailer=said,
        container_started=work.agent_started or _has_started(agent, pod_is_gone=work.pod_is_gone),
        container_exit_code=ended.exit_code if ended else None,
        container_signal=ended.signal if ended else None,
        container_reason=ended.reason if ended else None,
        container_message=ended.message if ended else None,
        container_ended_at=ended.finished_at if ended else None,
        pod_name=pod.name if pod else None,
        pod_phase=pod.phase if pod else None,
        pod_reason=pod.reason if pod else None,
        pod_message=pod.message if pod else None,
        init_containers=pod.init_containers if pod else (),
        pod_deleting=bool(pod and pod.deleting),
        pod_deletion_asked_at=pod.deletion_asked_at if pod else None,
        pod_gone=work.pod_is_gone if pod else None,
        pod_conditions=pod.conditions if pod else (),
        pod_replaced=_replacement(work),
        job_name=work.job_name,
        job_conditions=job.conditions if job else (),
        job_gone=_job_gone(work, now) if observation.job_is_gone and not deleted_by_us else None,
        job_deletion_seen=bool(job and job.deleting) and not deleted_by_us,
        job_deletion_at=job.deletion_at if job else None,
        node_name=pod.node_name if pod else None,
        kubernetes_events=evidence.kubernetes_events,
        node=evidence.node,
    )


def _foreign_line(followed: FollowedLog | None) -> str | None:
    line = followed.foreign_line if followed else None
    return None if line is None else line.decode("utf-8", errors="replace")


def _has_started(agent: ContainerSnapshot | None, *, pod_is_gone: bool) -> bool | None:
    if agent is None or (agent.waiting is not None and pod_is_gone):
        # It may have started after the last look.
        return None
    return agent.has_run


def _replacement(work: AttemptAtWork) -> PodReplacement | None:
    first = work.pod
    later = find_replacement(work.pods, first)
    return PodReplacement(first.name, later.name) if first and later else None


def _job_gone(work: AttemptAtWork, now: datetime) -> JobGone:
    agent = work.pod.agent if work.pod else None
    started_at = agent.started_at if agent else None
    return JobGone(
        detected_by="two reads of the Job by name",
        seconds_since_pod_ran=(now - started_at).total_seconds() if started_at else None,
        observations=work.observer.observation.version,
    )


def _proof(work: AttemptAtWork, storage_key: str | None) -> TranscriptProof:
    followed = work.followed_so_far
    proof = followed.proof if followed else TranscriptProof()
    return proof.model_copy(update={"storage_key": storage_key})


def _record(run: AgentRun, work: AttemptAtWork, stored_key: str | None) -> AttemptRecord:
    return AttemptRecord(
        number=work.number,
        job_name=work.job_name,
        job_uid=work.job_uid,
        flow_run_id=work.flow_run_id,
        resumed=work.resumed,
        asked_for_by_us=work.flow_run_id == run.flow_run_id,
        created_at=work.created_at,
        pod=work.pod,
        session=work.session.summary(),
        transcript=_proof(work, stored_key),
    )


async def _store_transcript(run: AgentRun, work: AttemptAtWork) -> str | None:
    if not work.spool.exists():
        return None
    key = transcript_key(work.storage_folder)
    # A unique name, because a compression that was given up on may still be writing.
    packed = work.spool.with_suffix(f".{uuid.uuid4().hex[:8]}.gz")
    try:
        limit_seconds = run.outside.controls.bounded(
            _STORE_SECONDS, leaving_seconds=_RESULT_SECONDS
        )
        async with asyncio.timeout(limit_seconds):
            await asyncio.to_thread(compress_file, work.spool, packed)
            run.outside.lease.check_may_write()
            await run.outside.storage.write_file(key, packed)
    except Exception as error:
        # A storage failure must not change the verdict; the Job stays, to be read again.
        _say_not_stored(run, "transcript", error)
        return None
    where = run.outside.storage.description
    run.outside.log.whole_output_at = f"The transcript file is {key} in {where}."
    return key


async def _store_result(run: AgentRun, result: AgentRunResult, work: AttemptAtWork) -> bool:
    try:
        run.outside.lease.check_may_write()
        async with asyncio.timeout(run.outside.controls.bounded(_STORE_SECONDS)):
            await write_result(run.outside.storage, work.storage_folder, result)
    except Exception as error:
        _say_not_stored(run, "result", error)
        return False
    return True


async def _record_usage(run: AgentRun, result: AgentRunResult) -> None:
    """Record the Job's usage before its result, so that it is recorded for every stored result."""
    try:
        run.outside.lease.check_may_write()
        limit_seconds = run.outside.controls.bounded(
            _STORE_SECONDS, leaving_seconds=_RESULT_SECONDS
        )
        async with asyncio.timeout(limit_seconds):
            await record_usage(run.outside.storage, result)
    except Exception as error:
        # A failure to record usage must not change the verdict.
        why = str(error) or type(error).__name__
        run.outside.say(f"The usage of this run was not recorded for budgets and reports: {why}")


def _say_not_stored(run: AgentRun, what: str, error: Exception) -> None:
    why = str(error) or type(error).__name__
    run.outside.say(
        f"The {what} could not be stored ({why}); the Job is kept so that it can be read again."
    )
