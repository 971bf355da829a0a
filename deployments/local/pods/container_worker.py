"""One container's life: image, configuration, process, end, restarts."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
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
from deployments.local.environment import ConfigError, EnvironmentBuilder
from deployments.local.event_recorder import EventRecorder
from deployments.local.log_files import LogFile, LogSettings
from deployments.local.objects import mapped, name_of, namespace_of, now, uid_of
from deployments.local.pods.pod_status import ContainerRecord
from deployments.local.registry import Registry
from deployments.local.resources import CONFIG_MAPS, PODS, SECRETS, JsonObject
from deployments.local.volumes import PodVolumes

_CONFIG_RETRY_SECONDS = 12.0
_PULL_BACKOFF_SECONDS = (10.0, 300.0)
_PULL_SECONDS = 0.3
_CRASH_BACKOFF_SECONDS = (10.0, 300.0)
_FIRST_RESTART_SECONDS = 0.1
_RUNNING_LOOK_SECONDS = 0.2
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


@dataclass(frozen=True)
class PodPlace:
    """Where a container runs.

    Attributes:
        services: The node's.
        pod: The pod as the node took it.
        folder: The pod's own directory.
        volumes: The pod's volumes.
        publish: Reports the pod's status.
        address: Tells the pod's address; empty until its volumes are mounted.
    """

    services: NodeServices
    pod: JsonObject
    folder: Path
    volumes: PodVolumes
    publish: Callable[[], None]
    address: Callable[[], str]

    def event(self, kind: str, reason: str, message: str, path: str = "") -> None:
        """Write an Event about the pod or the part of it that `path` names."""
        self.services.events.record(
            self.pod, kind, reason, message, component="kubelet", field_path=path
        )


class Stopped(Exception):
    """The container is asked to end before it has run; what waits gives up."""


class ContainerWorker:
    """Runs one container, again and again where its restart policy says so.

    Attributes:
        record: What is reported of it.
        log: Its newest log; None until it has been made.
        plan: How it is run; None until it has been made.
        process: Its process while it runs.
        is_up: Set once the container runs, or never will.
    """

    def __init__(
        self, place: PodPlace, record: ContainerRecord, manifest: JsonObject, group: str
    ) -> None:
        self.record = record
        self.log: LogFile | None = None
        self.plan: ContainerPlan | None = None
        self.process: RunningProcess | None = None
        self.is_up = asyncio.Event()
        self._place = place
        self._services = place.services
        self._manifest = manifest
        self._path = f"spec.{group}{{{record.name}}}"
        self._policy = record.restart_policy
        self._stopping = asyncio.Event()
        self._is_killed = False

    async def run(self) -> None:
        """Run the container until it has ended for good, or is stopped."""
        record = self.record
        backoff, longest = _CRASH_BACKOFF_SECONDS
        try:
            while True:
                await self.pause(0.0)
                await self._start_and_wait(await self._prepare())
                is_done = record.exit_code == 0 and self._policy != "Always"
                if self._policy == "Never" or is_done or self._stopping.is_set():
                    return
                if record.restarts:
                    await self._back_off(backoff)
                    backoff = min(2 * backoff, longest)
                else:
                    await self.pause(_FIRST_RESTART_SECONDS)
                record.begin_restart()
        except Stopped:
            return
        finally:
            self.is_up.set()

    def stop(self) -> None:
        """Ask the container to end; one that waits gives up."""
        self._stopping.set()
        if self.process:
            self._event("Normal", "Killing", f"Stopping container {self.record.name}")
            self.process.terminate()

    def kill(self) -> None:
        """Kill everything in the container, now and whatever starts still."""
        self._stopping.set()
        self._is_killed = True
        if self.process:
            self.process.kill()

    async def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: The container is asked to end meanwhile.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        if self._stopping.is_set():
            raise Stopped

    async def _back_off(self, seconds: float) -> None:
        """Wait before another restart; the first one came at once."""
        await self.pause(_FIRST_RESTART_SECONDS)
        pod = self._place.pod
        name, where = self.record.name, f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"
        text = f"Back-off restarting failed container {name} in pod {where}"
        self._event("Warning", "BackOff", text)
        self.record.backs_off = True
        text = f"back-off {seconds:.0f}s restarting failed container={name} pod={where}"
        self._wait_for("CrashLoopBackOff", text)
        try:
            await self.pause(seconds)
        finally:
            self.record.backs_off = False

    async def _prepare(self) -> ContainerPlan:
        """Return how to run the container, once image and configuration allow it."""
        await self._pull()
        place = self._place
        store = self._services.registry.store
        space = namespace_of(place.pod)
        while True:
            # The newest state: labels may have changed, and its address is known by now.
            pod = store.get(PODS, space, name_of(place.pod)) or place.pod
            pod = {**pod, "status": {**mapped(pod, "status"), "podIP": place.address()}}
            environment = EnvironmentBuilder(
                pod,
                lambda name: store.get(SECRETS, space, name),
                lambda name: store.get(CONFIG_MAPS, space, name),
            )
            try:
                return plan_container(
                    pod,
                    self._manifest,
                    environment.build(self._manifest),
                    list(place.volumes.mounts_of(self._manifest)),
                    place.folder / "containers" / self.record.name,
                    self._services.plan,
                )
            except ConfigError as error:
                self._wait_for("CreateContainerConfigError", str(error))
                self._event("Warning", "Failed", f"Error: {error}")
            await self.pause(_CONFIG_RETRY_SECONDS)

    async def _pull(self) -> None:
        image = self.record.image
        backoff, longest = _PULL_BACKOFF_SECONDS
        while True:
            try:
                check_image(self._manifest, self._services.plan)
                where = "already present on machine and can be accessed by the pod"
                self._event("Normal", "Pulled", f'Container image "{image}" {where}')
                return
            except WaitingError as error:
                if error.reason != "ErrImagePull":
                    self._wait_for(error.reason, str(error))
                    self._event("Warning", error.event, str(error))
                    self._event("Warning", "Failed", f"Error: {error.reason}")
                    await self.pause(_CONFIG_RETRY_SECONDS)
                    continue
                self._event("Normal", "Pulling", f'Pulling image "{image}"')
                await self.pause(_PULL_SECONDS)
                text = f'Failed to pull image "{image}": {error}'
                self._event("Warning", "Failed", text)
                self._event("Warning", "Failed", "Error: ErrImagePull")
                self._wait_for(error.reason, str(error))
            await self.pause(backoff)
            message = f'Back-off pulling image "{image}"'
            self._event("Normal", "BackOff", message)
            self._event("Warning", "Failed", "Error: ImagePullBackOff")
            self._wait_for("ImagePullBackOff", message)
            await self.pause(backoff)
            backoff = min(2 * backoff, longest)

    async def _start_and_wait(self, plan: ContainerPlan) -> None:
        record = self.record
        record.container_id = f"local://{secrets.token_hex(32)}"
        plan.folder.mkdir(parents=True, exist_ok=True)
        plan.message_file.write_bytes(b"")
        log = self.log = LogFile(plan.folder / "log", self._services.logs)
        self.plan = plan
        self._event("Normal", "Created", "Container created")
        try:
            running = await self._services.runtime.start(
                plan.spec, stdin=asyncio.subprocess.DEVNULL
            )
        except StartError as error:
            text = f"failed to create containerd task: {error}: unknown"
            self._event("Warning", "Failed", f"Error: {text}")
            log.close()
            self._end(Exit(128, start_error=text), text)
            return
        self.process = running
        if self._is_killed:
            running.kill()
        elif self._stopping.is_set():
            running.terminate()
        record.started_at = now()
        self._event("Normal", "Started", "Container started")
        self.is_up.set()
        # The kubelet looks at its containers once a second: short ones are never seen running, and
        # whoever sees one running may count on its first lines having been carried out.
        publish = self._place.publish
        look = asyncio.get_running_loop().call_later(_RUNNING_LOOK_SECONDS, publish)
        await copy_output(running, log)
        outcome = await running.ended
        look.cancel()
        self.process = None
        log.close()
        if self._services.late_status_seconds:
            await asyncio.sleep(self._services.late_status_seconds)
        self._end(outcome, _termination_message(plan, self._manifest, log, outcome))

    def _end(self, outcome: Exit, message: str) -> None:
        record = self.record
        record.finished_at = now()
        record.exit_code = outcome.code
        record.message = message
        if outcome.start_error:
            record.end_reason = "StartError"
        elif outcome.oom:
            record.end_reason = "OOMKilled"
        else:
            record.end_reason = "Error" if outcome.code else "Completed"
        self._place.publish()

    def _wait_for(self, reason: str, message: str) -> None:
        self.record.waiting_reason, self.record.waiting_message = reason, message
        self._place.publish()

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._place.event(kind, reason, message, self._path)


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
