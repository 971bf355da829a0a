"""Pods: one API call each. Never deleted from here; a live Job would replace them."""

from tasks.cluster.call_retry import RetryPolicy
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.json_objects import PODS
from tasks.cluster.kinds.api_objects import ObjectList, list_objects


async def list_pods(
    client: ClusterClient,
    namespace: str | None,
    *,
    label_selector: str,
    retry: RetryPolicy | None = None,
) -> ObjectList:
    """Return the pods with these labels; `namespace` None means all namespaces."""
    return await list_objects(client, PODS, namespace, label_selector=label_selector, retry=retry)


def job_pod_selector(job_name: str) -> str:
    """Select the pods of a Job; of every Job that ever had the name, so compare their owner's UID.

    The label without a prefix is set by every version of Kubernetes, the prefixed one since 1.27.
    """
    return f"job-name={job_name}"
