"""A container's log as the kubelet serves it: raw bytes, one request each.

Never with `timestamps`: kubelets before 1.22 to 1.26 put them into the middle of long lines. What a
stream brings may be rotated away, cut, or repeated; the reader must number its lines.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tasks.cluster.api_status import refuse_kubelet_excuse
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.http_transport import ByteStream
from tasks.cluster.json_objects import PODS

_FOLLOW_SILENCE_SECONDS = 120.0  # a silent agent is normal; a dead connection is found in this time
_READ_SILENCE_SECONDS = 30.0


@asynccontextmanager
async def follow_pod_log(
    client: ClusterClient,
    namespace: str,
    pod: str,
    container: str,
    *,
    since_seconds: int | None = None,
    silence_seconds: float = _FOLLOW_SILENCE_SECONDS,
) -> AsyncGenerator[ByteStream, None]:
    """Open the log and keep it open; its end proves nothing, read the pod.

    Args:
        client: The connection.
        namespace: The pod's namespace.
        pod: The pod's name.
        container: The container's name.
        since_seconds: Only what was printed in this time before the request arrives, by the
            node's clock; None means all that the node still has. The first line may lack its head.
        silence_seconds: Bound of each wait; `StreamSilent` then is normal, follow again.

    Raises:
        RequestRefused: The container has not started yet.
        ObjectNotFound: The pod is gone.
    """
    query = {"container": container, "follow": "true"}
    if since_seconds is not None:
        query["sinceSeconds"] = str(max(1, since_seconds))
    path = PODS.path(namespace, pod, "log")
    async with client.stream(path, query=query, silence_seconds=silence_seconds) as stream:
        yield stream


@asynccontextmanager
async def read_pod_log(
    client: ClusterClient,
    namespace: str,
    pod: str,
    container: str,
    *,
    since_seconds: int | None = None,
    tail_lines: int | None = None,
    limit_bytes: int | None = None,
    silence_seconds: float = _READ_SILENCE_SECONDS,
) -> AsyncGenerator[ByteStream, None]:
    """Open what the node has of the log now; ends by itself. Errors as in `follow_pod_log`.

    Args:
        client: The connection.
        namespace: The pod's namespace.
        pod: The pod's name.
        container: The container's name.
        since_seconds: As in `follow_pod_log`.
        tail_lines: At most this many lines, the last ones.
        limit_bytes: At most this many bytes, the first ones of what is left.
        silence_seconds: Bound of each wait.
    """
    query = {"container": container}
    if since_seconds is not None:
        query["sinceSeconds"] = str(max(1, since_seconds))
    if tail_lines is not None:
        query["tailLines"] = str(tail_lines)
    if limit_bytes is not None:
        query["limitBytes"] = str(limit_bytes)
    path = PODS.path(namespace, pod, "log")
    async with client.stream(path, query=query, silence_seconds=silence_seconds) as stream:
        yield stream


async def read_log_tail(
    client: ClusterClient,
    namespace: str,
    pod: str,
    container: str,
    *,
    tail_lines: int,
    limit_bytes: int,
) -> bytes:
    """Return the last lines of a log, as a diagnosis quotes them; errors as in `read_pod_log`.

    Raises:
        RequestRefused: The kubelet has no log, and says so in its place.
    """
    async with read_pod_log(
        client, namespace, pod, container, tail_lines=tail_lines, limit_bytes=limit_bytes
    ) as stream:
        log = b"".join([chunk async for chunk in stream.chunks()])
    refuse_kubelet_excuse(log)
    return log
