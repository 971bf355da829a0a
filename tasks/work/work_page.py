"""The page of what an agent made: how much, which files, where it lies, and the beginning of it.

Names, branches and the diff itself are the agent's. They are escaped or quoted as code, and the
page is of bounded size whatever was changed.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tasks.outcome.report_page import (
    UNKNOWN,
    fetch_command,
    left_out_list,
    published_rows,
    work_places,
)
from tasks.outcome.run_result import WorkFile, WorkResult
from tasks.text.markdown import code_span, escape_markdown, quote_code, table
from tasks.text.safe_text import escape_control_characters, one_line

# A page that a browser shows at once.
_SHOWN_BYTES = 100 * 1024
# More of a patch is not looked through; what is binary in it takes no place on the page.
_READ_BYTES = 1024 * 1024
_SHOWN_FILES = 200
_NAME_CHARACTERS = 300
_PROBLEM_CHARACTERS = 500

_FILE_BEGINS = "diff --git "
_HUNK_BEGINS = "@@ "
_BINARY_BEGINS = "GIT binary patch"


class ShownDiff(NamedTuple):
    """The beginning of a diff, for reading.

    Attributes:
        text: Whole lines, made safe; without what is binary.
        files: How many changed files it begins to show.
        changed_lines: How many added and deleted lines it shows.
        is_whole: Nothing but what is binary was left out.
    """

    text: str
    files: int
    changed_lines: int
    is_whole: bool


def render_work_page(
    work: WorkResult, *, agent_name: str, patch: bytes | None, patch_is_cut: bool
) -> str:
    """Return the page as Markdown.

    Args:
        work: What was collected; known secrets are masked in it.
        agent_name: As the command line takes it.
        patch: The patch or its beginning, as Git wrote it; null without one. Whoever publishes the
            page masks known secrets, which stand in it as in the patch.
        patch_is_cut: There is more of the patch, and its last line here may not be whole.
    """
    places = work_places(work)
    sections = (
        f"## Work of agent {escape_markdown(agent_name)}\n\n{_summary(work)}",
        _problem(work),
        _published(work),
        left_out_list(work),
        _how_to_get(work, agent_name),
        f"### In the result storage\n\n{table(('What', 'Key'), places)}" if places else "",
        _files(work),
        _diff(work, cut_diff(patch, is_cut=patch_is_cut)) if patch else "",
    )
    return "\n\n".join(section for section in sections if section)


def cut_diff(patch: bytes, *, is_cut: bool = False, limit_bytes: int = _SHOWN_BYTES) -> ShownDiff:
    """Return the beginning of a patch as text for reading, cut between two lines.

    Args:
        patch: As Git wrote it.
        is_cut: There is more of it, and its last line may not be whole.
        limit_bytes: Of the text as UTF-8.
    """
    is_cut = is_cut or len(patch) > _READ_BYTES
    shown: list[str] = []
    size = files = changed_lines = 0
    in_hunk = False
    for line in _readable_lines(patch[:_READ_BYTES], is_cut=is_cut):
        size += len(line.encode()) + 1
        if size > limit_bytes:
            is_cut = True
            break
        shown.append(line)
        if line.startswith(_FILE_BEGINS):
            files, in_hunk = files + 1, False
        elif line.startswith(_HUNK_BEGINS):
            in_hunk = True
        # Names of files have the same marks before the first hunk.
        elif in_hunk and line.startswith(("+", "-")):
            changed_lines += 1
    return ShownDiff("\n".join(shown), files, changed_lines, is_whole=not is_cut)


def _readable_lines(patch: bytes, *, is_cut: bool) -> Iterator[str]:
    """Yield the lines as safe text; what is binary is one line that says so."""
    lines = patch.split(b"\n")
    if is_cut or not lines[-1]:
        lines.pop()
    in_binary = False
    for raw in lines:
        # Nobody would see a CR.
        line = escape_control_characters(raw.decode("utf-8", errors="replace").replace("\r", "␍"))
        if line.startswith(_FILE_BEGINS):
            in_binary = False
        if in_binary:
            continue
        in_binary = line == _BINARY_BEGINS
        yield "(binary, not shown here)" if in_binary else line


def _summary(work: WorkResult) -> str:
    branch = f" on branch {_name(work.branch)}" if work.branch else ""
    commits = ((work.base_commit, "started from"), (work.work_commit, "ended with"))
    known = [f"{title} {code_span(commit)}" for commit, title in commits if commit]
    return "; ".join([f"**Changes:** {work.changes or 'unknown'}{branch}", *known])


def _problem(work: WorkResult) -> str:
    if work.collected:
        return ""
    why = one_line(work.problem or "nobody knows why.", _PROBLEM_CHARACTERS)
    return f"**Not collected:** {escape_markdown(why)}"


def _published(work: WorkResult) -> str:
    rows = published_rows(work.published)
    return f"### Published\n\n{table(('Item', 'Value'), rows)}" if rows else ""


def _how_to_get(work: WorkResult, agent_name: str) -> str:
    if not work.collected or work.is_unchanged:
        return ""
    command = quote_code(fetch_command(agent_name, "--apply", "DIR"), "sh")
    return f"### How to get it\n\nInto a clone of the repository in folder `DIR`:\n\n{command}"


def _files(work: WorkResult) -> str:
    if not work.files:
        return ""
    shown = work.files[:_SHOWN_FILES]
    listed = table(("Status", "Path", "+", "−", "Bytes"), [_row(file) for file in shown])
    more = max(work.files_changed or 0, len(work.files)) - len(shown)
    where = f", in {code_span(work.files_key)}" if work.files_key else ""
    rest = f"\n\nAnd {more:,} more{where}." if more else ""
    return f"### Changed files\n\n{listed}{rest}"


def _row(file: WorkFile) -> tuple[str, ...]:
    counts = (file.insertions, file.deletions, file.size_bytes)
    return file.status.replace("_", " "), _name(file.path), *map(_count, counts)


def _diff(work: WorkResult, diff: ShownDiff) -> str:
    parts = ["### Diff", quote_code(diff.text, "diff") if diff.text else "", _rest(work, diff)]
    return "\n\n".join(part for part in parts if part)


def _rest(work: WorkResult, diff: ShownDiff) -> str:
    """Tell how much more there is."""
    if diff.is_whole:
        return ""
    has_lines = work.insertions is not None and work.deletions is not None
    lines = (work.insertions or 0) + (work.deletions or 0) if has_lines else 0
    counts = (
        (lines - diff.changed_lines, lines, "changed lines"),
        ((work.files_changed or 0) - diff.files, work.files_changed, "changed files"),
    )
    left = [f"{missing:,} of {total:,} {noun}" for missing, total, noun in counts if missing > 0]
    amount = f" {' and '.join(left)} are not shown." if left else ""
    whole = f" The whole diff is {code_span(work.patch_key)}." if work.patch_key else ""
    return f"*The diff is cut here.{amount}*{whole}"


def _name(text: str) -> str:
    return code_span(one_line(text, _NAME_CHARACTERS))


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"
