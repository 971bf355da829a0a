"""One agent in a namespace of its own, the runs that want it, and barriers in their way."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.embedded.local_api import Api, Space
from tests.ownership.agent_recorder import AgentRecorder
from tests.ownership.run_processes import RunHost, RunProcess, request_for

_LONG_AGO = "2020-01-01T00:00:00.000000Z"
_OWNER_EPOCH = "claude-jobs.dev/owner-epoch"
_MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True)
class World:
    """What the tests of one cluster share."""

    api: Api
    host: RunHost
    recorder: AgentRecorder
    storage: Path


class Rivals:
    """An agent and its runs."""

    def __init__(self, world: World, line_delay_seconds: float = 0.0) -> None:
        self._world = world
        self.space = Space(world.api)
        self.agent_id = f"agent-{uuid.uuid4().hex[:8]}"
        self._line_delay_seconds = line_delay_seconds
        self._started: list[RunProcess] = []

    def start(
        self,
        flow_run_id: str | None = None,
        prompt: str = "Say hello.",
        *,
        env: dict[str, str] | None = None,
        runtime: dict[str, Any] | None = None,
    ) -> RunProcess:
        """Start a run of the agent; `env` and `runtime` are added to what all runs have."""
        request = request_for(
            self.agent_id,
            self.space.name,
            self._world.storage,
            prompt=prompt,
            line_delay_seconds=self._line_delay_seconds,
        )
        request["env"] |= env or {}
        request["runtime"] |= runtime or {}
        run = self._world.host.start(request, flow_run_id)
        self._started.append(run)
        return run

    def hold(
        self,
        match: dict[str, str],
        *,
        skip: int = 0,
        times: int | None = 1,
        after: bool = False,
        drop: bool = False,
    ) -> str:
        """Have calls in the agent's namespace held; returns the barrier's name.

        Args:
            match: Which calls.
            skip: How many of them pass before.
            times: How many are held.
            after: Hold the answer instead of the call.
            drop: Forget the call when it is let go.
        """
        name = f"hold-{uuid.uuid4().hex[:8]}"
        effect = {"hold": name, "after": after, **({"drop": True} if drop else {})}
        matched = {"namespace": self.space.name, **match}
        rule = {"id": name, "match": matched, "skip": skip, "times": times, "do": effect}
        self._world.api.faults(rule)
        return name

    def refuse(self, match: dict[str, str]) -> None:
        """Have the next such call in the agent's namespace refused (403)."""
        name = f"refuse-{uuid.uuid4().hex[:8]}"
        matched = {"namespace": self.space.name, **match}
        self._world.api.faults({"id": name, "match": matched, "times": 1, "do": {"status": 403}})

    def is_held(self, barrier: str, seconds: float = 0.0) -> bool:
        """Tell whether a call waits at a barrier, or does within so many seconds."""
        query = f"name={barrier}&count=1&timeout={seconds:g}"
        return self._world.api.ok("GET", f"/_faults/held?{query}")["reached"]

    def release(self, barrier: str) -> None:
        """Let what waits at a barrier go on, and nothing be held there any more."""
        self._world.api.ok("DELETE", f"/_faults?id={barrier}")

    def expire_lease(self) -> None:
        """Make the Lease as old as if its duration had passed since its last renewal."""
        self._change_lease(lambda _: {"renewTime": _LONG_AGO})

    def succeed_and_release(self) -> None:
        """Leave the Lease as a successor does that has come and gone."""
        self._change_lease(
            lambda spec: {"holderIdentity": "", "leaseTransitions": spec["leaseTransitions"] + 1}
        )

    def _change_lease(self, change: Callable[[Any], dict[str, Any]]) -> None:
        while True:
            leases = self._world.api.ok("GET", self.space.leases)["items"]
            if not leases:
                return
            [lease] = leases
            lease["spec"] |= change(lease["spec"])
            path = f"{self.space.leases}/{lease['metadata']['name']}"
            # 409: its holder was not quite dead yet.
            if self._world.api.call("PUT", path, lease).status_code != 409:
                return

    @property
    def lease_holder(self) -> str:
        leases = self._world.api.ok("GET", self.space.leases)["items"]
        return leases[0]["spec"].get("holderIdentity") or "" if leases else ""

    def _is_owned_by_holder(self) -> bool:
        """Tell whether a Job was made or adopted in the Lease's present tenure."""
        [lease] = self._world.api.ok("GET", self.space.leases)["items"]
        epoch = str(lease["spec"]["leaseTransitions"])
        return any(job["metadata"]["annotations"][_OWNER_EPOCH] == epoch for job in self.jobs)

    @property
    def jobs(self) -> list[Any]:
        return self._world.api.ok("GET", self.space.jobs)["items"]

    @property
    def run_secrets(self) -> list[Any]:
        found = self._world.api.ok("GET", f"{self.space.core}/secrets")["items"]
        return [secret for secret in found if secret["type"] == "Opaque"]

    def is_live(self) -> bool:
        """Tell whether the agent's container runs."""
        return self._world.recorder.live_pod(self.agent_id) is not None

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.describe()
            time.sleep(0.05)

    def wait_for_successor(self, former_holder: str, successor: RunProcess) -> None:
        """Return once another process owns the agent and its live Job, or has ended already."""

        def has_taken_over() -> bool:
            if successor.outcome is not None:
                return True
            is_owner = self.lease_holder not in {"", former_holder}
            return is_owner and self.is_live() and self._is_owned_by_holder()

        self.until(has_taken_over, 150)

    def let_ttl_pass(self) -> None:
        """Have every ended Job's time come, and see that nothing is left then."""
        for job in self.jobs:
            assert "ttlSecondsAfterFinished" in job["spec"], job
            path = f"{self.space.jobs}/{job['metadata']['name']}"
            patch = {"spec": {"ttlSecondsAfterFinished": 0}}
            answer = self._world.api.call("PATCH", path, patch, content_type=_MERGE_PATCH)
            assert answer.status_code in {200, 404}, answer.text
        self.until(lambda: not self.jobs and not self.run_secrets)
        self.until(lambda: self.lease_holder == "")

    def describe(self) -> str:
        """Return what is there and what every run has said."""
        jobs = [(job["metadata"], job["status"]) for job in self.jobs]
        secrets = [secret["metadata"] for secret in self.run_secrets]
        said = "\n".join(f"{run.base.name}: {run.outcome}\n{run.log}" for run in self._started)
        return f"Lease: {self.lease_holder!r}\nJobs: {jobs}\nSecrets: {secrets}\n{said}"

    def end(self) -> None:
        """Leave nothing to the next test."""
        for run in self._started:
            run.kill()
        self._world.api.ok("DELETE", f"/api/v1/namespaces/{self.space.name}")
