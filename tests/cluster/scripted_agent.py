"""A Job that runs the real run script around a command, and a follower of its pod."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.jobs import create_job
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.kinds.secrets import create_secret
from tasks.log_following.line_delivery import OnLines
from tasks.log_following.log_follower import FollowedLog, LogFollower, LogTarget, PodView
from tasks.transcript.line_grammar import StdoutLine
from tasks.transcript.read_policy import SILENCE_SECONDS
from tasks.vocabulary.names import job_pods_selector
from tests.cluster.contract_objects import IMAGE, PodGone, pod_named, unique

RUN_SCRIPT = Path(__file__).parents[2] / "tasks" / "transcript" / "run_script.sh"
INPUT_DIR = "/var/run/claude-jobs/input"
WORK_DIR = "/var/run/claude-jobs/work"
TOKEN = "5eed0123"
_UNSEEN = PodView(container_started=False, container_ended=False, pod_gone=False)


def agent_job(
    name: str, command: str, settings: Mapping[str, str], image: str = IMAGE
) -> dict[str, Any]:
    environment = {
        "CLAUDE_JOBS_INPUT_DIR": INPUT_DIR,
        "CLAUDE_JOBS_WORK_DIR": WORK_DIR,
        "CLAUDE_JOBS_LINE_TOKEN": TOKEN,
        **settings,
    }
    uid: dict[str, Any] = {
        "name": "CLAUDE_JOBS_POD_UID",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}},
    }
    container = {
        "name": "agent",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", f"{INPUT_DIR}/run.sh"],
        "args": ["/bin/sh", "-c", command],
        "env": [{"name": key, "value": value} for key, value in environment.items()] + [uid],
        "volumeMounts": [
            {"name": "input", "mountPath": INPUT_DIR, "readOnly": True},
            {"name": "work", "mountPath": WORK_DIR},
        ],
    }
    pod_spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 10,
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [
            {"name": "input", "secret": {"secretName": name}},
            {"name": "work", "emptyDir": {}},
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod_spec}},
    }


async def start_agent(
    client: ClusterClient,
    namespace: str,
    command: str,
    settings: Mapping[str, str],
    image: str = IMAGE,
) -> str:
    """Create Job and Secret; return the pod's name, which then starts."""
    name = unique("agent")
    await create_job(client, namespace, agent_job(name, command, settings, image))
    while True:
        pods = await list_pods(client, namespace, label_selector=job_pods_selector(name))
        if pods.items:
            break
        await asyncio.sleep(0.05)
    metadata = pods.items[0]["metadata"]
    await create_secret(client, namespace, agent_secret(name, metadata["uid"]))
    return str(metadata["name"])


def agent_secret(name: str, pod_uid: str, files: Mapping[str, bytes] | None = None) -> JsonObject:
    """Return the Secret with which the agent starts in this pod; `files` lie in INPUT_DIR too."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {
            "run.sh": RUN_SCRIPT.read_text(),
            "prompt": "Go on.",
            "pod-uid": pod_uid,
        },
        "data": {key: b64encode(content).decode() for key, content in (files or {}).items()},
    }


@dataclass
class AgentFollow:
    """A follower of one pod, and what came of it.

    Attributes:
        keeps_lines: Whether delivered payloads are kept.
        speed: How much faster than time the follower's clock runs.
        acknowledge_above_bytes: As the script was told.
        silence_seconds: When a follow counts as dead.
        look_seconds: How often the pod's state is read.
        taker: Takes the lines too.
    """

    client: ClusterClient
    namespace: str
    pod_name: str
    spool: Path
    exec_allowed: bool = True
    keeps_lines: bool = True
    speed: float = 1.0
    acknowledge_above_bytes: int = 8_388_608
    silence_seconds: float = SILENCE_SECONDS
    look_seconds: float = 0.2
    taker: OnLines | None = None
    view: PodView = _UNSEEN
    payloads: list[bytes] = field(default_factory=list[bytes])
    numbers_in_order: bool = True
    last_number: int = 0
    follower: LogFollower = field(init=False)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        target = LogTarget(
            self.namespace,
            self.pod_name,
            "agent",
            TOKEN,
            WORK_DIR,
            self.exec_allowed,
            self.acknowledge_above_bytes,
        )
        self.follower = LogFollower(
            self.client,
            target,
            spool=self.spool,
            observe=lambda: self.view,
            on_lines=self._take,
            silence_seconds=self.silence_seconds,
            sleep=lambda seconds: asyncio.sleep(seconds / self.speed),
            monotonic=lambda: time.monotonic() * self.speed,
        )

    async def follow(self) -> FollowedLog:
        ended = asyncio.Event()
        watching = asyncio.create_task(self._watch(ended))
        try:
            return await self.follower.follow()
        finally:
            # Not cancelled: asyncio may leave a connection open whose making is cancelled.
            ended.set()
            await watching

    async def delivered(self, lines: int) -> None:
        """Wait until so many lines were delivered."""
        while self.last_number < lines:
            await self.arrived.wait()
            self.arrived.clear()

    async def _take(self, lines: Sequence[StdoutLine]) -> None:
        for line in lines:
            self.numbers_in_order &= line.number > self.last_number
            self.last_number = line.number
            if self.keeps_lines:
                self.payloads.append(line.payload)
        if self.taker is not None:
            await self.taker(lines)
        self.arrived.set()

    async def _watch(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            try:
                pod = await pod_named(self.client, self.namespace, self.pod_name)
                self.view = _view_of(pod)
            except PodGone:
                self.view = PodView(self.view.container_started, True, True)
            except ClusterError:
                pass  # the view stays; it is asked again
            self.follower.look_again()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.look_seconds):
                    await ended.wait()


def _view_of(pod: Mapping[str, Any]) -> PodView:
    statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses") or []
    state: dict[str, Any] = statuses[0]["state"] if statuses else {}
    ended = state.get("terminated")
    return PodView(
        container_started="running" in state or ended is not None,
        container_ended=ended is not None,
        pod_gone=False,
        termination_message=ended.get("message") if ended else None,
    )


@asynccontextmanager
async def choppy_tunnel(port: int, cuts: Sequence[int]) -> AsyncGenerator[int, None]:
    """Pass TCP on to a local port; the n-th connection is cut after `cuts[n]` bytes come back.

    Yields:
        The port to connect to. Connections beyond `cuts` are left alone.
    """
    limits = iter(cuts)
    serving: set[asyncio.Task[None]] = set()

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
    ) -> None:
        passed = 0
        while data := await reader.read(65_536):
            passed += len(data)
            if limit is not None and passed >= limit:
                return
            writer.write(data)
            await writer.drain()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        pumps = [
            asyncio.ensure_future(pump(reader, up_writer, None)),
            asyncio.ensure_future(pump(up_reader, writer, next(limits, None))),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pumping in pumps:
                pumping.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.transport.abort()
            up_writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        async with server:
            yield server.sockets[0].getsockname()[1]
    finally:
        # The loop opens and closes connections in turns of its own, which it must still have.
        await asyncio.sleep(0.05)
        left = list(serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0.05)
