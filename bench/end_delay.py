"""From the end of a Job's container to its end being known.

    python -m bench.end_delay

The container leaves the instant of its end as its termination message, by this machine's clock, so
the cluster's node must be this machine. A kubelet looks at its containers once a second and reports
what it has seen then; when the API tells it is found out by asking all the time, and what comes
after that is ours.
"""

import asyncio
import random
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

from bench.figures import Claim, conclude, percentile, print_row
from bench.surroundings import cluster, namespace_of_own, python_image
from tasks.agent_job.snapshots import PodSnapshot
from tasks.cluster.client import ClusterClient
from tasks.cluster.job_observer import JobObserver
from tasks.cluster.jobs import create_job
from tasks.cluster.pods import job_pod_selector, list_pods
from tasks.cluster.resources import JsonObject

_ENDS = 20
_P50_MS_MAX = 300.0
_ASK_SECONDS = 0.005
_END = """
import os, sys, time
time.sleep(float(sys.argv[1]))
path = os.environ.get("CLAUDE_JOBS_TERMINATION_LOG", "/dev/termination-log")
with open(path, "w") as file:
    file.write(str(time.time()))
os._exit(0)
"""


def _job(name: str) -> dict[str, Any]:
    container = {
        "name": "agent",
        "image": python_image(),
        "imagePullPolicy": "IfNotPresent",
        # A kubelet's look comes at any moment of the container's end.
        "command": ["python3", "-c", _END, f"{random.uniform(1, 2):.3f}"],
    }
    pod_spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod_spec}},
    }


@dataclass(frozen=True)
class Delay:
    """Of one end, in milliseconds.

    Attributes:
        told: From the container's end until the API told it.
        known: From the container's end until the run's observer knew.
    """

    told: float
    known: float

    @property
    def ours(self) -> float:
        """What was left to do once the API told."""
        return max(0.0, self.known - self.told)


async def measure(client: ClusterClient, namespace: str) -> Delay:
    """Let one container end."""
    name = f"end-{uuid.uuid4().hex[:8]}"
    job = await create_job(client, namespace, _job(name))
    observer = JobObserver(
        client, namespace=namespace, job_name=name, job_uid=job["metadata"]["uid"]
    )
    observing = asyncio.create_task(observer.run())
    asking = asyncio.create_task(_ask(client, namespace, name))
    try:
        known = await _observe(observer)
        return Delay(await asking, known)
    finally:
        asking.cancel()
        observing.cancel()


async def _observe(observer: JobObserver) -> float:
    seen = observer.observation
    while True:
        for pod in seen.pods:
            delay = _delay_ms(pod.latest)
            if delay is not None:
                return delay
        seen = await observer.changed(seen.version)


async def _ask(client: ClusterClient, namespace: str, job_name: str) -> float:
    selector = job_pod_selector(job_name)
    while True:
        found = await list_pods(client, namespace, label_selector=selector)
        for pod in found.items:
            delay = _delay_ms(pod)
            if delay is not None:
                return delay
        await asyncio.sleep(_ASK_SECONDS)


def _delay_ms(pod: JsonObject) -> float | None:
    agent = PodSnapshot.from_api(pod).agent
    if agent is None or agent.terminated is None:
        return None
    return (time.time() - float(agent.terminated.message or "nan")) * 1000


async def measure_all(kubeconfig: str) -> list[Delay]:
    """Measure one container after the other."""
    async with namespace_of_own(kubeconfig) as (client, namespace):
        return [await measure(client, namespace) for _ in range(_ENDS)]


def _print_part(name: str, delays: list[float]) -> None:
    print_row(name, *(f"{percentile(delays, percent):.1f} ms" for percent in (50, 95, 100)))


def main() -> int:
    """Measure and print the table."""
    with cluster() as kubeconfig:
        delays = asyncio.run(measure_all(kubeconfig))
    print_row(f"{len(delays)} ends", "p50", "p95", "longest")
    _print_part("known", [delay.known for delay in delays])
    _print_part("API told", [delay.told for delay in delays])
    ours = [delay.ours for delay in delays]
    _print_part("ours", ours)
    return conclude(Claim("p50 of what is ours", percentile(ours, 50), _P50_MS_MAX, "ms"))


if __name__ == "__main__":
    sys.exit(main())
