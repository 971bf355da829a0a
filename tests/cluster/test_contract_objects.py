"""What the API server answers to single calls: statuses, bodies, headers, pages, permissions."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ClusterForbidden,
    ClusterUnauthorised,
    NamespaceNotFound,
    ObjectAlreadyExists,
    ObjectInvalid,
    ObjectNotFound,
    RequestRefused,
    ResourceExpired,
)
from tasks.cluster.json_objects import LEASES
from tasks.cluster.kinds.access_reviews import create_access_review
from tasks.cluster.kinds.api_objects import list_objects
from tasks.cluster.kinds.jobs import create_job, list_jobs, read_job
from tasks.cluster.kinds.leases import create_lease, list_leases, read_lease
from tasks.cluster.kinds.read_only import (
    list_kubernetes_events,
    list_pods,
    read_volume_claim,
)
from tasks.cluster.kinds.secrets import (
    create_secret,
    list_secrets_metadata,
    read_secret,
)
from tests.cluster.contract_objects import job, lease, secret, unique
from tests.cluster.service_accounts import client_allowed, connection_with_token, rule

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(60)]


@pytest_asyncio.fixture
async def limited_client(
    kubeconfig: str, admin_client: ClusterClient, namespace: str
) -> AsyncGenerator[ClusterClient, None]:
    """A client as a ServiceAccount that may only get and list Leases."""
    rules = [rule("coordination.k8s.io", "leases", "get", "list")]
    async with client_allowed(
        rules, admin=admin_client, kubeconfig=kubeconfig, namespace=namespace
    ) as client:
        yield client


async def test_every_answer_carries_the_servers_time(cluster_client: ClusterClient) -> None:
    await cluster_client.request("GET", "/version")
    now = cluster_client.server_clock.now()

    assert now is not None
    # A sanity check of the parsing; the clocks of a server and of this machine may differ.
    assert abs(datetime.now(UTC) - now) < timedelta(hours=24)


async def test_refusals_and_streams_carry_the_servers_time_too(
    cluster_client: ClusterClient, namespace: str
) -> None:
    with pytest.raises(ObjectNotFound):
        await read_job(cluster_client, namespace, "none")
    assert cluster_client.server_clock.now() is not None


async def test_second_create_of_a_name_is_told_as_already_existing(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("twice")
    await create_lease(cluster_client, namespace, lease(name))
    with pytest.raises(ObjectAlreadyExists) as caught:
        await create_lease(cluster_client, namespace, lease(name))

    assert (caught.value.status, caught.value.answer.reason) == (409, "AlreadyExists")
    assert caught.value.answer.name == name


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (read_job, "jobs"),
        (read_secret, "secrets"),
        (read_lease, "leases"),
        (read_volume_claim, "persistentvolumeclaims"),
    ],
)
async def test_missing_object_is_not_found_and_named(
    cluster_client: ClusterClient, namespace: str, read: Any, kind: str
) -> None:
    with pytest.raises(ObjectNotFound) as caught:
        await read(cluster_client, namespace, "none")

    assert type(caught.value) is ObjectNotFound
    assert (caught.value.answer.reason, caught.value.answer.kind) == ("NotFound", kind)
    assert caught.value.answer.name == "none"


async def test_create_in_a_missing_namespace_names_the_namespace(
    cluster_client: ClusterClient,
) -> None:
    with pytest.raises(NamespaceNotFound) as caught:
        await create_lease(cluster_client, "no-such-namespace", lease("x"))

    assert caught.value.answer.name == "no-such-namespace"


async def test_reads_in_a_missing_namespace_do_not_tell_that_it_is_missing(
    cluster_client: ClusterClient,
) -> None:
    found = await list_jobs(cluster_client, "no-such-namespace", label_selector="")
    assert found.items == ()
    with pytest.raises(ObjectNotFound) as caught:
        await read_lease(cluster_client, "no-such-namespace", "x")
    assert not isinstance(caught.value, NamespaceNotFound)


async def test_object_that_breaks_a_rule_is_invalid_with_the_field(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = job(unique("invalid"))
    manifest["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    with pytest.raises(ObjectInvalid) as caught:
        await create_job(cluster_client, namespace, manifest)

    assert caught.value.status == 422
    assert "spec.template.spec.restartPolicy" in [field for _, field in caught.value.answer.causes]


async def test_malformed_secret_is_refused_without_showing_its_content(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = secret(unique("malformed"))
    manifest["stringData"] = {"prompt": ["HUSH-HUSH"]}
    with pytest.raises(RequestRefused) as caught:
        await create_secret(cluster_client, namespace, manifest)

    assert "HUSH" not in str(caught.value) + repr(caught.value.answer)


async def test_secret_above_the_limit_is_refused(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = secret(unique("large"), prompt="x" * (1024 * 1024 + 1))
    with pytest.raises((ObjectInvalid, RequestRefused)):
        await create_secret(cluster_client, namespace, manifest)

    fits = secret(unique("large"), prompt="x" * (1000 * 1024))
    await create_secret(cluster_client, namespace, fits)


async def test_dry_run_checks_and_defaults_and_stores_nothing(
    cluster_client: ClusterClient, namespace: str
) -> None:
    manifest = job(unique("dry"))
    stored = await create_job(cluster_client, namespace, manifest, dry_run=True)

    assert stored["metadata"]["uid"]
    assert stored["spec"]["parallelism"] == 1
    with pytest.raises(ObjectNotFound):
        await read_job(cluster_client, namespace, manifest["metadata"]["name"])


async def test_job_can_be_created_suspended(cluster_client: ClusterClient, namespace: str) -> None:
    stored = await create_job(
        cluster_client, namespace, job(unique("held"), suspend=True), dry_run=True
    )

    assert stored["spec"]["suspend"] is True


async def test_list_is_whole_over_several_pages_and_follows_the_selector(
    cluster_client: ClusterClient, namespace: str
) -> None:
    group = unique("page")
    for index in range(5):
        manifest = lease(f"{group}-{index}")
        manifest["metadata"]["labels"]["group"] = group
        await create_lease(cluster_client, namespace, manifest)
    before = cluster_client.requests["list leases.coordination.k8s.io"]
    found = await list_objects(
        cluster_client, LEASES, namespace, label_selector=f"group={group}", page_size=2
    )

    names = [item["metadata"]["name"] for item in found.items]
    assert sorted(names) == [f"{group}-{index}" for index in range(5)]
    assert cluster_client.requests["list leases.coordination.k8s.io"] - before >= 3
    assert found.resource_version


async def test_list_position_of_nonsense_is_refused_and_not_taken_for_an_end(
    cluster_client: ClusterClient, namespace: str
) -> None:
    with pytest.raises((RequestRefused, ResourceExpired)):
        await cluster_client.request(
            "GET", LEASES.path(namespace), query={"limit": "2", "continue": "nonsense"}
        )


async def test_all_namespaces_can_be_listed_at_once(
    admin_client: ClusterClient, namespace: str
) -> None:
    name = unique("everywhere")
    await create_lease(admin_client, namespace, lease(name))
    found = await list_leases(admin_client, None, label_selector=f"test={name}")

    assert [item["metadata"]["namespace"] for item in found.items] == [namespace]


async def test_secret_metadata_leaves_the_content_on_the_server(
    cluster_client: ClusterClient, namespace: str
) -> None:
    name = unique("meta")
    await create_secret(cluster_client, namespace, secret(name, prompt="HUSH-HUSH"))
    listed = await list_secrets_metadata(cluster_client, namespace, label_selector=f"test={name}")
    whole = await read_secret(cluster_client, namespace, name)

    assert whole["metadata"]["uid"] == listed.items[0]["metadata"]["uid"]
    assert "data" not in listed.items[0]
    assert whole["data"].keys() == {"prompt"}


async def test_events_are_found_by_the_uid_of_their_object(
    cluster_client: ClusterClient, admin_client: ClusterClient, namespace: str
) -> None:
    name = unique("told")
    uid = f"{name}-uid"
    body = {
        "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace, "uid": uid},
        "reason": "Testing",
        "message": "for a test",
        "type": "Normal",
    }
    await admin_client.request("POST", f"/api/v1/namespaces/{namespace}/events", body=body)
    found = await list_kubernetes_events(cluster_client, namespace, involved_uid=uid)

    assert [event["reason"] for event in found] == ["Testing"]
    assert await list_kubernetes_events(cluster_client, namespace, involved_uid="other") == ()


async def test_wrong_token_is_unauthorised(kubeconfig: str, namespace: str) -> None:
    async with ClusterClient(connection_with_token(kubeconfig, "HUSH-HUSH")) as client:
        with pytest.raises(ClusterUnauthorised) as caught:
            await list_pods(client, namespace, label_selector="")

    assert client.requests.total() == 3
    assert "HUSH" not in str(caught.value)


async def test_missing_permission_is_forbidden_with_verb_and_resource(
    limited_client: ClusterClient, namespace: str
) -> None:
    await list_leases(limited_client, namespace, label_selector="")
    with pytest.raises(ClusterForbidden) as caught:
        await create_job(limited_client, namespace, job(unique("forbidden")))

    assert caught.value.target is not None
    assert caught.value.target.rule == "create jobs.batch"
    assert caught.value.answer.reason == "Forbidden"


async def test_missing_namespace_is_forbidden_to_those_who_may_nothing_there(
    limited_client: ClusterClient,
) -> None:
    with pytest.raises(ClusterForbidden):
        await list_jobs(limited_client, "no-such-namespace", label_selector="")


@pytest.mark.parametrize(
    ("verb", "group", "resource", "subresource", "allowed"),
    [
        ("list", "coordination.k8s.io", "leases", "", True),
        ("update", "coordination.k8s.io", "leases", "", False),
        ("create", "batch", "jobs", "", False),
        ("get", "", "pods", "log", False),
    ],
)
async def test_access_review_tells_what_is_allowed(
    limited_client: ClusterClient,
    namespace: str,
    verb: str,
    group: str,
    resource: str,
    subresource: str,
    allowed: bool,
) -> None:
    review = await create_access_review(
        limited_client,
        verb=verb,
        group=group,
        resource=resource,
        subresource=subresource,
        namespace=namespace,
    )

    assert review.allowed is allowed
