"""An agent's work as real git makes it: a project, its clones, a bundle and a patch."""

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tasks.outcome.run_result import WorkFile, WorkResult

_NOBODY = {
    **{f"GIT_{who}_NAME": "Somebody" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "somebody@example.com" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_CONFIG_{which}": os.devnull for which in ("GLOBAL", "SYSTEM")},
}
# Invalid UTF-8, and what would clear a terminal.
HOSTILE_NAME = b"caf\xe9\x1b[2J"


def git(folder: Path, *arguments: str | bytes, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=stdin,
        env={**os.environ, **_NOBODY},
        capture_output=True,
        check=True,
        timeout=30,
    ).stdout


def commit_of(folder: Path, name: str) -> str:
    return git(folder, "rev-parse", "--verify", name).decode().strip()


@dataclass(frozen=True)
class BundledWork:
    """What an agent made of a project.

    Attributes:
        project: Bare; it has the base and none of the work.
        result: Without keys.
    """

    project: Path
    bundle: Path
    patch: bytes
    result: WorkResult = field(repr=False)

    @property
    def base(self) -> str:
        assert self.result.base_commit is not None
        return self.result.base_commit

    @property
    def commit(self) -> str:
        assert self.result.work_commit is not None
        return self.result.work_commit

    def clone(self, name: str, *options: str) -> Path:
        """A new clone of the project."""
        target = self.project.with_name(name)
        git(self.project.parent, "clone", "-q", *options, self.project.as_uri(), str(target))
        return target


def make_work(folder: Path, object_format: str = "sha1") -> BundledWork:
    """Have two commits made on a project of two, the last of what was not committed."""
    project, agent = folder / "project.git", folder / "agent"
    made = ("init", "-q", f"--object-format={object_format}", "-b", "main")
    git(folder, *made, "--bare", str(project))
    git(folder, *made, str(agent))
    for number in (1, 2):
        base = commit_file(agent, b"README", f"line {number}\n".encode())
    git(agent, "push", "-q", str(project), "main")
    head = commit_file(agent, b"README", b"line 2\nline 3\n")
    work = commit_file(agent, HOSTILE_NAME, b"\x00\xff binary\n")
    return bundle_of(agent, folder / "work.bundle", project, base, head, work)


def bundle_of(
    agent: Path, bundle: Path, project: Path, base: str, head: str, work: str
) -> BundledWork:
    """Bundle commits of a repository; the result's files are those of `make_work`."""
    for name, commit in (("head", head), ("work", work)):
        git(agent, "update-ref", f"refs/heads/claude-jobs/{name}", commit)
    refs = [f"refs/heads/claude-jobs/{name}" for name in ("head", "work")]
    git(agent, "bundle", "create", "-q", str(bundle), f"^{base}", *refs)
    result = WorkResult(
        collected=True,
        base_commit=base,
        head_commit=head,
        work_commit=work,
        branch="main",
        commits=1,
        files_changed=2,
        insertions=1,
        deletions=0,
        files=(
            WorkFile(path="README", status="modified", insertions=1, deletions=0),
            WorkFile(path=HOSTILE_NAME.decode(errors="replace"), status="added"),
        ),
        bundle_bytes=bundle.stat().st_size,
        bundle_sha256=hashlib.sha256(bundle.read_bytes()).hexdigest(),
    )
    patch = git(agent, "diff", "--binary", "--full-index", "--no-renames", base, work)
    return BundledWork(project, bundle, patch, result)


def commit_file(folder: Path, name: bytes, content: bytes) -> str:
    """Commit a file and return the commit."""
    (folder / os.fsdecode(name)).write_bytes(content)
    git(folder, "add", b"--", name)
    git(folder, "commit", "-q", "-m", "Work")
    return commit_of(folder, "HEAD")


def state_of(clone: Path) -> tuple[bytes, ...]:
    """What a fetch must leave alone: what is checked out, the index, the working tree."""
    return (
        git(clone, "symbolic-ref", "-q", "HEAD") + git(clone, "rev-parse", "HEAD"),
        git(clone, "ls-files", "--stage"),
        git(clone, "status", "--porcelain", "-z"),
    )
