"""A pod's status from what its containers do, as the kubelet writes it. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deployments.local.objects import format_time, listed
from deployments.local.resources import JsonObject

_EPOCH = "1970-01-01T00:00:00Z"


@dataclass
class ContainerRecord:
    """What is known of one container.

    Attributes:
        name: As in the manifest.
        image: As in the manifest.
        waiting_reason: Why it does not run; empty once it has started.
        waiting_message: The longer form.
        container_id: Empty until it has been made.
        started_at: None until it runs.
        finished_at: None until it has ended.
        exit_code: Of the ended container.
        end_reason: Completed, Error, OOMKilled or StartError.
        message: Termination message.
        restarts: How often it has been restarted.
        last_state: The state before the last restart.
    """

    name: str
    image: str
    waiting_reason: str = "ContainerCreating"
    waiting_message: str = ""
    container_id: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    end_reason: str = ""
    message: str = ""
    restarts: int = 0
    last_state: JsonObject = field(default_factory=dict[str, Any])

    @property
    def has_ended(self) -> bool:
        """Whether it is terminated."""
        return self.finished_at is not None

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.started_at is not None and self.finished_at is None

    @property
    def state(self) -> JsonObject:
        """`state` of a container status."""
        if self.finished_at is not None:
            terminated: JsonObject = {"exitCode": self.exit_code, "reason": self.end_reason}
            if self.message:
                terminated["message"] = self.message
            terminated["startedAt"] = format_time(self.started_at) if self.started_at else _EPOCH
            terminated["finishedAt"] = format_time(self.finished_at)
            terminated["containerID"] = self.container_id
            return {"terminated": terminated}
        if self.started_at is not None:
            return {"running": {"startedAt": format_time(self.started_at)}}
        waiting = {"reason": self.waiting_reason}
        if self.waiting_message:
            waiting["message"] = self.waiting_message
        return {"waiting": waiting}

    def status(self, *, is_init: bool) -> JsonObject:
        """Return the container's status."""
        ready = self.has_ended and self.exit_code == 0 if is_init else self.is_running
        status: JsonObject = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last_state,
            "ready": ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": f"local://{self.image}" if self.container_id else "",
        }
        if self.container_id:
            status["containerID"] = self.container_id
        if not is_init:
            status["started"] = self.is_running
        return status


@dataclass
class PodRecord:
    """What the node knows of one pod.

    Attributes:
        init: Init containers in order.
        containers: Containers in order.
        started_at: When the node took it.
        pod_ip: Empty until its volumes are mounted.
        host_ip: The node's address.
        reason: Of the whole pod, when it was ended from outside (`Evicted`).
        message: The longer form.
        restart_policy: The pod's.
    """

    init: list[ContainerRecord]
    containers: list[ContainerRecord]
    started_at: datetime
    host_ip: str
    pod_ip: str = ""
    reason: str = ""
    message: str = ""
    restart_policy: str = "Never"

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed."""
        if self.reason:
            return "Failed"
        if any(c.has_ended and c.exit_code != 0 for c in self.init) and (
            self.restart_policy == "Never"
        ):
            return "Failed"
        if any(not c.has_ended or c.exit_code for c in self.init):
            return "Pending"
        if all(c.has_ended for c in self.containers) and self.restart_policy != "Always":
            failed = any(c.exit_code for c in self.containers)
            if not failed:
                return "Succeeded"
            if self.restart_policy == "Never":
                return "Failed"
        started = any(c.started_at or c.has_ended or c.restarts for c in self.containers)
        return "Running" if started else "Pending"

    def status(self, previous: JsonObject, moment: datetime) -> JsonObject:
        """Return the pod's status; conditions keep their transition time while they stay equal."""
        phase = self.phase
        old = {c["type"]: c for c in listed(previous, "conditions")}
        wanted = [
            self._initialized(phase),
            self._ready("Ready", phase),
            self._ready("ContainersReady", phase),
        ]
        conditions: list[JsonObject] = []
        for condition in wanted:
            before = old.get(condition["type"], {})
            changed_at = before.get("lastTransitionTime")
            if before.get("status") != condition["status"] or not changed_at:
                changed_at = format_time(moment)
            head = {k: condition[k] for k in ("type", "status")}
            times = {"lastProbeTime": None, "lastTransitionTime": changed_at}
            rest = {k: v for k, v in condition.items() if k not in head}
            conditions.append({**head, **times, **rest})
        if "PodScheduled" in old:
            conditions.append(old["PodScheduled"])
        status: JsonObject = {"phase": phase, "conditions": conditions}
        for name in ("reason", "message"):
            if getattr(self, name):
                status[name] = getattr(self, name)
        status["hostIP"] = self.host_ip
        if self.pod_ip:
            status["podIP"] = self.pod_ip
            status["podIPs"] = [{"ip": self.pod_ip}]
        status["startTime"] = format_time(self.started_at)
        if self.init:
            status["initContainerStatuses"] = [c.status(is_init=True) for c in self.init]
        status["containerStatuses"] = [c.status(is_init=False) for c in self.containers]
        status["qosClass"] = previous.get("qosClass", "BestEffort")
        return status

    def _initialized(self, phase: str) -> JsonObject:
        missing = [c.name for c in self.init if not c.has_ended or c.exit_code]
        if not missing:
            done: JsonObject = {"type": "Initialized", "status": "True"}
            return {**done, "reason": "PodCompleted"} if phase == "Succeeded" else done
        return {
            "type": "Initialized",
            "status": "False",
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: [{' '.join(missing)}]",
        }

    def _ready(self, kind: str, phase: str) -> JsonObject:
        if phase == "Succeeded":
            return {"type": kind, "status": "False", "reason": "PodCompleted"}
        missing = [c.name for c in self.containers if not c.is_running]
        if not missing:
            return {"type": kind, "status": "True"}
        return {
            "type": kind,
            "status": "False",
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(missing)}]",
        }


def build_record(pod: JsonObject, host_ip: str, moment: datetime) -> PodRecord:
    """Return what is known of a pod that the node has just taken."""
    spec = pod["spec"]
    waiting = "PodInitializing" if listed(spec, "initContainers") else "ContainerCreating"
    return PodRecord(
        init=[
            ContainerRecord(c["name"], c["image"], waiting) for c in listed(spec, "initContainers")
        ],
        containers=[ContainerRecord(c["name"], c["image"], waiting) for c in spec["containers"]],
        started_at=moment,
        host_ip=host_ip,
        restart_policy=spec.get("restartPolicy", "Always"),
    )
