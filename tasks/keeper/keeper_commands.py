"""What the run tells the keeper of a pod, by commands in its container."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterUnauthorised,
    ClusterUnavailable,
    ClusterUnreachable,
    ExecFailed,
    ObjectNotFound,
    StreamSilent,
    TooManyRequests,
)
from tasks.cluster.kinds.pod_exec import open_exec, run_in_pod
from tasks.cluster.kinds.pod_logs import follow_pod_log
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.vocabulary.backoff import Backoff
from tasks.vocabulary.names import KEEPER_CONTAINER, KEEPER_SCRIPT
from tasks.work.checkpoint_announcements import AnnouncedCheckpoint, AnnouncementReader
from tasks.work.checkpoint_stream import CheckpointReceiver

# Between two pieces of output; a large tree is looked through before the first comes.
_SILENCE_SECONDS = 300.0
# A tree that nobody changes costs next to no requests; a dead connection is found in this time.
_LOG_SILENCE_SECONDS = 600.0
_FINISH_SECONDS = 10.0
# One after the other that bring nothing.
_TRIES = 6
# `keeper.sh resume`: another checkpoint has been made since.
_ANOTHER_CHECKPOINT = 3


class CheckpointReplaced(Exception):
    """The keeper has made another checkpoint since, and announces that one."""


async def receive_checkpoint(
    run: AgentRun,
    work: AttemptAtWork,
    pod_name: str,
    receiver: CheckpointReceiver,
    announced_id: str | None = None,
) -> None:
    """Receive a checkpoint whole; a cut stream goes on where it was cut.

    Args:
        run: Whose connection is used.
        work: The Job at work.
        pod_name: Its pod.
        receiver: Has received nothing yet.
        announced_id: One that the keeper has announced; without it, one is made now.

    Raises:
        CheckpointReplaced: That one is not there any more.
        ClusterError: It could not be had, for now; `ExecFailed` if the keeper says why.
        WorkDamaged: What came is no checkpoint.
    """
    backoff, failures = Backoff(0.5, 10.0), 0
    failure: ClusterError | None = None
    while failures < _TRIES:
        received_bytes = receiver.received_bytes
        try:
            async for piece in _stream(run, work, pod_name, receiver, announced_id):
                receiver.feed(piece)
            receiver.close()
        except (
            ClusterUnreachable,
            ClusterUnavailable,
            ClusterUnauthorised,
            TooManyRequests,
        ) as error:
            failure = error
        if receiver.is_complete:
            return
        # A connection that is cut often still brings all of it.
        failures = 0 if receiver.received_bytes > received_bytes else failures + 1
        await asyncio.sleep(backoff.delay_seconds(max(1, failures)))
    raise failure or ExecFailed(f"The keeper in pod {pod_name} has sent nothing.")


async def _stream(
    run: AgentRun,
    work: AttemptAtWork,
    pod_name: str,
    receiver: CheckpointReceiver,
    announced_id: str | None,
) -> AsyncGenerator[bytes, None]:
    resumed = receiver.checkpoint_id or announced_id
    command = ["/bin/sh", KEEPER_SCRIPT]
    if resumed is None:
        receiver.restart()
        command += ["collect"]
    else:
        command += ["resume", resumed, str(receiver.received_bytes)]
    where = (run.outside.client, work.namespace, pod_name, KEEPER_CONTAINER)
    async with open_exec(*where, command, silence_seconds=_SILENCE_SECONDS) as stream:
        async for piece in stream.stdout_chunks():
            yield piece
        if stream.exit_code == _ANOTHER_CHECKPOINT and announced_id is not None:
            raise CheckpointReplaced
        if stream.exit_code == _ANOTHER_CHECKPOINT and resumed is not None:
            receiver.restart()
        elif stream.exit_code != 0:
            said = stream.stderr.decode(errors="replace").strip()[-500:]
            raise ExecFailed(f"The keeper in pod {pod_name} says: {said or stream.exit_code}")


async def announced_checkpoints(
    run: AgentRun, work: AttemptAtWork, pod_name: str
) -> AsyncGenerator[AnnouncedCheckpoint, None]:
    """Yield checkpoints as the keeper announces them, each once; ends when its pod is gone.

    Whatever else goes wrong is tried again: without checkpoints the work still is collected at the
    agent's end.
    """
    where = (run.outside.client, work.namespace, pod_name, KEEPER_CONTAINER)
    backoff, failures = Backoff(1.0, 60.0), 0
    last: AnnouncedCheckpoint | None = None
    while True:
        # Each time from the log's beginning: it has a line for each checkpoint, and no more.
        reader = AnnouncementReader()
        try:
            async with follow_pod_log(*where, silence_seconds=_LOG_SILENCE_SECONDS) as log:
                async for chunk in log.chunks():
                    failures = 0
                    newest = reader.feed(chunk)
                    if newest is not None and newest != last:
                        last = newest
                        yield newest
        except ObjectNotFound:
            return
        except StreamSilent:
            continue
        except ClusterError:
            failures += 1
        await asyncio.sleep(backoff.delay_seconds(max(1, failures)))


async def finish_keeper(run: AgentRun, work: AttemptAtWork) -> None:
    """Let the keeper of the attempt's pod end; without an answer it ends by its own patience."""
    if work.pod is None or work.pod.ended or work.pod_is_gone:
        return
    where = (run.outside.client, work.namespace, work.pod.name, KEEPER_CONTAINER)
    with suppress(ClusterError, TimeoutError):
        async with asyncio.timeout(run.outside.controls.bounded(_FINISH_SECONDS)):
            await run_in_pod(*where, ["/bin/sh", KEEPER_SCRIPT, "finish"])
