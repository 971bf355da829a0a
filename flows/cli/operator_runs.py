"""One run, combined from the cluster, Prefect and the result storage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flows.cli import operator_tables
from flows.cli.agent_logs import ShowLines, follow_agent, read_agent_log, show_stored_transcript
from flows.cli.run_records import RunRecords
from tasks.cluster.cluster_errors import ObjectNotFound
from tasks.log_following.log_follower import FollowedLog
from tasks.observation.snapshots import JobSnapshot
from tasks.operators.agent_listing import ClusterLook, Target, find_target
from tasks.operators.cluster_look import ClusterAccess
from tasks.operators.last_run import choose_last_run
from tasks.operators.operator_errors import NotPossible, nothing_found
from tasks.outcome.report_page import Link, describe_proof, render_report
from tasks.outcome.run_result import AgentRunResult
from tasks.storage.storage_keys import AttemptFolder, StorageOwner
from tasks.vocabulary.names import AgentId, FlowRunId


@dataclass(frozen=True)
class KnownRun:
    """What is known about a run; `None` if unknown.

    Attributes:
        report: As Markdown.
        state_name: Name of its flow run's state in Prefect.
    """

    agent_id: AgentId
    flow_run_id: FlowRunId | None
    job: JobSnapshot | None
    result: AgentRunResult | None
    report: str | None
    state_name: str | None

    def facts(self, look: ClusterLook) -> list[tuple[str, Sequence[tuple[str, str]]]]:
        """Return tables about Job and Lease."""
        tables: list[tuple[str, Sequence[tuple[str, str]]]] = []
        if self.report is None:
            run = [
                ("Agent", self.agent_id),
                ("Flow run", self.flow_run_id or "unknown"),
                ("State in Prefect", self.state_name or "unknown"),
                ("Verdict", "not stored where this command can read it"),
            ]
            tables.append(("Run", run))
        if self.job is not None:
            tables.append(("Job", operator_tables.job_facts(look, self.job, self.result)))
        lease = look.lease_of(self.agent_id)
        if lease is not None:
            tables.append(("Lease", operator_tables.lease_facts(look, lease)))
        return tables

    def for_machines(self, look: ClusterLook) -> dict[str, Any]:
        """Return everything as JSON values."""
        lease = look.lease_of(self.agent_id)
        return {
            "agent_id": self.agent_id,
            "flow_run_id": self.flow_run_id,
            "flow_run_state": self.state_name,
            "result": self.result.model_dump(mode="json") if self.result else None,
            "job": operator_tables.job_for_machines(look, self.job, self.result)
            if self.job
            else None,
            "lease": dict(operator_tables.lease_facts(look, lease)) if lease else None,
        }


async def find_run(look: ClusterLook, records: RunRecords, name: str) -> KnownRun:
    """Return the run that a name refers to.

    Raises:
        NothingFound: Nothing has that name.
    """
    target = await _find_target(look, records, name)
    agent_id, flow_run_id = target.agent_id or AgentId(""), target.flow_run_id
    result = report = state_name = None
    if flow_run_id is not None:
        folder = await _folder(look, records, target, agent_id, flow_run_id)
        result = await records.result_of(flow_run_id, folder)
        flow_run = await records.flow_run(flow_run_id)
        state_name = flow_run.state_name if flow_run is not None else None
        if result is not None:
            report = render_report(result, _links(result))
        elif target.job is None or look.is_over(target.job):
            report = await records.report_of(flow_run_id, agent_id)
    return KnownRun(agent_id, flow_run_id, target.job, result, report, state_name)


async def show_transcript(
    access: ClusterAccess,
    look: ClusterLook,
    records: RunRecords,
    name: str,
    *,
    follow: bool,
    show: ShowLines,
    say: Callable[[str], None],
) -> None:
    """Show the transcript of the run that a name refers to, from wherever it still exists.

    Raises:
        CommandRefused: There is none.
        ClusterError: The pod's log could not be read.
    """
    target = await _find_target(look, records, name)
    if target.job is not None and await _show_from_pod(access, look, target.job, follow, show, say):
        return
    agent_id, flow_run_id = target.agent_id or AgentId(""), target.flow_run_id
    storage = await records.storage_of(flow_run_id) if flow_run_id is not None else None
    if storage is None or flow_run_id is None:
        raise NotPossible(
            f"The pod of {name} is gone, and the location of its transcript is unknown here.",
            "Set PREFECT_API_URL to the API that knows its flow run.",
        )
    folder = await _folder(look, records, target, agent_id, flow_run_id)
    await show_stored_transcript(storage, folder, show)
    say(f"From the result storage: {storage.description}.")


async def _show_from_pod(
    access: ClusterAccess,
    look: ClusterLook,
    job: JobSnapshot,
    follow: bool,
    show: ShowLines,
    say: Callable[[str], None],
) -> bool:
    """Show the output of the Job's pod; return whether there is such a pod."""
    pods = look.pods_of(job)
    if follow and (pods or not look.is_over(job)):
        _say_how_much(await follow_agent(access, job, show), say, whole=True)
        return True
    started = [pod for pod in pods if pod.agent is not None and pod.agent.has_run is not False]
    if not started:
        if look.is_over(job):
            return False
        raise NotPossible(
            f"The agent of Job {job.name} has not started yet.",
            f"`claude-jobs logs -f {job.name}` waits for it; `claude-jobs show` has details.",
        )
    try:
        # The oldest pod, because a replacement pod does not start the agent.
        _say_how_much(
            await read_agent_log(access, job, started[-1].name, show),
            say,
            whole=look.is_over(job),
        )
    except ObjectNotFound:
        return False
    return True


def _say_how_much(log: FollowedLog, say: Callable[[str], None], *, whole: bool) -> None:
    if whole or log.proof.missing:
        say(f"Transcript: {describe_proof(log.proof).replace('**', '')}")
    if log.gave_up:
        say(log.gave_up)


async def _find_target(look: ClusterLook, records: RunRecords, name: str) -> Target:
    """Return what a name refers to in the cluster or in Prefect; for an agent, its last run."""
    target = find_target(look, name)
    if target is None:
        agent_id = await records.agent_id_of(FlowRunId(name))
        if agent_id is not None:
            return Target(agent_id, FlowRunId(name), None)
    elif target.agent_id != name or (target.job is not None and not look.is_over(target.job)):
        return target
    agent_id = AgentId(name)
    last = choose_last_run(look, agent_id, (await records.runs_of(look, [agent_id]))[agent_id])
    if target is None and last.flow_run_id is None:
        raise nothing_found(look, name)
    return last


async def _folder(
    look: ClusterLook,
    records: RunRecords,
    target: Target,
    agent_id: AgentId,
    flow_run_id: FlowRunId,
) -> AttemptFolder:
    if target.job is not None:
        owner = StorageOwner(look.namespace, agent_id)
        return owner.attempt_of(flow_run_id, target.job)
    return await records.newest_folder(agent_id, flow_run_id, look.namespace)


def _links(result: AgentRunResult) -> list[Link]:
    key = result.transcript.storage_key
    return [Link("Transcript in the result storage", key)] if key else []
