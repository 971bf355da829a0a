"""What the cluster can still tell about a run that has failed, before anything is cleaned up."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from tasks.cluster.cluster_errors import ClusterError, ObjectNotFound
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.read_only import list_kubernetes_events, read_node
from tasks.observation.cluster_evidence import ClusterEvidence, NodeSnapshot, events_from_api
from tasks.outcome.forensics import ForensicsBundle, build_forensics
from tasks.run.agent_run import AgentRun
from tasks.run.ended_attempt import ConcludedAttempt, EndedAttempt

# All of it together: Prefect kills a cancelled run's process a few seconds later.
_READ_SECONDS = 4.0
# Seen 1 to 2.3 s after the container's end.
_CONDITION_SECONDS = 4.0
_CONDITION_LOOK_SECONDS = 0.25

_Found = TypeVar("_Found")


async def gather_evidence(ended: EndedAttempt) -> ClusterEvidence:
    """Return the Events about Job and pods, and the pod's node; bounded, raises nothing."""
    run, work = ended.run, ended.work
    if work is None or ended.api_lost_seconds is not None:
        return ClusterEvidence()
    pod = work.pod
    uids = [work.job_uid, *(item.uid for item in work.pods)]
    listed, (node, why_no_node) = await asyncio.gather(
        asyncio.gather(*(_read(_list_events(run, uid)) for uid in uids)),
        _read(_read_node(run, pod.node_name if pod is not None else None)),
    )
    events = [event for found, _ in listed for event in found or ()]
    refusals = [
        *(f"Kubernetes Events: {why}" for _, why in listed if why),
        *([f"node: {why_no_node}"] if why_no_node else []),
    ]
    return ClusterEvidence(
        kubernetes_events=events_from_api(events),
        node=node,
        not_read=tuple(dict.fromkeys(refusals)),
    )


async def see_job_finished(ended: EndedAttempt) -> None:
    """Read the Job until it is called finished, for the forensics; bounded, raises nothing.

    The Job controller calls it so a second or two after its pod, and the verdict waits for that
    only where it could matter.
    """
    work = ended.work
    if work is None or ended.api_lost_seconds is not None or work.stopping is not None:
        return
    with suppress(TimeoutError, ClusterError):
        async with asyncio.timeout(ended.run.outside.controls.bounded(_CONDITION_SECONDS)):
            while work.job is not None and not (work.job.finished or work.job.deleting):
                if not await work.observer.read_again() or work.observer.observation.job_is_gone:
                    return
                await asyncio.sleep(_CONDITION_LOOK_SECONDS)


async def _read(asked: Awaitable[_Found]) -> tuple[_Found | None, str | None]:
    """Return what was asked for, or why it could not be read."""
    try:
        async with asyncio.timeout(_READ_SECONDS):
            return await asked, None
    except ClusterError as error:
        return None, error.message
    except TimeoutError:
        return None, f"no answer within {_READ_SECONDS:.0f} s"


async def _list_events(run: AgentRun, uid: str) -> tuple[JsonObject, ...]:
    return await list_kubernetes_events(run.outside.client, run.outside.namespace, involved_uid=uid)


async def _read_node(run: AgentRun, name: str | None) -> NodeSnapshot | None:
    if name is None:
        return None
    try:
        return NodeSnapshot.from_api(await read_node(run.outside.client, name))
    except ObjectNotFound:
        return NodeSnapshot(name, removed=True)


def take_forensics(ended: EndedAttempt, concluded: ConcludedAttempt) -> ForensicsBundle | None:
    """Return what is to be kept of a run; `None` for one that succeeded, which needs no proof."""
    run, work, result = ended.run, ended.work, concluded.result
    if result.succeeded:
        return None
    evidence = concluded.evidence
    if work is not None and ended.api_lost_seconds is not None:
        evidence = replace(evidence, not_read=("everything: the Kubernetes API was away",))
    return build_forensics(
        taken_at=datetime.now(UTC),
        job=work.observer.observation.job if work is not None else None,
        pods=work.raw_pods if work is not None else (),
        evidence=evidence,
        last_lines=work.last_lines if work is not None else (),
        facts_used=result.facts_used,
        not_observed=result.not_observed,
        decisions=run.outside.diary.decisions,
        redactor=run.outside.redactor,
    )
