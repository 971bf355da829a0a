"""One pod's life on the node: mounts, containers, end, deletion."""

import asyncio
import contextlib
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from deployments.local.container_plan import (
    ContainerPlan,
    PlanSettings,
    WaitingError,
    check_image,
    plan_container,
)
from deployments.local.containers import (
    ContainerRuntime,
    Exit,
    RunningProcess,
    StartError,
    copy_output,
)
from deployments.local.deletion import DeleteOptions
from deployments.local.environment import ConfigError, EnvironmentBuilder
from deployments.local.event_recorder import EventRecorder
from deployments.local.log_files import LogFile, LogSettings
from deployments.local.objects import listed, mapped, name_of, namespace_of, now, uid_of
from deployments.local.pod_status import ContainerRecord, PodRecord, build_record
from deployments.local.registry import Registry, Target
from deployments.local.resources import CONFIG_MAPS, PODS, SECRETS, JsonObject
from deployments.local.volumes import MountError, PodVolumes

_FIRST_MOUNT_DELAY_SECONDS = 0.05
_MOUNT_BACKOFF_SECONDS = (0.5, 122.0)
_CONFIG_RETRY_SECONDS = 12.0
_PULL_BACKOFF_SECONDS = (10.0, 300.0)
_PULL_SECONDS = 0.3
_CRASH_BACKOFF_SECONDS = (10.0, 300.0)
_RUNNING_LOOK_SECONDS = 0.2
_REMOVAL_DELAY_SECONDS = 0.3
_KILL_WAIT_SECONDS = 5.0
_MESSAGE_LIMIT_BYTES = 4096
_FALLBACK_LINES = 80
_FALLBACK_BYTES = 2048


@dataclass
class NodeServices:
    """What a pod's worker needs of its node.

    Attributes:
        registry: The API.
        events: Writes Events.
        runtime: Starts processes.
        folder: Where pods' directories are.
        plan: How containers are put together.
        logs: How logs rotate.
        late_status_seconds: How long ended containers are still reported as running.
        frozen: Whether the node is gone: nothing is reported any more.
    """

    registry: Registry
    events: EventRecorder
    runtime: ContainerRuntime
    folder: Path
    plan: PlanSettings
    logs: LogSettings = field(default_factory=LogSettings)
    late_status_seconds: float = 0.0
    frozen: bool = False


class _Stopped(Exception):
    """The pod is being deleted; what waits gives up."""


class PodWorker:
    """Runs one pod until it has been deleted.

    Attributes:
        pod: The pod as it was when the node took it.
        record: What is reported of it.
        logs: Logs by container name.
        plans: How each started container is run, by name.
        processes: Running containers by name.
    """

    def __init__(self, services: NodeServices, pod: JsonObject) -> None:
        self.pod = pod
        self.record: PodRecord = build_record(pod, services.plan.host_ip, now())
        self.logs: dict[str, LogFile] = {}
        self.plans: dict[str, ContainerPlan] = {}
        self.processes: dict[str, RunningProcess] = {}
        self._services = services
        self._folder = services.folder / uid_of(pod)
        self._stopping = asyncio.Event()
        self._killed = asyncio.Event()
        self._volumes = PodVolumes(
            pod,
            self._folder,
            lambda name: services.registry.store.get(SECRETS, namespace_of(pod), name),
            lambda name: services.registry.store.get(CONFIG_MAPS, namespace_of(pod), name),
            lambda name: services.plan.claim_folder(namespace_of(pod), name),
            services.plan.issue_token,
        )
        self._life = asyncio.create_task(self._live())
        self._deletion: asyncio.Task[None] | None = None

    def begin_deletion(self, grace_seconds: int) -> None:
        """Stop the containers, then let the pod go; a second call shortens the grace to nothing."""
        if self._deletion is None:
            self._deletion = asyncio.create_task(self._delete(grace_seconds))
        elif grace_seconds == 0:
            self._killed.set()

    def abandon(self) -> None:
        """Kill everything: the pod object has gone already."""
        self._killed.set()
        self.begin_deletion(0)

    def evict(self, reason: str, message: str) -> None:
        """End the pod from the node's side; its object stays, Failed."""
        self.record.reason, self.record.message = reason, message
        self._stopping.set()
        for process in self.processes.values():
            process.kill()
        self._publish()

    async def finish(self) -> None:
        """Return when no process is left."""
        await asyncio.wait([self._life, *filter(None, [self._deletion])])

    async def _live(self) -> None:
        self._folder.mkdir(parents=True)
        self._publish()
        try:
            await self._mount()
            self.record.pod_ip = self._services.plan.host_ip
            for record, manifest in zip(
                self.record.init, listed(self.pod["spec"], "initContainers"), strict=True
            ):
                await self._run(record, manifest, "initContainers")
                if record.exit_code:
                    return
            await self._run_all()
        except _Stopped:
            pass

    async def _run_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for record, manifest in zip(
                self.record.containers, self.pod["spec"]["containers"], strict=True
            ):
                group.create_task(self._run_quietly(record, manifest))

    async def _run_quietly(self, record: ContainerRecord, manifest: JsonObject) -> None:
        with contextlib.suppress(_Stopped):
            await self._run(record, manifest, "containers")

    async def _mount(self) -> None:
        await self._pause(_FIRST_MOUNT_DELAY_SECONDS)
        delay, longest = _MOUNT_BACKOFF_SECONDS
        while True:
            try:
                self._volumes.mount_all()
                return
            except MountError as error:
                self._event("Warning", "FailedMount", str(error))
            await self._pause(delay)
            delay = min(2 * delay, longest)

    async def _run(self, record: ContainerRecord, manifest: JsonObject, group: str) -> None:
        path = f"spec.{group}{{{record.name}}}"
        backoff, longest = _CRASH_BACKOFF_SECONDS
        while True:
            plan = await self._prepare(record, manifest, path)
            await self._start_and_wait(record, manifest, plan, path)
            policy = self.record.restart_policy
            is_init = group == "initContainers"
            done = record.exit_code == 0 and (is_init or policy != "Always")
            if policy == "Never" or done or self._stopping.is_set():
                return
            self._begin_restart(record)
            message = f"back-off {backoff:.0f}s restarting failed container={record.name}"
            self._wait_for(record, "CrashLoopBackOff", message)
            await self._pause(backoff)
            backoff = min(2 * backoff, longest)

    def _begin_restart(self, record: ContainerRecord) -> None:
        record.last_state = record.state
        record.restarts += 1
        record.started_at = record.finished_at = None
        record.exit_code, record.message = 0, ""

    async def _prepare(
        self, record: ContainerRecord, manifest: JsonObject, path: str
    ) -> ContainerPlan:
        """Return how to run a container, once image and configuration allow it."""
        await self._pull(record, manifest, path)
        store = self._services.registry.store
        while True:
            # The newest state: labels may have changed, and its address is known by now.
            pod = store.get(PODS, namespace_of(self.pod), name_of(self.pod)) or self.pod
            pod = {**pod, "status": {**mapped(pod, "status"), "podIP": self.record.pod_ip}}
            environment = EnvironmentBuilder(
                pod,
                lambda name: store.get(SECRETS, namespace_of(self.pod), name),
                lambda name: store.get(CONFIG_MAPS, namespace_of(self.pod), name),
            )
            try:
                return plan_container(
                    pod,
                    manifest,
                    environment.build(manifest),
                    list(self._volumes.mounts_of(manifest)),
                    self._folder / "containers" / record.name,
                    self._services.plan,
                )
            except ConfigError as error:
                self._wait_for(record, "CreateContainerConfigError", str(error))
                self._event("Warning", "Failed", f"Error: {error}", path)
            await self._pause(_CONFIG_RETRY_SECONDS)

    async def _pull(self, record: ContainerRecord, manifest: JsonObject, path: str) -> None:
        backoff, longest = _PULL_BACKOFF_SECONDS
        while True:
            try:
                check_image(manifest, self._services.plan)
                self._event(
                    "Normal",
                    "Pulled",
                    f'Container image "{record.image}" already present on machine',
                    path,
                )
                return
            except WaitingError as error:
                if error.reason != "ErrImagePull":
                    self._wait_for(record, error.reason, str(error))
                    self._event("Warning", error.event, str(error), path)
                    self._event("Warning", "Failed", f"Error: {error.reason}", path)
                    await self._pause(_CONFIG_RETRY_SECONDS)
                    continue
                self._event("Normal", "Pulling", f'Pulling image "{record.image}"', path)
                await self._pause(_PULL_SECONDS)
                text = f'Failed to pull image "{record.image}": {error}'
                self._event("Warning", "Failed", text, path)
                self._event("Warning", "Failed", "Error: ErrImagePull", path)
                self._wait_for(record, error.reason, str(error))
            await self._pause(backoff)
            message = f'Back-off pulling image "{record.image}"'
            self._event("Normal", "BackOff", message, path)
            self._event("Warning", "Failed", "Error: ImagePullBackOff", path)
            self._wait_for(record, "ImagePullBackOff", message)
            await self._pause(backoff)
            backoff = min(2 * backoff, longest)

    async def _start_and_wait(
        self, record: ContainerRecord, manifest: JsonObject, plan: ContainerPlan, path: str
    ) -> None:
        record.container_id = f"local://{secrets.token_hex(32)}"
        plan.folder.mkdir(parents=True, exist_ok=True)
        plan.message_file.write_bytes(b"")
        log = LogFile(plan.folder / "log", self._services.logs)
        self.logs[record.name] = log
        self.plans[record.name] = plan
        self._event("Normal", "Created", f"Created container {record.name}", path)
        try:
            running = await self._services.runtime.start(
                plan.spec, stdin=asyncio.subprocess.DEVNULL
            )
        except StartError as error:
            text = f"failed to create containerd task: {error}: unknown"
            self._event("Warning", "Failed", f"Error: {text}", path)
            log.close()
            self._end(record, Exit(128, start_error=text), text)
            return
        self.processes[record.name] = running
        if self._killed.is_set():
            running.kill()
        elif self._stopping.is_set():
            running.terminate()
        record.started_at = now()
        self._event("Normal", "Started", f"Started container {record.name}", path)
        # The kubelet looks at its containers once a second: short ones are never seen running, and
        # whoever sees one running may count on its first lines having been carried out.
        look = asyncio.get_running_loop().call_later(_RUNNING_LOOK_SECONDS, self._publish)
        await copy_output(running, log)
        outcome = await running.ended
        look.cancel()
        del self.processes[record.name]
        log.close()
        if self._services.late_status_seconds:
            await asyncio.sleep(self._services.late_status_seconds)
        self._end(record, outcome, _termination_message(plan, manifest, log, outcome))

    def _end(self, record: ContainerRecord, outcome: Exit, message: str) -> None:
        record.finished_at = now()
        record.exit_code = outcome.code
        record.message = message
        if outcome.start_error:
            record.end_reason = "StartError"
        elif outcome.oom:
            record.end_reason = "OOMKilled"
        else:
            record.end_reason = "Error" if outcome.code else "Completed"
        self._publish()

    def _wait_for(self, record: ContainerRecord, reason: str, message: str) -> None:
        record.waiting_reason, record.waiting_message = reason, message
        self._publish()

    async def _delete(self, grace_seconds: int) -> None:
        self._stopping.set()
        for log in self.logs.values():
            log.doom()
        for name, process in self.processes.items():
            path = f"spec.containers{{{name}}}"
            self._event("Normal", "Killing", f"Stopping container {name}", path)
            process.terminate()
        kill_now = asyncio.create_task(self._killed.wait())
        await asyncio.wait(
            [self._life, kill_now],
            timeout=grace_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        kill_now.cancel()
        self._killed.set()
        for process in self.processes.values():
            process.kill()
        await asyncio.wait([self._life], timeout=_KILL_WAIT_SECONDS)
        await asyncio.sleep(_REMOVAL_DELAY_SECONDS)
        for log in self.logs.values():
            log.remove()
        shutil.rmtree(self._folder, ignore_errors=True)
        if not self._services.frozen:
            self._delete_object()

    def _delete_object(self) -> None:
        pod = self.pod
        target = Target(PODS, namespace_of(pod), name_of(pod))
        current = self._services.registry.store.get(PODS, target.namespace, target.name)
        if current is not None and uid_of(current) == uid_of(pod):
            self._services.registry.delete(target, DeleteOptions(grace_seconds=0, uid=uid_of(pod)))

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the pod is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        if self._stopping.is_set():
            raise _Stopped

    def _event(self, kind: str, reason: str, message: str, path: str = "") -> None:
        self._services.events.record(
            self.pod, kind, reason, message, component="kubelet", field_path=path
        )

    def _publish(self) -> None:
        if self._services.frozen:
            return
        record = self.record

        def edit(pod: JsonObject) -> None:
            pod["status"] = record.status(mapped(pod, "status"), now())

        self._services.registry.store.change(PODS, self.pod, edit)

    def publish_again(self) -> None:
        """Report the status, after the node has been away."""
        self._publish()


def _termination_message(
    plan: ContainerPlan, manifest: JsonObject, log: LogFile, outcome: Exit
) -> str:
    with contextlib.suppress(OSError):
        message = plan.message_file.read_bytes()[-_MESSAGE_LIMIT_BYTES:]
        if message:
            return message.decode(errors="replace")
    falls_back = manifest.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    if not (falls_back and outcome.code):
        return ""
    lines = log.path.read_bytes().splitlines()[-_FALLBACK_LINES:]
    text = b"\n".join(line.split(b" ", 3)[-1] for line in lines) + b"\n"
    return text[-_FALLBACK_BYTES:].decode(errors="replace")
