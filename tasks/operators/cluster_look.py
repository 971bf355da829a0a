"""Reads the agents of a namespace for the command line."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import NamespaceNotFound, ObjectNotFound
from tasks.cluster.kinds.jobs import list_jobs
from tasks.cluster.kinds.leases import list_leases, read_lease
from tasks.cluster.kinds.read_only import list_pods
from tasks.observation.snapshots import LeaseSnapshot, jobs_from_api, pods_from_api
from tasks.operators.agent_listing import ClusterLook
from tasks.ownership.lease import ONLOOKER, LeaseSighting, LeaseState, LeaseVerdict, judge_lease
from tasks.run.check_request import find_cluster
from tasks.vocabulary.names import MANAGED_SELECTOR, AgentId, lease_name

_LOOK_AGAIN_SECONDS = 3.0


@dataclass(frozen=True)
class ClusterAccess:
    """A connection to a cluster, and the namespace that a command refers to."""

    client: ClusterClient
    namespace: str

    async def look(self) -> ClusterLook:
        """Return the objects of all agents.

        Raises:
            ClusterError: They could not be read.
        """
        client, namespace = self.client, self.namespace
        jobs, pods, leases = await asyncio.gather(
            list_jobs(client, namespace, label_selector=MANAGED_SELECTOR),
            list_pods(client, namespace, label_selector=MANAGED_SELECTOR),
            list_leases(client, namespace, label_selector=MANAGED_SELECTOR),
        )
        found = jobs_from_api(jobs.items)
        return ClusterLook(
            namespace=namespace,
            jobs=tuple(job for job in found if job.agent_id is not None),
            pods=pods_from_api(pods.items),
            leases=tuple(LeaseSnapshot.from_api(item) for item in leases.items),
            now=client.server_now(),
        )


@asynccontextmanager
async def open_cluster(
    kubeconfig: Path | None, namespace: str | None
) -> AsyncGenerator[ClusterAccess, None]:
    """Connect to a cluster without sending a request.

    Raises:
        InputInvalid: No cluster is configured, or the kubeconfig does not exist.
        KubeconfigInvalid: The kubeconfig cannot be used.
    """
    async with ClusterClient(find_cluster(kubeconfig)) as client:
        yield ClusterAccess(client, client.resolve_namespace(namespace).name)


async def watch_lease(access: ClusterAccess, agent_id: AgentId) -> LeaseVerdict:
    """Return whether the Lease may be taken or is being renewed; waits for at most its duration.

    Raises:
        ClusterError: It could not be read.
    """
    first: LeaseSighting | None = None
    while True:
        lease = await _read_lease(access, agent_id)
        now = access.client.server_now()
        verdict = judge_lease(lease, now, ONLOOKER, first)
        if verdict.state is not LeaseState.FRESH or lease is None:
            return verdict
        first = first or LeaseSighting(lease, now)
        await asyncio.sleep(min(_LOOK_AGAIN_SECONDS, verdict.expires_in_seconds + 0.1))


async def _read_lease(access: ClusterAccess, agent_id: AgentId) -> LeaseSnapshot | None:
    try:
        raw = await read_lease(access.client, access.namespace, lease_name(agent_id))
    except NamespaceNotFound:
        raise
    except ObjectNotFound:
        return None
    return LeaseSnapshot.from_api(raw)
