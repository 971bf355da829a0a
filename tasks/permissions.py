"""What this run may do in its namespace, where that decides how an agent is started."""

import asyncio

from tasks.cluster.access_reviews import create_access_review
from tasks.cluster.client import ClusterClient
from tasks.cluster.errors import ClusterError

# Which of them a server wants for a command depends on its version.
_EXEC_VERBS = ("get", "create")
_ANSWER_SECONDS = 5.0


async def may_exec(client: ClusterClient, namespace: str) -> bool:
    """Tell whether commands may be run in pods, by which the copy of an agent's output is read.

    A question without an answer counts as a yes: a script that waits for a reader in vain ends its
    agent's pod two minutes late, but one that does not wait takes lines with it. Never raises for a
    cluster that does not answer, and takes 5 s at most.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            for verb in _EXEC_VERBS:
                review = await create_access_review(
                    client,
                    verb=verb,
                    group="",
                    resource="pods",
                    subresource="exec",
                    namespace=namespace,
                )
                if not review.allowed:
                    return False
    except (ClusterError, TimeoutError):
        return True
    return True
