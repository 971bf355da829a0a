"""The page of what an agent made: its counts, its bounds, and that its names structure nothing."""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.outcome.run_result import WorkFile, WorkResult
from tasks.work.work_page import cut_diff, render_work_page

BASE, TREE = "a" * 40, "c" * 40
WORK = WorkResult(
    collected=True,
    base_commit=BASE,
    head_commit="b" * 40,
    work_commit=TREE,
    branch="fix",
    commits=2,
    files_changed=2,
    insertions=1200,
    deletions=1,
    files=(
        WorkFile(path="a.py", status="modified", insertions=1200, deletions=1, size_bytes=34_000),
        WorkFile(path="b.png", status="type_changed", size_bytes=5),
    ),
    left_out=("big.bin is too large.",),
    bundle_key="ada/f1/work.bundle",
    patch_key="ada/f1/work.patch",
    files_key="ada/f1/work.json",
)
PATCH = b"""diff --git a/a.py b/a.py
index 1..2 100644
--- a/a.py
+++ b/a.py
@@ -1,2 +1,2 @@
 same
--- a/gone
+new\r
diff --git a/b.png b/b.png
GIT binary patch
literal 5
Mc$@(EcP)1y

literal 0
HcmV?d00001

"""
HOSTILE = (
    "<img src=x>\n## Mine\n```\n````diff\n![x](http://tracker/)\x1b[2J\u202e\n| a |\n|---|\n<!--"
)


def page(
    work: WorkResult = WORK, patch: bytes | None = PATCH, *, is_cut: bool = False, **fields: Any
) -> str:
    changed = work.model_copy(update=fields)
    return render_work_page(changed, agent_name="ada", patch=patch, patch_is_cut=is_cut)


def test_page_tells_how_much_which_files_where_and_how_to_get_it() -> None:
    assert page() == "\n".join(
        [
            "## Work of agent ada",
            "",
            "**Changes:** 2 commits, 2 changed files, +1,200 −1 lines on branch `fix`; "
            f"started from `{BASE}`; ended with `{TREE}`",
            "",
            "Left out:",
            "",
            "- big.bin is too large.",
            "",
            "### How to get it",
            "",
            "Into a clone of the repository in folder `DIR`:",
            "",
            "```sh",
            "claude-jobs work ada --apply DIR",
            "```",
            "",
            "### In the result storage",
            "",
            "| What | Key |",
            "| --- | --- |",
            "| Git bundle | `ada/f1/work.bundle` |",
            "| Patch | `ada/f1/work.patch` |",
            "| List of all changed files | `ada/f1/work.json` |",
            "",
            "### Changed files",
            "",
            "| Status | Path | + | − | Bytes |",
            "| --- | --- | --- | --- | --- |",
            "| modified | `a.py` | 1,200 | 1 | 34,000 |",
            "| type changed | `b.png` | – | – | 5 |",
            "",
            "### Diff",
            "",
            "```diff",
            "diff --git a/a.py b/a.py",
            "index 1..2 100644",
            "--- a/a.py",
            "+++ b/a.py",
            "@@ -1,2 +1,2 @@",
            " same",
            "--- a/gone",
            "+new␍",
            "diff --git a/b.png b/b.png",
            "(binary, not shown here)",
            "```",
        ]
    )


def test_page_of_work_that_was_not_collected_says_why_and_shows_no_way_to_it() -> None:
    shown = page(WorkResult(collected=False, problem="The *keeper*\nhas gone."), None)

    assert shown == (
        "## Work of agent ada\n\n**Changes:** unknown\n\n"
        "**Not collected:** The \\*keeper\\* has gone."
    )


def test_page_of_an_agent_that_changed_nothing_is_short() -> None:
    unchanged = WorkResult(collected=True, branch="main", commits=0, files_changed=0)

    assert page(unchanged, None) == (
        "## Work of agent ada\n\n**Changes:** nothing changed on branch `main`"
    )


def test_agent_with_a_space_in_its_name_is_quoted_for_the_shell() -> None:
    shown = render_work_page(WORK, agent_name="ada's own", patch=None, patch_is_cut=False)

    assert "claude-jobs work 'ada'\"'\"'s own' --apply DIR" in shown


def test_page_lists_the_first_files_and_counts_the_others() -> None:
    files = tuple(WorkFile(path=f"f{n}", status="added") for n in range(250))

    shown = page(files=files, files_changed=1250)

    assert "`f199`" in shown
    assert "`f200`" not in shown
    assert "And 1,050 more, in `ada/f1/work.json`." in shown
    assert "And 1,050 more.\n" in page(files=files, files_changed=1250, files_key=None)
    assert "And 50 more" in page(files=files, files_changed=None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param(
            {"insertions": 70_000, "deletions": 5, "files_changed": 3},
            "*The diff is cut here. 40,005 of 70,005 changed lines and 2 of 3 changed files are "
            "not shown.* The whole diff is `ada/f1/work.patch`.",
            id="lines and files",
        ),
        pytest.param(
            {"insertions": None, "files_changed": 1},
            "*The diff is cut here.* The whole diff is `ada/f1/work.patch`.",
            id="nothing counted",
        ),
        pytest.param(
            {"insertions": None, "files_changed": None, "patch_key": None},
            "*The diff is cut here.*",
            id="nothing known",
        ),
    ],
)
def test_page_says_how_much_of_a_cut_diff_is_not_shown(fields: dict[str, Any], said: str) -> None:
    patch = PATCH[: PATCH.index(b" same")] + b"+x\n" * 30_000

    assert page(patch=patch + b"+torn", is_cut=True, **fields).endswith(f"\n```\n\n{said}")


def test_diff_of_any_size_is_cut_between_lines_within_its_limit() -> None:
    patch = PATCH[: PATCH.index(b" same")] + b"+0123456789\n" * 1_000_000

    shown = cut_diff(patch)

    assert not shown.is_whole
    assert 100 * 1024 - 12 <= len(shown.text.encode()) <= 100 * 1024
    assert shown.text.endswith("\n+0123456789")
    assert shown.changed_lines == shown.text.count("\n+0123456789")


def test_limit_counts_what_is_shown_in_place_of_control_characters() -> None:
    assert len(cut_diff(b"+\x1b\x1b\n" * 200_000).text.encode()) <= 100 * 1024


def test_line_that_is_longer_than_the_page_is_not_shown_in_part() -> None:
    patch = PATCH[: PATCH.index(b" same")] + b"+" + b"x" * 200_000 + b"\n"

    shown = cut_diff(patch)

    assert shown.text.endswith("@@ -1,2 +1,2 @@")
    assert (shown.files, shown.changed_lines, shown.is_whole) == (1, 0, False)
    assert "### Diff\n\n*The diff is cut here." in page(patch=b"+" + b"x" * 200_000)


def test_text_after_much_that_is_binary_is_shown() -> None:
    binary = b"diff --git a/x b/x\nGIT binary patch\nliteral 9\n" + b"z0123\n" * 100_000 + b"\n"

    shown = cut_diff(binary + PATCH)

    assert shown.text.startswith("diff --git a/x b/x\n(binary, not shown here)\ndiff --git a/a.py")
    assert (shown.files, shown.changed_lines, shown.is_whole) == (3, 2, True)


@given(st.integers(0, len(PATCH)))
def test_patch_that_was_cut_anywhere_is_shown_by_its_whole_lines(end: int) -> None:
    whole, cut = cut_diff(PATCH), cut_diff(PATCH[:end], is_cut=True)

    lines = cut.text.split("\n") if cut.text else []
    assert lines == whole.text.split("\n")[: len(lines)]
    assert not cut.is_whole


@given(st.binary(max_size=300), st.integers(1, 200))
def test_any_bytes_are_shown_as_safe_text_within_the_limit(patch: bytes, limit: int) -> None:
    shown = cut_diff(patch, limit_bytes=limit).text

    assert len(shown.encode()) <= limit
    assert all(
        character.isprintable() or character in "\n\t"
        for character in shown
        if ord(character) < 0x80
    )


def test_patch_that_git_wrote_is_shown_with_its_hunks_and_without_its_binary_files(
    tmp_path: Path,
) -> None:
    def git(*arguments: str) -> bytes:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout

    git("init", "-q")
    (tmp_path / "a.txt").write_text("-- one\ntwo\n")
    git("add", ".")
    git("commit", "-q", "-m", "base")
    (tmp_path / "a.txt").write_text("two\n++ three\n")
    (tmp_path / "line\nfeed `x`").write_text("```\n")
    (tmp_path / "image").write_bytes(bytes(range(256)))
    git("add", ".")
    patch = git("diff", "--cached", "--binary", "--full-index", "--no-renames")

    shown = cut_diff(patch)

    assert (shown.files, shown.changed_lines, shown.is_whole) == (3, 3, True)
    assert "\n--- one\n two\n+++ three\n" in shown.text
    assert "\n(binary, not shown here)\ndiff --git " in shown.text
    assert "literal" not in shown.text
    assert "````diff\n" in page(patch=patch)


def _structure(markdown: str) -> Counter[str]:
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    children = [child for token in tokens for child in token.children or ()]
    told = {"heading_open", "tr_open", "html_block", "html_inline", "image", "link_open", "fence"}
    return Counter(token.type for token in [*tokens, *children] if token.type in told)


def test_names_and_lines_of_the_agent_structure_nothing_in_the_page() -> None:
    files = tuple(file.model_copy(update={"path": HOSTILE}) for file in WORK.files)
    hostile: dict[str, Any] = {
        "branch": HOSTILE,
        "left_out": (HOSTILE,),
        "problem": HOSTILE,
        "collected": False,
    }

    shown = page(patch=PATCH + HOSTILE.encode(), files=files, **hostile)

    expected = _structure(page(collected=False, problem="No."))
    assert _structure(shown) == expected
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_page_of_hostile_names_is_of_bounded_size() -> None:
    files = tuple(WorkFile(path="\x1b" * 100_000, status="added") for _ in range(1000))
    hostile: dict[str, Any] = {"branch": "`" * 100_000, "left_out": ("|" * 100_000,) * 1000}

    assert len(page(files=files, patch=b"+`\n" * 1_000_000, **hostile)) < 600_000
