"""Fetches an agent's work from its bundle into somebody's clone, as a branch of its own.

Nothing is checked out, and no hook runs. The objects come from an agent, so git looks at each of
them before it keeps any; it does not do so by itself when it fetches from a bundle (before 2.46).
"""

import asyncio
import os
import re
import shlex
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import FileIO
from pathlib import Path

from tasks.operators.operator_errors import NotDone, NotPossible
from tasks.text.quoting import quote
from tasks.vocabulary.names import AgentId, slug_of

BUNDLE_REF = "refs/heads/claude-jobs/work"

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SLUG_LIMIT = 40
_HASH_DIGITS = 10
_SHOWN_DIGITS = 12
_HEADER_LINE_BYTES = 4096
# Where git finds its programs and what it is configured with; all else that starts so, such as
# GIT_DIR in a hook, would make it work on another repository.
_KEPT_VARIABLES = re.compile(r"GIT_(CONFIG|EXEC_PATH)")
_SETTINGS = (
    *("-c", f"core.hooksPath={os.devnull}"),
    *("-c", "protocol.file.allow=always"),  # a bundle counts as such
)
_FETCH = (
    *("fetch", "--quiet", "--no-tags", "--no-prune", "--no-recurse-submodules"),
    *("--no-write-fetch-head", "--no-auto-maintenance"),
)


@dataclass(frozen=True, slots=True)
class CloneWithBase:
    """A clone that can take an agent's work.

    Attributes:
        path: Absolute.
        base: A commit that it has, from which the work starts.
    """

    path: Path
    base: str

    def command(self, arguments: str) -> str:
        """Return a command for people's shells."""
        return f"{_git_in(self.path)} {arguments}"


@dataclass(frozen=True, slots=True)
class FetchedWork:
    """A branch that has an agent's work now.

    Attributes:
        branch: Its name, without `refs/heads/`.
        commit: What it points to.
        replaced: What it pointed to before, if that was another commit.
    """

    clone: CloneWithBase
    branch: str
    commit: str
    replaced: str | None

    @property
    def look_command(self) -> str:
        """The command that shows the work, commit by commit."""
        commits = f"{self.clone.base[:_SHOWN_DIGITS]}..{self.branch}"
        return self.clone.command(f"log --reverse --patch {commits}")

    @property
    def merge_command(self) -> str:
        """The command that merges it into the branch that is checked out."""
        return self.clone.command(f"merge {self.branch}")

    @property
    def restore_command(self) -> str | None:
        """The command that gives the replaced commit a branch of its own, if there was one."""
        if self.replaced is None:
            return None
        return self.clone.command(f"branch {self.branch}-before {self.replaced}")


def work_branch(agent_id: AgentId) -> str:
    """Return the branch of an agent in people's clones.

    Always a valid name of lowercase letters, digits and hyphens below `claude-jobs/`; stable. An id
    that is such a name stays as it is, any other one gets a hash of the exact id, so that no two
    ids share a branch.
    """
    slug = slug_of(agent_id, _SLUG_LIMIT)
    if slug == agent_id:
        return f"claude-jobs/{slug}"
    digest = sha256(agent_id.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"claude-jobs/{f'{slug}-' if slug else ''}{digest}"


async def check_clone(directory: Path, base: str | None) -> CloneWithBase:
    """Return a clone that has the commit that work starts from.

    Args:
        directory: Of a git repository, or inside its working tree.
        base: The commit that an agent's work starts from.

    Raises:
        NotPossible: It is not one, or lacks the commit; or there is no git here.
    """
    if base is None or not _COMMIT.fullmatch(base):
        raise NotPossible(
            "The result does not say which commit the work starts from.",
            "`--patch` prints the changes, if a patch is stored.",
        )
    path = _absolute(directory)
    if shutil.which("git") is None:
        raise NotPossible("git is not installed here.", "Install it, or take the patch: `--patch`.")
    code, _, said = await _git(path, "rev-parse", "--git-dir")
    if code != 0:
        raise NotPossible(
            f"{path} is not a git repository that can be used: {quote(said)}.",
            "Name a clone of the repository that the agent worked in.",
        )
    code, _, _ = await _git(path, "cat-file", "-e", f"{base}^{{commit}}")
    if code != 0:
        raise NotPossible(
            f"{path} does not have commit {base}, from which the work starts.",
            f"Fetch it first, for example with `{_git_in(path)} fetch origin {base}`.",
        )
    return CloneWithBase(path, base)


async def fetch_bundle(
    clone: CloneWithBase, bundle: Path, agent_id: AgentId, *, commit: str | None
) -> FetchedWork:
    """Create or move the agent's branch in a clone, so that it has the work in a bundle.

    Args:
        clone: The clone.
        bundle: The bundle's file, already checked.
        agent_id: The agent.
        commit: The one that the bundle must have.

    Raises:
        NotPossible: The bundle has another commit, or git refuses it; no branch was changed then.
        NotDone: The branch is not there afterwards.
    """
    code, heads, said = await _git(clone.path, "bundle", "list-heads", str(bundle), BUNDLE_REF)
    if code != 0 or heads.split() != [commit, BUNDLE_REF]:
        told = quote(said if code else heads) or "none"
        raise NotPossible(
            f"The bundle does not have the work's commit {commit or 'unknown'}: git finds {told}.",
            "Do not use it; find out who can write to the result storage.",
        )
    code, said = await _check_objects(clone.path, bundle)
    if code != 0:
        raise NotPossible(
            f"git refuses the objects of the work: {quote(said)}.",
            "Do not use the work before you have read its patch.",
        )
    branch = work_branch(agent_id)
    ref = f"refs/heads/{branch}"
    before = await _read_ref(clone.path, ref)
    code, _, said = await _git(clone.path, *_FETCH, str(bundle), f"+{BUNDLE_REF}:{ref}")
    if code != 0:
        raise NotPossible(
            f"git did not fetch the work into branch {branch} of {clone.path}: {quote(said)}.",
            "Remove what git names; if the branch is checked out, check out another one.",
        )
    after = await _read_ref(clone.path, ref)
    if after is None or after != commit:
        raise NotDone(
            f"Branch {branch} of {clone.path} is at {after or 'no commit'} after the fetch.",
            "Look whether somebody else works in that clone, then try again.",
        )
    replaced = before if before != after else None
    return FetchedWork(clone, branch, after, replaced)


def _absolute(directory: Path) -> Path:
    return directory.expanduser().absolute()


async def _read_ref(repository: Path, ref: str) -> str | None:
    code, found, _ = await _git(repository, "rev-parse", "--verify", "--quiet", ref)
    return found.strip() if code == 0 else None


async def _check_objects(repository: Path, bundle: Path) -> tuple[int, str]:
    """Have git take the bundle's objects if all are sound; no branch leads to them yet."""
    # Unbuffered, so that git reads on after the header: its lines, and an empty one.
    with bundle.open("rb", buffering=0) as content:
        while content.readline(_HEADER_LINE_BYTES).strip():
            pass
        code, _, said = await _git(
            repository, "index-pack", "--stdin", "--fix-thin", "--fsck-objects", stdin=content
        )
    return code, said


async def _git(
    directory: Path, *arguments: str, stdin: FileIO | int = DEVNULL
) -> tuple[int, str, str]:
    """Return git's exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *("git", "-C", str(directory), *_SETTINGS, *arguments),
        env=_environment(os.environ),
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return (
        process.returncode or 0,
        stdout.decode(errors="replace"),
        stderr.decode(errors="replace"),
    )


def _environment(known: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in known.items()
        if not name.startswith("GIT_") or _KEPT_VARIABLES.match(name)
    }
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


def _git_in(repository: Path) -> str:
    return f"git -C {shlex.quote(str(repository))}"
