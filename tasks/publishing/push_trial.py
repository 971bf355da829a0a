"""Whether a push would be let in, asked before an agent has cost anything; nothing is changed."""

import asyncio
from pathlib import Path

from tasks.agent_job.publish_settings import Publish, PublishPlan
from tasks.publishing.publish_failures import PublishFailed, Refusal
from tasks.publishing.pull_requests import PullRequests
from tasks.publishing.push_credentials import PushCredentials
from tasks.publishing.work_publishing import push_repository, remote_of
from tasks.vocabulary.git_remotes import GitRemote, find_forge

_TRIAL_SECONDS = 60.0


async def try_to_publish(
    plan: PublishPlan, publish: Publish, credentials: PushCredentials, folder: Path
) -> None:
    """Push what the default branch has to the plan's branch, by a dry run, and ask the API.

    Servers check the right to push when a push begins, so a dry run shows it; rules of single
    branches they check later. Whether the token may also make pull requests shows only the first.

    Args:
        plan: Where the work would go.
        publish: The runtime's settings.
        credentials: The authorisation.
        folder: For temporary files.

    Raises:
        PublishFailed: The push would not be let in, or nobody answers.
        GitMissing: There is no Git here.
    """
    remote = remote_of(plan)
    try:
        async with asyncio.timeout(_TRIAL_SECONDS):
            await _try_to_push(plan, publish, remote, credentials, folder)
            forge = find_forge(remote, publish.forge, publish.api_url)
            if plan.deliver == "pull_request" and forge is not None:
                token = credentials.api_token()
                async with PullRequests(forge, token, plan.branch) as requests:
                    await requests.find()
    except TimeoutError:
        raise PublishFailed(
            Refusal.UNREACHABLE, f"{remote.host} did not answer within {_TRIAL_SECONDS:.0f} s."
        ) from None


async def _try_to_push(
    plan: PublishPlan,
    publish: Publish,
    remote: GitRemote,
    credentials: PushCredentials,
    folder: Path,
) -> None:
    for object_format, digits in (("sha1", 40), ("sha256", 64)):
        async with push_repository(
            plan, publish, remote, credentials, folder, object_format=object_format
        ) as repository:
            branch = (await repository.look()).default_branch
            head = (await repository.look(branch)).heads.get(branch) if branch else None
            if head is None:
                raise PublishFailed(
                    Refusal.BASE_MISSING, "The repository has no default branch to start from."
                )
            if len(head) == digits:
                await repository.take_base(head)
                await repository.try_push(head)
                return
