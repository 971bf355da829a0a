"""Who is compared: each creates the same Job, follows its output and waits for its end.

The Job is one of ours, run script included; the Secret without which its agent does not start is
handed over by the measurement, to all of them the same.
"""

import asyncio
import importlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.cluster.call_retry import RETRY_SAFE
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ObjectAlreadyExists
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kinds.jobs import create_job, read_job
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.kinds.secrets import create_secret
from tasks.cluster.watching.job_observer import JobObserver
from tasks.log_following.log_follower import LogFollower, LogTarget
from tasks.outcome.proven_end import end_is_proven
from tasks.run.observed_job import ObservedJob
from tasks.transcript.line_grammar import StdoutLine, parse_line
from tasks.vocabulary.names import AGENT_CONTAINER, JobName, JobUid, job_pods_selector
from tests.cluster.contract_objects import unique
from tests.cluster.scripted_agent import TOKEN, WORK_DIR, agent_job, agent_secret

OWN = "claude-jobs"
KUBECTL = "kubectl"
BLOCK_SHORTEST = "KubernetesJob, 1 s"
BLOCK_DEFAULT = "KubernetesJob, 5 s"

_LINE_BYTES_MAX = 16 * 1024 * 1024
_LOOK_SECONDS = 0.02
_LOG_AGAIN_SECONDS = 0.1
_LIMIT_SECONDS = 180.0


@dataclass(frozen=True)
class Order:
    """One Job to carry out.

    Attributes:
        kubeconfig: The way to the cluster.
        name: Of the Job.
        manifest: The Job.
        take: Called with each line that the agent printed, as soon as it is received.
    """

    kubeconfig: str
    namespace: str
    name: str
    manifest: dict[str, Any]
    take: Callable[[bytes], None]


@dataclass(frozen=True)
class Ending:
    """What somebody knew in the end.

    Attributes:
        known_at: When the Job's end and all output were known, in seconds since the epoch.
        failure: Why it gave up; empty where it did not.
    """

    known_at: float
    failure: str = ""


CarryOut = Callable[[Order], Awaitable[None]]


async def carry_out(
    run: CarryOut,
    client: ClusterClient,
    namespace: str,
    kubeconfig: str,
    command: str,
    image: str,
    take: Callable[[bytes], None],
    settings: Mapping[str, str] | None = None,
) -> Ending:
    """Have a Job carried out whose agent is `command`.

    Args:
        run: One of `CONTESTANTS`.
        client: For what the measurement does itself.
        namespace: Where.
        kubeconfig: For the contestant.
        command: A shell's.
        image: Of the Job.
        take: As in `Order`.
        settings: Environment of the agent.
    """
    name = unique("bench")
    manifest = agent_job(name, command, settings or {}, image)
    order = Order(kubeconfig, namespace, name, manifest, take)
    handing = asyncio.create_task(_hand_over_secret(client, namespace, name))
    failure = ""
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            await run(order)
    except Exception as error:
        # Whatever ends a peer is what its user would see.
        failure = f"{type(error).__name__}: {error}".splitlines()[0][:120]
    ending = Ending(time.time(), failure)
    handing.cancel()
    await asyncio.gather(handing, return_exceptions=True)
    return ending


async def _hand_over_secret(client: ClusterClient, namespace: str, name: str) -> None:
    selector = job_pods_selector(name)
    while True:
        pods = await list_pods(client, namespace, label_selector=selector)
        if pods.items:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    await create_secret(client, namespace, agent_secret(name, pods.items[0]["metadata"]["uid"]))


def installed_contestants() -> tuple[str, ...]:
    """Return who can be compared here."""
    found = {
        OWN: True,
        KUBECTL: shutil.which("kubectl") is not None,
        BLOCK_SHORTEST: importlib.util.find_spec("prefect_kubernetes") is not None,
        BLOCK_DEFAULT: importlib.util.find_spec("prefect_kubernetes") is not None,
    }
    return tuple(name for name, is_installed in found.items() if is_installed)


def name_gaps(installed: Sequence[str]) -> tuple[str, ...]:
    """Say who is missing."""
    missing = [name for name in CONTESTANTS if name not in installed]
    return (f"Not installed here, so not compared: {', '.join(missing)}.",) if missing else ()


async def _run_own(order: Order) -> None:
    """Do as a run does once its Job is committed: observer and follower side by side."""
    connection = ClusterConnection.from_kubeconfig_file(order.kubeconfig)
    with tempfile.TemporaryDirectory() as folder:
        async with ClusterClient(connection) as client:
            job = await _create(client, order)
            await _follow(client, order, JobUid(job["metadata"]["uid"]), Path(folder))


async def _create(client: ClusterClient, order: Order) -> Mapping[str, Any]:
    """Create the Job; where no answer came, as from an API server at its limits, try again."""
    try:
        return await create_job(client, order.namespace, order.manifest, retry=RETRY_SAFE)
    except ObjectAlreadyExists:  # by the try before: nobody else knows its name
        return await read_job(client, order.namespace, order.name)


async def _follow(client: ClusterClient, order: Order, uid: JobUid, folder: Path) -> None:
    observer = JobObserver(client, namespace=order.namespace, job_name=order.name, job_uid=uid)
    observed = ObservedJob(job_name=JobName(order.name), job_uid=uid, observer=observer)
    observing = asyncio.create_task(observer.run())
    looking: asyncio.Task[None] | None = None
    try:
        while not observed.pods:
            await observer.changed(observer.observation.version)
        observed.bind(observed.pods[0])
        follower = _build_follower(client, order, observed, folder / "spool")
        looking = asyncio.create_task(_keep_looking(observed, follower))
        followed = await follower.follow()
        if followed.proof.complete is not True:
            raise RuntimeError(f"the transcript is not complete: {followed.proof}")
        while not end_is_proven(followed.proof, followed.trailer, observed.pod, observed.job):
            await observer.changed(observer.observation.version)
    finally:
        beside = [task for task in (observing, looking) if task is not None]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


def _build_follower(
    client: ClusterClient, order: Order, observed: ObservedJob, spool: Path
) -> LogFollower:
    async def take(lines: Sequence[StdoutLine]) -> None:
        for line in lines:
            order.take(line.payload)

    target = LogTarget(
        order.namespace,
        observed.pod_name or "",
        AGENT_CONTAINER,
        TOKEN,
        WORK_DIR,
        exec_allowed=True,
    )
    return LogFollower(
        client,
        target,
        spool=spool,
        observe=observed.view_pod,
        on_lines=take,
    )


async def _keep_looking(observed: ObservedJob, follower: LogFollower) -> None:
    while True:
        follower.look_again()
        await observed.observer.changed(observed.observer.observation.version)


async def _run_by_kubectl(order: Order) -> None:
    await run_kubectl(order, "create", "-f", "-", given=json.dumps(order.manifest).encode())
    job = f"job/{order.name}"
    had = 0

    def take(line: bytes) -> None:
        nonlocal had
        had += 1
        _take_printed(order, line)

    # It refuses to follow a container that has not started, and once it had a line a second try
    # would bring all lines again.
    while True:
        told = await run_kubectl(order, "logs", "-f", job, take=take)
        if had or not told:
            break
        await asyncio.sleep(_LOG_AGAIN_SECONDS)
    if told:
        raise RuntimeError(told)
    await run_kubectl(
        order, "wait", "--for=condition=complete", job, f"--timeout={_LIMIT_SECONDS}s"
    )


async def run_kubectl(
    order: Order,
    *arguments: str,
    given: bytes | None = None,
    take: Callable[[bytes], None] | None = None,
) -> str:
    """Run it; returns what it complained of where it failed, else nothing."""
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        f"--namespace={order.namespace}",
        *arguments,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=_LINE_BYTES_MAX,
        env={**os.environ, "KUBECONFIG": order.kubeconfig},
    )
    if take is None:
        _, complaint = await process.communicate(given)
    else:
        assert process.stdout is not None
        async for line in process.stdout:
            take(line.rstrip(b"\n"))
        _, complaint = await process.communicate()
    return complaint.decode().strip() or "failed" if process.returncode else ""


def _run_block(interval_seconds: int) -> CarryOut:
    async def run(order: Order) -> None:
        # It takes seconds to import, and may be missing.
        credentials: Any = importlib.import_module("prefect_kubernetes.credentials")
        jobs: Any = importlib.import_module("prefect_kubernetes.jobs")
        # What it logs is not what is measured.
        logging.getLogger("prefect").setLevel(logging.CRITICAL)
        config = credentials.KubernetesClusterConfig.from_file(order.kubeconfig)
        block = jobs.KubernetesJob(
            v1_job=order.manifest,
            namespace=order.namespace,
            interval_seconds=interval_seconds,
            credentials=credentials.KubernetesCredentials(cluster_config=config),
        )

        def take(line: str) -> None:
            _take_printed(order, line.rstrip("\n").encode())

        job_run = await block.atrigger()
        await job_run.await_for_completion(take)
        await job_run.afetch_result()

    return run


def _take_printed(order: Order, line: bytes) -> None:
    """Take a line of the log, if it is one of the agent's."""
    parsed = parse_line(line, TOKEN)
    if isinstance(parsed, StdoutLine):
        order.take(parsed.payload)


CONTESTANTS: dict[str, CarryOut] = {
    OWN: _run_own,
    KUBECTL: _run_by_kubectl,
    BLOCK_SHORTEST: _run_block(1),
    BLOCK_DEFAULT: _run_block(5),
}
