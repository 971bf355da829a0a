"""What happened to the Jobs and pods of a namespace, in the API server's own order."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx


class ClusterRecord:
    """Watches a namespace from its beginning; resource versions tell what came before what."""

    def __init__(self, http: httpx.AsyncClient, namespace: str) -> None:
        self._http = http
        self._urls = {
            "jobs": f"/apis/batch/v1/namespaces/{namespace}/jobs",
            "pods": f"/api/v1/namespaces/{namespace}/pods",
        }
        self.jobs: dict[str, Any] = {}
        self.pods: dict[str, Any] = {}
        # The agent's container by Job uid: from which version on it was reported running or not.
        self._running: dict[str, list[tuple[int, bool]]] = {}
        self._deleted_at: dict[str, int] = {}
        self._deleted_by_others: set[str] = set()
        self._watches: list[asyncio.Task[None]] = []
        self._news = asyncio.Condition()

    async def begin(self) -> None:
        """Begin to watch; what happens after this is seen, and no fault meets it."""
        opened = asyncio.Barrier(len(self._urls) + 1)
        self._watches = [asyncio.create_task(self._watch(kind, opened)) for kind in self._urls]
        await opened.wait()

    async def end(self) -> None:
        """Stop watching."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def until(self, find: Callable[[], Any]) -> Any:
        """Wait until something is found, and return it."""
        async with self._news:
            return await self._news.wait_for(find)

    def newest_pod(self) -> Any:
        """Return the pod that came last; `None` before there is one."""
        return next(reversed(self.pods.values()), None)

    def deleted_by_others(self, name: str) -> None:
        """Note that somebody else deletes a Job now."""
        [uid] = [uid for uid, job in self.jobs.items() if job["metadata"]["name"] == name]
        if uid not in self._deleted_at:
            self._deleted_by_others.add(uid)

    def violations(self) -> list[str]:
        """Name each Job that we have deleted while its agent's container was running."""
        return [
            f"Job {self.jobs[uid]['metadata']['name']} was deleted while its agent was running"
            for uid, version in self._deleted_at.items()
            if uid not in self._deleted_by_others and self._was_running(uid, version)
        ]

    def _was_running(self, job_uid: str, version: int) -> bool:
        seen = [running for at, running in self._running.get(job_uid, []) if at < version]
        return bool(seen) and seen[-1]

    async def _watch(self, kind: str, opened: asyncio.Barrier) -> None:
        query = {"watch": "1", "resourceVersion": "0"}
        async with self._http.stream(
            "GET", self._urls[kind], params=query, timeout=httpx.Timeout(30, read=None)
        ) as answer:
            await opened.wait()
            async for line in answer.aiter_lines():
                event = json.loads(line)
                self._note(kind, event["type"], event["object"])
                async with self._news:
                    self._news.notify_all()

    def _note(self, kind: str, event: str, found: Any) -> None:
        metadata = found["metadata"]
        version = int(metadata["resourceVersion"])
        if kind == "jobs":
            self.jobs[metadata["uid"]] = found
            if event == "DELETED" or "deletionTimestamp" in metadata:
                self._deleted_at.setdefault(metadata["uid"], version)
            return
        self.pods[metadata["uid"]] = found
        for owner in metadata.get("ownerReferences", []):
            running = event != "DELETED" and "running" in agent_state(found)
            self._running.setdefault(owner["uid"], []).append((version, running))


def agent_state(pod: Any) -> dict[str, Any]:
    """Return the state of the agent's container; empty where none is reported."""
    for container in pod["status"].get("containerStatuses", []):
        if container["name"] == "agent":
            return container.get("state", {})
    return {}
