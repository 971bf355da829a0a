"""The story of a publication: look, push, look again, then the pull request.

It may be told any number of times, by any process: what is there already is found, and is done.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tasks.agent_job.publish_settings import Publish, PublishPlan
from tasks.outcome.run_result import PublishedWork
from tasks.publishing.publish_failures import PublishFailed, Refusal
from tasks.publishing.pull_requests import PullRequest, PullRequests, RequestText
from tasks.publishing.push_credentials import PushCredentials, git_environment, git_settings
from tasks.publishing.push_repository import PushRepository, RemoteState, is_allowed
from tasks.vocabulary.backoff import Backoff
from tasks.vocabulary.git_remotes import GitRemote, find_forge, parse_remote, push_address

T = TypeVar("T")

_TRIES = 6
_SHOWN_DIGITS = 12


class PushLedger(Protocol):
    """What is noted of earlier pushes to the branch, so that they may be replaced."""

    async def read(self) -> tuple[str, ...]:
        """Return the commits that were pushed, or were about to be."""
        ...

    async def add(self, commit: str) -> None:
        """Note a commit that is about to be pushed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishOrder:
    """What to publish, and where.

    Attributes:
        publish: The runtime's settings.
        commit: The work's last commit.
        base: The commit that it starts from.
        bundle: File with what lies between.
        text: Of a pull request.
    """

    plan: PublishPlan
    publish: Publish
    commit: str
    base: str
    bundle: Path
    text: RequestText


async def publish_bundle(
    order: PublishOrder,
    credentials: PushCredentials,
    ledger: PushLedger,
    folder: Path,
    *,
    seconds: float,
) -> PublishedWork:
    """Publish the work, and return where it is, or why it is not there.

    Args:
        order: What to publish.
        credentials: The authorisation.
        ledger: Of the branch.
        folder: For temporary files.
        seconds: For all of it together.

    Raises:
        GitMissing: There is no Git here.
    """
    plan = order.plan
    published = PublishedWork(deliver=plan.deliver, remote=plan.remote, branch=plan.branch)
    try:
        async with asyncio.timeout(seconds):
            remote = remote_of(plan)
            state, replaced = await _push(order, remote, credentials, ledger, folder)
            published = published.model_copy(
                update={"commit": order.commit, "replaced_commit": replaced}
            )
            if plan.deliver == "pull_request":
                request = await _request(order, remote, credentials, state)
                published = published.model_copy(
                    update={
                        "pull_request_url": request.url,
                        "pull_request_number": request.number,
                    }
                )
        return published
    except PublishFailed as failure:
        return _failed(published, str(failure), failure.advice)
    except TimeoutError:
        sentence = f"It took longer than the {seconds:,.0f} s there were."
        return _failed(published, sentence, "Look whether the server is slow or away.")
    except OSError as error:
        sentence = f"A file that it needs could not be written: {error.strerror}."
        return _failed(published, sentence, "Make room where the flow runs.")


def _failed(published: PublishedWork, sentence: str, advice: str) -> PublishedWork:
    return published.model_copy(update={"problem": sentence, "advice": advice})


def remote_of(plan: PublishPlan) -> GitRemote:
    """Return the repository of a plan.

    Raises:
        PublishFailed: Nothing can be pushed there.
    """
    remote = parse_remote(plan.remote)
    if remote is None:
        raise PublishFailed(
            Refusal.REPOSITORY_MISSING, f"{plan.remote} is not an address to push to."
        )
    return remote


@asynccontextmanager
async def push_repository(
    plan: PublishPlan,
    publish: Publish,
    remote: GitRemote,
    credentials: PushCredentials,
    folder: Path,
    *,
    object_format: str,
) -> AsyncGenerator[PushRepository]:
    """Give a repository for one push, which is removed afterwards with all that was secret.

    Raises:
        PublishFailed: It cannot be made with these credentials.
    """
    made = Path(tempfile.mkdtemp(prefix="push-", dir=folder))
    try:
        repository, secret = made / "repository", made / "secret"
        repository.mkdir()
        secret.mkdir(mode=0o700)
        forge = find_forge(remote, publish.forge, publish.api_url)
        kind = forge.forge if forge else publish.forge
        yield await PushRepository.create(
            repository,
            remote=remote,
            address=push_address(remote, kind),
            branch=plan.branch,
            object_format=object_format,
            options=git_settings(remote),
            environment=git_environment(remote, kind, credentials, secret),
        )
    finally:
        shutil.rmtree(made, ignore_errors=True)


async def _push(
    order: PublishOrder,
    remote: GitRemote,
    credentials: PushCredentials,
    ledger: PushLedger,
    folder: Path,
) -> tuple[RemoteState, str | None]:
    """Bring the work to the branch; return what the remote says then, and what was replaced."""
    kind = "sha1" if len(order.commit) == 40 else "sha256"
    async with push_repository(
        order.plan, order.publish, remote, credentials, folder, object_format=kind
    ) as repository:
        replaced: list[str] = []
        taken: list[frozenset[str]] = []

        async def once() -> RemoteState:
            state = await _look(repository, order)
            found = state.heads.get(order.plan.branch)
            if found == order.commit:
                return state
            if not taken:
                await repository.take_base(order.base)
                await repository.take_bundle(order.bundle)
                taken.append(await repository.commits_of_work(order.commit, order.base))
            before = await ledger.read()
            if found is not None and not is_allowed(found, taken[0], before):
                raise PublishFailed(
                    Refusal.BRANCH_MOVED,
                    f"Branch {order.plan.branch} has a commit that somebody else pushed: {found}.",
                )
            # Before the push: a process that ends in the middle of it must know its own commit.
            await ledger.add(order.commit)
            await repository.push(order.commit, found)
            if found is not None and found not in taken[0]:
                replaced.append(found)
            return await _look_for(repository, order)

        state = await _repeat(once)
        return state, replaced[-1] if replaced else None


async def _look(repository: PushRepository, order: PublishOrder) -> RemoteState:
    plan, publish = order.plan, order.publish
    asked = {name for name in (publish.target_branch, plan.start_ref) if name}
    state = await repository.look(*sorted(asked))
    reserved = {state.default_branch, publish.target_branch, plan.start_ref}
    if plan.branch in reserved:
        raise PublishFailed(
            Refusal.BRANCH_RESERVED,
            f"Branch {plan.branch} is one that pull requests are made for, not one for an agent.",
        )
    return state


async def _look_for(repository: PushRepository, order: PublishOrder) -> RemoteState:
    """Ask the remote whether the branch has the work now.

    Raises:
        PublishFailed: It does not.
    """
    state = await _look(repository, order)
    found = state.heads.get(order.plan.branch)
    if found != order.commit:
        where = f"is at {found}" if found else "does not exist"
        raise PublishFailed(
            Refusal.BRANCH_MOVED,
            f"Branch {order.plan.branch} {where} after {order.commit[:_SHOWN_DIGITS]} was pushed.",
            is_passing=True,
        )
    return state


async def _request(
    order: PublishOrder, remote: GitRemote, credentials: PushCredentials, state: RemoteState
) -> PullRequest:
    publish, plan = order.publish, order.plan
    forge = find_forge(remote, publish.forge, publish.api_url)
    if forge is None:
        raise PublishFailed(
            Refusal.UNUSABLE, f"What serves {remote.host} is not known; set `forge` in `publish`."
        )
    start = plan.start_ref if plan.start_ref in state.heads else None
    target = publish.target_branch or start or state.default_branch
    if target is None:
        raise PublishFailed(
            Refusal.UNUSABLE,
            "The remote does not tell its default branch, so nobody knows what the pull request is "
            "for; set `target_branch` in `publish`.",
        )
    async with PullRequests(forge, credentials.api_token(), plan.branch) as requests:
        return await _repeat(lambda: requests.ensure(target, order.text))


async def _repeat(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step while its failures are passing; whoever calls bounds the time."""
    backoff = Backoff(0.5, 20.0)
    for failures in range(1, _TRIES + 1):
        try:
            return await step()
        except PublishFailed as failure:
            if not failure.is_passing or failures == _TRIES:
                raise
            await asyncio.sleep(backoff.delay_seconds(failures, failure.wait_seconds))
    raise AssertionError("the last try returns or raises")
