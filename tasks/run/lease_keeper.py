"""Holding an agent's Lease: taking it, keeping it alive, writing on it, letting it go.

Every update carries the Lease's resourceVersion, so that whoever comes late learns it. What a Lease
means is decided in `tasks.ownership.lease`.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tasks.cluster.call_retry import RETRY_REFUSED, RETRY_SAFE, RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterUnavailable,
    ClusterUnreachable,
    NamespaceNotFound,
    ObjectConflict,
    ObjectNotFound,
)
from tasks.cluster.kinds.leases import create_lease, read_lease, replace_lease
from tasks.observation.snapshots import LeaseSnapshot
from tasks.ownership.lease import (
    RENEW_INTERVAL_SECONDS,
    LeaseSighting,
    LeaseState,
    LeaseVerdict,
    Tenure,
    build_commit,
    build_lease,
    build_noted,
    build_release,
    build_renewal,
    judge_lease,
    judge_tenure,
    lease_holder,
    may_write,
)
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, FlowRunId, JobName, JobUid, lease_name

_LOOK_AGAIN_SECONDS = 3.0
_RETRY_RENEWAL_SECONDS = 5.0
_RELEASE_SECONDS = 5.0
# Asked when a run ends, also where the API is what failed it.
_ASK_SECONDS = 10.0
_UNANSWERED_LIMIT = 5
# Our own renewals move the resourceVersion too; more conflicts than this are somebody else's.
_UPDATE_TRIES = 4

BuildUpdate = Callable[[LeaseSnapshot, datetime], dict[str, Any]]


class LeaseLost(AgentRunError):
    """Another process owns the agent now; this one writes nothing any more."""

    def __init__(self, holder: str) -> None:
        taken = f" (held by {holder})" if holder else ""
        super().__init__(
            ErrorCode.CONCURRENT_RUN_BLOCKED,
            f"Another process has taken over this agent{taken}; this run stepped back and left the "
            "agent's Job to that process.",
        )


class WritesPaused(AgentRunError):
    """The Lease could not be renewed for too long; it may still be ours."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.JOB_STATE_MISMATCH,
            "The agent's Lease could not be renewed in time, so this run writes nothing until it "
            "can; its Job was not changed. Run again when the Kubernetes API answers.",
        )


class LeaseKeeper:
    """One process's hold on the Lease of one agent.

    Attributes:
        flow_run_id: The flow run in whose name it is held.
    """

    def __init__(
        self,
        client: ClusterClient,
        namespace: str,
        agent_id: AgentId,
        flow_run_id: FlowRunId,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._agent_id = agent_id
        self._me = lease_holder(flow_run_id, uuid.uuid4().hex[:8])
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._taken = asyncio.Event()
        self._lease: LeaseSnapshot | None = None
        self._last_success_at = 0.0
        self._unanswered = 0
        self._perhaps_taken = False
        self.flow_run_id = flow_run_id

    @property
    def lease(self) -> LeaseSnapshot:
        """The Lease as last written by us.

        Raises:
            LeaseLost: We do not hold it.
        """
        if self._lease is None:
            raise LeaseLost("")
        return self._lease

    @property
    def held(self) -> bool:
        """Whether we took it and have not let it go."""
        return self._lease is not None

    @property
    def is_doubtful(self) -> bool:
        """Whether we took it, and a successor may have taken it since."""
        return self.held and not may_write(self._last_success_at, self._monotonic())

    async def is_with_twin(self) -> bool:
        """Tell whether another process of our own flow run holds it.

        Takes at most 10 s; False where nobody answers.
        """
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                lease, _ = await self._read()
        except (ClusterError, TimeoutError):
            return False
        return judge_tenure(lease, self._me) is Tenure.TWIN

    async def confirm(self) -> None:
        """Ask whether a Lease that we took is still ours; where nobody answers, it is.

        Takes at most 10 s.

        Raises:
            LeaseLost: Somebody else has taken it.
        """
        if self._lease is None:
            return
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                await self._read_own()
        except (ClusterError, TimeoutError):
            return

    def check_may_write(self) -> None:
        """Refuse to go on when a successor may already be at work.

        Raises:
            LeaseLost: The Lease is not ours.
            WritesPaused: It was not renewed for two thirds of its duration.
        """
        if self._lease is None:
            raise LeaseLost("")
        if not may_write(self._last_success_at, self._monotonic()):
            raise WritesPaused

    def guarded(self, policy: RetryPolicy) -> RetryPolicy:
        """Return `policy` for a write that only an owner may make: asked again before every try.

        Between two tries a process may be stopped for minutes.
        """
        return replace(policy, before_each=self.check_may_write)

    async def take(
        self,
        stop: asyncio.Event,
        on_wait: Callable[[LeaseVerdict], None] | None = None,
        *,
        permitted: "asyncio.Task[None] | None" = None,
    ) -> LeaseVerdict:
        """Take the Lease, waiting for a former owner to be shown alive or gone.

        Args:
            stop: Ends the wait early.
            on_wait: Told once what is waited for.
            permitted: Is asked meanwhile, and must have ended well before anything is written; what
                it raises ends the wait.

        Returns:
            The verdict on what was there; the Lease is ours if and only if `held` is true then.

        Raises:
            ClusterError: The Lease could not be read or written.
        """
        first: LeaseSighting | None = None
        while True:
            lease, now = await self._read()
            if permitted is not None:
                await permitted
            verdict = judge_lease(lease, now, self._me, first)
            if verdict.may_be_taken or verdict.state is LeaseState.MINE:
                if await self._try_take(lease, now):
                    return verdict
                first = None
                continue
            if verdict.state is LeaseState.RENEWED or lease is None or stop.is_set():
                return verdict
            if first is None and on_wait is not None:
                on_wait(verdict)
            first = first or LeaseSighting(lease, now)
            await _wait_for(stop, min(_LOOK_AGAIN_SECONDS, verdict.expires_in_seconds + 0.1))

    async def keep(self) -> None:
        """Renew the Lease, from when it is taken until cancelled.

        Raises:
            LeaseLost: Somebody else has taken it.
        """
        await self._taken.wait()
        # Since the last success, not since now: whoever goes on keeping it loses no time.
        pause = self._last_success_at + RENEW_INTERVAL_SECONDS - self._monotonic()
        while True:
            await asyncio.sleep(max(0.0, pause))
            try:
                await self._update(lambda lease, now: build_renewal(lease, self._me, now))
                pause = float(RENEW_INTERVAL_SECONDS)
            except ClusterError:
                # Not an ending: the API may be away. `check_may_write` stops our writes in time.
                pause = _RETRY_RENEWAL_SECONDS

    async def commit(self, job_name: JobName, job_uid: JobUid, attempt: int) -> None:
        """Name a Job as the agent's live one.

        Raises:
            LeaseLost: Somebody else owns the agent; the Job must not be used.
            ClusterError: It could not be written; whether it was is not known.
        """
        await self._update(
            lambda lease, now: build_commit(
                lease,
                self._me,
                now,
                job_name=job_name,
                job_uid=job_uid,
                flow_run_id=self.flow_run_id,
                attempt=attempt,
            ),
            RETRY_SAFE,
        )

    async def note(self, notes: Mapping[str, str]) -> None:
        """Write annotations on the Lease.

        Raises:
            LeaseLost: Somebody else owns the agent.
            ClusterError: They could not be written; whether they were is not known.
        """
        await self._update(lambda lease, now: build_noted(lease, self._me, now, notes), RETRY_SAFE)

    async def release(self) -> None:
        """Let the Lease go, if it is ours; never raises for a cluster that does not answer.

        Also one that was asked for if it is unknown whether it was given: the answer was lost, or
        the run was stopped before it came. A Lease that could not be released runs out by itself.
        """
        if self._lease is None and not self._perhaps_taken:
            return
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                if self._lease is None:
                    await self._read_own()
                await self._update(
                    lambda lease, now: build_release(lease, self._me, now), RETRY_SAFE
                )
        except (ClusterError, LeaseLost, TimeoutError):
            pass  # it runs out by itself
        finally:
            self._lease, self._perhaps_taken = None, False

    async def _read(self) -> tuple[LeaseSnapshot | None, datetime]:
        try:
            raw = await read_lease(self._client, self._namespace, lease_name(self._agent_id))
        except NamespaceNotFound:
            raise
        except ObjectNotFound:
            return None, self._client.server_now()
        return LeaseSnapshot.from_api(raw), self._client.server_now()

    async def _try_take(self, lease: LeaseSnapshot | None, now: datetime) -> bool:
        body = build_lease(self._agent_id, self._me, now, lease)
        sent_at = self._monotonic()
        try:
            if lease is None:
                raw = await create_lease(self._client, self._namespace, body)
            else:
                raw = await replace_lease(self._client, self._namespace, body)
        except NamespaceNotFound:
            raise
        except (ObjectConflict, ObjectNotFound):
            return False
        except asyncio.CancelledError:
            self._perhaps_taken = True
            raise
        except (ClusterUnavailable, ClusterUnreachable):
            self._perhaps_taken = True
            if self._unanswered >= _UNANSWERED_LIMIT:
                raise
            # It may have been done: reading the Lease again tells.
            self._unanswered += 1
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            return False
        self._accept(LeaseSnapshot.from_api(raw), sent_at)
        return True

    async def _update(self, build: BuildUpdate, retry: RetryPolicy = RETRY_REFUSED) -> None:
        """Replace our Lease; a second try after a lost answer is a conflict with our own first."""
        async with self._lock:
            for _ in range(_UPDATE_TRIES):
                sent_at = self._monotonic()
                body = build(self.lease, self._client.server_now())
                try:
                    raw = await replace_lease(self._client, self._namespace, body, retry=retry)
                except ObjectConflict:
                    # Perhaps a try of our own whose answer was lost: read before giving up.
                    await self._read_own()
                    continue
                except ObjectNotFound as error:
                    self._lease = None
                    raise LeaseLost("") from error
                self._accept(LeaseSnapshot.from_api(raw), sent_at)
                return
            raise LeaseLost("")

    async def _read_own(self) -> None:
        lease, _ = await self._read()
        if lease is None or judge_tenure(lease, self._me) is not Tenure.OURS:
            self._lease = None
            raise LeaseLost(lease.holder if lease else "")
        self._lease = lease

    def _accept(self, lease: LeaseSnapshot, sent_at: float) -> None:
        self._lease, self._perhaps_taken = lease, False
        self._last_success_at = sent_at
        self._taken.set()


async def _wait_for(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
