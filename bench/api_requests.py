"""Requests to the Kubernetes API: in a minute of a run, and until its agent can start.

    python -m bench.api_requests

Ours are whole runs, Lease included, from the guard to the clean-up; the second one's agent prints
400 times as much. All go on at the same time, each through a proxy that counts.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contestants import CONTESTANTS, OWN, carry_out, installed_contestants, name_gaps
from bench.counting_proxy import CountingProxy, NotedRequest, counting_proxy
from bench.figures import Goal, Table, render_number
from bench.run_starts import DISTANCE_SECONDS, Start, tell_starts
from bench.surroundings import cluster, namespace_of_own, python_image, show
from tasks.cluster.cluster_client import ClusterClient
from tests.faults.run_processes import RunHost, request_for
from tests.main_job.conftest import COMMAND
from tests.prefect_server import run_prefect_server

SECONDS = 60
SUBSET_SECONDS = 30
STARTS = 10
SUBSET_STARTS = 3
_OWN_CHATTY = f"{OWN}, 5.5 MB"
_RECORDINGS = {OWN: ("tools", 17), _OWN_CHATTY: ("big", 65)}  # with their lines
_PER_MINUTE_MAX = 12
_END_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_LOG = "get pods/log"


@dataclass(frozen=True)
class Traffic:
    """The requests of one run.

    Attributes:
        requests: In their order.
        work_seconds: How long its agent printed, from when its output was first asked for.
    """

    requests: Sequence[NotedRequest]
    work_seconds: float

    @property
    def at_work(self) -> list[NotedRequest]:
        """Those while the agent printed."""
        first = next((it.began_at for it in self.requests if it.what == _LOG), float("inf"))
        return [it for it in self.requests if 0 <= it.began_at - first < self.work_seconds]

    @property
    def fixed(self) -> list[NotedRequest]:
        """Those before and after, which do not become more in a longer run."""
        at_work = set(map(id, self.at_work))
        return [it for it in self.requests if id(it) not in at_work]

    @property
    def per_minute_at_work(self) -> float:
        """How many in a minute of work."""
        return len(self.at_work) * 60 / self.work_seconds

    def row(self, name: str) -> tuple[str, ...]:
        """Return a row of the table."""
        return (
            name,
            str(len(self.requests)),
            str(len(self.fixed)),
            str(len(self.at_work)),
            render_number(self.per_minute_at_work),
            _count(self.at_work),
        )


def _count(requests: Sequence[NotedRequest]) -> str:
    """Say what they were, the most frequent ones first."""
    counts = Counter(it.what for it in requests).most_common()
    return ", ".join(f"{what} {count}" for what, count in counts)


@dataclass
class Runs:
    """Where they go on."""

    client: ClusterClient
    space: str
    kubeconfig: str
    api_url: str
    folder: Path
    seconds: int
    proxies: dict[str, CountingProxy] = field(default_factory=dict[str, CountingProxy])

    async def carry_out(self, name: str) -> None:
        """Have one run carried out through a proxy of its own."""
        async with counting_proxy(self.kubeconfig, self.folder) as (proxy, way):
            self.proxies[name] = proxy
            if name in _RECORDINGS:
                await self._run_own(name, way)
            else:
                await self._run_peer(name, way)

    async def _run_own(self, name: str, way: str) -> None:
        host = await asyncio.to_thread(RunHost, Path(way), self.api_url, _new_folder(self.folder))
        try:
            request = _request(self.space, self.folder)
            request["env"] = self._replay(name)
            run = host.start(request)
            deadline = time.monotonic() + self.seconds + _END_SECONDS
            while True:
                if run.outcome is not None or time.monotonic() > deadline:
                    break
                await asyncio.sleep(_LOOK_SECONDS)
            assert run.outcome is not None, run.log
            assert run.outcome["error_code"] is None, run.outcome
        finally:
            host.end()

    async def _run_peer(self, name: str, way: str) -> None:
        ending = await carry_out(
            CONTESTANTS[name],
            self.client,
            self.space,
            way,
            "claude </dev/null",
            python_image(),
            lambda _: None,
            self._replay(OWN),
        )
        assert not ending.failure, f"{name}: {ending.failure}"

    def _replay(self, name: str) -> dict[str, str]:
        recording, lines = _RECORDINGS[name]
        delay = self.seconds / lines
        return {"REPLAY_TRANSCRIPT": recording, "REPLAY_LINE_DELAY_SECONDS": f"{delay:.3f}"}

    async def start(self, distance_seconds: float = 0.0) -> Start:
        """Have a run carried out by a command, with a cluster that is so far away."""
        way_of_own = counting_proxy(self.kubeconfig, self.folder, distance_seconds=distance_seconds)
        async with way_of_own as (proxy, way):
            parameters = self.folder / f"{uuid.uuid4().hex[:8]}.json"
            parameters.write_text(json.dumps(_request(self.space, self.folder)))
            began_at = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *(COMMAND, "run", parameters, "--json", "--kubeconfig", way),
                env={**os.environ, "PREFECT_API_URL": self.api_url},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            assert await process.wait() == 0
        return Start(began_at, proxy.requests)

    async def start_often(self, times: int) -> list[Start]:
        """Have one run after the other carried out."""
        return [await self.start() for _ in range(times)]


def _new_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=parent))


def _request(space: str, folder: Path) -> dict[str, Any]:
    agent_id = f"agent-{uuid.uuid4().hex[:8]}"
    return request_for(agent_id, space, folder / "results", image=python_image())


async def measure(
    kubeconfig: str,
    contestants: Sequence[str],
    api_url: str,
    folder: Path,
    seconds: int,
    starts: int,
) -> tuple[Table, Table]:
    """Let all run at once for so many seconds, and beside them start runs of ours one by one."""
    names = [OWN, _OWN_CHATTY, *(name for name in contestants if name != OWN)]
    async with namespace_of_own(kubeconfig) as (client, space):
        runs = Runs(client, space, kubeconfig, api_url, folder, seconds)
        starting = asyncio.create_task(runs.start_often(starts))
        distant = asyncio.create_task(runs.start(DISTANCE_SECONDS))
        await asyncio.gather(starting, distant, *(runs.carry_out(name) for name in names))
    traffic = {name: Traffic(runs.proxies[name].requests, seconds - 2.0) for name in names}
    per_minute = _tell_traffic(traffic, seconds, contestants)
    return per_minute, tell_starts(starting.result(), distant.result())


def _tell_traffic(traffic: dict[str, Traffic], seconds: int, contestants: Sequence[str]) -> Table:
    own, chatty = traffic[OWN], traffic[_OWN_CHATTY]
    fixed, per_minute = len(own.fixed), own.per_minute_at_work
    lengths = ", ".join(
        f"{minutes} min {render_number(fixed / minutes + per_minute)}" for minutes in (1, 5, 30)
    )
    return Table(
        f"(d) requests to the Kubernetes API, of agents that work for {seconds} s",
        ("", "whole run", "before and after", "at work", "a minute at work", "at work, each"),
        tuple(it.row(name) for name, it in traffic.items()),
        (
            Goal("ours in a minute at work", per_minute, _PER_MINUTE_MAX),
            Goal(
                "ours in a minute at work, much output",
                chatty.per_minute_at_work,
                _PER_MINUTE_MAX,
            ),
        ),
        (
            f"Our {fixed} requests before and after the work are the same in a run of any length: "
            f"{_count(own.fixed)}.",
            f"With them, a minute of our whole run has in a run of {lengths}.",
            *name_gaps(contestants),
        ),
    )


def measure_with_prefect(
    kubeconfig: str, contestants: Sequence[str], seconds: int, starts: int
) -> tuple[Table, Table]:
    """Measure with a Prefect server of its own."""
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as folder,
        run_prefect_server(Path(home)) as server,
    ):
        api_url, place = server.api_url, Path(folder)
        return asyncio.run(measure(kubeconfig, contestants, api_url, place, seconds, starts))


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="how long agents work")
    parser.add_argument("--starts", type=int, default=STARTS, help="runs started one by one")
    asked = parser.parse_args()
    with cluster() as kubeconfig:
        tables = measure_with_prefect(
            kubeconfig, installed_contestants(), asked.seconds, asked.starts
        )
    return max([show(table) for table in tables])


if __name__ == "__main__":
    sys.exit(main())
