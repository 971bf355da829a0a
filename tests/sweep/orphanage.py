"""Objects as runs leave them, and such as only look similar, in a namespace of their own."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import JOBS, LEASES, SECRETS, ApiResource
from tasks.vocabulary.names import AgentId, FlowRunId, job_name, lease_name
from tests.prefect_server import PrefectServer

PREFIX = "claude-jobs.dev/"
IMAGE = "busybox:1.36"
DAYS_8 = timedelta(days=8)
_AT_ONCE = 16
_KINDS: dict[str, ApiResource] = {"Job": JOBS, "Secret": SECRETS, "Lease": LEASES}


@dataclass
class Agent:
    """One agent, what is there of it, and what must have become of that after a sweep.

    Attributes:
        kind_of_case: The row of the table of cases that it is an example of.
        gone: Kinds of its objects that the sweep deletes; all others stay.
        ends_run: The state in which the sweep leaves its flow run.
    """

    kind_of_case: str
    gone: frozenset[str] = frozenset()
    ends_run: str | None = None
    agent_id: AgentId = field(default_factory=lambda: AgentId(f"swept-{uuid.uuid4().hex[:10]}"))
    flow_run_id: FlowRunId = field(default_factory=lambda: FlowRunId(str(uuid.uuid4())))
    objects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def name(self) -> str:
        """Name of its Job and Secret."""
        return job_name(self.agent_id, self.flow_run_id, 1)

    def metadata(self, name: str | None = None, **changes: Any) -> dict[str, Any]:
        labels = {
            "app.kubernetes.io/managed-by": "claude-jobs",
            f"{PREFIX}version": "1",
            f"{PREFIX}agent-id": self.agent_id,
        }
        annotations = {
            f"{PREFIX}agent-id": self.agent_id,
            f"{PREFIX}flow-run-id": self.flow_run_id,
            f"{PREFIX}owner-flow-run-id": self.flow_run_id,
            f"{PREFIX}owner-epoch": "1",
            f"{PREFIX}attempt": "1",
            f"{PREFIX}task-id": "T-1",
        }
        return {
            "name": name or self.name,
            "labels": {**labels, **changes.pop("labels", {})},
            "annotations": {**annotations, **changes.pop("annotations", {})},
            **changes,
        }


def lease(agent: Agent, *, age: timedelta, holder: str | None = None, **notes: str) -> Any:
    """The Lease of an agent, renewed so long ago; held by its flow run unless said otherwise."""
    renewed = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    held_by = f"{agent.flow_run_id}/p" if holder is None else holder
    noted = {f"{PREFIX}{key.replace('_', '-')}": text for key, text in notes.items()}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": lease_name(agent.agent_id),
            "labels": {"app.kubernetes.io/managed-by": "claude-jobs", f"{PREFIX}version": "1"},
            "annotations": {
                f"{PREFIX}agent-id": agent.agent_id,
                f"{PREFIX}attempt-flow-run-id": agent.flow_run_id,
                **noted,
            },
        },
        "spec": {
            "holderIdentity": held_by,
            "leaseDurationSeconds": 60,
            "leaseTransitions": 1,
            "renewTime": renewed,
        },
    }


def job(agent: Agent, script: str | None = None, name: str | None = None, **metadata: Any) -> Any:
    """A Job whose pod runs `script`; one without a script makes no pod."""
    container = {
        "name": "agent",
        "image": IMAGE,
        "command": ["/bin/sh", "-c", script or "exit 0"],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
    }
    described = agent.metadata(name, **metadata)
    template = {key: described[key] for key in ("labels", "annotations")}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": described,
        "spec": {
            "backoffLimit": 0,
            "parallelism": 0 if script is None else 1,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": template,
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 3,
                    "containers": [container],
                },
            },
        },
    }


def secret(agent: Agent, name: str | None = None, **metadata: Any) -> Any:
    """A run's Secret; `Orphanage` lets the Job of its name own it, where there is one."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": agent.metadata(name, **metadata),
        "stringData": {"prompt": "Say hello."},
    }


class Orphanage:
    """One namespace, and the Prefect server that knows the flow runs."""

    def __init__(self, client: ClusterClient, namespace: str, prefect: PrefectServer) -> None:
        self._client = client
        self._prefect = prefect
        self._flow_id: str | None = None
        self._deployment_id: str | None = None
        self.namespace = namespace
        self.agents: list[Agent] = []

    async def take_in(self, agents: Iterable[Agent]) -> None:
        """Create the objects of agents, owners before what they own."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def create(agent: Agent) -> None:
            async with limit:
                await self._create(agent)

        new = list(agents)
        self.agents += new
        await asyncio.gather(*map(create, new))

    async def _create(self, agent: Agent) -> None:
        owner: dict[str, Any] | None = None
        for manifest in agent.objects:
            body = dict(manifest)
            if body["kind"] == "Secret" and owner is not None:
                reference = {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": owner["name"],
                    "uid": owner["uid"],
                }
                body["metadata"] = {**body["metadata"], "ownerReferences": [reference]}
            path = _KINDS[body["kind"]].path(self.namespace)
            answer = await self._client.request("POST", path, body=body)
            if body["kind"] == "Job":
                owner = answer.json["metadata"]

    def tell_prefect(self, agent: Agent, state: str, *, of_deployment: bool = False) -> None:
        """Have a flow run of the agent in a state; its id becomes the agent's."""
        if self._flow_id is None:
            self._flow_id = self._prefect.post("/flows/", {"name": "run-agent"})["id"]
        if of_deployment:
            path = f"/deployments/{self._deployment()}/create_flow_run"
            body = {"parameters": {"request": {"task_id": "T-1"}}}
            agent.flow_run_id = FlowRunId(self._prefect.post(path, body)["id"])
            self.end_run(agent.flow_run_id, state)
            return
        body = {"flow_id": self._flow_id, "state": {"type": state}}
        agent.flow_run_id = FlowRunId(self._prefect.post("/flow_runs/", body)["id"])

    def _deployment(self) -> str:
        if self._deployment_id is None:
            body = {"name": self.namespace, "flow_id": self._flow_id}
            self._deployment_id = self._prefect.post("/deployments/", body)["id"]
        assert self._deployment_id is not None
        return self._deployment_id

    def end_run(self, flow_run_id: str, state: str) -> None:
        """Put a flow run into a state, whatever it is in now."""
        body = {"state": {"type": state}, "force": True}
        self._prefect.post(f"/flow_runs/{flow_run_id}/set_state", body)

    def runs_of_deployment(self) -> list[Any]:
        """All flow runs of the deployment, oldest first."""
        wanted = {"deployments": {"id": {"any_": [self._deployment()]}}}
        found = self._prefect.post("/flow_runs/filter", wanted)
        return sorted(found, key=lambda run: run["created"])

    def beat(self, agent: Agent) -> None:
        """Emit a heartbeat of the agent's flow run."""
        event = {
            "id": str(uuid.uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": "prefect.flow-run.heartbeat",
            "resource": {"prefect.resource.id": f"prefect.flow-run.{agent.flow_run_id}"},
        }
        self._prefect.send("/events", [event])

    def state(self, agent: Agent) -> str | None:
        """The type of the state of the agent's flow run; `None` if Prefect does not know it."""
        wanted = {"flow_runs": {"id": {"any_": [agent.flow_run_id]}}}
        found = self._prefect.post("/flow_runs/filter", wanted)
        return found[0]["state_type"] if found else None

    async def present(self) -> set[tuple[str, str]]:
        """Every object there is, as kind and name; Jobs that are being deleted are gone."""
        found: set[tuple[str, str]] = set()
        for kind, resource in _KINDS.items():
            answer = await self._client.request("GET", resource.path(self.namespace))
            found |= {
                (kind, item["metadata"]["name"])
                for item in answer.json["items"]
                if "deletionTimestamp" not in item["metadata"]
            }
        return found

    def expected(self) -> set[tuple[str, str]]:
        """Every object that there must be after a sweep."""
        return {
            (manifest["kind"], manifest["metadata"]["name"])
            for agent in self.agents
            for manifest in agent.objects
            if manifest["kind"] not in agent.gone
        }

    def describe(self, objects: Iterable[tuple[str, str]]) -> str:
        """Say of which case objects are, for a test that failed."""
        cases = {
            (manifest["kind"], manifest["metadata"]["name"]): agent.kind_of_case
            for agent in self.agents
            for manifest in agent.objects
        }
        return json.dumps([[cases.get(one, "?"), *one] for one in sorted(objects)], indent=1)


Build = Callable[[Agent], list[dict[str, Any]]]


@dataclass(frozen=True)
class Case:
    """One row of the table of what a namespace may hold.

    Attributes:
        count: How many agents are made of it.
        state: Of the flow run; `None` for one that was deleted from Prefect.
        build: The objects of one agent.
        beats: Whether the flow run emits a heartbeat.
    """

    name: str
    count: int
    state: str | None
    build: Build
    gone: tuple[str, ...] = ()
    ends_run: str | None = None
    beats: bool = False

    def agents(self, orphanage: Orphanage) -> list[Agent]:
        """Make the agents of this row, known to Prefect and with what is to be created of them."""
        made: list[Agent] = []
        for _ in range(self.count):
            agent = Agent(self.name, frozenset(self.gone), self.ends_run)
            if self.state is not None:
                orphanage.tell_prefect(agent, self.state)
            if self.beats:
                orphanage.beat(agent)
            agent.objects = self.build(agent)
            made.append(agent)
        return made
