"""Watches the Jobs and pods of a cluster, in the order in which the API server has changed them.

It records what must never happen: an agent with two live pods, and a Job that was deleted while its
agent was running. Resource versions tell what came before what.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.embedded.local_api import Api

_AGENT = "claude-jobs.dev/agent-id"
_PODS, _JOBS = "/api/v1/pods", "/apis/batch/v1/jobs"
_TRANSPORT_FAILURES = (httpx.HTTPError, AssertionError, json.JSONDecodeError)

See = Callable[[str, Any], None]


@dataclass(frozen=True)
class SeenPod:
    """A pod as last seen.

    Attributes:
        job_uid: Its owner.
        running: Whether its agent container runs.
        exit_code: Of that container, once it has ended.
        manifest: The whole pod.
    """

    name: str
    agent_id: str
    job_uid: str
    running: bool
    exit_code: int | None
    manifest: Any


class ClusterRecord:
    """Sees every change; after a restart of the API server it lists again."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._alive: dict[str, SeenPod] = {}
        self._pods: dict[str, SeenPod] = {}
        self._jobs: dict[str, Any] = {}
        # By Job UID: from which version on its agent was reported running or not.
        self._running: dict[str, list[tuple[int, bool]]] = {}
        self._deleted_at: dict[str, int] = {}
        self._may_be_deleted: set[str] = set()
        self._twins: list[str] = []
        self._leaks: set[str] = set()
        self._secrets: set[str] = set()
        self._threads: list[threading.Thread] = []
        for path, see in ((_JOBS, self._see_job), (_PODS, self._see_pod)):
            listed = threading.Event()
            thread = threading.Thread(target=self._watch, args=(path, see, listed), daemon=True)
            thread.start()
            self._threads.append(thread)
            assert listed.wait(20), f"{path} cannot be listed"

    @property
    def twins(self) -> list[str]:
        """One sentence for every moment in which an agent had two live pods."""
        with self._lock:
            return list(self._twins)

    @property
    def leaks(self) -> list[str]:
        """The pods in whose text a secret was seen."""
        with self._lock:
            return sorted(self._leaks)

    def keep_secret(self, text: str) -> None:
        """Look for this text in all pods from now on."""
        with self._lock:
            self._secrets.add(text)

    def allow_deletions(self, namespace: str) -> None:
        """Let Jobs of a namespace be deleted from now on, whatever their agents do."""
        with self._lock:
            self._may_be_deleted.add(namespace)

    def allow_deletion(self, job_uid: str) -> None:
        """Let a Job be deleted from now on; it is judged where that has happened already."""
        with self._lock:
            if job_uid not in self._deleted_at:
                self._may_be_deleted.add(job_uid)

    def deleted_alive(self, namespace: str | None = None) -> list[str]:
        """Name the Jobs that were deleted while their agent was running."""
        with self._lock:
            return [
                f"Job {self._jobs[uid]['metadata']['name']} was deleted while its agent was running"
                for uid, version in self._deleted_at.items()
                if namespace in {None, self._jobs[uid]["metadata"]["namespace"]}
                and self._was_running(uid, version)
            ]

    def jobs_in(self, namespace: str) -> list[Any]:
        """Return the Jobs of a namespace that were ever seen, the oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if job["metadata"]["namespace"] == namespace]

    def newest_pod(self, namespace: str) -> SeenPod | None:
        """Return the pod of a namespace that came last, whether or not it is still there."""
        with self._lock:
            pods = reversed(self._pods.values())
            return next(
                (pod for pod in pods if pod.manifest["metadata"]["namespace"] == namespace), None
            )

    def pods_of(self, agent_id: str) -> list[SeenPod]:
        """Return the pods of an agent that were ever seen."""
        with self._lock:
            return [pod for pod in self._pods.values() if pod.agent_id == agent_id]

    def live_pod(self, agent_id: str) -> SeenPod | None:
        """Return the pod in which the agent's container runs now."""
        with self._lock:
            return next((pod for pod in self._alive.values() if pod.agent_id == agent_id), None)

    def exit_code(self, job_uid: str) -> int | None:
        """Return how the container of a Job's last pod ended."""
        with self._lock:
            codes = [pod.exit_code for pod in self._pods.values() if pod.job_uid == job_uid]
        return codes[-1] if codes else None

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)

    def _watch(self, path: str, see: See, listed: threading.Event) -> None:
        while not self._ended.is_set():
            try:
                found = self._api.ok("GET", path)
                self._list(path, found["items"], see)
                listed.set()
                self._follow(path, found["metadata"]["resourceVersion"], see)
            except _TRANSPORT_FAILURES:
                # The API server is being restarted, or the history was cut off: list again.
                time.sleep(0.1)

    def _list(self, path: str, found: list[Any], see: See) -> None:
        present = {item["metadata"]["uid"] for item in found}
        with self._lock:
            for uid in set(self._alive) - present if path == _PODS else ():
                gone = self._alive.pop(uid)
                # How it ended was not seen, so nobody can say that it was running until then.
                version = int(gone.manifest["metadata"]["resourceVersion"])
                self._running[gone.job_uid].append((version, False))
        for item in found:
            see("MODIFIED", item)

    def _follow(self, path: str, version: str, see: See) -> None:
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
        limits = httpx.Timeout(20, read=0.5)
        while not self._ended.is_set():
            with self._api.http.stream("GET", path, params=query, timeout=limits) as answer:
                assert answer.status_code == 200
                try:
                    for line in answer.iter_lines():
                        event = json.loads(line)
                        assert event["type"] != "ERROR", event
                        query["resourceVersion"] = event["object"]["metadata"]["resourceVersion"]
                        see(event["type"], event["object"])
                except httpx.ReadTimeout:
                    # So that the end is noticed; nothing is missed.
                    continue

    def _see_job(self, kind: str, job: Any) -> None:
        metadata = job["metadata"]
        uid = metadata["uid"]
        with self._lock:
            self._jobs[uid] = job
            if (kind == "DELETED" or "deletionTimestamp" in metadata) and not (
                {uid, metadata["namespace"]} & self._may_be_deleted
            ):
                self._deleted_at.setdefault(uid, int(metadata["resourceVersion"]))

    def _see_pod(self, kind: str, pod: Any) -> None:
        metadata = pod["metadata"]
        agent_id = metadata.get("annotations", {}).get(_AGENT)
        if agent_id is None:
            return
        state = agent_state(pod)
        seen = SeenPod(
            name=metadata["name"],
            agent_id=agent_id,
            job_uid=next((owner["uid"] for owner in metadata.get("ownerReferences", ())), ""),
            running=kind != "DELETED" and "running" in state,
            exit_code=state.get("terminated", {}).get("exitCode"),
            manifest=pod,
        )
        text = json.dumps(pod)
        version = int(metadata["resourceVersion"])
        with self._lock:
            self._pods[metadata["uid"]] = seen
            self._running.setdefault(seen.job_uid, []).append((version, seen.running))
            self._leaks |= {f"{seen.name}: {secret}" for secret in self._secrets if secret in text}
            if not seen.running:
                self._alive.pop(metadata["uid"], None)
                return
            self._alive[metadata["uid"]] = seen
            alive = [item.name for item in self._alive.values() if item.agent_id == agent_id]
            if len(alive) > 1:
                self._twins.append(f"agent {agent_id} lives in {' and '.join(sorted(alive))}")

    def _was_running(self, job_uid: str, version: int) -> bool:
        seen = [running for at, running in self._running.get(job_uid, ()) if at < version]
        return bool(seen) and seen[-1]


def agent_state(pod: Any) -> dict[str, Any]:
    """Return the state of the agent's container; empty where none is reported."""
    for container in pod.get("status", {}).get("containerStatuses") or ():
        if container["name"] == "agent":
            return container.get("state", {})
    return {}
