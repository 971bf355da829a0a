"""Reads the agents of a namespace for the command line."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.kinds.jobs import list_jobs
from tasks.cluster.kinds.leases import list_leases
from tasks.cluster.kinds.pods import list_pods
from tasks.observation.snapshots import LeaseSnapshot, jobs_from_api, pods_from_api
from tasks.operators.agent_listing import ClusterLook
from tasks.run.check_request import find_cluster
from tasks.vocabulary.names import MANAGED_SELECTOR


@dataclass(frozen=True)
class ClusterAccess:
    """A connection to a cluster, and the namespace that a command refers to."""

    client: ClusterClient
    namespace: str

    @property
    def now(self) -> datetime:
        """The API server's time; before its first answer, our own."""
        return self.client.server_clock.now() or datetime.now(UTC)

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
            now=self.now,
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
