"""Carries out what a sweep has decided, one object at a time, if the object is still the same.

Objects of an agent are changed only while holding its Lease, as runs do: in the meantime no run can
take over the agent, no other sweep can act, and a delayed process finds that the Lease's epoch has
changed. Before each change the object is read and judged again.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import assert_never

import anyio

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError, ObjectConflict, ObjectNotFound
from tasks.cluster.kinds.api_objects import Propagation
from tasks.cluster.kinds.jobs import read_job
from tasks.cluster.kinds.leases import delete_lease
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.kinds.secrets import delete_secret
from tasks.observation.snapshots import JobSnapshot, pods_from_api
from tasks.ownership.orphans import owner_of
from tasks.run.job_deletion import Deletion, delete_job_when
from tasks.run.lease_keeper import LeaseKeeper, LeaseLost, WritesPaused
from tasks.run.run_secrets import create_tombstone, find_run_secret
from tasks.sweep.flow_run_records import (
    ask_for_heartbeats,
    mark_cancelled,
    mark_crashed,
    read_flow_run_records,
    start_again,
)
from tasks.sweep.run_standing import FlowRunRecords, is_askable, judge_standing
from tasks.sweep.sweep_config import SweepPolicy
from tasks.sweep.sweep_facts import ObjectKind, ObjectState, judge_job_state
from tasks.sweep.sweep_objects import SweepAges, SweptObject
from tasks.sweep.sweep_report import Outcome, SweptRow
from tasks.sweep.sweep_rules import Finding, SweepAction, SweepVerdict, judge_object
from tasks.vocabulary.names import FlowRunId, JobName, JobUid, job_pods_selector

_CHANGED = (Outcome.SKIPPED, "The object has changed since it was listed.")
_GONE = (Outcome.SKIPPED, "The object is already gone.")

_Result = tuple[Outcome, str]


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Carries out the actions of a sweep.

    Attributes:
        flow_run_id: The sweep's flow run, which becomes the holder of Leases.
        run_script: Used for the tombstones of Jobs that never got their Secret.
    """

    client: ClusterClient
    flow_run_id: FlowRunId
    policy: SweepPolicy
    ages: SweepAges
    run_script: str

    async def carry_out(self, swept: SweptObject, verdict: SweepVerdict) -> SweptRow:
        """Carry out the verdict and return the outcome; raises nothing but a cancellation."""
        try:
            outcome, note = await self._carry_out(swept, verdict)
        except ObjectNotFound:
            outcome, note = _GONE
        except ObjectConflict:
            outcome, note = _CHANGED
        except (ClusterError, LeaseLost, WritesPaused) as error:
            outcome, note = Outcome.FAILED, str(error)
        except Exception as error:
            # From Prefect's client, whose messages may quote what was sent.
            outcome, note = Outcome.FAILED, f"Prefect did not accept it ({type(error).__name__})."
        return SweptRow(swept, verdict, outcome, note)

    async def _carry_out(self, swept: SweptObject, verdict: SweepVerdict) -> _Result:
        match swept.kind:
            case ObjectKind.SECRET:
                await delete_secret(
                    self.client,
                    swept.namespace,
                    swept.name,
                    uid=swept.uid,
                    resource_version=swept.resource_version,
                )
                return Outcome.DONE, ""
            case ObjectKind.LEASE:
                await delete_lease(
                    self.client,
                    swept.namespace,
                    swept.name,
                    uid=swept.uid,
                    resource_version=swept.resource_version,
                )
                return Outcome.DONE, ""
            case ObjectKind.JOB if verdict.action is SweepAction.ADOPT:
                return await self._adopt(swept)
            case ObjectKind.JOB | ObjectKind.FLOW_RUN:
                return await self._act_as_owner(swept, verdict)
            case _:
                assert_never(swept.kind)

    async def _act_as_owner(self, swept: SweptObject, verdict: SweepVerdict) -> _Result:
        async with self._owning(swept) as lease:
            if not lease.held:
                return Outcome.SKIPPED, "A run has taken the Lease of the agent."
            if swept.kind is ObjectKind.JOB:
                return await self._end_job(swept, verdict, lease)
            return await self._end_flow_run(swept, verdict)

    @asynccontextmanager
    async def _owning(self, swept: SweptObject) -> AsyncGenerator[LeaseKeeper]:
        """Take the Lease of an agent if nobody holds it, and always release it afterwards."""
        if swept.agent_id is None:
            raise ValueError(f"{swept.kind} {swept.name} names no agent")
        lease = LeaseKeeper(self.client, swept.namespace, swept.agent_id, self.flow_run_id)
        nobody_is_awaited = asyncio.Event()
        nobody_is_awaited.set()
        try:
            await lease.take(nobody_is_awaited)
            yield lease
        finally:
            with anyio.CancelScope(shield=True):
                await lease.release()

    async def _end_job(
        self, swept: SweptObject, verdict: SweepVerdict, lease: LeaseKeeper
    ) -> _Result:
        async def is_right(job: JobSnapshot) -> bool:
            stage = await self._look_at(job, swept.namespace)
            if not await self._is_still(verdict, swept, stage, owner_of(job)):
                return False
            return stage is not ObjectState.INERT or await create_tombstone(
                self.client, swept.namespace, lease, job.name, job.uid, self.run_script
            )

        # The agent has ended, so there is nothing to wait for.
        over = verdict.finding is Finding.TTL_PASSED
        deletion = await delete_job_when(
            self.client,
            swept.namespace,
            swept.name,
            uid=JobUid(swept.uid),
            is_right=is_right,
            may_write=lease.check_may_write,
            propagation=Propagation.BACKGROUND if over else Propagation.FOREGROUND,
        )
        match deletion:
            case Deletion.DELETED:
                return Outcome.DONE, ""
            case Deletion.GONE:
                return _GONE
            case Deletion.KEPT | Deletion.CHANGED:
                return _CHANGED

    async def _look_at(self, job: JobSnapshot, namespace: str) -> ObjectState:
        selector = job_pods_selector(job.name)
        pods = await list_pods(self.client, namespace, label_selector=selector)
        return judge_job_state(
            job,
            [pod for pod in pods_from_api(pods.items) if pod.job_uid == job.uid],
            await find_run_secret(self.client, namespace, job.name, job.uid),
            server_now=self.client.server_now(),
            minimum_age=self.ages.minimum,
        )

    async def _end_flow_run(self, swept: SweptObject, verdict: SweepVerdict) -> _Result:
        run = FlowRunId(swept.name)
        if not await self._is_still(verdict, swept, ObjectState.RECORDED, run):
            return _CHANGED
        marking = mark_cancelled if verdict.action is SweepAction.MARK_CANCELLED else mark_crashed
        return (Outcome.DONE, "") if await marking(run) else _CHANGED

    async def _is_still(
        self, verdict: SweepVerdict, swept: SweptObject, state: ObjectState, run: FlowRunId | None
    ) -> bool:
        """Return whether the verdict is still the same now that we hold the Lease."""
        record, now = await _read_record(run), self.client.server_now()
        standing = judge_standing(run, record, now=now, minimum_age=self.ages.minimum)
        try:
            # The age was judged before we changed the Lease ourselves.
            facts = replace(swept.facts, state=state, run=standing, lease_fresh=False)
        except ValueError:
            # Prefect no longer reports the state of this flow run.
            return False
        return judge_object(facts, self.policy).finding is verdict.finding

    async def _adopt(self, swept: SweptObject) -> _Result:
        raw = await read_job(self.client, swept.namespace, JobName(swept.name))
        job = JobSnapshot.from_api(raw)
        run = owner_of(job)
        record = (await _read_record(run) or {}).get(run) if run else None
        if job.uid != swept.uid or record is None:
            return _CHANGED
        if await self._look_at(job, swept.namespace) is not ObjectState.LIVE:
            return _CHANGED
        if job.task_id is None:
            return Outcome.FAILED, "The Job names no task, so no other run can take it over."
        if record.deployment_id is None:
            return (
                Outcome.FAILED,
                "Its flow run belongs to no deployment that could be started again.",
            )
        started, is_over = await start_again(record, JobUid(swept.uid))
        if is_over:
            return (
                Outcome.FAILED,
                f"Flow run {started} was started to take over the Job, but did not.",
            )
        return Outcome.DONE, f"Flow run {started} was started to take over the Job."


async def _read_record(run: FlowRunId | None) -> FlowRunRecords:
    wanted = [run] if run is not None and is_askable(run) else []
    return await ask_for_heartbeats(await read_flow_run_records(wanted), wanted)
