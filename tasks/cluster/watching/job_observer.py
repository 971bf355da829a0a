"""The newest known state of one Job and its pods, by watch and by slow safety reads."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tasks.cluster.call_retry import RETRY_NEVER
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterForbidden,
    ClusterUnauthorised,
    ObjectNotFound,
)
from tasks.cluster.json_objects import JOBS, PODS, ApiResource, JsonObject
from tasks.cluster.kinds.jobs import read_job
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.watching.job_feed import JobFeed, job_uid_of
from tasks.cluster.watching.job_records import JobRecords, ObservedPod
from tasks.cluster.watching.watch import (
    Changed,
    Deleted,
    Listed,
    StillWatching,
    WatchEvent,
    WatchLost,
)
from tasks.vocabulary.names import job_pods_selector

SAFETY_READ_SECONDS = 30.0
UNWATCHED_READ_SECONDS = 10.0
_CONFIRMATION_SECONDS = 1.0  # a 404 counts when a second read after this time says so too


@dataclass(frozen=True)
class JobObservation:
    """What is known of the Job at one instant.

    Attributes:
        version: Grows with every change; give it to `changed`.
        job: Its newest state, kept after it has gone; None until it was seen.
        job_is_gone: No Job of this UID exists; read twice.
        pods: All its pods ever seen, oldest first.
        pods_listed: Whether all pods there were at one instant have been seen; until then an empty
            `pods` says nothing.
        watch_holds: Whether watches are open, so that news comes by itself.
        failed_reads: Safety reads failed in a row; a failed read is never an ending.
    """

    version: int
    job: JsonObject | None
    job_is_gone: bool
    pods: tuple[ObservedPod, ...]
    pods_listed: bool
    watch_holds: bool
    failed_reads: int


class JobObserver:
    """Keeps the newest state of the one Job with this UID; `run` it beside its readers."""

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        job_name: str,
        job_uid: str,
        feed: JobFeed | None = None,
        safety_read_seconds: float = SAFETY_READ_SECONDS,
        unwatched_read_seconds: float = UNWATCHED_READ_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Observe nothing yet.

        Args:
            client: The connection.
            namespace: The Job's namespace.
            job_name: The Job's name.
            job_uid: Another Job of the same name is none of ours.
            feed: Watches that somebody else runs; None makes and runs one for this Job.
            safety_read_seconds: Between reads while watches are open.
            unwatched_read_seconds: Between reads while they are not, or a read has failed.
            monotonic: Seconds of a clock that never jumps.
            sleep: Waits between the two reads of a missing Job.
        """
        self._client = client
        self._namespace = namespace
        self._job_name = job_name
        self._job_uid = job_uid
        self._feed = feed or JobFeed.of_job(client, namespace, job_name)
        self._runs_feed = feed is None
        self._safety_read_seconds = safety_read_seconds
        self._unwatched_read_seconds = unwatched_read_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._records = JobRecords()
        self._job_is_gone = False
        self._failed_reads = 0
        self._last_failure: str | None = None
        self._is_refused = False
        self._last_good_at = monotonic()
        self._version = 0
        self._news = asyncio.Event()
        self._in_doubt = False
        self._reader_wake = asyncio.Event()

    async def run(self) -> None:
        """Observe until cancelled; no failure of the cluster ends it."""
        with self._feed.subscribe(self._job_uid, self._accept_event):
            async with asyncio.TaskGroup() as group:
                if self._runs_feed:
                    group.create_task(self._feed.run())
                group.create_task(self._read_for_safety())

    @property
    def observation(self) -> JobObservation:
        """What is known now."""
        return JobObservation(
            version=self._version,
            job=self._records.job,
            job_is_gone=self._job_is_gone,
            pods=tuple(sorted(self._records.pods.values(), key=_age_key)),
            pods_listed=self._records.pods_listed,
            watch_holds=self._feed.holds,
            failed_reads=self._failed_reads,
        )

    @property
    def seconds_since_good_read(self) -> float:
        """How long the API has told nothing, by read or by watch."""
        return self._monotonic() - self._last_good_at

    @property
    def last_failure(self) -> str | None:
        """Why the last read failed; None when it did not."""
        return self._last_failure if self._failed_reads else None

    @property
    def is_refused(self) -> bool:
        """Whether every read since the last good one was refused with 401 or 403."""
        return self._failed_reads > 0 and self._is_refused

    async def changed(self, seen_version: int) -> JobObservation:
        """Wait until more is known than at `seen_version`; bound the wait with a timeout."""
        while self._version <= seen_version:
            await self._news.wait()
        return self.observation

    async def read_again(self) -> bool:
        """Read the Job, then its pods; tell whether both were answered.

        They are watched apart, so either may be known in a later state than the other.
        """
        await self._read()
        return self._failed_reads == 0

    def _publish(self) -> None:
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()

    def _accept_event(self, resource: ApiResource, event: WatchEvent) -> None:
        if isinstance(event, WatchLost):
            self._reader_wake.set()
            self._publish()
            return
        self._last_good_at = self._monotonic()
        if isinstance(event, StillWatching):
            return
        is_news = self._accept_job(event) if resource is JOBS else self._accept_pods(event)
        if is_news:
            self._publish()

    def _accept_job(self, event: Listed | Changed | Deleted) -> bool:
        found = event.objects if isinstance(event, Listed) else (event.object,)
        # Not in the list, or deleted as a label change would have it: only a read by name tells.
        if not found or isinstance(event, Deleted):
            self._want_read()
        is_news = False
        for job in found:
            is_news = self._records.accept_job(job) or is_news
        return is_news

    def _accept_pods(self, event: Listed | Changed | Deleted) -> bool:
        if isinstance(event, Listed):
            return self._records.accept_pod_list(event.objects, event.resource_version)
        return self._records.accept_pod(event.object, is_gone=isinstance(event, Deleted))

    def _want_read(self) -> None:
        if not self._job_is_gone:
            self._in_doubt = True
            self._reader_wake.set()

    async def _read_for_safety(self) -> None:
        while True:
            self._in_doubt = False
            await self._read()
            await self._wait_for_next_read(self._monotonic())

    async def _wait_for_next_read(self, read_at: float) -> None:
        while not self._in_doubt:
            is_safe = self._feed.holds and not self._failed_reads
            interval = self._safety_read_seconds if is_safe else self._unwatched_read_seconds
            self._reader_wake.clear()
            try:
                async with asyncio.timeout(read_at + interval - self._monotonic()):
                    await self._reader_wake.wait()
            except TimeoutError:
                return

    async def _read(self) -> None:
        try:
            is_news = await self._read_job()
            is_news = await self._read_pods() or is_news
        except ClusterError as failure:
            # A gateway's own page says nothing of our credentials and permissions.
            was_refused = (
                isinstance(failure, ClusterForbidden | ClusterUnauthorised)
                and not failure.answer.is_foreign
            )
            self._is_refused = was_refused and (self._is_refused or not self._failed_reads)
            self._failed_reads += 1
            self._last_failure = failure.message
            self._publish()
            return
        self._last_good_at = self._monotonic()
        if is_news or self._failed_reads:
            self._failed_reads = 0
            self._publish()

    async def _read_job(self) -> bool:
        if self._job_is_gone:
            return False
        job = await self._find_job()
        if job is None:
            await self._sleep(_CONFIRMATION_SECONDS)
            job = await self._find_job()
        if job is None:
            self._job_is_gone = True
            return True
        return self._records.accept_job(job)

    async def _find_job(self) -> JsonObject | None:
        """Return the Job of our UID; None when there is none, or another of its name."""
        try:
            # Never repeated here: the next safety read is the repetition.
            job = await read_job(self._client, self._namespace, self._job_name, retry=RETRY_NEVER)
        except ObjectNotFound:
            return None
        return job if job_uid_of(JOBS, job) == self._job_uid else None

    async def _read_pods(self) -> bool:
        found = await list_pods(
            self._client,
            self._namespace,
            label_selector=job_pods_selector(self._job_name),
            retry=RETRY_NEVER,
        )
        ours = [pod for pod in found.items if job_uid_of(PODS, pod) == self._job_uid]
        return self._records.accept_pod_list(ours, found.resource_version)


def _age_key(pod: ObservedPod) -> tuple[str, bool]:
    """Order pods by age; of one second's the ending ones first, then as they were seen."""
    metadata = pod.latest["metadata"]
    is_ending = pod.is_gone or "deletionTimestamp" in metadata
    return str(metadata.get("creationTimestamp") or ""), not is_ending
