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
        restart_policy: Never, OnFailure or Always.
        is_init: Whether it is an init container.
        backs_off: Whether it has ended and waits for its next start.
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
    restart_policy: str = "Never"
    is_init: bool = False
    backs_off: bool = False

    @property
    def is_sidecar(self) -> bool:
        """Whether it starts with the init containers and runs beside the others."""
        return self.is_init and self.restart_policy == "Always"

    @property
    def is_initialized(self) -> bool:
        """Whether the containers after it may start."""
        if self.is_sidecar:
            return self.has_started
        return self.has_ended and self.exit_code == 0

    @property
    def has_started(self) -> bool:
        """Whether it has run, or could not."""
        return self.started_at is not None or self.has_ended or self.restarts > 0

    def begin_restart(self) -> None:
        """Keep how it ended, and be about to start again."""
        self.last_state = self._ended_state
        self.restarts += 1
        self.started_at = self.finished_at = None
        self.exit_code, self.message = 0, ""

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
        if self.backs_off:
            return {"waiting": {"reason": self.waiting_reason, "message": self.waiting_message}}
        if self.has_ended:
            return self._ended_state
        if self.started_at is not None:
            return {"running": {"startedAt": format_time(self.started_at)}}
        waiting = {"reason": self.waiting_reason}
        if self.waiting_message:
            waiting["message"] = self.waiting_message
        return {"waiting": waiting}

    @property
    def _ended_state(self) -> JsonObject:
        if self.finished_at is not None:
            terminated: JsonObject = {"exitCode": self.exit_code, "reason": self.end_reason}
            if self.message:
                terminated["message"] = self.message
            terminated["startedAt"] = format_time(self.started_at) if self.started_at else _EPOCH
            terminated["finishedAt"] = format_time(self.finished_at)
            terminated["containerID"] = self.container_id
            return {"terminated": terminated}
        return {}

    def status(self) -> JsonObject:
        """Return the container's status."""
        ready = self.is_running
        if self.is_init and not self.is_sidecar:
            ready = self.has_ended and self.exit_code == 0
        status: JsonObject = {
            "name": self.name,
            "state": self.state,
            "lastState": self._ended_state if self.backs_off else self.last_state,
            "ready": ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": f"local://{self.image}" if self.container_id else "",
            "started": self.is_running,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status


@dataclass
class PodRecord:
    """What the node knows of one pod.

    Attributes:
        init: Init containers in order, sidecars among them.
        containers: Containers in order.
        started_at: When the node took it.
        pod_ip: Empty until its volumes are mounted.
        host_ip: The node's address.
        reason: Of the whole pod, when it was ended from outside (`Evicted`).
        message: The longer form.
        restart_policy: The pod's.
        is_over: Whether nothing of it runs or will run any more.
        disruption: The reason and message of its condition DisruptionTarget; empty for none.
    """

    init: list[ContainerRecord]
    containers: list[ContainerRecord]
    started_at: datetime
    host_ip: str
    pod_ip: str = ""
    reason: str = ""
    message: str = ""
    restart_policy: str = "Never"
    is_over: bool = False
    disruption: tuple[str, str] | None = None

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed."""
        if self.reason:
            return "Failed"
        if self.is_over:
            return self.outcome or "Failed"
        if any(not c.is_initialized for c in self.init):
            return "Pending"
        return "Running" if any(c.has_started for c in self.containers) else "Pending"

    @property
    def outcome(self) -> str:
        """Succeeded or Failed once it is settled, a little before the phase; empty before."""
        if any(c.is_sidecar and c.is_running for c in self.init):
            return ""
        plain = [c for c in self.init if not c.is_sidecar]
        is_final = self.restart_policy == "Never" or self.is_over
        if is_final and any(c.has_ended and c.exit_code for c in plain):
            return "Failed"
        codes = [c.exit_code for c in self.containers if c.has_ended]
        if len(codes) < len(self.containers) or (self.restart_policy == "Always" and not is_final):
            return ""
        if not any(codes):
            return "Succeeded"
        return "Failed" if is_final else ""

    def status(self, previous: JsonObject, moment: datetime, generation: int) -> JsonObject:
        """Return the pod's status; conditions keep their transition time while they stay equal."""
        phase, outcome = self.phase, self.outcome
        old = {c["type"]: c for c in listed(previous, "conditions")}
        wanted = [
            self._ready_to_start(phase),
            self._initialized(outcome),
            self._ready("Ready", outcome),
            self._ready("ContainersReady", outcome),
        ]
        if self.disruption:
            reason, message = self.disruption
            target = {"type": "DisruptionTarget", "status": "True"}
            wanted.insert(0, {**target, "reason": reason, "message": message})
        conditions = [_dated(c, old.get(c["type"], {}), moment, generation) for c in wanted]
        told = {c["type"] for c in wanted}
        conditions += [c for c in old.values() if c["type"] not in told]
        status: JsonObject = {
            "observedGeneration": generation,
            "phase": phase,
            "conditions": conditions,
        }
        for name in ("reason", "message"):
            if getattr(self, name):
                status[name] = getattr(self, name)
        status["hostIP"] = self.host_ip
        status["hostIPs"] = [{"ip": self.host_ip}]
        if self.pod_ip:
            status["podIP"] = self.pod_ip
            status["podIPs"] = [{"ip": self.pod_ip}]
        status["startTime"] = format_time(self.started_at)
        if self.init:
            status["initContainerStatuses"] = [c.status() for c in self.init]
        status["containerStatuses"] = [c.status() for c in self.containers]
        status["qosClass"] = previous.get("qosClass", "BestEffort")
        return status

    def _ready_to_start(self, phase: str) -> JsonObject:
        is_up = bool(self.pod_ip) and phase not in ("Succeeded", "Failed")
        return {"type": "PodReadyToStartContainers", "status": str(is_up)}

    def _initialized(self, outcome: str) -> JsonObject:
        missing = [c.name for c in self.init if not c.is_initialized]
        if not missing:
            done: JsonObject = {"type": "Initialized", "status": "True"}
            return {**done, "reason": "PodCompleted"} if outcome == "Succeeded" else done
        return {
            "type": "Initialized",
            "status": "False",
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: [{' '.join(missing)}]",
        }

    def _ready(self, kind: str, outcome: str) -> JsonObject:
        if outcome:
            reason = "PodCompleted" if outcome == "Succeeded" else "PodFailed"
            return {"type": kind, "status": "False", "reason": reason}
        sidecars = [c for c in self.init if c.is_sidecar]
        missing = [c.name for c in (*sidecars, *self.containers) if not c.is_running]
        if not missing:
            return {"type": kind, "status": "True"}
        return {
            "type": kind,
            "status": "False",
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(missing)}]",
        }


def _dated(
    condition: JsonObject, before: JsonObject, moment: datetime, generation: int
) -> JsonObject:
    changed_at = before.get("lastTransitionTime")
    if before.get("status") != condition["status"] or not changed_at:
        changed_at = format_time(moment)
    return {
        "type": condition["type"],
        "observedGeneration": generation,
        "status": condition["status"],
        "lastProbeTime": None,
        "lastTransitionTime": changed_at,
        **{key: condition[key] for key in ("reason", "message") if key in condition},
    }


def build_record(pod: JsonObject, host_ip: str, moment: datetime) -> PodRecord:
    """Return what is known of a pod that the node has just taken."""
    spec = pod["spec"]
    policy = spec.get("restartPolicy", "Always")
    # An init container that is no sidecar ends once, whatever the pod's policy says of others.
    init_policy = "Never" if policy == "Never" else "OnFailure"
    waiting = "PodInitializing" if listed(spec, "initContainers") else "ContainerCreating"
    return PodRecord(
        init=[
            ContainerRecord(
                c["name"],
                c["image"],
                waiting,
                restart_policy=c.get("restartPolicy", init_policy),
                is_init=True,
            )
            for c in listed(spec, "initContainers")
        ],
        containers=[
            ContainerRecord(c["name"], c["image"], waiting, restart_policy=policy)
            for c in spec["containers"]
        ],
        started_at=moment,
        host_ip=host_ip,
        restart_policy=policy,
    )
