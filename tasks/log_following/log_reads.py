"""The ways to an agent's output: the followed log, the log as it is, the copy in its pod."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ApiRefused,
    ClusterError,
    ClusterForbidden,
    ClusterUnauthorised,
    ClusterUnavailable,
    ExecFailed,
    ObjectNotFound,
    StreamSilent,
    TooManyRequests,
)
from tasks.cluster.kinds.pod_exec import open_exec, touch_pod_file
from tasks.cluster.kinds.pod_logs import follow_pod_log, read_pod_log
from tasks.transcript.line_grammar import ACKNOWLEDGED_ABOVE_BYTES
from tasks.transcript.read_steps import Attempt, FollowLog, ReadCopy, ReadEnd, ReadLog

# The copy from a line on, then the trailer once the script has written it, since its line in the
# log may be rotated away while the script waits.
_COPY_SCRIPT = """
[ -z "$3" ] || true >"$3" || exit 65
[ -r "$1" ] || exit 66
tail -n "+$2" "$1" || exit 67
echo
cat "${CLAUDE_JOBS_TERMINATION_LOG:-/dev/termination-log}" 2>/dev/null
echo
"""


@dataclass(frozen=True)
class LogTarget:
    """Whose output is read.

    Attributes:
        namespace: The pod's.
        pod_name: The one pod of the attempt.
        container: The agent's container.
        token: What the run script's lines begin with.
        work_dir: Where the script keeps the copy and looks for the acknowledgement.
        exec_allowed: Whether commands may be run in the pod.
        acknowledge_above_bytes: The script's own limit.
    """

    namespace: str
    pod_name: str
    container: str
    token: str
    work_dir: str
    exec_allowed: bool
    acknowledge_above_bytes: int = ACKNOWLEDGED_ABOVE_BYTES


@asynccontextmanager
async def open_log_read(
    client: ClusterClient, target: LogTarget, read: FollowLog | ReadLog | ReadCopy
) -> AsyncGenerator[AsyncGenerator[bytes, None], None]:
    """Open a read and hand out its pieces; opening and reading raise `ClusterError`."""
    where = (client, target.namespace, target.pod_name, target.container)
    match read:
        case FollowLog(since_seconds, silence_seconds):
            async with follow_pod_log(
                *where, since_seconds=since_seconds, silence_seconds=silence_seconds
            ) as stream:
                yield stream.chunks()
        case ReadLog(since_seconds, silence_seconds):
            async with read_pod_log(
                *where, since_seconds=since_seconds, silence_seconds=silence_seconds
            ) as stream:
                yield stream.chunks()
        case ReadCopy():
            yield _read_copy(client, target, read)


async def _read_copy(
    client: ClusterClient, target: LogTarget, read: ReadCopy
) -> AsyncGenerator[bytes, None]:
    path = f"{target.work_dir}/transcript"
    hold = f"{target.work_dir}/hold" if read.holds else ""
    command = ["/bin/sh", "-c", _COPY_SCRIPT, "sh", path, str(read.first_line), hold]
    where = (client, target.namespace, target.pod_name, target.container)
    async with open_exec(*where, command) as stream:
        async for chunk in stream.stdout_chunks():
            yield chunk
        if stream.exit_code != 0:
            said = stream.stderr.decode(errors="replace").strip()[:500]
            raise ExecFailed(f"{path} could not be read: {said or stream.exit_code}")


async def acknowledge(client: ClusterClient, target: LogTarget) -> None:
    """Let the script exit; raises `ClusterError`."""
    path = f"{target.work_dir}/ack"
    await touch_pod_file(client, target.namespace, target.pod_name, target.container, path)


def classify_failure(failure: ClusterError, attempt: Attempt) -> ReadEnd:
    """Tell what a failed attempt means for the next one."""
    match failure:
        case StreamSilent() if isinstance(attempt, FollowLog):
            return ReadEnd.SILENT
        case ObjectNotFound():
            return ReadEnd.NOT_FOUND
        case ClusterForbidden():
            return ReadEnd.FORBIDDEN
        case TooManyRequests() | ClusterUnauthorised():  # a token that is just being renewed
            return ReadEnd.UNAVAILABLE
        case ApiRefused() | ExecFailed():
            return ReadEnd.REFUSED
        case ClusterUnavailable() if failure.status is not None:
            return ReadEnd.SERVER_ERROR
        case _:
            return ReadEnd.UNAVAILABLE


def asked_delay_seconds(failure: ClusterError) -> float | None:
    """Return what the server asked to wait, if it did."""
    match failure:
        case TooManyRequests():
            return failure.answer.retry_after_seconds
        case ClusterUnavailable():
            return failure.retry_after_seconds
        case _:
            return None
