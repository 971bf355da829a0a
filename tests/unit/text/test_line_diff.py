import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.line_diff import added_lines, line_diff

NUMBERED = "\n".join(str(number) for number in range(20))


@pytest.mark.parametrize(
    ("before", "after", "diff"),
    [
        ("", "", ""),
        ("a\n", "a\n", ""),
        ("a", "b", "-a\n+b"),
        ("", "a\nb\n", "+a\n+b"),
        ("a\nb", "", "-a\n-b"),
        ("a\nb\nc", "a\nB\nc", " a\n-b\n+B\n c"),
        ("-- a", "++ b", "--- a\n+++ b"),
        ("a\n", "a", "-a\n+a\n\\ No line feed at the end"),
        ("a\nb", "a\nb\n", " a\n-b\n\\ No line feed at the end\n+b"),
        ("a\n", "", "-a"),
        ("a\r\nb", "a\nb", "-a␍\n+a\n b"),
        (NUMBERED, NUMBERED.replace("9\n", "nine\n", 1), " 6\n 7\n 8\n-9\n+nine\n 10\n 11\n 12"),
        (
            NUMBERED,
            f"new\n{NUMBERED}\nnew",
            "+new\n 0\n 1\n 2\n@@\n 17\n 18\n 19\n+new",
        ),
    ],
)
def test_change_is_shown_as_in_a_review(before: str, after: str, diff: str) -> None:
    assert line_diff(before, after) == diff


TEXTS = st.lists(st.sampled_from(["a", "b", "", "-", "+x"]), max_size=30)
# Long enough for the way that compares no line with each other.
LONG = st.lists(st.sampled_from(["a", "b"]), min_size=110, max_size=130)


@given(TEXTS | LONG, TEXTS | LONG)
def test_nothing_is_left_out_of_a_change(old: list[str], new: list[str]) -> None:
    lines = line_diff("\n".join([*old, "end"]), "\n".join([*new, "end"])).split("\n")

    removed = [line[1:] for line in lines if line.startswith("-")]
    added = [line[1:] for line in lines if line.startswith("+")]
    assert len(old) - len(removed) == len(new) - len(added)
    assert _is_within([line[1:] for line in lines if line[:1] in "- " and line], [*old, "end"])
    assert _is_within([line[1:] for line in lines if line[:1] in "+ " and line], [*new, "end"])


def _is_within(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(line in rest for line in part)


def test_long_texts_take_no_time() -> None:
    began = time.monotonic()
    diff = line_diff("a\nb\n" * 100_000, "b\na\nc\n" * 100_000)

    assert time.monotonic() - began < 5
    assert diff.startswith("-a\n")


def test_new_text_is_shown_as_added() -> None:
    assert added_lines("a\n\nb\n") == "+a\n+\n+b"
    assert added_lines("") == ""
