"""Webhooks that change or deny new objects, called over HTTPS as their configurations say."""

import asyncio
import base64
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from deployments.local.api_errors import ApiError
from deployments.local.call_notes import CallNotes
from deployments.local.objects import listed, mapped, new_uid
from deployments.local.patching import apply_json_patch
from deployments.local.registry import Target
from deployments.local.resources import (
    MUTATING_WEBHOOKS,
    NAMESPACES,
    VALIDATING_WEBHOOKS,
    JsonObject,
    Resource,
)
from deployments.local.store import Store

_DEFAULT_SECONDS = 10


@dataclass(frozen=True)
class _Hook:
    raw: JsonObject

    @property
    def name(self) -> str:
        return self.raw["name"]

    @property
    def seconds(self) -> float:
        return self.raw.get("timeoutSeconds", _DEFAULT_SECONDS)

    def concerns(self, target: Target, obj: JsonObject, namespace: JsonObject | None) -> bool:
        labels = mapped((namespace or {"metadata": {}})["metadata"], "labels")
        return (
            any(_matches(rule, target.resource) for rule in listed(self.raw, "rules"))
            and (not target.namespace or _selects(mapped(self.raw, "namespaceSelector"), labels))
            and _selects(
                mapped(self.raw, "objectSelector"), mapped(mapped(obj, "metadata"), "labels")
            )
        )


class Webhooks:
    """Asks the configured webhooks about objects that are created; about nothing else."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def concern(self, target: Target, obj: JsonObject) -> bool:
        """Tell whether a webhook must be asked about a new object."""
        kinds = (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)
        return any(True for kind in kinds for _ in self._hooks(kind, target, obj))

    async def review(self, target: Target, obj: JsonObject, notes: CallNotes) -> JsonObject:
        """Return a new object as the webhooks want it.

        Raises:
            ApiError: One denies it, or has no answer and is required.
        """
        for hook in self._hooks(MUTATING_WEBHOOKS, target, obj):
            answer = await self._ask(hook, target, obj, notes)
            if answer and answer.get("patch"):
                obj = apply_json_patch(obj, json.loads(base64.b64decode(answer["patch"])))
        hooks = list(self._hooks(VALIDATING_WEBHOOKS, target, obj))
        await asyncio.gather(*(self._ask(hook, target, obj, notes) for hook in hooks))
        return obj

    def _hooks(self, kind: Resource, target: Target, obj: JsonObject) -> Iterator[_Hook]:
        namespace = self._store.get(NAMESPACES, "", target.namespace)
        for configuration in self._store.list(kind):
            for raw in listed(configuration, "webhooks"):
                if _Hook(raw).concerns(target, obj, namespace):
                    yield _Hook(raw)

    async def _ask(
        self, hook: _Hook, target: Target, obj: JsonObject, notes: CallNotes
    ) -> JsonObject | None:
        try:
            review = await _post(hook, _review(target, obj, notes))
            answer: JsonObject = review["response"]
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
            if hook.raw.get("failurePolicy", "Fail") == "Ignore":
                return None
            why = "context deadline exceeded" if isinstance(error, TimeoutError) else str(error)
            url = mapped(hook.raw, "clientConfig").get("url", "")
            address = f"{url}?timeout={hook.seconds:.0f}s"
            text = f'failed calling webhook "{hook.name}": failed to call webhook: '
            text += f'Post "{address}": {why}'
            raise ApiError(
                500,
                "InternalError",
                f"Internal error occurred: {text}",
                details={"causes": [{"message": text}]},
            ) from None
        notes.warnings += listed(answer, "warnings")
        if not answer.get("allowed"):
            raise _denial(hook, mapped(answer, "status"))
        return answer


def _denial(hook: _Hook, status: JsonObject) -> ApiError:
    denied = f'admission webhook "{hook.name}" denied the request'
    message = status.get("message") or status.get("reason")
    text = f"{denied}: {message}" if message else f"{denied} without explanation"
    return ApiError(status.get("code") or 400, status.get("reason", ""), text)


async def _post(hook: _Hook, body: JsonObject) -> Any:
    client = mapped(hook.raw, "clientConfig")
    bundle = base64.b64decode(client.get("caBundle", "")).decode()
    context = ssl.create_default_context(cadata=bundle or None)
    async with (
        asyncio.timeout(hook.seconds),
        aiohttp.ClientSession() as session,
        session.post(
            client["url"], params={"timeout": f"{hook.seconds:.0f}s"}, json=body, ssl=context
        ) as answer,
    ):
        answer.raise_for_status()
        return await answer.json(content_type=None)


def _review(target: Target, obj: JsonObject, notes: CallNotes) -> JsonObject:
    resource = target.resource
    version = {"group": resource.group, "version": resource.version}
    kind = {**version, "kind": resource.kind}
    plural = {**version, "resource": resource.plural}
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": new_uid(),
            "kind": kind,
            "resource": plural,
            "requestKind": kind,
            "requestResource": plural,
            "name": obj["metadata"].get("name", ""),
            "namespace": target.namespace,
            "operation": "CREATE",
            "userInfo": {"username": notes.user, "groups": list(notes.groups)},
            "object": obj,
            "oldObject": None,
            "dryRun": notes.dry_run,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    }


def _matches(rule: JsonObject, resource: Resource) -> bool:
    wanted = (
        ("operations", "CREATE"),
        ("apiGroups", resource.group),
        ("apiVersions", resource.version),
        ("resources", resource.plural),
    )
    return all({"*", value} & set(listed(rule, field)) for field, value in wanted)


def _selects(selector: JsonObject, labels: dict[str, str]) -> bool:
    """Tell whether a label selector in its object form selects; an empty one selects all."""
    for key, value in mapped(selector, "matchLabels").items():
        if labels.get(key) != value:
            return False
    return all(_holds(expression, labels) for expression in listed(selector, "matchExpressions"))


def _holds(expression: JsonObject, labels: dict[str, str]) -> bool:
    key, values = expression["key"], listed(expression, "values")
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels
