"""Watches every pod of a cluster and records when an agent had two live ones."""

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx

from tests.embedded.local_api import Api

_AGENT = "claude-jobs.dev/agent-id"
_PODS = "/api/v1/pods"
_TRANSPORT_FAILURES = (httpx.HTTPError, AssertionError, json.JSONDecodeError)


@dataclass(frozen=True)
class SeenPod:
    """A pod as last seen.

    Attributes:
        job_uid: Its owner.
        running: Whether its agent container runs.
        exit_code: Of that container, once it has ended.
        finished_at: Likewise, RFC 3339, whole seconds.
    """

    name: str
    agent_id: str
    job_uid: str
    running: bool
    exit_code: int | None
    finished_at: str


class AgentRecorder:
    """Sees every change in the order in which the API server has made them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._alive: dict[str, SeenPod] = {}
        self._seen: dict[str, SeenPod] = {}
        self._twins: list[str] = []
        self._leaks: set[str] = set()
        self._secrets: set[str] = set()
        self._listed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        assert self._listed.wait(20), "the cluster's pods cannot be listed"

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

    def pods_of(self, agent_id: str) -> list[SeenPod]:
        """Return the pods of an agent that were ever seen."""
        with self._lock:
            return [pod for pod in self._seen.values() if pod.agent_id == agent_id]

    def live_pod(self, agent_id: str) -> SeenPod | None:
        """Return the pod in which the agent's container runs now."""
        with self._lock:
            return next((pod for pod in self._alive.values() if pod.agent_id == agent_id), None)

    def exit_code(self, job_uid: str) -> int | None:
        """Return how the container of a Job's last pod ended."""
        with self._lock:
            codes = [pod.exit_code for pod in self._seen.values() if pod.job_uid == job_uid]
        return codes[-1] if codes else None

    def end(self) -> None:
        self._ended.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                found = self._api.ok("GET", _PODS)
                self._list(found["items"])
                self._follow(found["metadata"]["resourceVersion"])
            except _TRANSPORT_FAILURES:
                # The API server is being restarted, or the history was cut off: list again.
                time.sleep(0.1)

    def _list(self, pods: list[Any]) -> None:
        present = {pod["metadata"]["uid"] for pod in pods}
        with self._lock:
            for uid in set(self._alive) - present:
                del self._alive[uid]
        for pod in pods:
            self._see("MODIFIED", pod)
        self._listed.set()

    def _follow(self, version: str) -> None:
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
        limits = httpx.Timeout(20, read=0.5)
        while not self._ended.is_set():
            with self._api.http.stream("GET", _PODS, params=query, timeout=limits) as answer:
                assert answer.status_code == 200
                try:
                    for line in answer.iter_lines():
                        event = json.loads(line)
                        assert event["type"] != "ERROR", event
                        query["resourceVersion"] = event["object"]["metadata"]["resourceVersion"]
                        self._see(event["type"], event["object"])
                except httpx.ReadTimeout:
                    # So that the end is noticed; nothing is missed.
                    continue

    def _see(self, kind: str, pod: Any) -> None:
        metadata = pod["metadata"]
        agent_id = metadata.get("annotations", {}).get(_AGENT)
        if agent_id is None:
            return
        states: list[Any] = [
            status["state"]
            for status in pod.get("status", {}).get("containerStatuses", ())
            if status["name"] == "agent"
        ]
        endings: list[Any] = [state["terminated"] for state in states if "terminated" in state]
        ended: dict[str, Any] = endings[-1] if endings else {}
        seen = SeenPod(
            name=metadata["name"],
            agent_id=agent_id,
            job_uid=next((owner["uid"] for owner in metadata.get("ownerReferences", ())), ""),
            running=kind != "DELETED" and any("running" in state for state in states),
            exit_code=ended.get("exitCode"),
            finished_at=ended.get("finishedAt", ""),
        )
        text = json.dumps(pod)
        with self._lock:
            self._seen[metadata["uid"]] = seen
            self._leaks |= {f"{seen.name}: {secret}" for secret in self._secrets if secret in text}
            if not seen.running:
                self._alive.pop(metadata["uid"], None)
                return
            self._alive[metadata["uid"]] = seen
            alive = [item.name for item in self._alive.values() if item.agent_id == agent_id]
            if len(alive) > 1:
                self._twins.append(f"agent {agent_id} lives in {' and '.join(sorted(alive))}")
