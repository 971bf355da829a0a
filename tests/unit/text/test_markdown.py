import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.text.markdown import code_span, escape_markdown, quote_code, quote_prose, table

# An implementation of CommonMark with GitHub's tables and strikethrough, HTML let through.
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

HOSTILE = [
    "# heading",
    "1. one\n2. two",
    "- item\n+ item",
    "> quote",
    "setext\n======\nsetext\n---",
    "*emphasis* __strong__ ~~gone~~",
    "[link](http://a) ![image](http://a) [^1]",
    "<script>alert(1)</script> <!-- --> <http://auto.link>",
    "&amp; &#60;",
    "| a | b |\n|---|---|\n| c | d |",
    "    indented\n\tcode",
    "```\nfence\n~~~\n`````",
    "`code` ``co`de``",
    "\\*escaped\\*",
    "***\n___\n---",
]
_ALLOWED = {"paragraph", "text", "hardbreak", "softbreak", "inline"}


def _kinds(markdown: str) -> set[str]:
    tokens = PARSER.parse(markdown)
    found = [token.type for token in tokens]
    found += [child.type for token in tokens for child in token.children or ()]
    return {re.sub("_(open|close)$", "", kind) for kind in found}


def _shown(markdown: str) -> str:
    parts: list[str] = []
    for token in PARSER.parse(markdown):
        for child in token.children or ():
            parts.append("\n" if child.type.endswith("break") else child.content)
        if token.type == "paragraph_close":
            parts.append("\n\n")
    return "".join(parts).strip("\n")


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_shows_as_it_is_and_structures_nothing(text: str) -> None:
    escaped = escape_markdown(text)

    assert _kinds(escaped) <= _ALLOWED
    shown = _shown(escaped).replace("\N{NO-BREAK SPACE}", " ")
    assert shown.split() == text.split()


@given(st.text(alphabet="ab1 \n\t#>*_`~<&|[]()!\\-+=.:/@{}\u00e9", max_size=60))
def test_no_text_structures_anything_once_escaped(text: str) -> None:
    assert _kinds(escape_markdown(text)) <= _ALLOWED


@given(st.text(alphabet="a1 \n`~#<&", max_size=60))
def test_no_text_gets_out_of_its_code_block(text: str) -> None:
    [block] = PARSER.parse(quote_code(text))

    assert block.type == "fence"
    assert block.content == f"{text}\n"


@given(st.text(alphabet="a \n`~#<|", max_size=60))
def test_prose_is_paragraphs_and_code_blocks(text: str) -> None:
    assert _kinds(quote_prose(text)) <= {*_ALLOWED, "fence", "code_inline"}


def test_prose_keeps_the_code_in_it() -> None:
    prose = quote_prose("Look:\n\n```python\nif a:\n\n    b\n```\nDone.")

    assert prose == "Look:\n\n```text\nif a:\n\n    b\n```\n\nDone."


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("Fixed `a|b_c` in *x*.", "Fixed `a|b_c` in \\*x\\*."),
        ("`- a`\n- `b`", "`- a`  \n\\- `b`"),
        ("a ` b", "a \\` b"),
        ("``a`` ` `", "\\`\\`a\\`\\` \\` \\`"),
    ],
    ids=["between-words", "at-line-starts", "single-backtick", "not-simple"],
)
def test_prose_keeps_simple_code_within_lines(text: str, prose: str) -> None:
    assert quote_prose(text) == prose


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("", "–"),
        ("a b", "`a b`"),
        ("a\n b", "`a b`"),
        ("a`b", "``a`b``"),
        ("`a`", "`` `a` ``"),
        ("a|b", "`a|b`"),
        ("\x1b[2J", "`\\x1b[2J`"),
    ],
)
def test_code_span_is_one_safe_line(text: str, span: str) -> None:
    assert code_span(text) == span


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (
            "http://a.example www.a.example a@b.example",
            "http\\://a.example www\\.a.example a\\@b.example",
        ),
        ("1) a", "1\\) a"),
        ("\ta", "\N{NO-BREAK SPACE}" * 4 + "a"),
        ("a\x1b", "a\\\\x1b"),
    ],
    ids=["autolinks", "list", "tab", "control-character"],
)
def test_text_is_escaped_where_it_would_mean_something(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_table_has_a_header_and_rows() -> None:
    assert table(("A", "B"), [("1", "`a|b` c\\|d")]) == (
        "| A | B |\n| --- | --- |\n| 1 | `a\\|b` c\\|d |"
    )
