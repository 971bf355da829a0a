"""PersistentVolumeClaims: bound to the volume they name, or to a new directory."""

import shutil
from pathlib import Path

from deployments.local.objects import listed, mapped, name_of, namespace_of, uid_of
from deployments.local.registry import Registry, Target
from deployments.local.resources import VOLUME_CLAIMS, VOLUMES, JsonObject, Resource
from deployments.local.store import Change, Key
from deployments.local.work_queue import WorkQueue


class VolumeBinder:
    """Binds claims as soon as they can be bound."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry = registry
        self._store = registry.store
        self._folder = folder
        self._queue = WorkQueue[Key](self._bind)
        registry.store.listen(self._on_change)

    def folder_of(self, namespace: str, claim_name: str) -> Path | None:
        """Return the directory behind a bound claim."""
        claim = self._store.get(VOLUME_CLAIMS, namespace, claim_name)
        if claim is None or mapped(claim, "status").get("phase") != "Bound":
            return None
        volume = self._store.get(VOLUMES, "", claim["spec"]["volumeName"])
        path = mapped(mapped(volume or {}, "spec"), "hostPath").get("path")
        return Path(path) if path else None

    def obstacle(self, pod: JsonObject) -> str:
        """Return why a pod's claims keep it from being scheduled; empty when they do not."""
        for volume in listed(pod["spec"], "volumes"):
            name = mapped(volume, "persistentVolumeClaim").get("claimName")
            if not name:
                continue
            if self._store.get(VOLUME_CLAIMS, namespace_of(pod), name) is None:
                return f'persistentvolumeclaim "{name}" not found'
            if self.folder_of(namespace_of(pod), name) is None:
                return (
                    "0/1 nodes are available: 1 pod has unbound immediate PersistentVolumeClaims."
                )
        return ""

    def _on_change(self, resource: Resource, change: Change) -> None:
        if resource == VOLUME_CLAIMS and change.type == "DELETED":
            self._release(change.obj)
        elif resource in (VOLUME_CLAIMS, VOLUMES) and change.type == "ADDED":
            for claim in self._store.list(VOLUME_CLAIMS):
                self._queue.add((namespace_of(claim), name_of(claim)))

    def _bind(self, key: Key) -> None:
        claim = self._store.get(VOLUME_CLAIMS, *key)
        if claim is None or mapped(claim, "status").get("phase") == "Bound":
            return
        volume = self._find_volume(claim) or self._make_volume(claim)
        if volume is None:
            return
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": key[0],
            "name": key[1],
            "uid": uid_of(claim),
        }

        def bind_volume(fresh: JsonObject) -> None:
            fresh["spec"]["claimRef"] = reference
            fresh["status"] = {"phase": "Bound"}

        def bind_claim(fresh: JsonObject) -> None:
            fresh["spec"]["volumeName"] = name_of(volume)
            fresh["status"] = {
                "phase": "Bound",
                "accessModes": listed(volume["spec"], "accessModes"),
                "capacity": mapped(volume["spec"], "capacity"),
            }

        self._store.change(VOLUMES, volume, bind_volume)
        self._store.change(VOLUME_CLAIMS, claim, bind_claim)

    def _find_volume(self, claim: JsonObject) -> JsonObject | None:
        wanted = claim["spec"].get("volumeName")
        for volume in self._store.list(VOLUMES):
            reference = mapped(volume["spec"], "claimRef")
            key = (reference.get("namespace"), reference.get("name"))
            if reference and key != (namespace_of(claim), name_of(claim)):
                continue
            if reference.get("uid", uid_of(claim)) != uid_of(claim):
                continue
            if name_of(volume) == wanted or (reference and not wanted):
                return volume
        return None

    def _make_volume(self, claim: JsonObject) -> JsonObject | None:
        spec = claim["spec"]
        # An empty class, unlike an absent one, says that nothing may be made.
        if spec.get("volumeName") or spec.get("storageClassName") == "":
            return None
        name = f"pvc-{uid_of(claim)}"
        place = self._folder / name
        place.mkdir(parents=True)
        body: JsonObject = {
            "metadata": {"name": name},
            "spec": {
                "capacity": mapped(mapped(spec, "resources"), "requests"),
                "accessModes": listed(spec, "accessModes"),
                "persistentVolumeReclaimPolicy": "Delete",
                "hostPath": {"path": str(place)},
            },
        }
        return self._registry.create(Target(VOLUMES, ""), body)

    def _release(self, claim: JsonObject) -> None:
        volume = self._store.get(VOLUMES, "", claim["spec"].get("volumeName", ""))
        if volume is None:
            return
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            shutil.rmtree(self._folder / name_of(volume), ignore_errors=True)
            self._registry.delete(Target(VOLUMES, "", name_of(volume)))
            return

        def release(fresh: JsonObject) -> None:
            fresh["status"] = {"phase": "Released"}

        self._store.change(VOLUMES, volume, release)
