"""What agents do every day: the stream, the commits, the files, byte for byte."""

import os
import time

from tests.keeper.kept_work import (
    Keeper,
    commit_all,
    git,
    head_of,
    list_everything,
    list_tree,
)

FILES: dict[str | bytes, bytes] = {
    "README": b"one\ntwo\nthree\n",
    "src/main.py": b"print(1)\n",
    "src/gone.py": b"gone\n",
    "old name": b"renamed\n" * 20,
    "tool.sh": b"#!/bin/sh\n",
    ".gitignore": b"*.log\nbuild/\n",
    "picture": bytes(range(256)) * 10,
    "turns": b"a file\n",
}


def test_all_kinds_of_changes_come_back_byte_for_byte(keeper: Keeper):
    base = keeper.clone(FILES)
    tree = keeper.tree
    keeper.write({"README": b"one\n2\nthree\n", "committed": b"c\n"})
    head = commit_all(tree)
    (tree / "src/gone.py").unlink()
    (tree / "old name").rename(tree / "new name")
    (tree / "tool.sh").chmod(0o755)
    (tree / "link").symlink_to("../nowhere")
    (tree / "turns").unlink()
    keeper.write(
        {
            "turns/into/folder": b"x\n",
            "picture": b"\0\1\2" * 1000,
            "src/new.py": b"new\n",
            "a.log": b"ignored\n",
            "build/out": b"ignored\n",
            "empty": b"",
            "same as README": b"one\ntwo\nthree\n",
        }
    )
    keeper.write({"src/staged.py": b"staged\n"})
    git(tree, "add", "src/staged.py")
    before = list_everything(tree)
    checkpoint = keeper.collect()

    assert list_everything(tree) == before
    assert checkpoint.facts | {"tree": ""} == {
        "version": "1",
        "base": base,
        "head": head,
        "branch": "work",
        "commits": "1",
        "tree": "",
        "object_format": "sha1",
        "files": "14",
        "insertions": "29",
        "deletions": "23",
    }
    assert checkpoint.notes == []
    assert checkpoint.changes == {
        b"README": "M",
        b"committed": "A",
        b"empty": "A",
        b"link": "A",
        b"new name": "A",
        b"old name": "D",
        b"picture": "M",
        b"same as README": "A",
        b"src/gone.py": "D",
        b"src/new.py": "A",
        b"src/staged.py": "A",
        b"tool.sh": "M",
        b"turns": "D",
        b"turns/into/folder": "A",
    }
    wanted = list_tree(tree, without=[b"a.log", b"build/out"])
    restored = keeper.restore(checkpoint)
    assert list_tree(restored) == wanted
    assert git(restored, "rev-parse", "HEAD^").decode().strip() == head
    assert list_tree(keeper.apply_patch(checkpoint)) == wanted


def test_untouched_clone_gives_facts_alone(keeper: Keeper):
    base = keeper.clone(FILES)
    checkpoint = keeper.collect()

    assert list(checkpoint.parts) == ["facts"]
    assert checkpoint.facts["head"] == checkpoint.facts["tree"] == base
    assert [checkpoint.facts[key] for key in ("commits", "files", "insertions", "deletions")] == [
        "0"
    ] * 4


def test_stream_is_resumed_at_any_byte(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({"new": os.urandom(3000)})
    os.mkfifo(keeper.tree / ".gitmodules.not")
    (keeper.tree / "nested").mkdir()
    git(keeper.tree / "nested", "init", "-q")
    commit = keeper.collect()
    assert list(commit.parts) == ["facts", "notes", "files", "pack", "patch"]
    header = commit.raw.index(b"\n\n") + 2
    edges = [0, header]
    for part in commit.parts.values():
        edges.append(edges[-1] + len(part))
    # Each edge between two parts and its neighbours under one shell; the edges under the others.
    near = [-1, 0, 1] if keeper.shell == "bash" else [0]
    offsets = sorted({edge + step for edge in edges for step in near} & set(range(edges[-1] + 1)))
    for offset in offsets:
        assert keeper.run("resume", commit.id, str(offset)) == (0, commit.raw[offset:], b"")
    assert keeper.run("resume", commit.id, "0007")[1] == commit.raw[7:]
    code, stdout, stderr = keeper.run("resume", commit.id, str(edges[-1] + 1))
    assert (code, stdout) == (1, b"")
    assert stderr.startswith(b"keeper.sh: ")
    assert keeper.run("resume", "1-2", "0") == (3, b"", b"")


def test_same_work_is_the_same_commit_again(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({"first": b"1\n"})
    first = keeper.collect()
    time.sleep(1.1)
    second = keeper.collect()

    assert first.facts["tree"] == second.facts["tree"] != head_of(keeper.tree)


def test_more_work_is_collected_again_and_the_old_checkpoint_is_gone(keeper: Keeper):
    keeper.clone(FILES)
    keeper.write({"first": b"1\n"})
    first = keeper.collect()
    keeper.write({"second": b"2\n"})
    head = commit_all(keeper.tree)
    second = keeper.collect()

    assert first.id != second.id
    assert set(first.changes) == {b"first"}
    assert set(second.changes) == {b"first", b"second"}
    assert second.facts["head"] == second.facts["tree"] == head == head_of(keeper.tree)
    assert keeper.run("resume", first.id, "0") == (3, b"", b"")
    assert list_tree(keeper.restore(second)) == list_tree(keeper.tree)
