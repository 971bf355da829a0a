"""Pushes work that lies in the result storage and is not on its remote: as its run would have.

The same look, push and look again as in a run, with the same settings and credentials, so what is
there already is found. The stored result stays as the run has left it.
"""

from pathlib import Path

from tasks.agent_job.publish_settings import Publish, PublishPlan
from tasks.cluster.cluster_client import ClusterClient
from tasks.operators.operator_errors import NotDone, NotPossible
from tasks.operators.run_work import RunWork
from tasks.outcome.run_result import PublishedWork
from tasks.publishing.publish_failures import PublishFailed
from tasks.publishing.pull_requests import MARK, RequestText
from tasks.publishing.push_credentials import PushCredentials
from tasks.publishing.work_publishing import PublishOrder, publish_bundle
from tasks.run.publish_credentials import load_publish_credentials
from tasks.storage.pushed_commits import StoredPushes
from tasks.storage.storage_keys import StorageOwner
from tasks.text.redaction import Redactor
from tasks.work.restricted_git import GitMissing

_PUSH_SECONDS = 600.0


async def load_credentials(
    client: ClusterClient, namespace: str, publish: Publish | None
) -> PushCredentials:
    """Return what a run's runtime names for publishing.

    Raises:
        NotPossible: It names nothing, or that cannot be read.
    """
    if publish is None:
        raise NotPossible(
            "The run's runtime has no `publish`, so there are no credentials for a push.",
            "`--apply DIR` fetches the work into a clone, to push it from there.",
        )
    try:
        return await load_publish_credentials(client, namespace, publish)
    except PublishFailed as failure:
        raise NotPossible(str(failure), failure.advice) from failure


async def push_work(
    found: RunWork,
    publish: Publish,
    credentials: PushCredentials,
    folder: Path,
    *,
    namespace: str,
    start_ref: str | None,
) -> PublishedWork:
    """Push a run's work to where it was to be pushed; return where it is.

    Args:
        found: The run's work.
        publish: The runtime's settings.
        credentials: The authorisation.
        folder: For temporary files.
        namespace: Of the agent.
        start_ref: What the agent started from, if the run says so.

    Raises:
        NotPossible: There is nothing to push, or it was not to be pushed.
        NotDone: The remote did not take it, or nobody saw it there.
    """
    work, asked = found.work, found.work.published
    if asked is None or work.work_commit is None or work.base_commit is None:
        raise NotPossible(
            f"The work of flow run {found.flow_run_id} was not to be pushed.",
            "`--apply DIR` fetches it into a clone, to push it from there.",
        )
    bundle = folder / "work.bundle"
    await found.read_bundle(bundle)
    plan = PublishPlan(
        deliver=asked.deliver, remote=asked.remote, branch=asked.branch, start_ref=start_ref
    )
    title = f"{found.agent_id}: run {found.flow_run_id}"
    body = f"An agent made this: {work.changes or 'its size is not known'}.\n\n{MARK}\n"
    order = PublishOrder(
        plan=plan,
        publish=publish,
        commit=work.work_commit,
        base=work.base_commit,
        bundle=bundle,
        text=RequestText(title[:200], body),
    )
    key = StorageOwner(namespace, found.agent_id).pushes(plan.remote, plan.branch)
    pushes = StoredPushes(found.storage, key, plan.remote, plan.branch)
    try:
        published = await publish_bundle(order, credentials, pushes, folder, seconds=_PUSH_SECONDS)
    except GitMissing as error:
        raise NotPossible(str(error), "Install it.") from error
    if published.problem is not None:
        mask = Redactor(credentials.secrets())
        raise NotDone(mask.text(published.problem), mask.text(published.advice or "Try again."))
    return published
