"""What a guard's look at its agent's Jobs and pods costs beside other agents' finished Jobs.

    python -m bench.guard_cost

The guard lists with a label selector, page by page; kubectl lists with the same selector, and
without one, as who does not select.
"""

import argparse
import asyncio
import shutil
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench.contestants import KUBECTL, OWN, installed_contestants, name_gaps
from bench.figures import SPREAD_COLUMNS, Goal, Table, median, spread_rows
from bench.surroundings import cluster, namespace_of_own, show
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ObjectInvalid
from tasks.cluster.json_objects import JOBS
from tasks.cluster.kinds.jobs import create_job, list_jobs, read_job
from tasks.cluster.kinds.read_only import list_pods
from tasks.observation.snapshots import JobSnapshot
from tasks.vocabulary.names import (
    LABEL_AGENT_ID,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    AgentId,
    agent_selector,
)
from tests.cluster.contract_objects import IMAGE

SIZES = (10, 1_000, 10_000)
SUBSET_SIZES = (10, 1_000)
_LOOKS = 10
_REQUESTS_MAX = 2
_GROWTH_MAX = 2.0
_OWN_JOBS = 3
_CREATED_AT_ONCE = 20
_FINISH_SECONDS = 120
_AGENT = AgentId("bench-agent")


async def measure(kubeconfig: str, contestants: Sequence[str], sizes: Sequence[int]) -> Table:
    """Look again and again while there are more and more Jobs."""
    samples: dict[str, list[float]] = {}
    most_requests = 0
    with_kubectl = KUBECTL in contestants and shutil.which(KUBECTL) is not None
    async with namespace_of_own(kubeconfig) as (client, space):
        await _create(client, space, _AGENT, range(_OWN_JOBS))
        for before, size in zip((0, *sizes), sizes, strict=False):
            await _create(client, space, AgentId("other"), range(before, size))
            for _ in range(_LOOKS):
                requests, cpu = client.requests.total(), time.process_time()
                _add(samples, f"{OWN}, {size:,} Jobs", await _look(client, space))
                own_cpu = (time.process_time() - cpu) * 1000
                _add(samples, f"{OWN}, CPU of ours, {size:,} Jobs", own_cpu)
                most_requests = max(most_requests, client.requests.total() - requests)
                if with_kubectl:
                    took = await _list(kubeconfig, space, f"--selector={agent_selector(_AGENT)}")
                    _add(samples, f"{KUBECTL}, selected, {size:,} Jobs", took)
                    _add(samples, f"{KUBECTL}, all, {size:,} Jobs", await _list(kubeconfig, space))
    first, last = f"{sizes[0]:,} Jobs", f"{sizes[-1]:,} Jobs"
    look, cpu = (
        median(samples[f"{name}, {last}"]) / median(samples[f"{name}, {first}"])
        for name in (OWN, f"{OWN}, CPU of ours")
    )
    return Table(
        "(h) a guard's look beside other agents' finished Jobs, ms",
        ("", *SPREAD_COLUMNS),
        spread_rows(samples, f"{OWN}, {first}"),
        (
            Goal("requests of a look, however many Jobs", most_requests, _REQUESTS_MAX),
            Goal(f"our own CPU of a look, {last} to {first}", cpu, _GROWTH_MAX, "×"),
            Goal(f"time of a look, {last} to {first}", look, _GROWTH_MAX, "×"),
        ),
        (
            "What is sent stays the same; what takes longer is that the server searches all Jobs.",
            *name_gaps(contestants),
        ),
    )


def _add(samples: dict[str, list[float]], name: str, value: float) -> None:
    samples.setdefault(name, []).append(value)


async def _create(client: ClusterClient, space: str, agent: AgentId, numbers: range) -> None:
    """Create Jobs that have finished; they need no pod."""
    waiting = iter(numbers)

    async def create_some() -> None:
        for number in waiting:
            job = await create_job(client, space, _job(agent, number))
            await _finish(client, space, job["metadata"]["name"])

    await asyncio.gather(*(create_some() for _ in range(_CREATED_AT_ONCE)))


async def _finish(client: ClusterClient, space: str, name: str) -> None:
    """Do as the Job controller does, which may finish no more than 20 Jobs a second."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    # The server admits the second only beside the first.
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"startTime": now, "completionTime": now, "conditions": conditions}
    try:
        await client.request(
            "PATCH",
            JOBS.path(space, name, "status"),
            body={"status": status},
            content_type="application/merge-patch+json",
        )
    except ObjectInvalid:
        # The controller was faster with what can be written only once, and goes on by itself.
        for _ in range(_FINISH_SECONDS):
            if JobSnapshot.from_api(await read_job(client, space, name)).finished:
                return
            await asyncio.sleep(1)
        raise


def _job(agent: AgentId, number: int) -> dict[str, Any]:
    agent_id = agent if agent == _AGENT else f"{agent}-{number}"
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_AGENT_ID: agent_id}
    container = {"name": "agent", "image": IMAGE, "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{agent}-{number}", "labels": labels},
        "spec": {"completions": 0, "template": template},
    }


async def _look(client: ClusterClient, space: str) -> float:
    """Do as the guard does; returns the milliseconds."""
    began_at, selector = time.perf_counter(), agent_selector(_AGENT)
    jobs, _ = await asyncio.gather(
        list_jobs(client, space, label_selector=selector),
        list_pods(client, space, label_selector=selector),
    )
    assert len(jobs.items) == _OWN_JOBS
    return (time.perf_counter() - began_at) * 1000


async def _list(kubeconfig: str, space: str, *options: str) -> float:
    began_at = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(KUBECTL, f"--kubeconfig={kubeconfig}", f"--namespace={space}", "get", "jobs,pods"),
        *("--output=json", *options),
        stdout=DEVNULL,
    )
    assert await process.wait() == 0
    return (time.perf_counter() - began_at) * 1000


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of Jobs")
    sizes = parser.parse_args().sizes
    with cluster() as kubeconfig:
        return show(asyncio.run(measure(kubeconfig, installed_contestants(), sizes)))


if __name__ == "__main__":
    sys.exit(main())
