"""The admin endpoint `/_faults`; for the administrator's token only.

GET    /_faults                       rules with their counts, held calls, journal, settings
POST   /_faults                       {"seed": n, "rules": [...]}, adds rules, returns ids
DELETE /_faults[?id=ID]               takes one or all rules away and releases what they hold
POST   /_faults/release               {"hold": NAME}
GET    /_faults/held?name=&count=&timeout=   waits until so many calls are held
PUT    /_faults/settings              see `_SETTINGS`
POST   /_faults/actions               {"do": ACTION, ...}, see `_ACTIONS`
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from deployments.local import api_errors
from deployments.local.api import Api
from deployments.local.api_errors import ApiError
from deployments.local.deletion import FOREGROUND, DeleteOptions
from deployments.local.faults import FaultEngine, RuleError
from deployments.local.jobs.jobs_controller import JobsController
from deployments.local.node import Node
from deployments.local.objects import listed, uid_of
from deployments.local.registry import Registry, Target
from deployments.local.resources import JOBS, PODS, JsonObject, Resource

PREFIX = "/_faults"
Restart = Callable[[float], Awaitable[None]]


class FaultsApi:
    """Switches faults on and off, and does to the cluster what no client could."""

    def __init__(
        self,
        api: Api,
        engine: FaultEngine,
        registry: Registry,
        node: Node,
        jobs: JobsController,
        restart: Restart,
    ) -> None:
        self._api = api
        self._engine = engine
        self._registry = registry
        self._node = node
        self._jobs = jobs
        self._restart = restart

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer a request of the endpoint."""
        try:
            if not self._api.user_of(http).is_admin:
                raise api_errors.forbidden(None, "", "only the administrator may make faults")
            return self._api.json(await self._answer(http))
        except ApiError as error:
            return self._api.json(error.body(), error.code)
        except (RuleError, ValueError, KeyError, TypeError) as error:
            return self._api.json(api_errors.bad_request(str(error)).body(), 400)

    async def _answer(self, http: web.Request) -> JsonObject:
        body = json.loads(await http.read() or b"{}")
        match http.method, http.path.removeprefix(PREFIX).strip("/"):
            case "GET", "":
                return self._state()
            case "POST", "":
                if "seed" in body:
                    self._engine.reseed(body["seed"])
                return {"ids": self._engine.add(listed(body, "rules"))}
            case "DELETE", "":
                self._engine.remove(http.query.get("id"))
                return {}
            case "POST", "release":
                return {"released": self._engine.release(body["hold"])}
            case "GET", "held":
                return await self._wait_held(http.query)
            case "PUT", "settings":
                return self._set(body)
            case "POST", "actions":
                return await self._act(body)
            case _:
                raise api_errors.no_such_path()

    def _state(self) -> JsonObject:
        engine = self._engine
        return {
            "seed": engine.seed,
            "rules": [rule.describe() for rule in engine.rules],
            "held": engine.held(),
            "journal": list(engine.journal),
            "requests": engine.counts,
            "settings": self._settings(),
        }

    async def _wait_held(self, query: Any) -> JsonObject:
        name = query["name"]
        count, timeout = int(query.get("count", 1)), float(query.get("timeout", 10))
        reached = await self._engine.wait_held(name, count, timeout)
        return {"reached": reached, "calls": self._engine.held().get(name, [])}

    def _settings(self) -> JsonObject:
        services = self._node.services
        return {
            "rotationBytes": services.logs.rotation_bytes,
            "rotationIntervalSeconds": services.logs.rotation_interval_seconds,
            "lateStatusSeconds": services.late_status_seconds,
            "lateConditionSeconds": self._jobs.late_condition_seconds,
            "clockSkewSeconds": self._api.clock_skew_seconds,
        }

    def _set(self, body: JsonObject) -> JsonObject:
        unknown = set(body) - set(self._settings())
        if unknown:
            raise RuleError(f"unknown: {', '.join(sorted(unknown))}")
        wanted = {**self._settings(), **body}
        services = self._node.services
        services.logs.rotation_bytes = int(wanted["rotationBytes"])
        services.logs.rotation_interval_seconds = float(wanted["rotationIntervalSeconds"])
        services.late_status_seconds = float(wanted["lateStatusSeconds"])
        self._jobs.late_condition_seconds = float(wanted["lateConditionSeconds"])
        self._api.clock_skew_seconds = float(wanted["clockSkewSeconds"])
        return self._settings()

    async def _act(self, body: JsonObject) -> JsonObject:
        action: str = body["do"]
        if action.endswith(("-pod", "-job")):
            self._act_on_object(action, body)
            return {}
        match action:
            case "node-gone":
                self._node.leave(kill=bool(body.get("kill", True)))
                if body.get("evict"):
                    self._node.evict_for_lost_node()
            case "node-back":
                self._node.come_back()
            case "compact":
                self._registry.store.compact()
            case "restart-api":
                await self._restart(float(body.get("downSeconds", 1.0)))
            case unknown:
                raise RuleError(f"unknown action {unknown}")
        return {}

    def _act_on_object(self, action: str, body: JsonObject) -> None:
        match action:
            case "delete-pod":
                self._delete(PODS, body, body.get("graceSeconds"))
            case "delete-job":
                self._delete(JOBS, body, None)
            case "evict-pod":
                self._end_pod(body, "Evicted", "The node was low on resource: memory.")
            case "preempt-pod":
                self._end_pod(body, "Preempting", "Preempted in order to admit critical pod")
            case "displace-pod":
                pod = self._registry.read(Target(PODS, body["namespace"], body["name"]))
                reason = body.get("reason", "PreemptionByScheduler")
                text = "default-scheduler: preempting to accommodate a higher priority pod"
                self._node.disrupt(pod, reason, body.get("message", text))
            case unknown:
                raise RuleError(f"unknown action {unknown}")

    def _delete(self, resource: Resource, body: JsonObject, grace: int | None) -> None:
        target = Target(resource, body["namespace"], body["name"])
        policy = body.get("propagationPolicy", FOREGROUND if resource == JOBS else "Background")
        self._registry.delete(target, DeleteOptions(policy=policy, grace_seconds=grace))

    def _end_pod(self, body: JsonObject, reason: str, message: str) -> None:
        pod = self._registry.read(Target(PODS, body["namespace"], body["name"]))
        worker = self._node.workers.get(uid_of(pod))
        if worker is None:
            raise RuleError("the node does not run this pod")
        worker.evict(body.get("reason", reason), body.get("message", message))
