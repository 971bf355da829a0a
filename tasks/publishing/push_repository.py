"""A repository for one push: with the base from the remote, and the work from its bundle.

Nothing of it is the agent's but objects that were checked: no configuration, no hook, no filter.
The base comes without older commits and, where the server can, without contents of files.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tasks.publishing.publish_failures import PublishFailed, Refusal, git_failure
from tasks.vocabulary.git_remotes import GitRemote
from tasks.work.restricted_git import GitFailed, RestrictedGit, find_git

# Of the base's trees, and of what the remote says.
_MEMORY_BYTES = 2 * 1024 * 1024 * 1024
_PROCESSOR_SECONDS = 600
_OUTPUT_BYTES = 1024 * 1024
_LISTED_COMMITS = 10_000
_PROTOCOLS = "http:https:ssh"
_BASE = "refs/heads/base"
_ORIGIN = "remote.origin"
# The way out of the flow's pod is the environment's; nothing else of it counts.
_WAY_OUT = (
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("https_proxy", "http_proxy", "no_proxy", "all_proxy"),
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


@dataclass(frozen=True, slots=True)
class RemoteState:
    """What a remote says of some branches.

    Attributes:
        heads: Commits by branch, of those that were asked for and exist.
        default_branch: `None` where it does not tell.
    """

    heads: Mapping[str, str] = field(default_factory=dict[str, str])
    default_branch: str | None = None


@dataclass(frozen=True, slots=True)
class PushRepository:
    """Git in a bare repository of its own, and the remote.

    Attributes:
        git: With the credentials in its environment.
        options: Of each command that reaches the remote.
        address: Of the remote.
        remote: The same, taken apart.
        branch: To push to.
    """

    git: RestrictedGit
    options: tuple[str, ...]
    address: str
    remote: GitRemote
    branch: str

    @classmethod
    async def create(
        cls,
        folder: Path,
        *,
        remote: GitRemote,
        address: str,
        branch: str,
        object_format: str,
        options: tuple[str, ...],
        environment: Mapping[str, str],
    ) -> "PushRepository":
        """Make the repository in an empty folder.

        Raises:
            GitMissing: There is no Git here.
            PublishFailed: It could not be made.
        """
        allowed = {
            "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
            # What the base lacks is asked for one by one.
            "GIT_NO_LAZY_FETCH": "0",
            **{name: os.environ[name] for name in _WAY_OUT if name in os.environ},
        }
        git = RestrictedGit(find_git(), folder, _MEMORY_BYTES, _PROCESSOR_SECONDS)
        made = cls(git, options, address, remote, branch)
        kind = f"--object-format={object_format}"
        await made.run("init", "--quiet", "--bare", kind, "--template=", ".")
        await made.run("config", f"{_ORIGIN}.url", address)
        return replace(made, git=replace(git, environment={**allowed, **environment}))

    async def look(self, *branches: str) -> RemoteState:
        """Ask the remote for branches.

        Raises:
            PublishFailed: It gives no answer.
        """
        refs = [f"refs/heads/{name}" for name in (self.branch, *branches)]
        printed = await self._ask("ls-remote", "--symref", "--", "origin", "HEAD", *refs)
        heads: dict[str, str] = {}
        default_branch = None
        for line in printed.splitlines():
            value, _, name = line.partition("\t")
            if name == "HEAD" and value.startswith("ref: refs/heads/"):
                default_branch = value.removeprefix("ref: refs/heads/")
            elif name in refs:
                heads[name.removeprefix("refs/heads/")] = value
        return RemoteState(heads, default_branch)

    async def take_base(self, base: str) -> None:
        """Fetch the commit that work starts from.

        Raises:
            PublishFailed: The remote does not have it, or gives no answer.
        """
        fetch = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules")
        fetch = (*fetch, "--no-write-fetch-head", "--no-auto-maintenance", "--filter=blob:none")
        try:
            await self._ask(*fetch, "--depth=1", "--", "origin", f"+{base}:{_BASE}")
        except PublishFailed as failure:
            if failure.refusal is not Refusal.BASE_MISSING:
                raise
            # A server that gives no commits by their ids may have it on a branch.
            await self._ask(*fetch, "--", "origin", "+refs/heads/*:refs/remotes/origin/*")
            try:
                await self.run("update-ref", _BASE, base)
            except PublishFailed:
                raise failure from None

    async def take_bundle(self, bundle: Path) -> None:
        """Take the work's objects; the file's path is absolute.

        Raises:
            PublishFailed: Git does not accept them.
        """
        try:
            await self.git.run("bundle", "unbundle", str(bundle))
        except GitFailed as failure:
            raise PublishFailed(
                Refusal.UNUSABLE, f"Git cannot read the bundle of the work: {failure.said[:300]}."
            ) from failure

    async def commits_of_work(self, commit: str, base: str) -> frozenset[str]:
        """Return the base, and the commits that the work adds to it, as far as they are few."""
        limit = f"--max-count={_LISTED_COMMITS}"
        printed = await self._printed("rev-list", limit, commit, f"^{base}")
        return frozenset([base, *printed.split()])

    async def push(self, commit: str, expected: str | None) -> None:
        """Push a commit to the branch, if the branch is still where it was seen.

        Args:
            commit: What to push.
            expected: Where the branch was; `None` where there was none.

        Raises:
            PublishFailed: The remote did not take it, or gave no answer.
        """
        ref = f"refs/heads/{self.branch}"
        lease = f"--force-with-lease={ref}:{expected or ''}"
        # Its own hooks, signatures and submodules are none of ours.
        plain = ("--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no")
        await self._ask("push", "--porcelain", *plain, lease, "--", "origin", f"{commit}:{ref}")

    async def try_push(self, commit: str) -> None:
        """Ask whether a push would be let in; nothing is changed.

        Raises:
            PublishFailed: It would not be, or there is no answer.
        """
        ref = f"refs/heads/{self.branch}"
        dry = ("--dry-run", "--porcelain", "--no-verify", "--no-signed")
        await self._ask("push", *dry, "--", "origin", f"+{commit}:{ref}")

    async def run(self, *args: str) -> None:
        """Run a command that reaches no remote.

        Raises:
            PublishFailed: It failed.
        """
        await self._printed(*args)

    async def _ask(self, *args: str) -> str:
        return await self._printed(*self.options, *args)

    async def _printed(self, *args: str) -> str:
        printed = bytearray()
        try:
            async with self.git.printing(*args) as stdout:
                while piece := await stdout.read(65536):
                    printed += piece[: _OUTPUT_BYTES - len(printed)]
        except GitFailed as failure:
            said = f"{printed.decode(errors='replace')}\n{failure.said}"
            raise git_failure(said, branch=self.branch, host=self.remote.host) from failure
        return printed.decode(errors="replace")


def is_allowed(found: str, commits_of_work: frozenset[str], pushed_before: Sequence[str]) -> bool:
    """Tell whether a branch may be moved from where it is.

    It may if nothing is lost but what an earlier run of ours has pushed there: the work goes on
    from it, or it is noted as pushed. Everything else is somebody's.
    """
    return found in commits_of_work or found in pushed_before
