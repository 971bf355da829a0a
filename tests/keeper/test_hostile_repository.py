"""What an agent may do to `.git`: nothing of it is run or believed, and the files are kept."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.keeper.kept_work import (
    Checkpoint,
    Keeper,
    commit_all,
    git,
    head_of,
    list_tree,
)

FILES: dict[str | bytes, bytes] = {"a": b"a\n", "b/c": b"c\n", "image.bin": b"\0\1" * 50}
HOOKS = [
    *("commit-msg", "fsmonitor-watchman", "post-checkout", "post-commit", "post-index-change"),
    *("post-rewrite", "pre-auto-gc", "pre-commit", "prepare-commit-msg", "reference-transaction"),
]


def in_slice(*values: str | bytes) -> list[ParameterSet]:
    return [pytest.param(value, marks=pytest.mark.slice) for value in values]


PLANTED_CONFIG = """
[core]
    fsmonitor = {plant}
    hooksPath = {hooks}
    pager = {plant}
    editor = {plant}
    sshCommand = {plant}
    alternateRefsCommand = {plant}
    gitProxy = {plant}
    attributesFile = {attributes}
[diff]
    external = {plant}
[diff "evil"]
    command = {plant}
    textconv = {plant}
[filter "evil"]
    clean = {plant}
    smudge = {plant}
    process = {plant}
    required = true
[merge "evil"]
    driver = {plant}
[gpg]
    program = {plant}
[commit]
    gpgSign = true
[pager]
    diff = {plant}
[credential]
    helper = {plant}
[extensions]
    partialClone = origin
[remote "origin"]
    promisor = true
    url = ext::{plant}
[protocol]
    allow = always
[uploadpack]
    packObjectsHook = {plant}
[include]
    path = {included}
"""


def snapshot_of(keeper: Keeper) -> Checkpoint:
    """Collect, and require that the files come back as they are."""
    checkpoint = keeper.collect()
    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)
    return checkpoint


def test_planted_commands_never_run(keeper: Keeper):
    keeper.clone({**FILES, ".gitattributes": b"* filter=evil diff=evil merge=evil text\n"})
    mark = keeper.folder / "mark"
    plant = keeper.folder / "plant"
    plant.write_text(f"#!/bin/sh\necho run >>{mark}\ncat\n")
    plant.chmod(0o755)
    hooks = keeper.tree / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in HOOKS:
        shutil.copy(plant, hooks / hook)
    keeper.write({"a": b"changed\n", "new": b"new\n"})
    included = keeper.folder / "included"
    included.write_text(f"[core]\n    fsmonitor = {plant}\n")
    config = keeper.tree / ".git" / "config"
    config.write_text(
        config.read_text()
        + PLANTED_CONFIG.format(
            plant=plant, hooks=hooks, attributes=keeper.folder / "attributes", included=included
        )
    )
    (keeper.folder / "attributes").write_text("* filter=evil\n")
    # They are live: the agent's own git runs them.
    subprocess.run(["git", "status"], cwd=keeper.tree, capture_output=True, check=False)
    assert mark.exists()
    mark.unlink()
    snapshot_of(keeper)

    assert not mark.exists()


@pytest.mark.parametrize("form", ["symlink", *in_slice("file", "missing")])
def test_git_folder_that_is_none_is_noted_and_the_files_are_new(keeper: Keeper, form: str):
    base = keeper.clone(FILES)
    keeper.write({"new": b"new\n"})
    (keeper.tree / ".git").rename(keeper.folder / "moved")
    if form == "file":
        (keeper.tree / ".git").write_text(f"gitdir: {keeper.folder / 'moved'}\n")
    if form == "symlink":
        (keeper.tree / ".git").symlink_to(keeper.folder / "moved")
    checkpoint = snapshot_of(keeper)

    assert checkpoint.facts["base"] == base
    assert "head" not in checkpoint.facts
    assert "no_repository" in checkpoint.kinds
    assert set(checkpoint.changes) == {*map(os.fsencode, FILES), b"number", b"new"}


@pytest.mark.parametrize("name", [".git/objects", *in_slice(".git/refs")])
def test_folders_of_git_that_lead_elsewhere_are_not_followed(keeper: Keeper, name: str):
    keeper.clone(FILES)
    (keeper.tree / name).rename(keeper.folder / "moved")
    (keeper.tree / name).symlink_to(keeper.folder / "moved")
    if name == ".git/refs":
        (keeper.tree / ".git" / "packed-refs").unlink(missing_ok=True)
    keeper.write({"new": b"new\n"})
    checkpoint = snapshot_of(keeper)

    assert "head" not in checkpoint.facts
    assert checkpoint.kinds & {"no_repository", "no_commits"}


def test_tree_that_is_a_link_elsewhere_is_not_followed(keeper: Keeper):
    keeper.clone(FILES)
    keeper.tree.rename(keeper.folder / "moved")
    keeper.tree.symlink_to(keeper.folder / "moved")
    checkpoint = keeper.collect()

    assert list(checkpoint.parts) == ["facts", "notes"]
    assert checkpoint.kinds == {"no_repository"}


@pytest.mark.slice
def test_missing_tree_is_noted(keeper: Keeper):
    keeper.clone(FILES)
    shutil.rmtree(keeper.tree)

    assert keeper.collect().kinds == {"no_repository"}


def test_alternates_are_not_followed(keeper: Keeper):
    keeper.clone(FILES)
    elsewhere = keeper.folder / "elsewhere"
    git(keeper.folder, "clone", "-q", str(keeper.origin), str(elsewhere))
    keeper.write({"secret": b"elsewhere\n"}, elsewhere)
    commit_all(elsewhere)
    info = keeper.tree / ".git" / "objects" / "info"
    (info / "alternates").write_text(f"{elsewhere}/.git/objects\n")
    git(keeper.tree, "reset", "-q", "--hard", head_of(elsewhere))
    checkpoint = keeper.collect()

    assert checkpoint.noted("unsupported") == [
        b"Objects that the repository borrows from elsewhere are not seen."
    ]
    assert "head" not in checkpoint.facts
    assert checkpoint.changes == {b"secret": "A"}


@pytest.mark.slice
def test_alternates_that_are_a_pipe_do_not_block(keeper: Keeper):
    keeper.clone(FILES)
    os.mkfifo(keeper.tree / ".git" / "objects" / "info" / "alternates")
    keeper.write({"new": b"new\n"})
    checkpoint = keeper.collect()

    assert "unsupported" in checkpoint.kinds
    assert b"new" in checkpoint.changes


@pytest.mark.parametrize("kind", ["pipe", *in_slice("link", "socket")])
def test_object_that_is_no_file_does_not_block(
    keeper: Keeper, kind: str, monkeypatch: pytest.MonkeyPatch
):
    keeper.clone(FILES)
    folder = keeper.tree / ".git" / "objects" / "ab"
    folder.mkdir(exist_ok=True)
    path = folder / ("c" * 38)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        monkeypatch.chdir(folder)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("c" * 38)
    keeper.write({"new": b"new\n"})
    checkpoint = snapshot_of(keeper)

    assert b"Something among the objects" in checkpoint.noted("unsupported")[0]
    assert b"new" in checkpoint.changes


@pytest.mark.parametrize(
    "name",
    [
        "--upload-pack=touch",
        "$(touch mark)",
        *in_slice("-n", "ünï/code", "a" * 200, "x'\"`;&|", "HEAD"),
    ],
)
def test_branch_names_are_told_and_never_taken_for_options(keeper: Keeper, name: str):
    keeper.clone(FILES)
    head = commit_new(keeper)
    refs = keeper.tree / ".git" / "refs" / "heads" / name
    refs.parent.mkdir(parents=True, exist_ok=True)
    refs.write_text(f"{head}\n")
    (keeper.tree / ".git" / "HEAD").write_text(f"ref: refs/heads/{name}\n")
    is_refused = " " in name
    facts = keeper.collect().facts

    if is_refused:
        assert "branch" not in facts
    else:
        assert (facts["branch"], facts["head"]) == (name, head)
    assert not (keeper.tree / "mark").exists()


def commit_new(keeper: Keeper) -> str:
    keeper.write({"committed": b"new\n"})
    return commit_all(keeper.tree)


@pytest.mark.parametrize(
    "content",
    [
        b"ref: refs/heads/../../../outside\n",
        b"ref: refs/heads/loop\n",
        *in_slice(
            b"ref: refs/heads/a b\n",
            b"ref: refs/heads/new\x01line\n",
            b"ref: HEAD\n",
            b"--help\n",
            b"0123\n",
            b"f" * 40 + b"\n",
            b"\0" * 5000,
            b"x" * 100_000,
            b"",
        ),
    ],
    ids=str,
)
def test_head_of_any_form_is_survived(keeper: Keeper, content: bytes):
    keeper.clone(FILES)
    (keeper.tree / ".git" / "HEAD").write_bytes(content)
    (keeper.tree / ".git" / "refs" / "heads" / "loop").write_bytes(b"ref: refs/heads/loop\n")
    (keeper.folder / "workspace" / "outside").write_text(head_of(keeper.origin) + "\n")
    keeper.write({"new": b"new\n"})
    checkpoint = snapshot_of(keeper)

    assert "head" not in checkpoint.facts
    assert checkpoint.kinds & {"no_commits", "unsupported", "error"}
    assert checkpoint.changes == {b"new": "A"}


@pytest.mark.slice
def test_head_that_is_a_pipe_does_not_block(keeper: Keeper):
    keeper.clone(FILES)
    (keeper.tree / ".git" / "HEAD").unlink()
    os.mkfifo(keeper.tree / ".git" / "HEAD")
    keeper.write({"new": b"new\n"})

    assert snapshot_of(keeper).kinds == {"no_commits"}


def test_packed_refs_and_packed_objects_are_read(keeper: Keeper):
    keeper.clone(FILES)
    head = commit_new(keeper)
    git(keeper.tree, "branch", "work2")
    git(keeper.tree, "gc", "-q", "--prune=now")
    assert not (keeper.tree / ".git" / "refs" / "heads" / "work").exists()
    keeper.write({"new": b"new\n"})
    facts = snapshot_of(keeper).facts

    assert (facts["head"], facts["branch"], facts["commits"]) == (head, "work", "1")


@pytest.mark.slice
def test_commit_graph_that_lies_is_not_believed(keeper: Keeper):
    keeper.clone(FILES)
    commit_new(keeper)
    git(keeper.tree, "commit-graph", "write", "--reachable")
    git(keeper.tree, "multi-pack-index", "write")
    graph = keeper.tree / ".git" / "objects" / "info" / "commit-graph"
    graph.chmod(0o644)
    graph.write_bytes(graph.read_bytes()[:-400] + bytes(400))

    assert snapshot_of(keeper).facts["commits"] == "1"


def test_detached_head_has_no_branch(keeper: Keeper):
    keeper.clone(FILES)
    git(keeper.tree, "checkout", "-q", "--detach")
    head = commit_new(keeper)
    facts = snapshot_of(keeper).facts

    assert facts["head"] == facts["tree"] == head
    assert "branch" not in facts


def test_rewritten_history_is_noted_and_kept(keeper: Keeper):
    keeper.clone(FILES)
    git(keeper.tree, "checkout", "-q", "--orphan", "fresh")
    keeper.write({"a": b"rewritten\n"})
    head = commit_all(keeper.tree)
    checkpoint = snapshot_of(keeper)

    assert checkpoint.kinds == {"history_rewritten"}
    assert (checkpoint.facts["head"], checkpoint.facts["commits"]) == (head, "1")
    assert checkpoint.changes == {b"a": "M"}


@pytest.mark.slice
def test_older_commit_that_was_checked_out_is_rewritten_history(keeper: Keeper):
    keeper.clone(FILES, depth=2)
    git(keeper.tree, "reset", "-q", "--hard", "HEAD~1")
    checkpoint = keeper.collect()

    assert checkpoint.kinds == {"history_rewritten"}
    assert checkpoint.facts["commits"] == "0"
    assert checkpoint.changes == {b"number": "M"}


def test_repository_that_was_made_anew_is_new_in_all_files(keeper: Keeper):
    keeper.clone(FILES)
    shutil.rmtree(keeper.tree / ".git")
    git(keeper.tree, "init", "-q", "-b", "fresh")
    head = commit_all(keeper.tree)
    checkpoint = snapshot_of(keeper)

    assert checkpoint.kinds == {"history_rewritten", "unsupported"}
    assert checkpoint.facts["head"] == checkpoint.facts["tree"] == head
    assert set(checkpoint.changes.values()) == {"A"}


def test_branch_without_a_commit_is_noted(keeper: Keeper):
    keeper.clone(FILES)
    git(keeper.tree, "checkout", "-q", "--orphan", "fresh")
    keeper.write({"new": b"new\n"})
    checkpoint = snapshot_of(keeper)

    assert checkpoint.kinds == {"no_commits"}
    assert checkpoint.facts["branch"] == "fresh"
    assert checkpoint.changes == {b"new": "A"}


def test_shallow_clone_gives_what_was_added(keeper: Keeper):
    keeper.clone(FILES, depth=1)
    assert (keeper.tree / ".git" / "shallow").exists()
    commit_new(keeper)
    keeper.write({"new": b"new\n"})
    checkpoint = snapshot_of(keeper)

    assert checkpoint.kinds == set()
    assert checkpoint.facts["commits"] == "1"
    assert set(checkpoint.changes) == {b"new", b"committed"}


@pytest.mark.slice
def test_commits_without_content_are_kept(keeper: Keeper):
    keeper.clone(FILES)
    git(keeper.tree, "commit", "-q", "--allow-empty", "-m", "Nothing")
    checkpoint = snapshot_of(keeper)

    assert list(checkpoint.parts) == ["facts", "pack"]
    assert [checkpoint.facts[key] for key in ("commits", "files")] == ["1", "0"]


def test_rebase_that_stopped_is_noted_with_its_files(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({"a": b"ours\n"})
    commit_all(keeper.tree)
    git(keeper.tree, "checkout", "-q", "-b", "other", "HEAD~1")
    keeper.write({"a": b"theirs\n"})
    commit_all(keeper.tree)
    stopped = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "rebase", "work"],
        cwd=keeper.tree,
        capture_output=True,
        check=False,
    )
    assert stopped.returncode != 0
    checkpoint = snapshot_of(keeper)

    assert checkpoint.noted("in_progress") == [b"rebase"]
    assert checkpoint.facts["head"] == head_of(keeper.tree)


def test_lock_and_damaged_index_of_the_agent_do_not_matter(keeper: Keeper):
    keeper.clone(FILES)
    (keeper.tree / ".git" / "index.lock").touch()
    (keeper.tree / ".git" / "index").write_bytes(b"DIRC" + os.urandom(100))
    (keeper.tree / ".git" / "config").write_bytes(b"[broken")
    keeper.write({"new": b"new\n"})
    checkpoint = snapshot_of(keeper)

    assert checkpoint.notes == []
    assert checkpoint.changes == {b"new": "A"}


@pytest.mark.parametrize("what", ["blob", *in_slice("commit", "pack")])
def test_damaged_objects_are_noted(keeper: Keeper, what: str):
    keeper.clone(FILES)
    head = commit_new(keeper)
    blob = git(keeper.tree, "rev-parse", "HEAD:committed").decode().strip()
    damaged = {"commit": head, "blob": blob}.get(what)
    objects = keeper.tree / ".git" / "objects"
    if damaged is not None:
        path = objects / damaged[:2] / damaged[2:]
    else:
        git(keeper.tree, "gc", "-q", "--prune=now")
        path = next((objects / "pack").glob("*.pack"))
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[12:40] = bytes(28)
    path.write_bytes(content[:60] if damaged is None else b"")
    checkpoint = keeper.collect()

    assert "error" in checkpoint.kinds or "unsupported" in checkpoint.kinds
    assert "pack" not in checkpoint.parts or what != "blob"


@pytest.mark.slice
def test_sha256_repository_is_kept(keeper: Keeper):
    base = keeper.clone(FILES, format="sha256")
    commit_new(keeper)
    keeper.write({"new": b"new\n"})
    checkpoint = snapshot_of(keeper)

    assert len(base) == 64
    assert checkpoint.facts["object_format"] == "sha256"
    assert set(checkpoint.changes) == {b"new", b"committed"}


@pytest.mark.slice
def test_tree_that_names_itself_a_billion_times_is_left(keeper: Keeper):
    keeper.clone(FILES)
    git(keeper.tree, "checkout", "-q", "--orphan", "bomb")
    blob = git(keeper.tree, "hash-object", "-w", "--stdin", stdin=b"x").decode().strip()
    entry, tree = f"100644 blob {blob}", ""
    for _ in range(9):
        lines = "".join(f"{entry}\tf{number}\n" for number in range(10))
        tree = git(keeper.tree, "mktree", stdin=lines.encode()).decode().strip()
        entry = f"040000 tree {tree}"
    head = git(keeper.tree, "commit-tree", tree, "-m", "Bomb").decode().strip()
    (keeper.tree / ".git" / "refs" / "heads" / "bomb").write_text(f"{head}\n")
    with keeper.watched() as sizes:
        checkpoint = keeper.collect()

    assert b"too many files" in checkpoint.noted("unsupported")[0]
    assert max(sizes) < keeper.disk_bound
    assert checkpoint.facts["head"] == head


def test_settings_in_the_containers_environment_do_not_matter(keeper: Keeper, tmp_path: Path):
    keeper.clone(FILES)
    keeper.write({"new": b"new\n"})
    checkpoint = keeper.collect(
        GIT_DIR="/nonexistent",
        GIT_INDEX_FILE="/nonexistent",
        GIT_EXTERNAL_DIFF="/nonexistent",
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0="diff.noprefix",
        GIT_CONFIG_VALUE_0="true",
        GIT_TRACE=str(tmp_path / "trace"),
        GIT_DIFF_OPTS="-u0",
    )

    assert checkpoint.changes == {b"new": "A"}
    assert b"+++ b/new" in checkpoint.parts["patch"]
    assert not (tmp_path / "trace").exists()
