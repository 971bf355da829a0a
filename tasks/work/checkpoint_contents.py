r"""What the parts of a checkpoint say: facts, notes and changed files.

`facts` are lines `key=value`; `notes` are entries `KIND\tTEXT`, each ended by NUL; `files` are
`git diff --raw -z`, one NUL more, and `git diff --numstat -z`. Paths and names of branches are the
agent's, and any byte may be in them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from mmap import mmap
from typing import Literal, NamedTuple

from tasks.work.checkpoint_stream import WorkDamaged

LONGEST_PATH_BYTES = 4096
"""Of a path no more is kept; Linux opens no longer one, but a commit may hold any."""

FACTS_VERSION = 1
_MOST_NOTES = 10_000
_FACT_LINE = re.compile(rb"([a-z_]{1,40})=([^\n]*)")
_COUNT = re.compile(rb"0|[1-9][0-9]{0,14}")
_OBJECT_ID = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_NOTE = re.compile(rb"([a-z_]{1,40})\t(.*)", re.DOTALL)
_RAW = re.compile(rb":[0-7]{6} ([0-7]{6}) ([0-9a-f]+) ([0-9a-f]+) ([A-Z])[0-9]*")
_NUMSTAT = re.compile(rb"([0-9]{1,15}|-)\t([0-9]{1,15}|-)\t(.*)", re.DOTALL)
_LONGEST_COUNTS_BYTES = 40
_SUBMODULE_MODE = b"160000"

ObjectFormat = Literal["sha1", "sha256"]


class NoteKind(StrEnum):
    """What the keeper may note; later versions may know more."""

    TOO_LARGE = "too_large"
    SUBMODULE = "submodule"
    UNREADABLE = "unreadable"
    PACK_TOO_LARGE = "pack_too_large"
    PATCH_TOO_LARGE = "patch_too_large"
    HISTORY_REWRITTEN = "history_rewritten"
    NO_REPOSITORY = "no_repository"
    NO_COMMITS = "no_commits"
    UNSUPPORTED = "unsupported"
    IN_PROGRESS = "in_progress"
    ERROR = "error"


class FileStatus(StrEnum):
    """How a file differs from the base, as Git says it."""

    ADDED = "A"
    DELETED = "D"
    MODIFIED = "M"
    TYPE_CHANGED = "T"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """What was found out about the repository; `None` is unknown.

    Attributes:
        base: Commit that was checked out for the agent.
        head: The agent's HEAD commit.
        tree: Commit of the snapshot; equals `head` if nothing was uncommitted.
        branch: As its bytes say, with replacements for what is not UTF-8; `None` if detached.
        commits: In `head` and not in `base`.
        files: Changed between `base` and `tree`, as are the lines.
    """

    base: str | None = None
    head: str | None = None
    tree: str | None = None
    branch: str | None = None
    commits: int | None = None
    files: int | None = None
    insertions: int | None = None
    deletions: int | None = None
    object_format: ObjectFormat = "sha1"

    @property
    def head_is_in_base(self) -> bool:
        """Whether `head` is the base or one of its ancestors."""
        return self.head is not None and (self.head == self.base or self.commits == 0)

    @property
    def tree_is_in_base(self) -> bool:
        """Whether the work is a commit that everybody has who has the base."""
        return self.tree is not None and (
            self.tree == self.base or (self.tree == self.head and self.head_is_in_base)
        )


class CheckpointNote(NamedTuple):
    """Something that could not be collected, or is remarkable; `kind` may be an unknown one."""

    kind: str
    text: bytes


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that differs between base and work.

    Attributes:
        path: At most `LONGEST_PATH_BYTES` of it.
        blob: Object id of its new content; `None` for deleted files and submodules.
        insertions: Lines; `None` for binary files, as are `deletions`.
    """

    path: bytes
    status: FileStatus
    blob: str | None
    insertions: int | None = None
    deletions: int | None = None


@dataclass(frozen=True, slots=True)
class ChangedFiles:
    """The first of them in Git's order, and how many there are."""

    listed: tuple[ChangedFile, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointContents:
    """All that a checkpoint says; `changes` is `None` where it lists no files."""

    facts: CheckpointFacts
    notes: tuple[CheckpointNote, ...] = ()
    changes: ChangedFiles | None = None


def parse_facts(content: bytes) -> CheckpointFacts:
    """Read the facts; keys that are unknown here are skipped.

    Raises:
        WorkDamaged: They break their form, or contradict each other.
    """
    values = _fact_values(content)
    if values.get("version") != b"%d" % FACTS_VERSION:
        raise WorkDamaged(f"The facts of the checkpoint do not have version {FACTS_VERSION}.")
    ids = {key: _object_id(key, values[key]) for key in ("base", "head", "tree") if key in values}
    return CheckpointFacts(
        **ids,
        branch=values["branch"].decode(errors="replace") if "branch" in values else None,
        commits=_fact_count(values, "commits"),
        files=_fact_count(values, "files"),
        insertions=_fact_count(values, "insertions"),
        deletions=_fact_count(values, "deletions"),
        object_format=_object_format(values.get("object_format"), {len(id) for id in ids.values()}),
    )


def _fact_values(content: bytes) -> dict[str, bytes]:
    if content and not content.endswith(b"\n"):
        raise WorkDamaged("The facts of the checkpoint end within a line.")
    values: dict[str, bytes] = {}
    for line in content.split(b"\n")[:-1]:
        found = _FACT_LINE.fullmatch(line)
        if found is None:
            raise WorkDamaged("A line in the facts of the checkpoint cannot be read.")
        key = found[1].decode()
        if key in values:
            raise WorkDamaged(f"The facts of the checkpoint say twice what {key} is.")
        values[key] = found[2]
    return values


def _object_id(key: str, value: bytes) -> str:
    if not _OBJECT_ID.fullmatch(value):
        raise WorkDamaged(f"The facts of the checkpoint name a {key} that cannot be a commit.")
    return value.decode()


def _fact_count(values: dict[str, bytes], key: str) -> int | None:
    value = values.get(key)
    if value is None:
        return None
    if not _COUNT.fullmatch(value):
        raise WorkDamaged(f"The facts of the checkpoint give no number as {key}.")
    return int(value)


def _object_format(value: bytes | None, lengths: set[int]) -> ObjectFormat:
    formats: dict[ObjectFormat, int] = {"sha1": 40, "sha256": 64}
    for name, length in formats.items():
        if value in (None, name.encode()) and lengths <= {length}:
            return name
    raise WorkDamaged("The facts of the checkpoint name commits of another object format.")


def parse_notes(content: bytes) -> tuple[CheckpointNote, ...]:
    """Read the notes, in their order.

    Raises:
        WorkDamaged: They break their form, or are more than the keeper writes.
    """
    entries = content.split(b"\0", _MOST_NOTES)
    if entries.pop():
        raise WorkDamaged("The notes of the checkpoint are too many, or end within one.")
    notes: list[CheckpointNote] = []
    for entry in entries:
        found = _NOTE.fullmatch(entry)
        if found is None:
            raise WorkDamaged("A note of the checkpoint cannot be read.")
        notes.append(CheckpointNote(found[1].decode(), found[2]))
    return tuple(notes)


def parse_changes(
    content: bytes | mmap, object_format: ObjectFormat, most_listed: int
) -> ChangedFiles:
    """Read the changed files: the first `most_listed` whole, of the others their number.

    Args:
        content: May be far larger than memory; a mapped file is read in passing.
        object_format: Of the repository, which all ids in the list must have.
        most_listed: What the result may hold.

    Raises:
        WorkDamaged: They break their form, or the two halves are not about the same files.
    """
    listed: list[ChangedFile] = []
    entries = _RawEntries(content, 40 if object_format == "sha1" else 64)
    total = 0
    for entry in entries:
        total += 1
        if total <= most_listed:
            listed.append(entry)
    counts = _line_counts(content, entries.at)
    is_all = total <= most_listed
    return ChangedFiles(tuple(_with_counts(listed, counts, is_all=is_all)), total)


class _RawEntries(Iterator[ChangedFile]):
    """The entries of `git diff --raw -z`; `at` is then where the next half begins."""

    def __init__(self, content: bytes | mmap, id_digits: int) -> None:
        self.at = 0
        self._content = content
        self._id_digits = id_digits

    def __next__(self) -> ChangedFile:
        content = self._content
        if content[self.at : self.at + 1] == b"\0":
            self.at += 1
            raise StopIteration
        head_end = content.find(b"\0", self.at, self.at + 2 * self._id_digits + 32)
        path_end = content.find(b"\0", head_end + 1) if head_end >= 0 else -1
        found = _RAW.fullmatch(content[self.at : head_end]) if path_end > head_end + 1 else None
        if found is None or {len(found[2]), len(found[3])} != {self._id_digits}:
            raise WorkDamaged("The list of changed files in the checkpoint cannot be read.")
        self.at = path_end + 1
        path = content[head_end + 1 : min(path_end, head_end + 1 + LONGEST_PATH_BYTES)]
        return _changed_file(path, *found.group(1, 3, 4))


def _changed_file(path: bytes, mode: bytes, blob: bytes, status: bytes) -> ChangedFile:
    try:
        known = FileStatus(status.decode())
    except ValueError:
        raise WorkDamaged("The checkpoint lists a change of an unknown kind.") from None
    has_blob = known is not FileStatus.DELETED and mode != _SUBMODULE_MODE
    return ChangedFile(path, known, blob.decode() if has_blob else None)


class _LineCounts(NamedTuple):
    insertions: int | None
    deletions: int | None
    path: bytes


def _line_counts(content: bytes | mmap, at: int) -> Iterator[_LineCounts]:
    """Yield the entries of `git diff --numstat -z`."""
    while at < len(content):
        end = content.find(b"\0", at)
        longest = at + _LONGEST_COUNTS_BYTES + LONGEST_PATH_BYTES
        found = _NUMSTAT.fullmatch(content[at : min(end, longest)]) if end >= 0 else None
        if found is None:
            raise WorkDamaged("The counts of changed lines in the checkpoint cannot be read.")
        at = end + 1
        yield _LineCounts(_lines(found[1]), _lines(found[2]), found[3][:LONGEST_PATH_BYTES])


def _lines(digits: bytes) -> int | None:
    return None if digits == b"-" else int(digits)


def _with_counts(
    files: list[ChangedFile], counts: Iterator[_LineCounts], *, is_all: bool
) -> Iterator[ChangedFile]:
    """Yield the files with their counts; both come in one order, and some have no count."""
    waiting = next(counts, None)
    for file in files:
        if waiting is None or waiting.path != file.path:
            yield file
            continue
        yield ChangedFile(file.path, file.status, file.blob, waiting.insertions, waiting.deletions)
        waiting = next(counts, None)
    if is_all and waiting is not None:
        raise WorkDamaged("The checkpoint counts lines of files that it does not list.")
