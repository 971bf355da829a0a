"""The HTTP face: authentication, authorisation, faults, and the way to each operation."""

import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from deployments.local import api_errors, discovery, protobuf
from deployments.local.access import Access
from deployments.local.admission.webhooks import Webhooks
from deployments.local.answer_forms import AnswerForm, parse_form
from deployments.local.api_errors import ApiError
from deployments.local.call_notes import CallNotes
from deployments.local.deletion import parse_delete_options
from deployments.local.exec_api import serve_exec
from deployments.local.faults import CallFaults, ConnectionDrop, FaultEngine
from deployments.local.listing import (
    list_objects,
    plan_watch,
    watch_events,
)
from deployments.local.logs_api import open_log
from deployments.local.node import Node
from deployments.local.objects import after, name_of, now, uid_of
from deployments.local.registry import Registry
from deployments.local.request_options import check_dry_run, parse_field_validation
from deployments.local.resources import JOBS, NAMESPACES, REVIEWS, JsonObject
from deployments.local.reviews import answer_review, answer_token_request
from deployments.local.routing import Request, parse_request
from deployments.local.schema import read_recorded
from deployments.local.streams import send_stream
from deployments.local.tokens import Tokens, User

BODY_LIMIT_BYTES = 3 * 1024 * 1024
_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_SUCCESS: JsonObject = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
_ORPHANS_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background "
    "to remove them or set propagationPolicy=Orphan to suppress this warning"
)
_log = logging.getLogger(__name__)


class Api:
    """Answers every request of the Kubernetes API."""

    def __init__(
        self,
        registry: Registry,
        webhooks: Webhooks,
        tokens: Tokens,
        access: Access,
        node: Node,
        faults: FaultEngine,
    ) -> None:
        self.clock_skew_seconds = 0.0
        self._registry = registry
        self._webhooks = webhooks
        self._store = registry.store
        self._tokens = tokens
        self._access = access
        self._node = node
        self._faults = faults

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Answer a request; failures become Status bodies."""
        try:
            return await self._answer(http)
        except ApiError as error:
            headers: dict[str, str] = {}
            if error.retry_after_seconds is not None:
                headers["Retry-After"] = str(error.retry_after_seconds)
            return self.json(error.body(), error.code, headers)
        except ConnectionDrop:
            if http.transport is not None:
                http.transport.abort()
            return web.Response()  # nobody hears it
        except Exception:
            _log.exception("%s %s failed", http.method, http.path)
            raise

    def user_of(self, http: web.Request) -> User:
        """Return who makes a request.

        Raises:
            ApiError: 401.
        """
        return self._tokens.user_of(http.headers.get("Authorization"))

    def json(
        self, body: Any, code: int = 200, headers: dict[str, str] | None = None
    ) -> web.Response:
        """Return a JSON answer with the usual headers."""
        return web.Response(
            body=json.dumps(body, separators=(",", ":")).encode(),
            status=code,
            content_type="application/json",
            headers={**self._headers(), **(headers or {})},
        )

    def _headers(self) -> dict[str, str]:
        moment = after(now(), self.clock_skew_seconds)
        return {"Cache-Control": "no-cache, private", "Date": format_datetime(moment, usegmt=True)}

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        user = self.user_of(http)
        path = http.path
        parts = path.strip("/").split("/")
        depth = {"api": 3, "apis": 4}.get(parts[0], 0)
        if not depth or len(parts) < depth:
            return self._answer_path(http, user, path)
        request = parse_request(http.method, path, [(k, v) for k, v in http.query.items()])
        self._authorise(user, request)
        faults = self._faults.meet(request, user.name)
        await self._faults.strike(faults, after=False)
        answer = await self._carry_out(http, user, request, faults)
        await self._faults.strike(faults, after=True)
        return answer

    def _authorise(self, user: User, request: Request) -> None:
        wish = request.wish
        if request.resource == NAMESPACES and wish.name:
            # A Namespace counts as lying within itself, so that its Roles can grant it.
            wish = replace(wish, namespace=wish.name)
        wishes = [wish]
        if request.subresource == "exec" and wish.verb == "get":
            # The handshake of a websocket is a GET, but what it begins is a create.
            wishes.append(replace(wish, verb="create"))
        for each in wishes:
            if not self._access.may(user, each)[0]:
                why = f'User "{user.name}" cannot {each}'
                raise api_errors.forbidden(request.resource, each.name, why)

    def _answer_path(self, http: web.Request, user: User, path: str) -> web.Response:
        if not self._access.may_read_path(user, path):
            why = f'User "{user.name}" cannot {http.method.lower()} path "{path}"'
            raise api_errors.forbidden(None, "", why)
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok", headers=self._headers())
        if path == "/openapi/v2":
            if _PROTOBUF in http.headers.get("Accept", ""):
                body, kind = read_recorded("openapi-v2.pb"), "application/octet-stream"
            else:
                body, kind = read_recorded("openapi-v2.json"), "application/json"
            return web.Response(body=body, content_type=kind, headers=self._headers())
        if http.method != "GET":
            raise api_errors.method_not_allowed()
        answer = _discover(path.strip("/").split("/"), http.host)
        if answer is None:
            raise api_errors.no_such_path()
        return self.json(answer)

    async def _carry_out(
        self, http: web.Request, user: User, request: Request, faults: CallFaults
    ) -> web.StreamResponse:
        if request.resource in REVIEWS:
            body = await _read_body(http)
            return self.json(answer_review(self._access, user, request.resource, body), 201)
        match request.subresource:
            case "log":
                return await self._send_log(http, request, faults)
            case "exec":
                pod = self._registry.read(request.target)
                return await serve_exec(self._node, pod, request, http)
            case "token":
                account = self._registry.read(request.target)
                body = await _read_body(http)
                return self.json(answer_token_request(self._tokens, account, body), 201)
            case "eviction":
                return self._evict(request)
            case _:
                notes = CallNotes(
                    user.name, user.groups, parse_field_validation(request), request.is_dry_run
                )
                answer = await self._carry_out_verb(http, request, faults, notes)
                for text in notes.warnings:
                    answer.headers.add("Warning", _warning(text))
                return answer

    async def _carry_out_verb(
        self, http: web.Request, request: Request, faults: CallFaults, notes: CallNotes
    ) -> web.StreamResponse:
        target = request.target
        match request.verb:
            case "get":
                return self._object(http, request, self._registry.read(target))
            case "list":
                if faults.expires:
                    raise api_errors.expired(
                        "The resourceVersion for the provided list is too old."
                    )
                form = _form(http, request)
                found = await list_objects(self._store, request, form, behind=faults.stale_by)
                return self.json(found)
            case "watch":
                return await self._watch(http, request, faults)
            case "deletecollection":
                return await self._delete_all(http, request)
            case "delete":
                return await self._delete(http, request, notes)
            case _:
                pass
        return await self._write(http, request, notes)

    async def _write(self, http: web.Request, request: Request, notes: CallNotes) -> web.Response:
        target = request.target
        if (request.verb == "create") is bool(target.name):
            raise api_errors.method_not_allowed()
        check_dry_run(request)
        body = await _read_body(http)
        match request.verb:
            case "create":
                made = self._registry.prepare(target, body, notes)
                if self._webhooks.concern(target, made):
                    made = await self._webhooks.review(target, made, notes)
                created = self._registry.keep(target, made, notes)
                return self._object(http, request, created, 201)
            case "update":
                replaced = self._registry.replace(target, body, notes)
                return self._object(http, request, replaced)
            case _:
                patched = self._registry.patch(target, http.content_type, body, notes)
                return self._object(http, request, patched)

    def _evict(self, request: Request) -> web.Response:
        target = replace(request.target, subresource="")
        self._node.disrupt(
            self._registry.read(target), "EvictionByEvictionAPI", "Eviction API: evicting"
        )
        return self.json({**_SUCCESS, "code": 201}, 201)

    def _object(
        self, http: web.Request, request: Request, obj: JsonObject, code: int = 200
    ) -> web.Response:
        return self.json(_form(http, request).one(request.resource, obj), code)

    async def _delete(self, http: web.Request, request: Request, notes: CallNotes) -> web.Response:
        target = request.target
        body = await _read_body(http, optional=True)
        options = parse_delete_options(body, dict(request.query), dry_run=request.is_dry_run)
        if target.resource == JOBS and not options.policy:
            notes.warnings.append(_ORPHANS_WARNING)
        uid = uid_of(self._registry.read(target))
        obj, is_gone = self._registry.delete(target, options)
        if not is_gone or target.resource.returns_deleted:
            return self.json(obj)
        details: JsonObject = {"name": target.name}
        if target.resource.group:
            details["group"] = target.resource.group
        details |= {"kind": target.resource.plural, "uid": uid}
        return self.json({**_SUCCESS, "details": details})

    async def _delete_all(self, http: web.Request, request: Request) -> web.Response:
        body = await _read_body(http, optional=True)
        options = parse_delete_options(body, dict(request.query), dry_run=request.is_dry_run)
        found = await list_objects(self._store, request, AnswerForm())
        for item in found["items"]:
            namespace = item["metadata"].get("namespace", "")
            target = replace(request.target, namespace=namespace, name=name_of(item))
            self._registry.delete(target, options)
        return self.json(found)

    async def _watch(
        self, http: web.Request, request: Request, faults: CallFaults
    ) -> web.StreamResponse:
        plan = plan_watch(self._store, request)
        if faults.expires:
            plan = replace(plan, initial=[], version=0)
        form = _form(http, request)
        events = watch_events(self._store, request, plan, form)
        response = web.StreamResponse(headers=self._headers())
        response.content_type = "application/json"
        response.enable_chunked_encoding()
        await send_stream(http, response, _lines(events), faults.stream_limit)
        return response

    async def _send_log(
        self, http: web.Request, request: Request, faults: CallFaults
    ) -> web.StreamResponse:
        reader = open_log(self._node, self._registry.read(request.target), request)
        if reader is None:
            return web.Response(text="", headers=self._headers())
        response = web.StreamResponse(headers=self._headers())
        response.content_type = "text/plain"
        response.enable_chunked_encoding()
        await send_stream(http, response, reader.blocks(), faults.stream_limit)
        return response


def _warning(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{escaped}"'


def _form(http: web.Request, request: Request) -> AnswerForm:
    return parse_form(http.headers.get("Accept", ""), request.query.get("includeObject", ""))


def _discover(parts: list[str], host: str) -> JsonObject | None:
    match parts:
        case ["version"]:
            return discovery.VERSION
        case ["api"]:
            return discovery.core_versions(host)
        case ["apis"]:
            return discovery.group_list()
        case ["apis", group]:
            return discovery.group(group)
        case ["api", version]:
            return discovery.resource_list("", version)
        case ["apis", group, version]:
            return discovery.resource_list(group, version)
        case [""]:
            paths = ["/api", "/api/v1", "/apis", "/healthz", "/openapi/v2", "/version"]
            return {"paths": paths}
        case _:
            return None


async def _lines(events: AsyncIterator[JsonObject]) -> AsyncIterator[bytes]:
    async for event in events:
        yield json.dumps(event, separators=(",", ":")).encode() + b"\n"


async def _read_body(http: web.Request, *, optional: bool = False) -> Any:
    raw = await http.read()
    if len(raw) > BODY_LIMIT_BYTES:
        limit = BODY_LIMIT_BYTES
        raise ApiError(
            413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}", details={}
        )
    if optional and not raw.strip():
        return {}
    if http.content_type == protobuf.CONTENT_TYPE:
        return protobuf.read_protobuf(raw)
    if http.content_type == "application/apply-patch+yaml":
        raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
    try:
        return json.loads(raw)
    except ValueError as error:
        raise api_errors.bad_request(
            f"couldn't get version/kind; json parse error: {error}"
        ) from None
