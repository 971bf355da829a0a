"""The check of a checkpoint: Git looks through its pack, and what is good becomes a bundle.

The objects are an agent's, and an agent may put anything into a repository. What Git's own rules
refuse is not handed on; how many objects are looked at, how much of them is inflated, and how long
it takes, are bounded.
"""

import asyncio
import hashlib
import math
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

from tasks.work.checkpoint_contents import (
    ChangedFiles,
    CheckpointContents,
    CheckpointFacts,
    parse_changes,
    parse_facts,
    parse_notes,
)
from tasks.work.checkpoint_stream import PartName, WorkDamaged
from tasks.work.collected_work import (
    BundleFile,
    CheckedBlob,
    CheckedWork,
    files_json,
    refused_pack,
    unhashed_files,
    why_without_pack,
)
from tasks.work.restricted_git import GitFailed, RestrictedGit, find_git

_COPY_BYTES = 1024 * 1024
# A few milliseconds of work, after which others get their turn: what waits to be read never makes
# this wait.
_FILES_PER_TURN = 500
_PACK_HEADER_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """Bounds of a check; guessed, far above what honest work takes.

    Attributes:
        seconds: For all of it together.
        memory_bytes: Most address space of each command of Git.
        objects: Most objects in a pack.
        hashed_bytes: Most bytes of files together whose SHA-256 is computed.
        listed_files: Most changed files that are listed.
    """

    seconds: float = 300.0
    memory_bytes: int = 512 * 1024 * 1024
    objects: int = 1_000_000
    hashed_bytes: int = 4 * 1024 * 1024 * 1024
    listed_files: int = 100_000


class _PackRefused(Exception):
    """The pack is not what it should be; `str()` is a sentence."""


async def check_work(folder: Path, limits: CheckLimits | None = None) -> CheckedWork:
    """Check the checkpoint that a receiver has written to `folder`.

    Makes the files of the answer there, and whatever it needs meanwhile. Every command of Git has
    ended when this ends, also when it is cancelled.

    Raises:
        WorkDamaged: Facts, notes or the list of files cannot be read.
        GitMissing: There is a pack, and no Git to look at it.
        OSError: The folder has no room.
    """
    limits = limits or CheckLimits()
    contents = await asyncio.to_thread(read_contents, folder, limits.listed_files)
    patch = folder / PartName.PATCH
    work = CheckedWork(contents=contents, patch=patch if patch.exists() else None)
    pack = _pack_of(folder, contents.facts)
    if pack is None:
        work = replace(work, problem=why_without_pack(contents))
    else:
        work = await _PackCheck(folder, pack, limits).check(work)
    return replace(
        work,
        files=await _write_files(folder, work),
        remarks=(*work.remarks, *_remarks(work)),
    )


def read_contents(
    folder: Path, most_listed: int = CheckLimits().listed_files
) -> CheckpointContents:
    """Return what the parts in `folder` say, except for pack and patch; needs no Git.

    Raises:
        WorkDamaged: They cannot be read.
    """
    facts = parse_facts((folder / PartName.FACTS).read_bytes())
    notes, files = folder / PartName.NOTES, folder / PartName.FILES
    return CheckpointContents(
        facts,
        parse_notes(notes.read_bytes()) if notes.exists() else (),
        _read_changes(files, facts, most_listed) if files.exists() else None,
    )


def _read_changes(path: Path, facts: CheckpointFacts, most_listed: int) -> ChangedFiles:
    if not path.stat().st_size:
        raise WorkDamaged("The list of changed files in the checkpoint is empty.")
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return parse_changes(content, facts.object_format, most_listed)


def _pack_of(folder: Path, facts: CheckpointFacts) -> Path | None:
    """Return the pack to check; where the work is an earlier commit of the base, an empty one."""
    pack = folder / PartName.PACK
    if pack.exists():
        if facts.base is None or facts.tree is None:
            raise WorkDamaged("The checkpoint has a pack, and its facts do not say what for.")
        return pack
    if facts.base is None or facts.tree == facts.base or not facts.tree_is_in_base:
        return None
    header = b"PACK" + (2).to_bytes(4) + (0).to_bytes(4)
    pack = folder / "no_objects"
    pack.write_bytes(header + hashlib.new(facts.object_format, header).digest())
    return pack


async def _write_files(folder: Path, work: CheckedWork) -> Path | None:
    if work.contents.changes is None:
        return None
    target = folder / "files.json"
    with target.open("wb") as file:
        for number, piece in enumerate(files_json(work.contents, work.blobs)):
            file.write(piece)
            if number % _FILES_PER_TURN == 0:
                await asyncio.sleep(0)
    return target


def _remarks(work: CheckedWork) -> Iterator[str]:
    changes = work.contents.changes or ChangedFiles()
    unlisted = changes.total - len(changes.listed)
    if unlisted:
        yield f"The list of changed files ends before the last {unlisted:,} of them."
    unhashed = unhashed_files(changes.listed, work.blobs)
    if unhashed:
        files = _changed_files(unhashed)
        yield f"The SHA-256 of {files} was not computed, since it would have taken too long."


class _PackCheck:
    """One check of one pack, in a repository that exists for as long as it takes."""

    def __init__(self, folder: Path, pack: Path, limits: CheckLimits) -> None:
        self._folder = folder
        self._pack = pack
        self._limits = limits

    async def check(self, work: CheckedWork) -> CheckedWork:
        """Return the work with its bundle and blobs, or with what is wrong about its pack."""
        program = find_git()
        repository = Path(tempfile.mkdtemp(prefix="checked-", dir=self._folder))
        seconds = self._limits.seconds
        git = RestrictedGit(program, repository, self._limits.memory_bytes, math.ceil(seconds))
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                sizes = await self._check_objects(git, work.contents)
                bundle = await self._make_bundle(work.contents.facts)
            blobs = await self._hash_blobs(git, sizes, deadline)
            return replace(
                work, bundle=bundle, blobs=blobs, problem=_what_lacks(work.contents, blobs)
            )
        except TimeoutError:
            took = f"The check of the work's objects took longer than {seconds:g} s."
            return replace(work, problem=took)
        except GitFailed as failure:
            return replace(work, problem=refused_pack(failure.said))
        except _PackRefused as refused:
            return replace(work, problem=str(refused))
        finally:
            shutil.rmtree(repository, ignore_errors=True)

    async def _check_objects(
        self, git: RestrictedGit, contents: CheckpointContents
    ) -> dict[str, int]:
        """Return the sizes of the changed files' blobs that are there; both commits are."""
        facts = contents.facts
        self._check_header()
        await git.run(
            "init",
            "--quiet",
            "--bare",
            f"--object-format={facts.object_format}",
            "--template=",
            ".",
        )
        packs = git.repository / "objects" / "pack"
        packs.mkdir(parents=True, exist_ok=True)
        # Not copied: a pack may be large, and here it is only read.
        (packs / "pack-0.pack").symlink_to(self._pack.absolute())
        await git.run("index-pack", "--fsck-objects", "--threads=1", str(packs / "pack-0.pack"))
        blobs = _blob_ids(contents)
        commits = [each for each in (facts.head, facts.tree) if each is not None]
        found = await self._look_up(git, [*commits, *blobs])
        _check_commits(facts, found)
        return {name: found[name][1] for name in blobs if found.get(name, ("", 0))[0] == "blob"}

    def _check_header(self) -> None:
        with self._pack.open("rb") as file:
            header = file.read(_PACK_HEADER_BYTES)
        if len(header) < _PACK_HEADER_BYTES or not header.startswith(b"PACK"):
            raise _PackRefused("What should be the pack of the work is not a pack.")
        count = int.from_bytes(header[8:])
        if count > self._limits.objects:
            raise _PackRefused(
                f"The work has {count:,} objects, and at most {self._limits.objects:,} are checked."
            )

    async def _look_up(self, git: RestrictedGit, ids: list[str]) -> dict[str, tuple[str, int]]:
        """Return type and size of the objects that are there; a size takes no inflating."""
        found: dict[str, tuple[str, int]] = {}
        asked = self._write_ids(git, ids)
        async with git.printing("cat-file", "--batch-check", stdin=asked) as stdout:
            while line := await stdout.readline():
                match line.decode().split():
                    case [name, kind, size] if size.isdecimal():
                        found[name] = (kind, int(size))
                    case _:
                        pass
                if len(found) % _FILES_PER_TURN == 0:
                    await asyncio.sleep(0)
        return found

    def _write_ids(self, git: RestrictedGit, ids: list[str]) -> Path:
        asked = git.repository / "asked"
        asked.write_text("".join(f"{each}\n" for each in ids))
        return asked

    async def _make_bundle(self, facts: CheckpointFacts) -> BundleFile:
        target = self._folder / "work.bundle"
        digest = hashlib.sha256()
        with target.open("wb") as bundle, self._pack.open("rb") as pack:
            piece = bundle_header(facts)
            while piece:
                digest.update(piece)
                bundle.write(piece)
                await asyncio.sleep(0)
                piece = pack.read(_COPY_BYTES)
        return BundleFile(target, target.stat().st_size, digest.hexdigest())

    async def _hash_blobs(
        self, git: RestrictedGit, sizes: dict[str, int], deadline: float
    ) -> dict[str, CheckedBlob]:
        """Return the blobs; without their hash where bytes, memory or time were not enough."""
        blobs = {name: CheckedBlob(size, None) for name, size in sizes.items()}
        left, hashed = self._limits.hashed_bytes, list[str]()
        for name, size in sizes.items():
            if size <= left:
                left -= size
                hashed.append(name)
        asked = self._write_ids(git, hashed)
        try:
            async with (
                asyncio.timeout_at(deadline),
                git.printing("cat-file", "--batch", stdin=asked) as stdout,
            ):
                for number, name in enumerate(hashed):
                    if number % _FILES_PER_TURN == 0:
                        await asyncio.sleep(0)
                    blobs[name] = CheckedBlob(sizes[name], await _hash_next(stdout, sizes[name]))
        except (TimeoutError, GitFailed):
            pass  # those without a hash are told among the remarks
        return blobs


async def _hash_next(stdout: asyncio.StreamReader, size: int) -> str:
    await stdout.readuntil(b"\n")
    digest, left = hashlib.sha256(), size
    while left:
        piece = await stdout.read(min(left, _COPY_BYTES))
        if not piece:
            raise EOFError
        digest.update(piece)
        left -= len(piece)
    await stdout.readexactly(1)
    return digest.hexdigest()


def _blob_ids(contents: CheckpointContents) -> list[str]:
    changes = contents.changes or ChangedFiles()
    return list(dict.fromkeys(file.blob for file in changes.listed if file.blob is not None))


def _check_commits(facts: CheckpointFacts, found: dict[str, tuple[str, int]]) -> None:
    needed = ((facts.head, facts.head_is_in_base), (facts.tree, facts.tree_is_in_base))
    for commit, is_in_base in needed:
        kind, _ = found.get(commit or "", ("", 0))
        if commit is not None and not is_in_base and kind != "commit":
            raise _PackRefused(f"The pack of the work does not have the commit {commit}.")


def _what_lacks(contents: CheckpointContents, blobs: dict[str, CheckedBlob]) -> str | None:
    """Return what a good pack lacks all the same; who has the base may have it nevertheless."""
    missing = sum(name not in blobs for name in _blob_ids(contents))
    if not missing:
        return None
    return f"The pack of the work lacks the content of {_changed_files(missing)}."


def _changed_files(count: int) -> str:
    return f"{count:,} changed file{'' if count == 1 else 's'}"


def bundle_header(facts: CheckpointFacts) -> bytes:
    """Return what a bundle has before its pack: who has the base can fetch head and work."""
    lines = ["# v2 git bundle"]
    if facts.object_format != "sha1":
        lines = ["# v3 git bundle", f"@object-format={facts.object_format}"]
    lines.append(f"-{facts.base}")
    if facts.head is not None:
        lines.append(f"{facts.head} refs/heads/claude-jobs/head")
    lines.append(f"{facts.tree} refs/heads/claude-jobs/work")
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()
