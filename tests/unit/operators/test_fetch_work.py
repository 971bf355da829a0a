"""An agent's work fetched into people's clones, by real git."""

import asyncio
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.operators.fetch_work import FetchedWork, check_clone, fetch_bundle, work_branch
from tasks.operators.operator_errors import NotPossible
from tasks.vocabulary.names import AgentId
from tests.unit.operators.bundled_work import (
    HOSTILE_NAME,
    BundledWork,
    bundle_of,
    commit_file,
    commit_of,
    git,
    make_work,
    state_of,
)

ADA = AgentId("ada")
BRANCH = "claude-jobs/ada"


@pytest.fixture
def bundled(tmp_path: Path) -> BundledWork:
    return make_work(tmp_path)


def typed(command: str) -> bytes:
    """What a command prints that a person pastes into a shell."""
    return subprocess.run(shlex.split(command), capture_output=True, check=True).stdout


async def fetch(bundled: BundledWork, clone: Path, agent_id: AgentId = ADA) -> FetchedWork:
    checked = await check_clone(clone, bundled.base)
    return await fetch_bundle(checked, bundled.bundle, agent_id, commit=bundled.commit)


async def test_work_becomes_a_branch_and_nothing_else_changes(bundled: BundledWork) -> None:
    clone = bundled.clone("clone")
    (clone / "README").write_text("being edited\n")
    (clone / "notes").write_text("mine\n")
    before, refs = state_of(clone), git(clone, "for-each-ref")

    fetched = await fetch(bundled, clone)

    assert (fetched.branch, fetched.commit, fetched.replaced) == (BRANCH, bundled.commit, None)
    assert state_of(clone) == before
    new = set(git(clone, "for-each-ref").splitlines()) - set(refs.splitlines())
    assert new == {f"{bundled.commit} commit\trefs/heads/{BRANCH}".encode()}
    assert not (clone / ".git" / "FETCH_HEAD").exists()
    listed = git(clone, "ls-tree", "-z", "--name-only", BRANCH).split(b"\0")
    assert listed == [b"README", HOSTILE_NAME, b""]


async def test_printed_commands_show_and_merge_the_work(bundled: BundledWork) -> None:
    clone = bundled.clone("it's a clone")
    fetched = await fetch(bundled, clone)

    shown = typed(fetched.look_command)
    typed(fetched.merge_command)

    assert shown.count(b"commit ") == 2
    assert commit_of(clone, "HEAD") == bundled.commit
    assert (clone / "README").read_text() == "line 2\nline 3\n"


async def test_later_work_replaces_the_branch_and_says_how_to_keep_it(
    bundled: BundledWork,
) -> None:
    clone = bundled.clone("clone")
    await fetch(bundled, clone)
    again = await fetch(bundled, clone)
    git(clone, "checkout", "-q", BRANCH)
    mine = commit_file(clone, b"mine", b"")
    git(clone, "checkout", "-q", "main")

    fetched = await fetch(bundled, clone)

    assert again.replaced is None
    assert (commit_of(clone, BRANCH), fetched.replaced) == (bundled.commit, mine)
    assert fetched.restore_command is not None
    typed(fetched.restore_command)
    assert commit_of(clone, f"{BRANCH}-before") == mine


@pytest.mark.parametrize("options", [["--bare"], ["--depth=1"], ["--mirror"]])
async def test_every_clone_that_has_the_base_takes_the_work(
    bundled: BundledWork, options: list[str]
) -> None:
    fetched = await fetch(bundled, bundled.clone("clone", *options))

    assert fetched.commit == bundled.commit


async def test_work_of_a_sha256_repository_is_fetched(tmp_path: Path) -> None:
    bundled = make_work(tmp_path, "sha256")
    of_sha1 = tmp_path / "of-sha1"
    git(tmp_path, "init", "-q", "--object-format=sha1", str(of_sha1))

    fetched = await fetch(bundled, bundled.clone("clone"))
    with pytest.raises(NotPossible, match="does not have commit"):
        await fetch(bundled, of_sha1)

    assert (len(fetched.commit), fetched.commit) == (64, bundled.commit)


async def test_folder_inside_a_clone_is_that_clone(bundled: BundledWork) -> None:
    clone = bundled.clone("clone")
    (clone / "src").mkdir()

    await fetch(bundled, clone / "src")

    assert commit_of(clone, BRANCH) == bundled.commit


async def test_no_hook_of_the_clone_runs(bundled: BundledWork) -> None:
    clone = bundled.clone("clone")
    hooks = clone / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-checkout", "post-merge", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{clone}/ran'\n")
        (hooks / name).chmod(0o755)

    await fetch(bundled, clone)

    assert not (clone / "ran").exists()


async def test_variables_of_a_hook_lead_to_no_other_repository(
    bundled: BundledWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone, other = bundled.clone("clone"), bundled.clone("other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git" / "objects"))

    await fetch(bundled, clone)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.delenv(name)

    assert commit_of(clone, BRANCH) == bundled.commit
    assert BRANCH.encode() not in git(other, "for-each-ref")


async def test_folder_that_is_not_a_repository_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere", Path("-x")):
        with pytest.raises(NotPossible, match="is not a git repository that can be used: “"):
            await check_clone(folder, "0" * 40)


async def test_clone_without_the_base_is_told_what_to_fetch(
    bundled: BundledWork, tmp_path: Path
) -> None:
    empty = tmp_path / "an empty one"
    git(tmp_path, "init", "-q", str(empty))

    with pytest.raises(NotPossible) as refused:
        await check_clone(empty, bundled.base)

    assert refused.value.message == (
        f"{empty} does not have commit {bundled.base}, from which the work starts."
    )
    assert refused.value.advice == (
        f"Fetch it first, for example with `git -C '{empty}' fetch origin {bundled.base}`."
    )


async def test_advice_to_fetch_the_base_is_enough(bundled: BundledWork, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "init", "-q", str(clone))
    git(clone, "remote", "add", "origin", str(bundled.project))
    git(clone, "fetch", "-q", "origin", bundled.base)

    fetched = await fetch(bundled, clone)

    assert fetched.commit == bundled.commit


@pytest.mark.parametrize("base", [None, "", "--help", "HEAD", "a" * 39, "A" * 40, "a" * 40 + "\n"])
async def test_base_that_is_not_a_commits_id_gets_to_no_git(
    bundled: BundledWork, base: str | None
) -> None:
    with pytest.raises(NotPossible, match="does not say which commit"):
        await check_clone(bundled.project, base)


async def test_branch_that_is_checked_out_is_left_alone(bundled: BundledWork) -> None:
    clone = bundled.clone("clone")
    git(clone, "checkout", "-q", "-b", BRANCH)
    before = state_of(clone)

    with pytest.raises(NotPossible, match=r"did not fetch .* checked out at") as refused:
        await fetch(bundled, clone)

    assert "check out another one" in refused.value.advice
    assert state_of(clone) == before


async def test_branch_of_a_shorter_name_is_in_the_way_and_named(bundled: BundledWork) -> None:
    clone = bundled.clone("clone")
    git(clone, "branch", "claude-jobs")

    with pytest.raises(NotPossible, match="'refs/heads/claude-jobs' exists"):
        await fetch(bundled, clone)


async def test_bundle_of_other_commits_is_refused_before_anything_changes(
    bundled: BundledWork, tmp_path: Path
) -> None:
    clone = bundled.clone("clone")
    other = bundle_of(
        tmp_path / "agent",
        tmp_path / "other.bundle",
        bundled.project,
        bundled.base,
        bundled.result.head_commit or "",
        bundled.result.head_commit or "",
    )
    checked = await check_clone(clone, bundled.base)
    for bundle in (other.bundle, tmp_path / "nothing", tmp_path / "agent" / "README"):
        with pytest.raises(NotPossible, match=f"does not have the work's commit {bundled.commit}"):
            await fetch_bundle(checked, bundle, ADA, commit=bundled.commit)

    assert BRANCH.encode() not in git(clone, "for-each-ref")


async def test_objects_that_git_refuses_do_not_get_in(bundled: BundledWork, tmp_path: Path) -> None:
    agent, clone = tmp_path / "agent", bundled.clone("clone")
    config = git(agent, "hash-object", "-w", "README").decode().strip()
    entry = f"100644 blob {config}\t.GIT\n".encode()
    tree = git(agent, "mktree", stdin=entry).decode().strip()
    evil = git(agent, "commit-tree", tree, "-p", bundled.base, "-m", "Evil").decode().strip()
    hostile = bundle_of(agent, tmp_path / "evil.bundle", bundled.project, bundled.base, evil, evil)

    with pytest.raises(NotPossible, match="git refuses the objects") as refused:
        await fetch(hostile, clone)

    assert "hasDotgit" in refused.value.message
    assert BRANCH.encode() not in git(clone, "for-each-ref")


async def test_work_that_goes_back_behind_the_base_is_fetched(
    bundled: BundledWork, tmp_path: Path
) -> None:
    """Its pack has no objects."""
    agent, clone = tmp_path / "agent", bundled.clone("clone")
    earlier = commit_of(agent, f"{bundled.base}~1")
    empty = git(agent, "pack-objects", "-q", "--stdout")
    head = f"# v2 git bundle\n-{bundled.base}\n{earlier} refs/heads/claude-jobs/work\n\n"
    bundled.bundle.write_bytes(head.encode() + empty)

    checked = await check_clone(clone, bundled.base)
    fetched = await fetch_bundle(checked, bundled.bundle, ADA, commit=earlier)

    assert commit_of(clone, fetched.branch) == earlier


async def test_fetch_that_is_cancelled_leaves_no_git_behind(
    bundled: BundledWork, tmp_path: Path
) -> None:
    clone = bundled.clone("clone")
    checked = await check_clone(clone, bundled.base)
    os.mkfifo(tmp_path / "endless")
    fetching = asyncio.create_task(
        fetch_bundle(checked, tmp_path / "endless", ADA, commit=bundled.commit)
    )
    await asyncio.sleep(0.3)

    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching

    assert not _processes_with(str(tmp_path / "endless"))


def _processes_with(argument: str) -> list[str]:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if argument in line]


@pytest.mark.parametrize(
    ("agent_id", "branch"),
    [
        pytest.param("payments-reviewer", "claude-jobs/payments-reviewer", id="as it is"),
        pytest.param("Ada", "claude-jobs/ada-", id="capital"),
        pytest.param("--upload-pack=x", "claude-jobs/upload-pack-x-", id="option"),
        pytest.param("../../config", "claude-jobs/config-", id="path"),
        pytest.param("x.lock", "claude-jobs/x-lock-", id="lock"),
        pytest.param("审查员", "claude-jobs/", id="no ASCII"),
        pytest.param("a" * 41, f"claude-jobs/{'a' * 40}-", id="long"),
        pytest.param("\x1b[2J", "claude-jobs/2j-", id="escape"),
    ],
)
def test_branch_shows_its_agent(agent_id: str, branch: str) -> None:
    assert work_branch(AgentId(agent_id)).startswith(branch)


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_branches_are_plain_and_no_two_ids_share_one(one: str, other: str) -> None:
    branches = [work_branch(AgentId(text)) for text in (one, other)]

    assert (branches[0] == branches[1]) is (one == other)
    for branch in branches:
        part = branch.removeprefix("claude-jobs/")
        assert part.isascii()
        assert part.replace("-", "").isalnum()
        assert not part.startswith("-")
        assert len(part) <= 51
