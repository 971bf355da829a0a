"""The one node: schedules pods onto itself and runs them."""

import asyncio
import contextlib

from deployments.local.deletion import BACKGROUND, DeleteOptions
from deployments.local.event_recorder import EventRecorder
from deployments.local.objects import (
    format_time,
    is_deleting,
    listed,
    mapped,
    name_of,
    namespace_of,
    now,
    uid_of,
)
from deployments.local.pods.container_worker import NodeServices
from deployments.local.pods.pod_worker import PodWorker
from deployments.local.registry import Registry, Target
from deployments.local.resources import NODES, PODS, JsonObject, Resource
from deployments.local.scheduler import find_obstacle
from deployments.local.store import Change
from deployments.local.volume_binder import VolumeBinder
from deployments.local.work_queue import WorkQueue

NODE_NAME = "local-node"
_SCHEDULER = "default-scheduler"
_RESCHEDULE_SECONDS = 1.0
_CAPACITY = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"}
_END_WAIT_SECONDS = 5.0


class Node:
    """Takes every pod that fits and keeps a worker for it.

    Attributes:
        workers: By the pod's UID.
    """

    def __init__(
        self,
        registry: Registry,
        events: EventRecorder,
        services: NodeServices,
        binder: VolumeBinder,
    ) -> None:
        self.workers: dict[str, PodWorker] = {}
        self.services = services
        self._registry = registry
        self._store = registry.store
        self._events = events
        self._binder = binder
        self._queue = WorkQueue[str](self._sync)
        self._pods: dict[str, JsonObject] = {}
        self._closing: set[asyncio.Task[None]] = set()
        registry.store.listen(self._on_change)

    def register(self) -> None:
        """Create the Node object."""
        labels = {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": NODE_NAME,
            "kubernetes.io/os": "linux",
        }
        node = self._registry.create(
            Target(NODES, ""), {"metadata": {"name": NODE_NAME, "labels": labels}, "spec": {}}
        )
        host_ip = self.services.plan.host_ip

        def edit(fresh: JsonObject) -> None:
            fresh["status"] = {
                "capacity": dict(_CAPACITY),
                "allocatable": dict(_CAPACITY),
                "conditions": [_ready_condition("True", "KubeletReady")],
                "addresses": [
                    {"type": "InternalIP", "address": host_ip},
                    {"type": "Hostname", "address": NODE_NAME},
                ],
                "nodeInfo": {
                    "kubeletVersion": "v1.36.3-local",
                    "containerRuntimeVersion": "local://1",
                    "operatingSystem": "linux",
                    "architecture": "amd64",
                    "kernelVersion": "",
                    "osImage": "",
                    "kubeProxyVersion": "",
                    "machineID": "",
                    "systemUUID": "",
                    "bootID": "",
                },
                "images": [],
            }

        self._store.change(NODES, node, edit)

    def worker_of(self, pod: JsonObject) -> PodWorker | None:
        """Return the worker of a pod that this node runs."""
        return self.workers.get(uid_of(pod))

    def leave(self, *, kill: bool) -> None:
        """Be gone: report nothing more; with `kill` the processes end too."""
        self.services.frozen = True
        self._set_ready("Unknown", "NodeStatusUnknown")
        if kill:
            for worker in self.workers.values():
                for container in worker.containers.values():
                    if container.process:
                        container.process.kill()

    def come_back(self) -> None:
        """Report again, beginning with what happened meanwhile."""
        self.services.frozen = False
        self._set_ready("True", "KubeletReady")
        for worker in self.workers.values():
            worker.publish_again()
        for pod in self._store.list(PODS):
            self._queue.add(uid_of(pod))

    def evict_for_lost_node(self) -> None:
        """Ask for the deletion of all pods, as the taint manager does; a gone node lets none go."""
        for pod in self._store.list(PODS):
            if pod["spec"].get("nodeName") == NODE_NAME and not is_deleting(pod):
                text = "Taint manager: deleting due to NoExecute taint"
                self.disrupt(pod, "DeletionByTaintManager", text)

    def disrupt(self, pod: JsonObject, reason: str, message: str) -> None:
        """Ask for a pod's deletion and say in a condition why, as drains and preemptions do."""

        def edit(fresh: JsonObject) -> None:
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": format_time(now()),
                "reason": reason,
                "message": message,
            }
            status = fresh.setdefault("status", {})
            status["conditions"] = [*listed(status, "conditions"), condition]

        self._store.change(PODS, pod, edit)
        target = Target(PODS, namespace_of(pod), name_of(pod))
        self._registry.delete(target, DeleteOptions(policy=BACKGROUND, uid=uid_of(pod)))

    async def close(self) -> None:
        """Kill all containers and return when they have ended."""
        workers = list(self.workers.values())
        self.services.frozen = True
        for worker in workers:
            worker.abandon()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_WAIT_SECONDS):
                await asyncio.gather(*(worker.finish() for worker in workers))
        await self.services.runtime.close()

    def _set_ready(self, status: str, reason: str) -> None:
        node = self._store.get(NODES, "", NODE_NAME)
        if node is None:
            return

        def edit(fresh: JsonObject) -> None:
            fresh["status"]["conditions"] = [_ready_condition(status, reason)]
            taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
            fresh["spec"] = {} if status == "True" else {"taints": [taint]}

        self._store.change(NODES, node, edit)

    def _on_change(self, resource: Resource, change: Change) -> None:
        if resource != PODS:
            return
        uid = uid_of(change.obj)
        if change.type == "DELETED":
            self._pods.pop(uid, None)
            worker = self.workers.pop(uid, None)
            if worker:
                worker.abandon()
                self._keep_until_finished(worker)
        else:
            self._pods[uid] = change.obj
            self._queue.add(uid)

    def _keep_until_finished(self, worker: PodWorker) -> None:
        task = asyncio.create_task(worker.finish())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _sync(self, uid: str) -> None:
        pod = self._pods.get(uid)
        if pod is None:
            return
        if not pod["spec"].get("nodeName"):
            self._schedule(pod)
            return
        if self.services.frozen or pod["spec"]["nodeName"] != NODE_NAME:
            return
        worker = self.workers.get(uid)
        ended = mapped(pod, "status").get("phase") in ("Succeeded", "Failed")
        if worker is None and not ended:
            worker = self.workers[uid] = PodWorker(self.services, pod)
        if worker and is_deleting(pod):
            worker.begin_deletion(pod["metadata"].get("deletionGracePeriodSeconds", 0))

    def _schedule(self, pod: JsonObject) -> None:
        node = self._store.get(NODES, "", NODE_NAME)
        if node is not None and is_deleting(pod):
            self._fail_unscheduled(pod)
        if node is None or is_deleting(pod):
            return
        holders = [
            other
            for other in self._pods.values()
            if other["spec"].get("nodeName") == NODE_NAME
            and mapped(other, "status").get("phase") not in ("Succeeded", "Failed")
        ]
        obstacle = self._binder.obstacle(pod) or find_obstacle(pod, node, holders)
        if obstacle:
            known = [c.get("message") for c in listed(mapped(pod, "status"), "conditions")]
            if obstacle not in known:
                self._event(pod, "Warning", "FailedScheduling", obstacle)
            self._queue.add_after(uid_of(pod), _RESCHEDULE_SECONDS)
        else:
            where = f"{namespace_of(pod)}/{name_of(pod)}"
            text = f"Successfully assigned {where} to {NODE_NAME}"
            self._event(pod, "Normal", "Scheduled", text)
        condition: JsonObject = {
            "type": "PodScheduled",
            "status": "False" if obstacle else "True",
            "lastProbeTime": None,
            "lastTransitionTime": format_time(now()),
        }
        if obstacle:
            condition |= {"reason": "Unschedulable", "message": obstacle}

        def edit(fresh: JsonObject) -> None:
            status = fresh.setdefault("status", {})
            for old in listed(status, "conditions"):
                if old["status"] == condition["status"]:
                    condition["lastTransitionTime"] = old["lastTransitionTime"]
            status["conditions"] = [condition]
            if not obstacle:
                fresh["spec"]["nodeName"] = NODE_NAME

        self._store.change(PODS, pod, edit)

    def _fail_unscheduled(self, pod: JsonObject) -> None:
        """End a pod that goes before it had a node, as the pod garbage collector does."""

        def edit(fresh: JsonObject) -> None:
            fresh["status"]["phase"] = "Failed"

        self._store.change(PODS, pod, edit)

    def _event(self, pod: JsonObject, kind: str, reason: str, message: str) -> None:
        self._events.record(pod, kind, reason, message, component=_SCHEDULER)


def _ready_condition(status: str, reason: str) -> JsonObject:
    moment = format_time(now())
    return {
        "type": "Ready",
        "status": status,
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": "",
    }
