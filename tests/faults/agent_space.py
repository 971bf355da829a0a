"""One agent in a namespace of its own: what there is of it, and barriers in its runs' way."""

import uuid
from collections.abc import Callable
from typing import Any

from tests.embedded.local_api import RUNS_USER, Space
from tests.faults.world import World
from tests.waits import wait_until

_LONG_AGO = "2020-01-01T00:00:00.000000Z"
_MERGE_PATCH = "application/merge-patch+json"
_ENDING = ("Complete", "Failed")
_CLEARED_SECONDS = 90.0  # a Job's condition may be reported a minute late


class AgentSpace(Space):
    """An agent, and what the cluster has of it."""

    def __init__(self, world: World) -> None:
        super().__init__(world.api)
        self.world = world
        self.agent_id = f"agent-{uuid.uuid4().hex[:8]}"

    @property
    def found_jobs(self) -> list[Any]:
        return self.api.ok("GET", self.jobs)["items"]

    @property
    def found_pods(self) -> list[Any]:
        return self.api.ok("GET", f"{self.core}/pods")["items"]

    @property
    def run_secrets(self) -> list[Any]:
        found = self.api.ok("GET", f"{self.core}/secrets")["items"]
        return [secret for secret in found if secret["type"] == "Opaque"]

    @property
    def lease(self) -> Any:
        """The one Lease; `None` before there was a run."""
        return next(iter(self.api.ok("GET", self.leases)["items"]), None)

    @property
    def lease_holder(self) -> str:
        """Who holds the Lease; empty where nobody does."""
        lease = self.lease
        return lease["spec"].get("holderIdentity") or "" if lease else ""

    def is_live(self) -> bool:
        """Tell whether the agent's container runs."""
        return self.world.record.live_pod(self.agent_id) is not None

    def expire_lease(self) -> None:
        """Make the Lease as old as if its duration had passed since its last renewal."""
        self._change_lease(lambda _: {"renewTime": _LONG_AGO})

    def succeed_and_release(self) -> None:
        """Leave the Lease as a successor does that has come and gone."""
        self._change_lease(
            lambda spec: {"holderIdentity": "", "leaseTransitions": spec["leaseTransitions"] + 1}
        )

    def _change_lease(self, change: Callable[[Any], dict[str, Any]]) -> None:
        while (lease := self.lease) is not None:
            lease["spec"] |= change(lease["spec"])
            path = f"{self.leases}/{lease['metadata']['name']}"
            # 409: its holder was not quite dead yet.
            if self.api.call("PUT", path, lease).status_code != 409:
                return

    def add_faults(self, *rules: dict[str, Any]) -> list[str]:
        """Have faults meet the runs' calls in this namespace, and nobody else's."""
        return self.api.faults(
            *(
                {
                    **rule,
                    "match": {"namespace": self.name, "user": RUNS_USER, **rule.get("match", {})},
                }
                for rule in rules
            )
        )

    def hold(
        self,
        match: dict[str, str],
        *,
        skip: int = 0,
        times: int | None = 1,
        after: bool = False,
        drop: bool = False,
    ) -> str:
        """Have calls of the runs held; returns the barrier's name.

        Args:
            match: Which calls.
            skip: How many of them pass before.
            times: How many are held.
            after: Hold the answer instead of the call.
            drop: Forget the call when it is let go.
        """
        name = f"hold-{uuid.uuid4().hex[:8]}"
        effect = {"hold": name, "after": after, **({"drop": True} if drop else {})}
        self.add_faults({"id": name, "match": match, "skip": skip, "times": times, "do": effect})
        return name

    def is_held(self, barrier: str, seconds: float = 0.0) -> bool:
        """Tell whether a call waits at a barrier, or does within so many seconds."""
        query = f"name={barrier}&count=1&timeout={seconds:g}"
        self.api.http.timeout = seconds + 20
        return self.api.ok("GET", f"/_faults/held?{query}")["reached"]

    def release(self, barrier: str) -> None:
        """Let what waits at a barrier go on, and nothing be held there any more."""
        self.api.ok("DELETE", f"/_faults?id={barrier}")

    def until(
        self, check: Callable[[], bool], seconds: float = 30.0, pause_seconds: float = 0.05
    ) -> None:
        """Wait for it; says what there is where it does not come."""
        wait_until(check, seconds, pause_seconds=pause_seconds, describe=self.describe)

    def check_nothing_is_left(self, *, are_kept: bool = False) -> None:
        """Have every ended Job's time come, and see that nothing is left then.

        Args:
            are_kept: Jobs have no time at which they go, for their retention says so.
        """
        for job in self.found_jobs:
            assert are_kept or "ttlSecondsAfterFinished" in job["spec"], job
            path = f"{self.jobs}/{job['metadata']['name']}"
            patch = {"spec": {"ttlSecondsAfterFinished": 0}}
            answer = self.api.call("PATCH", path, patch, content_type=_MERGE_PATCH)
            assert answer.status_code in {200, 404}, answer.text
        self.until(lambda: not self.found_jobs and not self.run_secrets, _CLEARED_SECONDS)
        self.until(lambda: self.lease_holder == "")

    def describe(self) -> str:
        """Return what is there."""
        jobs = [(job["metadata"], job["status"]) for job in self.found_jobs]
        secrets = [secret["metadata"] for secret in self.run_secrets]
        return f"Lease: {self.lease_holder!r}\nJobs: {jobs}\nSecrets: {secrets}"

    def clear_away(self) -> None:
        """Leave nothing to the next test."""
        self.world.record.allow_deletions(self.name)
        self.api.ok("DELETE", f"/api/v1/namespaces/{self.name}")


def has_ended(job: Any) -> bool:
    """Tell whether a Job has a final condition."""
    return any(
        condition["type"] in _ENDING and condition["status"] == "True"
        for condition in job["status"].get("conditions", ())
    )
