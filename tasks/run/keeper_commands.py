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
    TooManyRequests,
)
from tasks.cluster.kinds.pod_exec import open_exec, run_in_pod
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork
from tasks.vocabulary.backoff import Backoff
from tasks.vocabulary.names import KEEPER_CONTAINER, KEEPER_SCRIPT
from tasks.work.checkpoint_stream import CheckpointReceiver

# Between two pieces of output; a large tree is looked through before the first comes.
_SILENCE_SECONDS = 300.0
_FINISH_SECONDS = 10.0
# One after the other that bring nothing.
_TRIES = 6
# `keeper.sh resume`: another checkpoint has been made since.
_ANOTHER_CHECKPOINT = 3


async def receive_checkpoint(
    run: AgentRun, work: AttemptAtWork, pod_name: str, receiver: CheckpointReceiver
) -> None:
    """Have a checkpoint made and receive it whole; a cut stream goes on where it was cut.

    Raises:
        ClusterError: It could not be had, for now; `ExecFailed` if the keeper says why.
        WorkDamaged: What came is no checkpoint.
    """
    backoff, failures = Backoff(0.5, 10.0), 0
    failure: ClusterError | None = None
    while failures < _TRIES:
        received_bytes = receiver.received_bytes
        try:
            async for piece in _stream(run, work, pod_name, receiver):
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
    run: AgentRun, work: AttemptAtWork, pod_name: str, receiver: CheckpointReceiver
) -> AsyncGenerator[bytes, None]:
    resumed = receiver.checkpoint_id
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
        if stream.exit_code == _ANOTHER_CHECKPOINT and resumed is not None:
            receiver.restart()
        elif stream.exit_code != 0:
            said = stream.stderr.decode(errors="replace").strip()[-500:]
            raise ExecFailed(f"The keeper in pod {pod_name} says: {said or stream.exit_code}")


async def finish_keeper(run: AgentRun, work: AttemptAtWork) -> None:
    """Let the keeper of the attempt's pod end; without an answer it ends by its own patience."""
    if work.pod is None or work.pod.ended or work.pod_is_gone:
        return
    where = (run.outside.client, work.namespace, work.pod.name, KEEPER_CONTAINER)
    with suppress(ClusterError, TimeoutError):
        async with asyncio.timeout(run.outside.controls.bounded(_FINISH_SECONDS)):
            await run_in_pod(*where, ["/bin/sh", KEEPER_SCRIPT, "finish"])
