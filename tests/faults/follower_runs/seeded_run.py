"""One run of a follower on the embedded cluster, and whether anything was lost or doubled."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError, ObjectAlreadyExists
from tasks.cluster.connection import ClusterConnection
from tasks.cluster.kinds.jobs import create_job
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.kinds.secrets import create_secret
from tasks.log_following.log_follower import FollowedLog
from tasks.vocabulary.names import job_pods_selector
from tests.cluster.scripted_agent import AgentFollow, agent_job, agent_secret
from tests.faults.follower_runs.run_plan import ACKNOWLEDGE_ABOVE_BYTES, STDERR, RunPlan

_LIMIT_SECONDS = 240.0
_SILENCE_SECONDS = 4.0  # two minutes in life; a busy machine takes two to begin a command


@dataclass(frozen=True)
class RunReport:
    """What came of a run.

    Attributes:
        index: Which run.
        problems: What was wrong, sentences; empty when all was had, once, and proven.
        figures: Counts for people.
        seconds: How long it took.
    """

    index: int
    problems: tuple[str, ...]
    figures: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        counted = " ".join(f"{name}={count}" for name, count in self.figures.items())
        verdict = "; ".join(("WRONG", *self.problems)) if self.problems else "whole"
        return f"run {self.index:4d} {self.seconds:5.1f} s {counted} {verdict}"


class SeededRun:
    """One agent in a Job of its own, what happens to its streams, and its follower."""

    def __init__(
        self,
        plan: RunPlan,
        kubeconfig: Path,
        namespace: str,
        folder: Path,
        restarting: asyncio.Lock,
    ) -> None:
        self._plan = plan
        self._connection = ClusterConnection.from_kubeconfig_file(str(kubeconfig))
        self._namespace = namespace
        self._spool = folder / f"spool-{plan.index}"
        self._restarting = restarting
        self._name = f"run-{plan.index}-{time.monotonic_ns()}"

    async def run(self) -> RunReport:
        """Start the agent, follow it, compare."""
        began = time.monotonic()
        # The follower's calls are counted, so the rest is done by another client.
        async with ClusterClient(self._connection) as admin, ClusterClient(self._connection) as own:
            pod = await self._start(admin)
            follow = AgentFollow(
                own,
                self._namespace,
                pod,
                self._spool,
                acknowledge_above_bytes=ACKNOWLEDGE_ABOVE_BYTES,
                silence_seconds=_SILENCE_SECONDS,
                look_seconds=0.5,
            )
            restarting = asyncio.create_task(self._restart(admin))
            try:
                async with asyncio.timeout(_LIMIT_SECONDS):
                    followed = await follow.follow()
                problems = self._compare(follow, followed)
            except TimeoutError:
                problems = [f"it hung: line {follow.last_number} was the last one"]
            finally:
                # A restart that has begun is waited for: others wait for its lock.
                await restarting
            figures = await self._count_faults(admin) | {
                "restart": int(self._plan.restart is not None),
                "lines": len(follow.payloads),
                "bytes": len(self._plan.output),
                "reads": own.requests["get pods/log"],
                "execs": own.requests["get pods/exec"],
            }
        self._spool.unlink(missing_ok=True)
        return RunReport(self._plan.index, tuple(problems), figures, time.monotonic() - began)

    async def _start(self, admin: ClusterClient) -> str:
        settings = {
            "CLAUDE_JOBS_ACK_WAIT_SECONDS": "120",
            "CLAUDE_JOBS_ACK_ABOVE_BYTES": str(ACKNOWLEDGE_ABOVE_BYTES),
        }
        job = agent_job(self._name, self._plan.command, settings)
        await _surely(lambda: create_job(admin, self._namespace, job))
        selector = job_pods_selector(self._name)
        pods: list[Any] = []
        while not pods:
            await asyncio.sleep(0.05)
            with suppress(ClusterError):
                found = await list_pods(admin, self._namespace, label_selector=selector)
                pods = list(found.items)
        metadata = pods[0]["metadata"]
        await _surely(lambda: self._put_faults(admin, metadata["name"]))
        secret = agent_secret(self._name, metadata["uid"], {"output": self._plan.output})
        await _surely(lambda: create_secret(admin, self._namespace, secret))
        return str(metadata["name"])

    async def _put_faults(self, admin: ClusterClient, pod: str) -> None:
        # Twice the same id is one to take away.
        await admin.request("DELETE", "/_faults", query={"id": self._name})
        rules = [
            {
                "id": self._name,
                "match": {"resource": resource, "namespace": self._namespace, "name": pod},
                "skip": number,
                "do": fault,
            }
            for resource, faults in (
                ("pods/log", self._plan.log_faults),
                ("pods/exec", self._plan.exec_faults),
            )
            for number, fault in enumerate(faults)
            if fault is not None
        ]
        await admin.request("POST", "/_faults", body={"rules": rules})

    async def _restart(self, admin: ClusterClient) -> None:
        if self._plan.restart is None:
            return
        after, down = self._plan.restart
        await asyncio.sleep(after)
        async with self._restarting:
            action = {"do": "restart-api", "downSeconds": down}
            with suppress(ClusterError):
                await admin.request("POST", "/_faults/actions", body=action)
            await asyncio.sleep(down)

    async def _count_faults(self, admin: ClusterClient) -> dict[str, int]:
        names = ["cut", "eof", "hang", "500", "429", "400", "drop", "slow"]
        figures = dict.fromkeys(names, 0)
        answers: list[Any] = []
        await _surely(lambda: _append(answers, admin.request("GET", "/_faults")))
        for rule in answers[0].json["rules"]:
            if rule["id"] == self._name:
                figures[_name_of(rule["do"])] += rule["fired"]
        await _surely(lambda: admin.request("DELETE", "/_faults", query={"id": self._name}))
        return figures

    def _compare(self, follow: AgentFollow, followed: FollowedLog) -> list[str]:
        expected = self._plan.lines
        proof = followed.proof
        facts = {
            "lines were lost, doubled or changed": follow.payloads == expected,
            "numbers do not go up": follow.numbers_in_order,
            "the spool differs": self._spool.read_bytes() == self._plan.output,
            f"complete is {proof.complete}": proof.complete is True,
            f"lines are missing: {proof.missing}": not proof.missing,
            f"it gave up: {followed.gave_up}": followed.gave_up is None,
            "the hash is another": proof.sha256 == hashlib.sha256(self._plan.output).hexdigest(),
            "the exit code is another": followed.trailer is not None
            and followed.trailer.exit_code == self._plan.exit_code,
            # It comes through the log alone, and that may have been rotated.
            f"stderr is {followed.stderr_lines}": followed.stderr_lines in ((), (STDERR,)),
        }
        problems = [problem for problem, is_fine in facts.items() if not is_fine]
        if follow.payloads != expected:
            pairs = enumerate(zip(follow.payloads, expected, strict=False), 1)
            first = next((n for n, (had, printed) in pairs if had != printed), "none")
            problems.append(
                f"{len(follow.payloads)} of {len(expected)} lines, first difference at {first}"
            )
        return problems


def _name_of(fault: dict[str, Any]) -> str:
    if "stream" in fault:
        return str(fault["stream"]["end"])
    if "status" in fault:
        return str(fault["status"])
    return "drop" if "drop" in fault else "slow"


async def _append(answers: list[Any], answer: Awaitable[Any]) -> None:
    answers.append(await answer)


async def _surely(call: Callable[[], Awaitable[Any]]) -> None:
    """Make the call until it has happened, whatever the API server does meanwhile."""
    while True:
        try:
            await call()
        except ObjectAlreadyExists:
            return
        except ClusterError:
            await asyncio.sleep(0.2)
        else:
            return
