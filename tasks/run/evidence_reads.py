"""What the cluster can still tell about a run that has failed, before anything is cleaned up."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from tasks.cluster.cluster_errors import ClusterError, ObjectNotFound
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.read_only import list_kubernetes_events, read_node
from tasks.observation.cluster_evidence import ClusterEvidence, NodeSnapshot, events_from_api
from tasks.outcome.forensics import ForensicsBundle, build_forensics
from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_context import RunContext

# All of it together: Prefect kills a cancelled run's process a few seconds later.
_READ_SECONDS = 4.0

_Found = TypeVar("_Found")


async def gather_evidence(context: RunContext) -> ClusterEvidence:
    """Return the Events about Job and pods, and the pod's node; bounded, raises nothing."""
    attempt = context.attempt
    if attempt is None or context.api_lost_seconds is not None:
        return ClusterEvidence()
    pod = attempt.pod
    uids = [attempt.job_uid, *(item.uid for item in attempt.pods)]
    listed, (node, why_no_node) = await asyncio.gather(
        asyncio.gather(*(_read(_list_events(context, uid)) for uid in uids)),
        _read(_read_node(context, pod.node_name if pod is not None else None)),
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


async def _read(asked: Awaitable[_Found]) -> tuple[_Found | None, str | None]:
    """Return what was asked for, or why it could not be had."""
    try:
        async with asyncio.timeout(_READ_SECONDS):
            return await asked, None
    except ClusterError as error:
        return None, error.message
    except TimeoutError:
        return None, f"no answer within {_READ_SECONDS:.0f} s"


async def _list_events(context: RunContext, uid: str) -> tuple[JsonObject, ...]:
    return await list_kubernetes_events(context.client, context.namespace, involved_uid=uid)


async def _read_node(context: RunContext, name: str | None) -> NodeSnapshot | None:
    if name is None:
        return None
    try:
        return NodeSnapshot.from_api(await read_node(context.client, name))
    except ObjectNotFound:
        return NodeSnapshot(name, removed=True)


def take_forensics(context: RunContext, result: AgentRunResult) -> ForensicsBundle | None:
    """Return what is to be kept of a run; `None` for one that succeeded, which needs no proof."""
    if result.succeeded:
        return None
    attempt = context.attempt
    evidence = context.evidence
    if attempt is not None and context.api_lost_seconds is not None:
        evidence = replace(evidence, not_read=("everything: the Kubernetes API was away",))
    return build_forensics(
        taken_at=datetime.now(UTC),
        job=attempt.observer.observation.job if attempt is not None else None,
        pods=attempt.raw_pods if attempt is not None else (),
        evidence=evidence,
        last_lines=attempt.last_lines if attempt is not None else (),
        facts_used=result.facts_used,
        not_observed=result.not_observed,
        decisions=context.decisions,
        redactor=context.redactor,
    )
