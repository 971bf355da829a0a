"""Lists what has our label in a namespace, with one call per page and kind."""

from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.kinds.jobs import list_jobs
from tasks.cluster.kinds.leases import list_leases
from tasks.cluster.kinds.read_only import list_pods
from tasks.cluster.kinds.secrets import list_secrets_metadata
from tasks.observation.secret_snapshot import SecretSnapshot
from tasks.observation.snapshots import LeaseSnapshot, jobs_from_api, pods_from_api
from tasks.sweep.sweep_objects import NamespaceContents
from tasks.vocabulary.names import MANAGED_SELECTOR


async def list_namespace(client: ClusterClient, namespace: str) -> NamespaceContents:
    """Return all objects of a namespace that have our label.

    Raises:
        ClusterError: A list could not be read.
    """
    # In this order: owners are listed after what they own, and Leases last.
    secrets = await list_secrets_metadata(client, namespace, label_selector=MANAGED_SELECTOR)
    jobs = await list_jobs(client, namespace, label_selector=MANAGED_SELECTOR)
    pods = await list_pods(client, namespace, label_selector=MANAGED_SELECTOR)
    leases = await list_leases(client, namespace, label_selector=MANAGED_SELECTOR)
    return NamespaceContents(
        namespace,
        client.server_now(),
        secrets=[SecretSnapshot.from_api(raw) for raw in secrets.items],
        jobs=jobs_from_api(jobs.items),
        pods=pods_from_api(pods.items),
        leases=[LeaseSnapshot.from_api(raw) for raw in leases.items],
    )
