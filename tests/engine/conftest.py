"""Prefect servers, and runs that are interrupted from outside."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.main_job.conftest import (
    Traces,
    build_request,
    plain,
    run_cli,
    start_cli,
    storage,
    traces,
)
from tests.namespaces import make_namespace
from tests.prefect_server import PrefectServer
from tests.waits import WaitRanOut, wait_until

__all__ = ["build_request", "run_cli", "start_cli", "storage", "traces"]

ANNOTATION = "claude-jobs.dev/"
OWNER = f"{ANNOTATION}owner-flow-run-id"


@pytest.fixture
def block_server(prefect_server: PrefectServer) -> Iterator[None]:
    """Prefect's server as this very process sees it, for blocks."""
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        yield


@pytest.fixture(scope="session")
def agents_namespace(core_api: client.CoreV1Api) -> Iterator[str]:
    with make_namespace(core_api, "engine") as name:
        yield name


class LiveProcess:
    """A process of ours that works while a test looks on."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._text += line

    @property
    def output(self) -> str:
        return plain(self._text)

    def wait_for(self, text: str, seconds: float = 90) -> None:
        def is_there() -> bool:
            if text in self.output:
                return True
            ended = self.process.poll()
            assert ended is None or text in self.output, f"ended with {ended}: {self.output}"
            return False

        wait_until(is_there, seconds, describe=lambda: f"no {text!r} in: {self.output}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 90) -> int:
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise WaitRanOut(f"it goes on: {self.output}") from None
        self._reader.join(5)
        return code

    def end(self) -> None:
        """Kill it, unless it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    @property
    def last_line(self) -> str:
        return self._text.rstrip("\n").rpartition("\n")[2]


@pytest.fixture
def live_cli(
    start_cli: Callable[..., "subprocess.Popen[str]"],
) -> Iterator[Callable[..., LiveProcess]]:
    """Starts `claude-jobs run` and returns at once."""
    started: list[LiveProcess] = []

    def start(request: dict[str, Any], *options: str, **environment: str) -> LiveProcess:
        started.append(LiveProcess(start_cli(request, *options, **environment)))
        return started[-1]

    yield start
    for live in started:
        live.end()


def lease_of(traces: Traces, namespace: str, agent_id: str) -> Any:
    """The Lease of an agent; None when there is none."""
    for lease in traces.leases(namespace):
        if lease["metadata"]["annotations"].get(f"{ANNOTATION}agent-id") == agent_id:
            return lease
    return None


def holder_of(traces: Traces, namespace: str, agent_id: str) -> str:
    """Who holds the Lease of an agent; empty when nobody does."""
    lease = lease_of(traces, namespace, agent_id)
    return (lease["spec"].get("holderIdentity") or "") if lease else ""


def expire_lease(traces: Traces, namespace: str, agent_id: str) -> None:
    """Make the Lease of a killed run as old as if its duration had passed."""
    name = lease_of(traces, namespace, agent_id)["metadata"]["name"]
    traces.coordination.patch_namespaced_lease(
        name, namespace, {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}
    )


# A Job that is deleted in the foreground goes when the kubelet has cleared its ended pod away: 2 to
# 10 s after the container's end as a rule, now and then more than 60 s on a busy machine.
COLLECTED_SECONDS = 180


def jobs_of(traces: Traces, namespace: str, agent_id: str) -> list[Any]:
    """The Jobs of an agent."""
    return [
        job
        for job in traces.jobs(namespace)
        if job["metadata"].get("annotations", {}).get(f"{ANNOTATION}agent-id") == agent_id
    ]


def flow_run_of(traces: Traces, namespace: str, agent_id: str) -> str:
    """The flow run that holds the Lease of an agent."""
    return holder_of(traces, namespace, agent_id).partition("/")[0]
