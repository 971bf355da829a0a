"""From the end of a Job's container to its end being known.

    python -m bench.end_delay

The container leaves the instant of its end as its termination message, by this machine's clock, so
the cluster's node must be this machine.
"""

import asyncio
import sys
import time
import uuid
from typing import Any

from bench.figures import Claim, conclude, percentile, print_row
from bench.surroundings import cluster, namespace_of_own, python_image
from tasks.agent_job.snapshots import PodSnapshot
from tasks.cluster.client import ClusterClient
from tasks.cluster.job_observer import JobObserver
from tasks.cluster.jobs import create_job

_ENDS = 20
_P50_MS_MAX = 300.0
_END = """
import os, time
time.sleep(1)
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
        "command": ["python3", "-c", _END],
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


async def measure(client: ClusterClient, namespace: str) -> float:
    """Return how many milliseconds after one container's end it was known."""
    name = f"end-{uuid.uuid4().hex[:8]}"
    job = await create_job(client, namespace, _job(name))
    observer = JobObserver(
        client, namespace=namespace, job_name=name, job_uid=job["metadata"]["uid"]
    )
    observing = asyncio.create_task(observer.run())
    try:
        seen = observer.observation
        while True:
            for pod in seen.pods:
                agent = PodSnapshot.from_api(pod.latest).agent
                if agent is not None and agent.terminated is not None:
                    return (time.time() - float(agent.terminated.message or "nan")) * 1000
            seen = await observer.changed(seen.version)
    finally:
        observing.cancel()


async def measure_all(kubeconfig: str) -> list[float]:
    """Measure one container after the other."""
    async with namespace_of_own(kubeconfig) as (client, namespace):
        return [await measure(client, namespace) for _ in range(_ENDS)]


def main() -> int:
    """Measure and print the table."""
    with cluster() as kubeconfig:
        delays = asyncio.run(measure_all(kubeconfig))
    print_row("ends", "p50", "p95", "longest")
    print_row(len(delays), *(f"{percentile(delays, percent):.1f} ms" for percent in (50, 95, 100)))
    return conclude(Claim("p50 of the delay", percentile(delays, 50), _P50_MS_MAX, "ms"))


if __name__ == "__main__":
    sys.exit(main())
