"""One pod's life on the node: mounts, containers, end, deletion."""

import asyncio
import contextlib
import shutil

from deployments.local.deletion import DeleteOptions
from deployments.local.objects import listed, mapped, name_of, namespace_of, now, uid_of
from deployments.local.pods.container_worker import (
    ContainerWorker,
    NodeServices,
    PodPlace,
    Stopped,
)
from deployments.local.pods.pod_status import PodRecord, build_record
from deployments.local.registry import Target
from deployments.local.resources import CONFIG_MAPS, PODS, SECRETS, JsonObject
from deployments.local.volumes import MountError, PodVolumes

_FIRST_MOUNT_DELAY_SECONDS = 0.05
_MOUNT_BACKOFF_SECONDS = (0.5, 122.0)
_PHASE_DELAY_SECONDS = 0.05
_REMOVAL_DELAY_SECONDS = 0.2
_KILL_WAIT_SECONDS = 5.0


class PodWorker:
    """Runs one pod until it has been deleted.

    Attributes:
        pod: The pod as it was when the node took it.
        record: What is reported of it.
        containers: The workers of its containers by name, in the manifest's order.
    """

    def __init__(self, services: NodeServices, pod: JsonObject) -> None:
        self.pod = pod
        self.record: PodRecord = build_record(pod, services.plan.host_ip, now())
        self._services = services
        self._folder = services.folder / uid_of(pod)
        self._stopping = asyncio.Event()
        self._volumes = PodVolumes(
            pod,
            self._folder,
            lambda name: services.registry.store.get(SECRETS, namespace_of(pod), name),
            lambda name: services.registry.store.get(CONFIG_MAPS, namespace_of(pod), name),
            lambda name: services.plan.claim_folder(namespace_of(pod), name),
            services.plan.issue_token,
        )
        place = PodPlace(
            services,
            pod,
            self._folder,
            self._volumes,
            self._publish,
            lambda: self.record.pod_ip,
        )
        spec = pod["spec"]
        init = zip(self.record.init, listed(spec, "initContainers"), strict=True)
        main = zip(self.record.containers, spec["containers"], strict=True)
        self._init = [ContainerWorker(place, r, m, "initContainers") for r, m in init]
        self._main = [ContainerWorker(place, r, m, "containers") for r, m in main]
        self.containers = {w.record.name: w for w in (*self._init, *self._main)}
        self._sidecars: list[tuple[ContainerWorker, asyncio.Task[None]]] = []
        self._place = place
        self._killed = asyncio.Event()
        self._life = asyncio.create_task(self._live())
        self._deletion: asyncio.Task[None] | None = None

    def begin_deletion(self, grace_seconds: int) -> None:
        """Stop the containers, then let the pod go; a second call shortens the grace to nothing."""
        if self._deletion is None:
            self._deletion = asyncio.create_task(self._delete(grace_seconds))
        elif self._deletion.done():
            self._delete_object()
        elif grace_seconds == 0:
            self._killed.set()

    def abandon(self) -> None:
        """Kill everything: the pod object has gone already."""
        self._killed.set()
        if self._deletion is None:
            self.begin_deletion(0)

    def evict(self, reason: str, message: str) -> None:
        """End the pod from the node's side; its object stays, Failed."""
        self.record.reason, self.record.message = reason, message
        self.record.disruption = "TerminationByKubelet", message
        self.kill()
        self._publish()

    def kill(self) -> None:
        """Kill every process of the pod."""
        self._stopping.set()
        for worker in self.containers.values():
            worker.kill()

    async def finish(self) -> None:
        """Return when no process is left."""
        await asyncio.wait([self._life, *filter(None, [self._deletion])])

    def publish_again(self) -> None:
        """Report the status, after the node has been away."""
        self._publish()

    async def _live(self) -> None:
        self._folder.mkdir(parents=True)
        self._publish()
        try:
            await self._mount()
            self.record.pod_ip = self._services.plan.host_ip
            self._publish()
            if await self._initialise():
                await asyncio.gather(*(worker.run() for worker in self._main))
        except Stopped:
            pass  # what was begun is ended below
        await self._end_sidecars()
        # The kubelet tells of the containers first and of the pod's end a little later.
        await asyncio.sleep(_PHASE_DELAY_SECONDS)
        self.record.is_over = True
        self._publish()

    async def _initialise(self) -> bool:
        """Run the init containers; return whether the others may start."""
        for worker in self._init:
            if self._stopping.is_set():
                return False
            if worker.record.is_sidecar:
                self._sidecars.append((worker, asyncio.create_task(worker.run())))
                await worker.is_up.wait()
                continue
            await worker.run()
            if not worker.record.has_ended or worker.record.exit_code:
                return False
        return not self._stopping.is_set()

    async def _end_sidecars(self) -> None:
        """Stop the sidecars, the last one first, each when the one before has ended."""
        grace: float = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        deadline = asyncio.get_running_loop().time() + grace
        for worker, task in reversed(self._sidecars):
            worker.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await asyncio.wait([task])
            worker.kill()
            await asyncio.wait([task])

    async def _mount(self) -> None:
        await self._pause(_FIRST_MOUNT_DELAY_SECONDS)
        delay, longest = _MOUNT_BACKOFF_SECONDS
        while True:
            try:
                self._volumes.mount_all()
                return
            except MountError as error:
                self._place.event("Warning", "FailedMount", str(error))
            await self._pause(delay)
            delay = min(2 * delay, longest)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the pod is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        if self._stopping.is_set():
            raise Stopped

    async def _delete(self, grace_seconds: int) -> None:
        self._stopping.set()
        sidecars = [worker for worker, _ in self._sidecars]
        for worker in self.containers.values():
            # The sidecars of a pod end when its other containers have.
            if worker not in sidecars or not worker.process:
                worker.stop()
        kill_now = asyncio.create_task(self._killed.wait())
        await asyncio.wait(
            [self._life, kill_now],
            timeout=grace_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        kill_now.cancel()
        self._killed.set()
        self.kill()
        await asyncio.wait([self._life], timeout=_KILL_WAIT_SECONDS)
        await asyncio.sleep(_REMOVAL_DELAY_SECONDS)
        for worker in self.containers.values():
            if worker.log:
                worker.log.remove()
        shutil.rmtree(self._folder, ignore_errors=True)
        if not self._services.frozen:
            self._delete_object()

    def _delete_object(self) -> None:
        pod = self.pod
        target = Target(PODS, namespace_of(pod), name_of(pod))
        current = self._services.registry.store.get(PODS, target.namespace, target.name)
        if current is None or uid_of(current) != uid_of(pod):
            return
        if current["metadata"].get("deletionGracePeriodSeconds"):
            self._services.registry.delete(target, DeleteOptions(grace_seconds=0, uid=uid_of(pod)))
        # Else whoever set the last finalizer takes it away.

    def _publish(self) -> None:
        if self._services.frozen:
            return
        record = self.record

        def edit(pod: JsonObject) -> None:
            generation = pod["metadata"].get("generation", 1)
            pod["status"] = record.status(mapped(pod, "status"), now(), generation)

        self._services.registry.store.change(PODS, self.pod, edit)
