"""What an agent may leave in its working tree: every name, kind, size and number of files."""

import os
import shutil
import socket

import pytest

from tests.keeper.kept_work import (
    MEBIBYTE,
    Keeper,
    commit_all,
    git,
    list_tree,
)

FILES: dict[str | bytes, bytes] = {"a": b"a\n", "b/c": b"c\n", ".gitignore": b"*.log\n"}
NAMES = [
    b"line\nfeed",
    b"ends in\n",
    b"\n",
    b"tab\tand\x01control\x7f",
    b"invalid \xff\xfe utf8",
    b"-rf",
    b"--help",
    b"- -",
    b" leading and trailing ",
    b"quote\"'`$(touch mark);&|<>",
    b"back\\slash\\n",
    b":(glob)**",
    b":100644 100644 %s %s M" % (b"a" * 40, b"b" * 40),
    b"*?[a-z]{x,y}",
    b"#comment",
    b"!not",
    b"%s%d\\0",
    b"folder\n/with\n/line feeds",
    b"-d/-f",
    "ünïcødé".encode(),
    "u\u0308".encode(),
    "\u00fc".encode(),
    b"x" * 255,
    b"5\t6\tfake",
]


def test_names_of_any_bytes_come_back(keeper: Keeper):
    keeper.clone({**FILES, b"gone\n\xff": b"gone\n", b"-changed\n": b"1\n"})
    keeper.write({name: name for name in NAMES})
    keeper.write({b"-changed\n": b"2\n"})
    (keeper.tree / os.fsdecode(b"gone\n\xff")).unlink()
    checkpoint = keeper.collect()

    assert checkpoint.notes == []
    assert checkpoint.changes == dict.fromkeys(NAMES, "A") | {
        b"gone\n\xff": "D",
        b"-changed\n": "M",
    }
    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)
    assert list_tree(keeper.apply_patch(checkpoint)) == list_tree(keeper.tree)
    assert checkpoint.facts["deletions"] == "2"


def test_names_that_git_refuses_are_noted_and_the_others_kept(keeper: Keeper):
    keeper.clone(FILES)
    refused = [b"git~1", b"x/.GIT/config", b".git ", "x/.g\u200cit".encode()]
    keeper.write(dict.fromkeys(refused, b"refused\n"))
    keeper.write({"kept": b"kept\n", "z/kept": b"kept\n"})
    checkpoint = keeper.collect()

    assert set(checkpoint.noted("unsupported")) == set(refused)
    assert set(checkpoint.changes) == {b"kept", b"z/kept"}
    keeper.restore(checkpoint)


@pytest.mark.slice
def test_names_that_differ_in_case_alone_are_all_kept(keeper: Keeper):
    keeper.clone({"readme": b"1\n"})
    git(keeper.tree, "config", "core.ignoreCase", "true")
    keeper.write({"README": b"2\n", "Readme": b"3\n", "Dir/x": b"4\n", "dir/x": b"5\n"})
    checkpoint = keeper.collect()

    assert set(checkpoint.changes) == {b"README", b"Readme", b"Dir/x", b"dir/x"}
    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)


def test_pipes_and_sockets_in_the_tree_are_passed_over(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    keeper.clone(FILES)
    os.mkfifo(keeper.tree / "pipe")
    (keeper.tree / "b" / "c").unlink()
    os.mkfifo(keeper.tree / "b" / "c")
    (keeper.tree / "endless").symlink_to("/dev/zero")
    monkeypatch.chdir(keeper.tree)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        keeper.write({"new": b"new\n"})
        checkpoint = keeper.collect()

    assert checkpoint.noted("unreadable") == [b"b/c"]
    assert checkpoint.changes == {b"endless": "A", b"new": "A"}


@pytest.mark.parametrize(
    "name",
    [
        ".gitignore",
        "nested/.git/HEAD",
        pytest.param("b/.gitattributes", marks=pytest.mark.slice),
        pytest.param("deep/er/.git", marks=pytest.mark.slice),
        pytest.param(".gitmodules", marks=pytest.mark.slice),
    ],
)
def test_pipe_where_git_reads_costs_what_was_not_committed(keeper: Keeper, name: str):
    keeper.clone(FILES)
    keeper.write({"committed": b"1\n"})
    head = commit_all(keeper.tree)
    path = keeper.tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    keeper.write({"new": b"new\n"})
    checkpoint = keeper.collect(CLAUDE_JOBS_KEEPER_STEP_SECONDS="5")

    assert os.fsencode(name) in checkpoint.noted("unsupported")[0]
    assert checkpoint.facts["tree"] == head
    assert checkpoint.changes == {b"committed": "A"}


@pytest.mark.slice
def test_huge_list_of_ignored_files_costs_what_was_not_committed(keeper: Keeper):
    keeper.clone(FILES)
    os.truncate(keeper.tree / ".gitignore", 10 << 30)
    checkpoint = keeper.collect()

    assert b".gitignore is no file that git can read" in checkpoint.noted("unsupported")[0]


def test_sparse_files_are_too_large_at_once(keeper: Keeper):
    keeper.clone({**FILES, "data": b"1\n"})
    keeper.write({"new sparse": b"", "kept": b"kept\n", "sparse.log": b""})
    for name in ("new sparse", "data", "sparse.log"):
        os.truncate(keeper.tree / name, 10 << 30)
    with keeper.watched() as sizes:
        checkpoint = keeper.collect()

    assert set(checkpoint.noted("too_large")) == {b"new sparse", b"data"}
    assert checkpoint.changes == {b"kept": "A"}
    assert max(sizes) < 2 * MEBIBYTE


def test_submodules_and_nested_repositories_are_noted(keeper: Keeper):
    other = keeper.folder / "other"
    git(keeper.folder, "init", "-q", str(other))
    keeper.write({"x": b"x\n"}, other)
    commit_all(other)
    keeper.clone(FILES)
    git(
        keeper.tree,
        *("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "sub module"),
    )
    commit_all(keeper.tree)
    keeper.write({"sub module/x": b"changed\n"})
    git(keeper.tree, "clone", "-q", str(other), "nested")
    git(keeper.tree, "clone", "-q", "--bare", str(other), "bare")
    git(keeper.tree, "worktree", "add", "-q", "worktree")
    checkpoint = keeper.collect()

    assert set(checkpoint.noted("submodule")) == {b"sub module", b"nested", b"worktree"}
    assert {b"sub module", b".gitmodules", b"bare/HEAD"} <= set(checkpoint.changes)
    assert b"nested/x" not in checkpoint.changes


def test_tracked_folder_that_became_a_link_is_kept_as_one(keeper: Keeper):
    keeper.clone({**FILES, "d/passwd": b"x\n"})
    shutil.rmtree(keeper.tree / "d")
    (keeper.tree / "d").symlink_to("/etc")
    checkpoint = keeper.collect()

    assert checkpoint.changes == {b"d": "A", b"d/passwd": "D"}
    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)


def test_unreadable_files_and_folders_are_noted(keeper: Keeper):
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv is not installed")
        keeper.prefix = [setpriv, "--bounding-set=-dac_override,-dac_read_search"]
    keeper.clone({**FILES, "tracked": b"1\n", "closed/tracked": b"1\n"})
    keeper.write({"tracked": b"2\n", "secret": b"s\n", "shut/x": b"x\n", "new": b"new\n"})
    closed = [keeper.tree / name for name in ("tracked", "secret", "shut", "closed")]
    for path in closed:
        path.chmod(0)
    try:
        checkpoint = keeper.collect()
    finally:
        for path in closed:
            path.chmod(0o755)

    assert checkpoint.changes == {b"new": "A"}
    assert {b"secret", b"tracked"} <= set(checkpoint.noted("unreadable"))
    assert any(b"shut/" in text for text in checkpoint.noted("unreadable"))
    assert any(b"closed/" in text for text in checkpoint.noted("unreadable"))


def test_line_ends_are_converted_as_git_add_does(keeper: Keeper):
    keeper.clone({**FILES, ".gitattributes": b"*.txt text eol=crlf\n", "same.txt": b"1\n2\n"})
    assert (keeper.tree / "same.txt").read_bytes() == b"1\r\n2\r\n"
    keeper.write({"new.txt": b"1\r\n2\r\n", "raw.bin": b"1\r\n"})
    checkpoint = keeper.collect()

    assert checkpoint.changes == {b"new.txt": "A", b"raw.bin": "A"}
    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)


@pytest.mark.slice
def test_local_excludes_of_the_agent_are_ignored_too(keeper: Keeper):
    keeper.clone(FILES)
    (keeper.tree / ".git" / "info").mkdir(exist_ok=True)
    (keeper.tree / ".git" / "info" / "exclude").write_text("local\n")
    keeper.write({"local": b"x\n", "x.log": b"x\n", "new": b"new\n"})

    assert keeper.collect().changes == {b"new": "A"}


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(5_000, marks=pytest.mark.slice),
        pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_many_files_come_back_within_the_disk(keeper: Keeper, count: int):
    keeper.limit_bytes = max(8 * MEBIBYTE, count * 400)
    keeper.clone({f"old/{n % 50}/{n}": b"%d\n" % n for n in range(count // 10)})
    keeper.write({f"new/{n % 100}/{n}": b"%d\n" % n for n in range(count)})
    shutil.rmtree(keeper.tree / "old" / "7")
    with keeper.watched() as sizes:
        checkpoint = keeper.collect()

    assert checkpoint.notes == []
    assert checkpoint.facts["insertions"] == str(count)
    assert list_tree(keeper.restore(checkpoint)) == list_tree(keeper.tree)
    assert max(sizes) < keeper.disk_bound


@pytest.mark.slice
def test_many_notes_are_counted(keeper: Keeper):
    keeper.clone(FILES)
    for number in range(250):
        keeper.write({f"huge{number:03}": b""})
        os.truncate(keeper.tree / f"huge{number:03}", 1 << 40)
    notes = keeper.collect().noted("too_large")

    assert notes[:199] == [b"huge%03d" % number for number in range(199)]
    assert notes[199:] == [b"and 51 more"]
