"""Text of unknown origin made safe for markdown: it shows as it is and structures nothing.

What an agent prints must neither load an image from somewhere nor pass for a heading or a table of
ours; HTML, links, emphasis and entities come out as the characters they consist of, and control
characters written out.

Source:
    CommonMark 0.31.2, sections 2.4 (escapes), 4.5 (fences), 6.1 (code spans); GitHub's autolinks.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from tasks.text.safe_text import escape_control_characters

_ANYWHERE = re.compile(r"[\\`*_\[\]<&|~]")
_AUTOLINKS = re.compile(r"(?<=[A-Za-z])(?=://)|(?<=www)(?=\.)|(?<=\w)(?=@)", re.IGNORECASE)
_LINE_START = re.compile(r"^(\d*)(?=[#>+=.)-])")
_LEADING_SPACE = re.compile(r"^[ \t]+")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)")
_CODE_SPAN = re.compile(r"(?<!`)`([^`\n]*[^`\s][^`\n]*)`(?!`)")
_BACKTICKS = re.compile(r"`+")
_OPEN_BAR = re.compile(r"(?<!\\)\|")
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_TAB_SPACES = 4


def escape_markdown(text: str) -> str:
    """Return `text` as one or more lines of running text that show exactly these characters.

    Line feeds stay and become visible breaks; leading white space stays visible.
    """
    return _escape_lines(text, _escape_inline)


def quote_code(text: str, language: str = "text") -> str:
    """Return `text` as a code block of a language; no line of it can end the block."""
    fence = "`" * max(3, 1 + _longest_backticks(text))
    return f"{fence}{language}\n{escape_control_characters(text)}\n{fence}"


def code_span(text: str) -> str:
    """Return `text`, made one line, as code within a line; `–` without any."""
    line = escape_control_characters(" ".join(text.split()))
    if not line:
        return "–"
    ticks = "`" * (1 + _longest_backticks(line))
    # One space on each side is taken off again; it keeps backticks apart from the delimiters.
    padded = f" {line} " if line[0] == "`" or line[-1] == "`" else line
    return f"{ticks}{padded}{ticks}"


def quote_prose(text: str) -> str:
    """Return `text` as paragraphs, with its own code as code: fenced, and within lines."""
    return "\n\n".join(_prose_blocks(text.split("\n")))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are markdown already and have no line feeds."""
    # A bar ends a cell even within code, unless escaped.
    cells = [[_OPEN_BAR.sub(r"\\|", cell) for cell in row] for row in (header, *rows)]
    lines = [cells[0], ["---"] * len(header), *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape_lines(text: str, escape_inline: Callable[[str], str]) -> str:
    lines = escape_control_characters(text).split("\n")
    return "  \n".join(_escape_line(line, escape_inline) for line in lines)


def _escape_line(line: str, escape_inline: Callable[[str], str]) -> str:
    space = _LEADING_SPACE.match(line)
    indent = space[0].replace("\t", " " * _TAB_SPACES) if space else ""
    escaped = escape_inline(line[space.end() :] if space else line)
    return _NO_BREAK_SPACE * len(indent) + _LINE_START.sub(r"\1\\", escaped)


def _escape_inline(text: str) -> str:
    return _AUTOLINKS.sub(r"\\", _ANYWHERE.sub(r"\\\g<0>", text))


def _keep_code_spans(text: str) -> str:
    """Escape what stands between simple code spans, and write those anew."""
    parts = _CODE_SPAN.split(text)
    return "".join(
        code_span(part) if is_code else _escape_inline(part)
        for part, is_code in zip(parts, cycle((False, True)), strict=False)
    )


def _prose_blocks(lines: Sequence[str]) -> Iterator[str]:
    """Yield safe blocks; taking code for prose or the reverse only changes how it looks."""
    block: list[str] = []
    in_code = False
    for line in lines:
        if _FENCE.match(line):
            yield from _block(block, in_code=in_code)
            block, in_code = [], not in_code
        elif line.strip() or in_code:
            block.append(line)
        else:
            yield from _block(block, in_code=False)
            block = []
    yield from _block(block, in_code=in_code)


def _block(lines: Sequence[str], *, in_code: bool) -> Iterator[str]:
    if lines:
        text = "\n".join(lines)
        yield quote_code(text) if in_code else _escape_lines(text, _keep_code_spans)


def _longest_backticks(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0)
