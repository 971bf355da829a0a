"""Whatever answers in the API's place, and whatever it says: an error of ours, or an answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.json_objects import PODS
from tasks.cluster.kinds.access_reviews import create_access_review, list_own_rules
from tasks.cluster.kinds.api_objects import Propagation, expect
from tasks.cluster.kinds.jobs import create_job, delete_job, list_jobs, patch_job, read_job
from tasks.cluster.kinds.leases import read_lease, replace_lease
from tasks.cluster.kinds.pod_exec import run_in_pod
from tasks.cluster.kinds.read_only import list_pods, read_server_version
from tasks.cluster.kinds.secrets import list_secrets_metadata, read_secret
from tasks.cluster.watching.job_observer import JobObserver
from tasks.cluster.watching.watch import Selection, WatchLost, watch_objects
from tests.scripted_api import serve

WORDS = [
    *("kind", "metadata", "uid", "resourceVersion", "items", "ownerReferences", "continue"),
    *("details", "causes", "reason", "field", "message", "code", "retryAfterSeconds", "status"),
    *("type", "object", "resourceRules", "allowed", "gitVersion", "major"),
    *("Status", "Job", "JobList", "Pod", "PodList", "Lease", "Secret", "Success", "Failure"),
    *("ExitCode", "ERROR", "ADDED", "DELETED", "BOOKMARK", "SelfSubjectRulesReview"),
]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS)
VALUES = st.recursive(
    LEAVES,
    lambda parts: (
        st.lists(parts, max_size=3) | st.dictionaries(st.sampled_from(WORDS), parts, max_size=5)
    ),
    max_leaves=12,
)
BODIES = st.binary(max_size=20) | VALUES.map(lambda value: json.dumps(value).encode())
STATUSES = st.sampled_from([200, 201, 400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 502])

LEASE = {"metadata": {"name": "l", "uid": "u", "resourceVersion": "1"}}
Call = Callable[[ClusterClient], Awaitable[object]]
CALLS: dict[str, Call] = {
    "read a Job": lambda c: read_job(c, "a", "j"),
    "read a Lease": lambda c: read_lease(c, "a", "l"),
    "read a Secret": lambda c: read_secret(c, "a", "s"),
    "list Jobs": lambda c: list_jobs(c, "a", label_selector=""),
    "list pods": lambda c: list_pods(c, "a", label_selector=""),
    "list metadata": lambda c: list_secrets_metadata(c, "a", label_selector=""),
    "create": lambda c: create_job(c, "a", {}),
    "replace": lambda c: replace_lease(c, "a", LEASE),
    "patch": lambda c: patch_job(c, "a", "j", [expect("/metadata/uid", "u")]),
    "delete": lambda c: delete_job(c, "a", "j", uid="u", propagation=Propagation.BACKGROUND),
    "list rules": lambda c: list_own_rules(c, "a"),
    "review": lambda c: create_access_review(
        c, verb="get", group="", resource="pods", namespace="a"
    ),
    "version": read_server_version,
}


async def no_wait(_: float) -> None:
    pass


async def call_all(status: int, body: bytes) -> dict[str, ClusterError]:
    """Make every call; return how those ended that had no answer."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    failures: dict[str, ClusterError] = {}
    async with serve(answer) as api, ClusterClient(api.connection, sleep=no_wait) as client:
        for name, call in CALLS.items():
            try:
                async with asyncio.timeout(5):
                    await call(client)
            except ClusterError as failure:
                failures[name] = failure
        observer = JobObserver(client, namespace="a", job_name="j", job_uid="u", sleep=no_wait)
        await observer.read_again()
    return failures


@given(status=STATUSES, body=BODIES)
@settings(max_examples=60, deadline=None)
def test_every_call_ends_in_an_answer_or_in_an_error_of_ours(status: int, body: bytes) -> None:
    # A list that goes on for ever would be the API's own fault.
    if b"continue" not in body:
        asyncio.run(call_all(status, body))


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"3", b"[{}]", b"{}", b'{"status":"maintenance"}', b"<html>", b"[" * 100_000],
    ids=["nothing", "null", "number", "list", "empty", "maintenance", "page", "deep"],
)
def test_success_that_is_not_the_apis_answers_nothing(body: bytes) -> None:
    assert asyncio.run(call_all(200, body)).keys() == CALLS.keys()


async def watch_line(line: bytes) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return web.Response(body=line + b"\n")
        metadata = {"resourceVersion": "7"}
        return web.json_response({"kind": "PodList", "metadata": metadata, "items": []})

    async with (
        serve(answer) as api,
        ClusterClient(api.connection) as client,
        aclosing(watch_objects(client, Selection(PODS, "a"), sleep=no_wait)) as events,
    ):
        async for event in events:
            if isinstance(event, WatchLost):
                return


@given(line=BODIES)
@settings(max_examples=60, deadline=None)
def test_no_line_of_a_watch_ends_it_for_good(line: bytes) -> None:
    asyncio.run(watch_line(line))


async def end_exec(ending: bytes) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        await socket.send_bytes(b"\x03" + ending)
        await socket.close()
        return socket

    async with serve(answer) as api, ClusterClient(api.connection) as client:
        try:
            await run_in_pod(client, "a", "p", "agent", ["true"])
        except ClusterError:
            return


@given(ending=BODIES)
@settings(max_examples=60, deadline=None)
def test_every_ending_of_a_command_is_an_exit_code_or_an_error_of_ours(ending: bytes) -> None:
    asyncio.run(end_exec(ending))
