"""From a checked checkpoint to the run's `WorkResult`: files, and sentences for people.

Nothing is read here. Paths, branches and what Git said are other people's words: they are made one
safe line each, and bounded, before they get into a result.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from tasks.outcome.run_result import WorkFile, WorkResult
from tasks.text.quoting import quote
from tasks.text.safe_text import escape_control_characters, one_line
from tasks.work.checkpoint_contents import (
    LONGEST_PATH_BYTES,
    ChangedFile,
    CheckpointContents,
    CheckpointNote,
    FileStatus,
    NoteKind,
)

MOST_RESULT_FILES = 200

_BRANCH_CHARACTERS = 255
_QUOTED_CHARACTERS = 300
_SENTENCES_PER_KIND = 20
_MORE = re.compile(rb"and ([1-9][0-9]{0,14}) more")
_NO_KEY = "The result storage does not hold all of it."
_UNKNOWN_WORK = "The keeper could not find out what the agent made."

_STATUS_WORDS = {
    FileStatus.ADDED: "added",
    FileStatus.MODIFIED: "modified",
    FileStatus.DELETED: "deleted",
    FileStatus.TYPE_CHANGED: "type_changed",
}


class _Wording(NamedTuple):
    """A sentence with what the note says in place of `{}`, and one for a number of more."""

    one: str
    more: str


_WORDINGS: Mapping[str, _Wording] = {
    NoteKind.TOO_LARGE: _Wording(
        "{} was left out, since it is too large.",
        "{} more files were left out, since they are too large.",
    ),
    NoteKind.SUBMODULE: _Wording(
        "The content of {} was left out, since it is a repository of its own.",
        "The content of {} more repositories was left out.",
    ),
    NoteKind.UNREADABLE: _Wording(
        "This could not be read: {}.",
        "{} more files or folders could not be read.",
    ),
    NoteKind.PACK_TOO_LARGE: _Wording(
        "There is no bundle: commits and files take more than may be collected.", ""
    ),
    NoteKind.PATCH_TOO_LARGE: _Wording(
        "There is no patch: it would take more than may be collected.", ""
    ),
    NoteKind.HISTORY_REWRITTEN: _Wording(
        "The agent rewrote history: the commit it started from is not an ancestor of its HEAD.", ""
    ),
    NoteKind.NO_REPOSITORY: _Wording("The folder was not a Git repository at the agent's end.", ""),
    NoteKind.NO_COMMITS: _Wording("The repository had no commit at the agent's end.", ""),
    NoteKind.UNSUPPORTED: _Wording(
        "Not all of it could be collected: {}.", "{} more files or folders could not be collected."
    ),
    NoteKind.IN_PROGRESS: _Wording("The agent left this unfinished: {}.", ""),
    NoteKind.ERROR: _Wording("Git failed in the pod: {}.", "Git failed in the pod {} more times."),
}
# The first of them that was noted is why there is nothing to store.
_REASONS_FOR_NOTHING = (
    NoteKind.PACK_TOO_LARGE,
    NoteKind.NO_REPOSITORY,
    NoteKind.UNSUPPORTED,
    NoteKind.ERROR,
    NoteKind.UNREADABLE,
    NoteKind.NO_COMMITS,
)


class CheckedBlob(NamedTuple):
    """Of an object in the pack; `sha256` is `None` where it was not computed."""

    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class BundleFile:
    """The Git bundle, as a file of this machine."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedWork:
    """A checkpoint after its check.

    Attributes:
        blobs: By object id; of changed files, as far as the pack has them.
        bundle: `None` where nothing changed, or where Git refuses the pack.
        patch: File with the binary patch; `None` if there is none.
        files: File with the JSON of all changed files; `None` if there are none.
        problem: Why the work cannot be had as it is, one sentence; `None` if it can.
        remarks: What the check left out, each a sentence.
    """

    contents: CheckpointContents
    blobs: Mapping[str, CheckedBlob] = field(default_factory=dict[str, CheckedBlob])
    bundle: BundleFile | None = None
    patch: Path | None = None
    files: Path | None = None
    problem: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWork:
    """The keys under which the files of a work lie in the result storage; `None` if they do not."""

    bundle_key: str | None = None
    patch_key: str | None = None
    files_key: str | None = None


def collected_work(work: CheckedWork, stored: StoredWork, problem: str | None = None) -> WorkResult:
    """Return the result of a checkpoint.

    Args:
        work: As it was checked.
        stored: What of it lies in the result storage.
        problem: Why not all of it does, one sentence.
    """
    facts, changes = work.contents.facts, work.contents.changes
    files = (
        (work.bundle, stored.bundle_key),
        (work.patch, stored.patch_key),
        (work.files, stored.files_key),
    )
    unstored = any(file is not None and key is None for file, key in files)
    problem = work.problem or problem or (_NO_KEY if unstored else None)
    bundle = work.bundle if stored.bundle_key is not None else None
    return WorkResult(
        collected=problem is None,
        problem=problem,
        base_commit=facts.base,
        head_commit=facts.head,
        work_commit=facts.tree,
        branch=None if facts.branch is None else one_line(facts.branch, _BRANCH_CHARACTERS),
        commits=facts.commits,
        files_changed=facts.files if changes is None else changes.total,
        insertions=facts.insertions,
        deletions=facts.deletions,
        files=tuple(islice(work_files(work.contents, work.blobs), MOST_RESULT_FILES)),
        left_out=(*note_sentences(work.contents.notes), *work.remarks),
        bundle_key=stored.bundle_key,
        patch_key=stored.patch_key,
        files_key=stored.files_key,
        bundle_bytes=None if bundle is None else bundle.size_bytes,
        bundle_sha256=None if bundle is None else bundle.sha256,
    )


def uncollected_work(problem: str) -> WorkResult:
    """Return the result where no checkpoint could be had; `problem` is one sentence."""
    return WorkResult(collected=False, problem=problem)


def work_of_checkpoint(last: WorkResult, made_at: datetime, problem: str) -> WorkResult:
    """Return the result where all that is stored is a checkpoint from before the agent's end.

    Args:
        last: The result of that checkpoint.
        made_at: When it was made, UTC.
        problem: Why the work of the agent's end could not be had, one sentence.
    """
    stored = f"What is stored is a checkpoint of {made_at:%H:%M:%S} UTC."
    return last.model_copy(
        update={"collected": False, "problem": f"{problem} {stored}", "checkpoint_at": made_at}
    )


def why_without_pack(contents: CheckpointContents) -> str | None:
    """Return why a checkpoint without a pack is not all of the work; `None` if nothing changed."""
    if contents.facts.tree is not None and contents.facts.tree_is_in_base:
        return None
    for kind in _REASONS_FOR_NOTHING:
        for note in contents.notes:
            if note.kind == kind:
                return _sentence(note)
    return _UNKNOWN_WORK


def work_files(
    contents: CheckpointContents, blobs: Mapping[str, CheckedBlob]
) -> Iterator[WorkFile]:
    """Yield the changed files that the checkpoint lists, in Git's order."""
    for file in contents.changes.listed if contents.changes is not None else ():
        blob = blobs.get(file.blob) if file.blob is not None else None
        yield WorkFile.model_validate(
            {
                "path": path_text(file.path),
                "status": _STATUS_WORDS[file.status],
                "insertions": file.insertions,
                "deletions": file.deletions,
                "size_bytes": None if blob is None else blob.size_bytes,
                "sha256": None if blob is None else blob.sha256,
            }
        )


def files_json(contents: CheckpointContents, blobs: Mapping[str, CheckedBlob]) -> Iterator[bytes]:
    """Yield, file by file, a JSON array of all files that the checkpoint lists."""
    before = b"[\n"
    for file in work_files(contents, blobs):
        yield before + file.model_dump_json().encode()
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def path_text(path: bytes) -> str:
    """Return a path as one line that steers no terminal; what is not UTF-8 is replaced."""
    text = path.decode(errors="replace").replace("\r", "\\x0d")
    line = text.replace("\n", "\\x0a").replace("\t", "\\x09")
    return escape_control_characters(line) + ("…" if len(path) >= LONGEST_PATH_BYTES else "")


def note_sentences(notes: Sequence[CheckpointNote]) -> Iterator[str]:
    """Yield a sentence for each of the first notes of a kind, and one for how many more it has."""
    ordered = sorted(notes, key=lambda note: note.kind)
    for kind, group in groupby(ordered, key=lambda note: note.kind):
        of_kind = list(group)
        more = _MORE.fullmatch(of_kind[-1].text) if len(of_kind) > 1 else None
        if more is not None:
            of_kind.pop()
        yield from map(_sentence, of_kind[:_SENTENCES_PER_KIND])
        untold = len(of_kind) - _SENTENCES_PER_KIND
        count = max(0, untold) + (0 if more is None else int(more[1]))
        if count:
            yield _sentence_of_more(kind, count)


def _sentence(note: CheckpointNote) -> str:
    words = one_line(path_text(note.text), _QUOTED_CHARACTERS)
    wording = _WORDINGS.get(note.kind)
    if wording is None:
        return f"The keeper noted {note.kind}: “{words}”."
    if "{}" in wording.one:
        # Paths as they are; of the keeper's own sentences the full stop comes after the quote.
        return wording.one.replace("{}", f"“{words.removesuffix('.') if ' ' in words else words}”")
    return f"{wording.one} The keeper says: “{words}”" if words else wording.one


def _sentence_of_more(kind: str, count: int) -> str:
    wording = _WORDINGS.get(kind)
    if wording is None or not wording.more:
        return f"There are {count:,} more notes of the kind {kind}."
    return wording.more.replace("{}", f"{count:,}")


def refused_pack(said: str) -> str:
    """Return the sentence for a pack that Git does not accept, with what it said."""
    lines = (line.strip() for line in said.split("\n"))
    errors = "; ".join(line for line in lines if line.startswith(("error:", "fatal:")))
    words = quote(errors or said)
    return f"Git refuses the objects of the work{f': {words}' if words else ''}."


def unhashed_files(files: Sequence[ChangedFile], blobs: Mapping[str, CheckedBlob]) -> int:
    """Count the files whose content is in the pack and has no SHA-256 here."""
    found = (blobs.get(file.blob) for file in files if file.blob is not None)
    return sum(blob is not None and blob.sha256 is None for blob in found)
