"""Checkpoints of real repositories, made as the keeper's contract says, and packs made by hand."""

import hashlib
import os
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMIT, TREE, BLOB, OFFSET_DELTA = 1, 2, 3, 6

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
}


def git(folder: Path, *args: str, given: bytes = b"") -> bytes:
    """Run Git in a folder; return what it prints."""
    done = subprocess.run(
        ["git", *args],
        cwd=folder,
        env={**_ENVIRONMENT, "HOME": str(folder)},
        input=given,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def commit_id(folder: Path, name: str = "HEAD") -> str:
    return git(folder, "rev-parse", "--verify", name).decode().strip()


def make_base(folder: Path, object_format: str = "sha1") -> str:
    """Make a repository with a commit of a few files; return its id."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main", "--template=", f"--object-format={object_format}")
    (folder / "kept").write_text("kept\n")
    (folder / "changed").write_text("one\ntwo\n")
    (folder / "removed").write_text("removed\n")
    commit_all(folder, "Base")
    return commit_id(folder)


def commit_all(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)


def snapshot(folder: Path) -> str:
    """Return a commit of what lies in the folder: HEAD where nothing is uncommitted."""
    git(folder, "add", "-A")
    tree = git(folder, "write-tree").decode().strip()
    if tree == commit_id(folder, "HEAD^{tree}"):
        return commit_id(folder)
    return git(folder, "commit-tree", tree, "-p", "HEAD", "-m", "Snapshot").decode().strip()


def parts_of(folder: Path, base: str, notes: bytes = b"") -> dict[str, bytes]:
    """Return the parts of a checkpoint of a repository, by name."""
    head, tree = commit_id(folder), snapshot(folder)
    commits = git(folder, "rev-list", "--count", f"{base}..{head}").decode().strip()
    facts = {
        "version": "1",
        "base": base,
        "head": head,
        "tree": tree,
        "branch": git(folder, "branch", "--show-current").decode().strip(),
        "commits": commits,
        "object_format": "sha1" if len(base) == 40 else "sha256",
    }
    difference = ("diff", "--no-renames", base, tree)
    files = git(folder, *difference, "--raw", "-z", "--abbrev=64")
    parts = {"notes": notes} if notes else {}
    if files:
        numbers = git(folder, *difference, "--numstat", "-z")
        listed = git(folder, "rev-list", "--objects", head, tree, f"^{base}")
        ids = {line[: len(base)].decode() for line in listed.split(b"\n")[:-1]}
        for entry in files.split(b"\0"):
            if entry.startswith(b":") and entry.split(b" ")[1] not in {b"000000", b"160000"}:
                ids.add(entry.split(b" ")[3].decode())
        asked = "".join(f"{each}\n" for each in sorted(ids)).encode()
        parts["files"] = files + b"\0" + numbers
        parts["pack"] = git(folder, "pack-objects", "--stdout", "-q", "--threads=1", given=asked)
        parts["patch"] = git(folder, *difference, "--binary", "--full-index")
        facts["files"] = str(files.count(b"\0") // 2)
    return {"facts": facts_text(facts), **parts}


def facts_text(facts: Mapping[str, str]) -> bytes:
    return "".join(f"{key}={value}\n" for key, value in facts.items() if value).encode()


def stream_of(parts: Mapping[str, bytes], checkpoint_id: str = "20261129t225000z-1") -> bytes:
    """Return what the keeper prints for these parts."""
    lines = [f"claude-jobs-work 1 {checkpoint_id}"]
    lines += [f"{n} {len(c)} {hashlib.sha256(c).hexdigest()}" for n, c in parts.items()]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode() + b"".join(parts.values())


def write_parts(folder: Path, parts: Mapping[str, bytes]) -> Path:
    """Put the parts where a receiver puts them."""
    folder.mkdir()
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    return folder


def object_id(kind: str, content: bytes) -> str:
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(content)) + content).hexdigest()


def raw_pack(
    entries: Sequence[tuple[int, bytes, bytes]], count: int | None = None, level: int = 9
) -> bytes:
    """Return a pack of entries: type, what stands before the compressed content, content."""
    pack = b"PACK" + (2).to_bytes(4) + (len(entries) if count is None else count).to_bytes(4)
    for kind, before, content in entries:
        pack += entry_head(kind, len(content)) + before + zlib.compress(content, level)
    return pack + hashlib.sha1(pack).digest()


def entry_head(kind: int, size: int) -> bytes:
    head, rest = [kind << 4 | size & 15], size >> 4
    while rest:
        head[-1] |= 128
        head.append(rest & 127)
        rest >>= 7
    return bytes(head)


def varint(number: int) -> bytes:
    digits = [number & 127]
    while number := number >> 7:
        digits[-1] |= 128
        digits.append(number & 127)
    return bytes(digits)


def tree_content(*entries: tuple[str, str, str]) -> bytes:
    """Return a tree of entries: mode, name, object id."""
    return b"".join(
        f"{mode} {name}".encode() + b"\0" + bytes.fromhex(each) for mode, name, each in entries
    )


def commit_content(tree: str, parent: str | None = None) -> bytes:
    parents = f"parent {parent}\n" if parent else ""
    who = "A <a@example.com> 1700000000 +0000"
    return f"tree {tree}\n{parents}author {who}\ncommitter {who}\n\nMade\n".encode()
