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
from bench.figures import Goal, Table, count_round_trips, median, render_number
from bench.surroundings import cluster, namespace_of_own, python_image, show
from tasks.cluster.client import ClusterClient
from tests.main_job.conftest import COMMAND
from tests.ownership.run_processes import RunHost, request_for
from tests.prefect_server import run_prefect_server

SECONDS = 60
STARTS = 3
_OWN_CHATTY = f"{OWN}, 5.5 MB"
_RECORDINGS = {OWN: ("tools", 17), _OWN_CHATTY: ("big", 65)}  # with their lines
_PER_MINUTE_MAX = 12
_ROUND_TRIPS_MAX = 6
_END_SECONDS = 120.0
_LOOK_SECONDS = 0.1
# Longer than a busy machine takes to send what is asked at the same moment.
_DISTANCE_SECONDS = 0.5
_MOST_FREQUENT = 4
_LOG, _PODS = "get pods/log", "list pods"
_JOB, _SECRET = "create jobs.batch", "create secrets"
_LEASE = "update leases.coordination.k8s.io"
_ACCESS = "create selfsubjectaccessreviews.authorization.k8s.io"


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
    def per_minute_at_work(self) -> float:
        """How many in a minute of work."""
        return len(self.at_work) * 60 / self.work_seconds

    def row(self, name: str) -> tuple[str, ...]:
        """Return a row of the table."""
        often = Counter(it.what for it in self.requests).most_common(_MOST_FREQUENT)
        return (
            name,
            str(len(self.requests)),
            str(len(self.at_work)),
            render_number(self.per_minute_at_work),
            ", ".join(f"{what} {count}" for what, count in often),
        )


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

    async def start(self, distance_seconds: float = 0.0) -> "Start":
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


@dataclass(frozen=True)
class Start:
    """A run that a command has carried out.

    Attributes:
        began_at: When the command was started.
        requests: Of the run, in their order.
    """

    began_at: float
    requests: Sequence[NotedRequest]

    @property
    def seconds_to_first_request(self) -> float:
        """What Python and Prefect take."""
        return self.requests[0].began_at - self.began_at

    @property
    def seconds_to_job(self) -> float:
        """Until the Job was created."""
        return next(it.head_at for it in self.requests if it.what == _JOB) - self.began_at


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
    """Let all run at once for so many seconds, and start runs of ours one by one."""
    names = [OWN, _OWN_CHATTY, *(name for name in contestants if name != OWN)]
    async with namespace_of_own(kubeconfig) as (client, space):
        runs = Runs(client, space, kubeconfig, api_url, folder, seconds)
        await asyncio.gather(*(runs.carry_out(name) for name in names))
        started = [await runs.start() for _ in range(starts)]
        distant = await runs.start(_DISTANCE_SECONDS)
    traffic = {name: Traffic(runs.proxies[name].requests, seconds - 2.0) for name in names}
    per_minute = _tell_traffic(traffic, seconds, contestants)
    return per_minute, _tell_start(traffic[OWN].requests, started, distant)


def _tell_traffic(traffic: dict[str, Traffic], seconds: int, contestants: Sequence[str]) -> Table:
    own, chatty = traffic[OWN], traffic[_OWN_CHATTY]
    whole = max(len(it.requests) for it in (own, chatty)) * 60 / seconds
    return Table(
        f"(d) requests to the Kubernetes API in a run of {seconds} s",
        ("", "whole run", "at work", "a minute at work", "most of them"),
        tuple(it.row(name) for name, it in traffic.items()),
        (
            Goal("ours in a minute at work", own.per_minute_at_work, _PER_MINUTE_MAX),
            Goal(
                "ours in a minute at work, much output",
                chatty.per_minute_at_work,
                _PER_MINUTE_MAX,
            ),
            Goal("ours in a whole run of a minute, start and end", whole, _PER_MINUTE_MAX),
        ),
        name_gaps(contestants),
    )


def _tell_start(
    requests: Sequence[NotedRequest], started: Sequence[Start], distant: Start
) -> Table:
    secret = next(it for it in requests if it.what == _SECRET)
    job = next(it for it in requests if it.what == _JOB)
    began_at = requests[0].began_at
    rows = [
        ("from the first request to the Job", f"{(job.head_at - began_at) * 1000:.0f} ms"),
        ("from the first request to the Secret", f"{(secret.head_at - began_at) * 1000:.0f} ms"),
    ]
    if started:
        prefect = median([it.seconds_to_first_request for it in started])
        whole = median([it.seconds_to_job for it in started])
        rows.append(("`claude-jobs run` to its first request", f"{prefect * 1000:,.0f} ms"))
        rows.append(("`claude-jobs run` to the Job", f"{whole * 1000:,.0f} ms"))
    before, awaited = _until_secret(distant.requests)
    trips = count_round_trips([(it.began_at, it.head_at) for it in awaited])
    began_at = awaited[0].began_at
    steps = sorted(awaited, key=lambda it: it.head_at)
    sequence = ", ".join(f"{it.what} {(it.head_at - began_at) * 1000:.0f}" for it in steps)
    return Table(
        "(f) from a run's start until its agent can start",
        ("", "took"),
        tuple(rows),
        (Goal("round trips to the Kubernetes API", trips, _ROUND_TRIPS_MAX),),
        (
            f"Counted where each answer is {_DISTANCE_SECONDS * 1000:.0f} ms late: {len(before)} "
            f"requests in all; awaited, with the ms until answered: {sequence}.",
        ),
    )


def _until_secret(
    requests: Sequence[NotedRequest],
) -> tuple[Sequence[NotedRequest], Sequence[NotedRequest]]:
    """Return the requests up to the Secret, and those of them that the start waits for.

    Whether commands may be run in pods is asked beside the guard, which lists Jobs and pods
    together. The first list of pods after the Job tells the pod that the Secret names; it and the
    commit wait for the Job alone, so only the later of the two is waited for.
    """
    secret = next(it for it in requests if it.what == _SECRET)
    before = [it for it in requests if it.began_at <= secret.began_at]
    job = next(number for number, it in enumerate(before) if it.what == _JOB)
    after = before[job + 1 :]
    commit = next(it for it in after if it.what == _LEASE)
    pods = next(it for it in after if it.what == _PODS)
    together = pods.began_at < commit.head_at
    awaited = [
        *(it for it in before[:job] if it.what not in {_ACCESS, _PODS}),
        before[job],
        *([max(commit, pods, key=lambda it: it.head_at)] if together else [commit, pods]),
        secret,
    ]
    return before, awaited


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
    seconds = parser.parse_args().seconds
    with cluster() as kubeconfig:
        tables = measure_with_prefect(kubeconfig, installed_contestants(), seconds, STARTS)
    return max([show(table) for table in tables])


if __name__ == "__main__":
    sys.exit(main())
