"""Shows an agent's transcript to people: from its pod if it exists, else from the storage."""

import asyncio
import gzip
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.cluster.watching.job_observer import JobObserver
from tasks.log_following.log_follower import FollowedLog, LogFollower, LogTarget
from tasks.log_following.log_reads import open_log_read
from tasks.observation.snapshots import JobSnapshot
from tasks.operators.cluster_look import ClusterAccess
from tasks.operators.operator_errors import NotPossible
from tasks.run.observed_job import ObservedJob
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StoredObjectMissing
from tasks.storage.storage_keys import AttemptFolder, transcript_key
from tasks.storage.stored_results import read_stored_transcript
from tasks.transcript.line_grammar import StdoutLine, parse_line
from tasks.transcript.numbered_lines import LineSplitter, Transcript
from tasks.transcript.read_steps import ReadLog
from tasks.vocabulary.names import AGENT_CONTAINER, WORK_DIR, line_token

_SILENCE_SECONDS = 30.0

ShowLines = Callable[[Sequence[bytes]], None]


async def follow_agent(access: ClusterAccess, job: JobSnapshot, show: ShowLines) -> FollowedLog:
    """Show the output of a live agent from its first line to its end, each line once.

    Raises:
        NotPossible: Its Job was deleted before it had a pod.
    """
    observer = JobObserver(
        access.client, namespace=access.namespace, job_name=job.name, job_uid=job.uid
    )

    async def take(lines: Sequence[StdoutLine]) -> None:
        show([line.payload for line in lines])

    with tempfile.TemporaryDirectory(prefix="claude-jobs-") as folder:
        observed = ObservedJob(job_name=job.name, job_uid=job.uid, observer=observer)
        observing = asyncio.create_task(observer.run())
        try:
            await _await_pod(observed)
            follower = LogFollower(
                access.client,
                _target(access, job, observed.pod_name or ""),
                spool=Path(folder) / "transcript.jsonl",
                observe=observed.view_pod,
                on_lines=take,
            )
            looking = asyncio.create_task(_keep_looking(observer, follower))
            try:
                return await follower.follow()
            finally:
                looking.cancel()
        finally:
            observing.cancel()
            await asyncio.gather(observing, return_exceptions=True)


async def read_agent_log(
    access: ClusterAccess, job: JobSnapshot, pod_name: str, show: ShowLines
) -> FollowedLog:
    """Show an agent's output so far; name the lines that the node's log rotation has removed.

    Raises:
        ClusterError: The log could not be read.
    """
    transcript, splitter = Transcript(line_token(job.name)), LineSplitter()
    transcript.begin_stream()
    read = ReadLog(since_seconds=None, silence_seconds=_SILENCE_SECONDS)
    async with open_log_read(access.client, _target(access, job, pod_name), read) as chunks:
        async for chunk in chunks:
            for line in splitter.feed(chunk):
                show([found.payload for found in _accept(transcript, line, job)])
    show([found.payload for found in transcript.end_stream(splitter.flush())])
    return FollowedLog.of(transcript, None)


async def show_stored_transcript(
    storage: ResultStorage, folder: AttemptFolder, show: ShowLines
) -> None:
    """Show a stored transcript.

    Raises:
        NotPossible: None is stored there, or the stored file is not a transcript.
    """
    key = transcript_key(folder.path)
    try:
        content = gzip.decompress(await read_stored_transcript(storage, folder))
    except StoredObjectMissing:
        raise NotPossible(
            f"Neither the cluster nor the result storage has a transcript ({storage.description}, "
            f"{key}).",
            "Run this where the result storage can be read; `claude-jobs show` shows what is left.",
        ) from None
    except (OSError, EOFError) as error:
        raise NotPossible(
            f"The transcript at {storage.description}/{key} cannot be read: {error}.",
            "Check the file; it should be gzip.",
        ) from error
    show([line for line in content.split(b"\n") if line])


async def _await_pod(observed: ObservedJob) -> None:
    observer = observed.observer
    while True:
        observation = observer.observation
        pod = observed.pod
        if pod is not None:
            observed.bind(pod)
            return
        if observation.job_is_gone:
            raise NotPossible(
                f"Job {observed.job_name} was deleted before it had a pod.",
                "`claude-jobs show` shows what is known about it.",
            )
        await observer.changed(observation.version)


async def _keep_looking(observer: JobObserver, follower: LogFollower) -> None:
    while True:
        seen = observer.observation.version
        follower.look_again()
        await observer.changed(seen)


def _accept(transcript: Transcript, line: bytes, job: JobSnapshot) -> list[StdoutLine]:
    """Accept a line; lines missing before it are lost, since nothing else is read."""
    found = [*transcript.accept(line)]
    parsed = parse_line(line, line_token(job.name))
    if isinstance(parsed, StdoutLine):
        while transcript.missing_range is not None and parsed.number > transcript.next_number:
            transcript.skip_missing()
            found += transcript.accept(line)
    return found


def _target(access: ClusterAccess, job: JobSnapshot, pod_name: str) -> LogTarget:
    return LogTarget(
        namespace=access.namespace,
        pod_name=pod_name,
        container=AGENT_CONTAINER,
        token=line_token(job.name),
        work_dir=WORK_DIR,
        exec_allowed=True,
        # Only the owner acknowledges the output: the pod waits for it, not for other readers.
        acknowledge_above_bytes=sys.maxsize,
    )
