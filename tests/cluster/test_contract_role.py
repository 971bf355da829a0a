"""The permissions that the code needs, proven by living through everything with just these."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterForbidden, ObjectNotFound
from tasks.cluster.json_objects import JOBS, PODS, ApiResource
from tasks.cluster.kinds.access_reviews import create_access_review
from tasks.cluster.kinds.api_objects import Propagation, expect, put
from tasks.cluster.kinds.jobs import create_job, delete_job, list_jobs, patch_job, read_job
from tasks.cluster.kinds.leases import (
    create_lease,
    delete_lease,
    list_leases,
    read_lease,
    replace_lease,
)
from tasks.cluster.kinds.pod_exec import run_in_pod
from tasks.cluster.kinds.pod_logs import read_log_tail
from tasks.cluster.kinds.read_only import (
    ServerVersion,
    list_kubernetes_events,
    list_pods,
    read_volume_claim,
)
from tasks.cluster.kinds.secrets import (
    create_secret,
    delete_secret,
    list_secrets_metadata,
    read_secret,
)
from tasks.cluster.watching.watch import Changed, Listed, Selection, watch_objects
from tasks.vocabulary.names import job_pods_selector
from tests.cluster.contract_objects import expected, job, lease, pod_named, secret, unique
from tests.cluster.service_accounts import client_allowed, rule

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(90)]

ROLE = [
    rule("coordination.k8s.io", "leases", "get", "list", "create", "update", "delete"),
    rule("batch", "jobs", "get", "list", "watch", "create", "patch", "delete"),
    rule("", "pods", "list", "watch"),
    rule("", "pods/log", "get"),
    rule("", "pods/exec", "get", "create"),
    rule("", "secrets", "get", "list", "create", "delete"),
    rule("", "events", "list"),
    rule("", "persistentvolumeclaims", "get"),
]
# Requested without a separate permission.
FREE = {"create selfsubjectaccessreviews.authorization.k8s.io"}
# The handshake counts as `get`, whatever the server makes of it.
ALSO = {"create pods/exec"}


def rules_of(role: list[dict[str, Any]]) -> set[str]:
    return {
        f"{verb} {entry['resources'][0]}{'.' if entry['apiGroups'][0] else ''}"
        f"{entry['apiGroups'][0]}"
        for entry in role
        for verb in entry["verbs"]
    }


async def live_through_leases(client: ClusterClient, namespace: str) -> None:
    name = unique("role")
    stored = await create_lease(client, namespace, lease(name))
    await read_lease(client, namespace, name)
    await list_leases(client, namespace, label_selector=f"test={name}")
    stored = await replace_lease(client, namespace, stored)
    metadata = stored["metadata"]
    await delete_lease(
        client,
        namespace,
        name,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
    )


async def running_pod(client: ClusterClient, namespace: str, job_name: str) -> str:
    while True:
        found = await list_pods(client, namespace, label_selector=job_pods_selector(job_name))
        for pod in found.items:
            if pod["status"]["phase"] == "Running":
                return pod["metadata"]["name"]
        await asyncio.sleep(0.1)


async def watch_some(client: ClusterClient, resource: ApiResource, namespace: str) -> None:
    async with aclosing(watch_objects(client, Selection(resource, namespace))) as events:
        assert isinstance(await anext(events), Listed)
        # Any later event but a loss shows that the watch itself was allowed.
        assert isinstance(await anext(events), Changed)


async def live_through_a_job(client: ClusterClient, namespace: str) -> None:
    name = unique("role")
    watching = [asyncio.create_task(watch_some(client, r, namespace)) for r in (JOBS, PODS)]
    await asyncio.sleep(0.3)
    created = await create_job(client, namespace, job(name, "sleep 60", secret_name=name))
    uid = created["metadata"]["uid"]
    stored = await create_secret(client, namespace, secret(name, created, prompt="hello"))
    await patch_job(
        client, namespace, name, [expect("/metadata/uid", uid), put("/metadata/labels/x", "y")]
    )
    await read_job(client, namespace, name)
    await list_jobs(client, namespace, label_selector=f"test={name}")
    pod = await running_pod(client, namespace, name)
    found = await pod_named(client, namespace, pod)
    await list_kubernetes_events(client, namespace, involved_uid=found["metadata"]["uid"])
    await read_log_tail(client, namespace, pod, "agent", tail_lines=1, limit_bytes=10)
    await run_in_pod(client, namespace, pod, "agent", ["true"])
    await asyncio.gather(*watching)
    await read_secret(client, namespace, name)
    await list_secrets_metadata(client, namespace, label_selector=f"test={name}")
    await delete_secret(client, namespace, name, uid=stored["metadata"]["uid"])
    await delete_job(client, namespace, name, uid=uid, propagation=Propagation.FOREGROUND)


async def test_role_allows_all_that_the_code_does_and_nothing_it_does_not(
    admin_client: ClusterClient, kubeconfig: str, namespace: str
) -> None:
    async with client_allowed(
        ROLE, admin=admin_client, kubeconfig=kubeconfig, namespace=namespace
    ) as client:
        await live_through_leases(client, namespace)
        await live_through_a_job(client, namespace)
        with pytest.raises(ObjectNotFound):
            await read_volume_claim(client, namespace, "none")
        await create_access_review(
            client, verb="get", group="", resource="pods", namespace=namespace
        )

    assert set(client.requests) == (rules_of(ROLE) | FREE) - ALSO


async def exec_allowed_by(verb: str, admin: ClusterClient, kubeconfig: str, namespace: str) -> bool:
    name = unique("exec")
    await create_job(admin, namespace, job(name, "sleep 60"))
    pod = await running_pod(admin, namespace, name)
    async with client_allowed(
        [rule("", "pods/exec", verb)], admin=admin, kubeconfig=kubeconfig, namespace=namespace
    ) as client:
        try:
            await run_in_pod(client, namespace, pod, "agent", ["true"])
        except ClusterForbidden:
            return False
    return True


async def test_exec_is_allowed_by_get_alone_on_older_servers_only(
    admin_client: ClusterClient, kubeconfig: str, namespace: str, server_version: ServerVersion
) -> None:
    allowed = await exec_allowed_by("get", admin_client, kubeconfig, namespace)

    assert allowed is expected("exec by get alone", server_version)


async def test_exec_is_not_allowed_by_create_alone(
    admin_client: ClusterClient, kubeconfig: str, namespace: str
) -> None:
    assert not await exec_allowed_by("create", admin_client, kubeconfig, namespace)
