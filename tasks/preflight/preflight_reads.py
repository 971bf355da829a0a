"""Reads the facts about a cluster and a result storage; changes nothing but one probe file.

A fact that cannot be read does not prevent others from being read.
"""

import asyncio
import os
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

from tasks.agent_job.environment import mounted_secrets, secret_references
from tasks.agent_job.manifest import (
    JobSpec,
    build_job_manifest,
    build_pod_of_job,
    build_secret_manifest,
)
from tasks.agent_job.needed_permissions import READ_NODES, RUN_PERMISSIONS, TRY_PODS, Permission
from tasks.agent_job.pod_template import pull_secrets_of_template
from tasks.agent_job.prepared_run import PreparedRun
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.cluster.call_retry import RETRY_NEVER, RETRY_SAFE
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import (
    ApiRefused,
    ClusterError,
    ClusterForbidden,
    ClusterUnauthorised,
    NamespaceNotFound,
    NamespaceTerminating,
    ObjectInvalid,
    ObjectNotFound,
    RequestRefused,
)
from tasks.cluster.json_objects import JsonObject
from tasks.cluster.kinds.access_reviews import create_access_review
from tasks.cluster.kinds.jobs import create_job
from tasks.cluster.kinds.read_only import (
    list_resource_quotas,
    read_server_version,
    read_volume_claim,
    try_pod,
)
from tasks.cluster.kinds.secrets import create_secret, read_secret
from tasks.observation.api_fields import RawObject, object_at, text_at, texts_at
from tasks.preflight.preflight_facts import (
    ClaimFacts,
    ClusterFacts,
    KubernetesVersion,
    Mount,
    QuotaFacts,
    StorageFacts,
    Unread,
    WhyUnread,
)
from tasks.preflight.surroundings_checks import find_mount
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_errors import StorageError, StoredObjectMissing
from tasks.vocabulary.names import JobUid, PodUid

T = TypeVar("T")

_PROBE_KEY = "preflight/probe"
_PROBE = b"written by a preflight\n"
_STORAGE_SECONDS = 30.0
_NOT_ASKED = Unread(WhyUnread.NOT_ASKED, "the run cannot be built from its request.")
# UID of the Secret's owner, which does not exist in a preflight.
_NO_UID = str(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to check in the cluster.

    Attributes:
        where: The connection, in words.
        agent: `None` if its block could not be read.
        prepared: `None` if the request cannot be carried out.
    """

    where: str
    runtime: RuntimeSpec
    agent: AgentSpec | None
    prepared: PreparedRun | None


async def read_cluster(
    client: ClusterClient, wanted: Wanted, own_now: Callable[[], datetime]
) -> ClusterFacts:
    """Return all facts that a preflight needs about a cluster.

    Args:
        client: The connection.
        wanted: What to check.
        own_now: Our own clock.
    """
    choice = client.resolve_namespace(wanted.runtime.namespace)
    namespace = choice.name
    # Asked first and without retries: if this gets no answer, the other calls would not either.
    version = await _try(_read_version(client))
    unread = version if isinstance(version, Unread) else _NOT_ASKED
    known = ClusterFacts(
        where=wanted.where,
        namespace=namespace,
        namespace_source=choice.source.value,
        version=version,
        server_now=client.server_clock.now(),
        own_now=own_now(),
        permissions={},
        secrets={},
        claim=None,
        quotas=unread,
        job=unread,
        pod=unread,
        secret_accepted=unread,
    )
    if isinstance(version, Unread):
        return known
    permissions, secrets, claim, quotas, offers = await asyncio.gather(
        _read_permissions(client, namespace),
        _read_secrets(client, namespace, _secret_names(wanted)),
        _read_claim(client, namespace, wanted.runtime.home_claim),
        _try(_read_quotas(client, namespace)),
        _offer_objects(client, namespace, wanted.prepared),
    )
    return replace(
        known,
        permissions=permissions,
        secrets=secrets,
        claim=claim,
        quotas=quotas,
        job=offers.job,
        pod=offers.pod,
        secret_accepted=offers.secret_accepted,
        pod_as_sent=offers.pod_as_sent,
    )


async def _try(call: Awaitable[T]) -> T | Unread:
    try:
        return await call
    except ClusterError as error:
        return Unread(_why(error), error.message)


def _why(error: ClusterError) -> WhyUnread:
    match error:
        case ClusterUnauthorised() | ClusterForbidden() if error.answer.is_foreign:
            return WhyUnread.NO_ANSWER
        case ClusterUnauthorised():
            return WhyUnread.UNAUTHORISED
        case ClusterForbidden():
            return WhyUnread.FORBIDDEN
        case NamespaceTerminating():
            return WhyUnread.NAMESPACE_TERMINATING
        case NamespaceNotFound():
            return WhyUnread.NAMESPACE_NOT_FOUND
        case ObjectNotFound():
            return WhyUnread.NOT_FOUND
        case ObjectInvalid() | RequestRefused():
            return WhyUnread.REFUSED
        case ApiRefused() | _:
            return WhyUnread.NO_ANSWER


async def _read_version(client: ClusterClient) -> KubernetesVersion:
    version = await read_server_version(client, retry=RETRY_NEVER)
    return KubernetesVersion(version.major, version.minor, version.git_version)


async def _read_permissions(
    client: ClusterClient, namespace: str
) -> dict[Permission, bool | Unread]:
    asked = [(permission, namespace) for permission in RUN_PERMISSIONS]
    # Nodes belong to no namespace.
    everything: list[tuple[Permission, str | None]] = [*asked, (READ_NODES, None)]
    answers = await asyncio.gather(
        *(_try(_is_allowed(client, permission, place)) for permission, place in everything)
    )
    return dict(zip((permission for permission, _ in everything), answers, strict=True))


async def _is_allowed(client: ClusterClient, permission: Permission, place: str | None) -> bool:
    resource, _, subresource = permission.resource.partition("/")
    review = await create_access_review(
        client,
        verb=permission.verb,
        group=permission.group,
        resource=resource,
        subresource=subresource,
        namespace=place,
    )
    return review.allowed


def _secret_names(wanted: Wanted) -> list[str]:
    names = [*mounted_secrets(wanted.runtime), *wanted.runtime.image_pull_secrets]
    names += pull_secrets_of_template(wanted.runtime.pod_template)
    if wanted.agent is not None:
        names += secret_references(wanted.agent, wanted.runtime)
    return list(dict.fromkeys(names))


async def _read_secrets(
    client: ClusterClient, namespace: str, names: Iterable[str]
) -> dict[str, dict[str, int] | Unread]:
    names = list(names)
    found = await asyncio.gather(*(_try(_read_sizes(client, namespace, name)) for name in names))
    return dict(zip(names, found, strict=True))


async def _read_sizes(client: ClusterClient, namespace: str, name: str) -> dict[str, int]:
    secret = await read_secret(client, namespace, name)
    return {key: len(b64decode(value)) for key, value in texts_at(secret, "data").items()}


async def _read_claim(
    client: ClusterClient, namespace: str, name: str | None
) -> ClaimFacts | Unread | None:
    if name is None:
        return None
    claim = await _try(read_volume_claim(client, namespace, name))
    if isinstance(claim, Unread):
        return claim
    status = object_at(claim, "status")
    modes = status.get("accessModes") or object_at(claim, "spec").get("accessModes") or ()
    return ClaimFacts(text_at(status, "phase") or "Pending", tuple(map(str, modes)))


async def _read_quotas(client: ClusterClient, namespace: str) -> tuple[QuotaFacts, ...]:
    found = await list_resource_quotas(client, namespace)
    # A quota with scopes counts only some pods, and we do not determine which.
    return tuple(_quota(raw) for raw in found if not _is_scoped(object_at(raw, "spec")))


def _is_scoped(spec: RawObject) -> bool:
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def _quota(raw: JsonObject) -> QuotaFacts:
    spec, status = object_at(raw, "spec"), object_at(raw, "status")
    return QuotaFacts(
        name=text_at(object_at(raw, "metadata"), "name") or "",
        hard=texts_at(status, "hard") or texts_at(spec, "hard"),
        used=texts_at(status, "used"),
    )


@dataclass(frozen=True, slots=True)
class _Offers:
    """What the server says to the objects of a run, as in `ClusterFacts`."""

    job: JsonObject | Unread = _NOT_ASKED
    pod: JsonObject | Unread = _NOT_ASKED
    secret_accepted: bool | Unread = _NOT_ASKED
    pod_as_sent: JsonObject | None = None


async def _offer_objects(
    client: ClusterClient, namespace: str, prepared: PreparedRun | None
) -> _Offers:
    """Have the server check the exact Job, its pod and its Secret; nothing is stored."""
    if prepared is None:
        return _Offers()
    spec = JobSpec(prepared, namespace, attempt=1, owner_epoch=1)
    secret = build_secret_manifest(spec, job_uid=JobUid(_NO_UID), pod_uid=PodUid(_NO_UID))
    sent = build_job_manifest(spec)
    job, stored = await asyncio.gather(
        _try(create_job(client, namespace, sent, retry=RETRY_SAFE, dry_run=True)),
        _try(create_secret(client, namespace, secret, retry=RETRY_SAFE, dry_run=True)),
    )
    return _Offers(
        job=job,
        pod=await _offer_pod(client, namespace, job),
        secret_accepted=stored if isinstance(stored, Unread) else True,
        pod_as_sent=build_pod_of_job(sent, uid=JobUid(_NO_UID)),
    )


async def _offer_pod(
    client: ClusterClient, namespace: str, job: JsonObject | Unread
) -> JsonObject | Unread:
    """Have the server check the pod that the Job controller would create."""
    if isinstance(job, Unread):
        return Unread(WhyUnread.NOT_ASKED, "there is no Job that could create the pod.")
    allowed = await _try(_is_allowed(client, TRY_PODS, namespace))
    if isinstance(allowed, Unread):
        return allowed
    if not allowed:
        # What forbids the pod itself is answered with 403 too.
        return Unread(WhyUnread.NOT_ASKED, f"`{TRY_PODS}` is not allowed.")
    pod = build_pod_of_job(job, uid=JobUid(_NO_UID))
    return await _try(try_pod(client, namespace, pod, retry=RETRY_SAFE))


async def read_storage(storage: ResultStorage, *, in_pod: bool) -> StorageFacts:
    """Read what was never written, write a small object and read it again; find its mount.

    Args:
        storage: The storage for results and transcripts.
        in_pod: Whether this process runs in a pod.
    """
    mount = None
    if storage.folder is not None:
        mount = await asyncio.to_thread(_read_mount, storage.folder)
    try:
        async with asyncio.timeout(_STORAGE_SECONDS):
            problem = await _try_missing(storage) or await _try_round_trip(storage)
    except TimeoutError:
        problem = f"no answer within {_STORAGE_SECONDS:.0f} s."
    return StorageFacts(storage.description, mount, in_pod, problem)


async def _try_missing(storage: ResultStorage) -> str | None:
    """Tell why nobody could know whether a result is there already; `None` if one can."""
    try:
        await storage.read(f"{_PROBE_KEY}-{uuid4().hex}")
    except StoredObjectMissing:
        return None
    except (TimeoutError, StorageError, OSError) as error:
        return _storage_problem(error)
    except Exception as error:
        return (
            f"what was never stored there is not reported as missing but with {_kind_of(error)}, "
            "so a run could not tell whether it has a result already."
        )
    return "something is read under a key that was never written."


async def _try_round_trip(storage: ResultStorage) -> str | None:
    try:
        await storage.write(_PROBE_KEY, _PROBE)
        if await storage.read(_PROBE_KEY) != _PROBE:
            return "what is read is not what was written."
    except StoredObjectMissing:
        return "what was written is not there."
    except Exception as error:
        return _storage_problem(error)
    return None


def _storage_problem(error: Exception) -> str:
    """Return why a storage failed; the text of a block's library may quote a credential."""
    match error:
        case TimeoutError():
            raise error
        case StorageError():
            return str(error)
        case OSError():
            return f"{error.strerror or type(error).__name__}."
        case _:
            return f"{_kind_of(error)}."


def _kind_of(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")


def _read_mount(folder: Path) -> Mount | None:
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # not Linux
    return find_mount(table, os.path.realpath(folder))
