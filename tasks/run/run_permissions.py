"""What a run may do in its namespace: checked before it does anything, and for its agent."""

import asyncio

from tasks.agent_job.needed_permissions import (
    NEEDED_PERMISSIONS,
    Permission,
    PolicyRule,
    missing_permissions,
)
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.cluster_errors import ClusterError
from tasks.cluster.kinds.access_reviews import create_access_review, list_own_rules
from tasks.run.agent_run import AgentRun
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError

# Which of them the API server requires for a command depends on its version.
_EXEC_VERBS = ("get", "create")
_ANSWER_SECONDS = 5.0


async def check_permissions(run: AgentRun) -> None:
    """Check that the run has all permissions; one request, unless some seem to be missing.

    Raises:
        AgentRunError: Permissions are missing; the message names them all.
        ClusterError: The cluster could not be asked.
    """
    rules = map(
        PolicyRule.from_api, await list_own_rules(run.outside.client, run.outside.namespace)
    )
    doubtful = missing_permissions(NEEDED_PERMISSIONS, [*rules])
    answers = await asyncio.gather(*(_is_allowed(run, wanted) for wanted in doubtful))
    missing = [wanted for wanted, allowed in zip(doubtful, answers, strict=True) if not allowed]
    if missing:
        raise AgentRunError(
            ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
            f"The run lacks permissions in namespace {run.outside.namespace}, so nothing was "
            f"created: {', '.join(map(str, missing))}.",
            advice="Add them to the Role of the flow run's service account; "
            "deployments/kubernetes/base/flow-run-role.yaml has them all.",
        )


async def _is_allowed(run: AgentRun, wanted: Permission) -> bool:
    resource, _, subresource = wanted.resource.partition("/")
    review = await create_access_review(
        run.outside.client,
        verb=wanted.verb,
        group=wanted.group,
        resource=resource,
        subresource=subresource,
        namespace=run.outside.namespace,
    )
    return review.allowed


async def may_exec(client: ClusterClient, namespace: str) -> bool:
    """Tell whether commands may be run in pods; this is how the copy of an output is read.

    True if the cluster does not answer: a script that waits in vain for a reader ends its agent's
    pod two minutes late, but with a script that does not wait, lines are lost. Takes 5 s at most.
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
