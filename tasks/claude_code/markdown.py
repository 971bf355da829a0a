"""Text of unknown origin made safe for markdown: it shows as it is and structures nothing.

What an agent prints must neither load an image from somewhere nor pass for a heading or a table of
ours; HTML, links, emphasis and entities come out as the characters they consist of, and control
characters written out.

Source:
    CommonMark 0.31.2, sections 2.4 (escapes), 4.5 (fences), 6.1 (code spans); GitHub's autolinks.
"""

import re
from collections.abc import Iterator, Sequence

from tasks.claude_code.safe_text import escape_control_characters

_ANYWHERE = re.compile(r"[\\`*_\[\]<&|~]")
_AUTOLINKS = re.compile(r"(?<=[A-Za-z])(?=://)|(?<=www)(?=\.)|(?<=\w)(?=@)", re.IGNORECASE)
_LINE_START = re.compile(r"^(\d*)(?=[#>+=.)-])")
_LEADING_SPACE = re.compile(r"^[ \t]+")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)")
_BACKTICKS = re.compile(r"`+")
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_TAB_SPACES = 4


def escape_markdown(text: str) -> str:
    """Return `text` as one or more lines of running text that show exactly these characters.

    Line feeds stay and become visible breaks; leading white space stays visible.
    """
    return "  \n".join(map(_escape_line, escape_control_characters(text).split("\n")))


def quote_code(text: str) -> str:
    """Return `text` as a code block; no line of it can end the block."""
    fence = "`" * max(3, 1 + _longest_backticks(text))
    return f"{fence}text\n{escape_control_characters(text)}\n{fence}"


def code_span(text: str) -> str:
    """Return `text`, made one line, as code within a line; `–` without any."""
    line = escape_control_characters(" ".join(text.split()))
    if not line:
        return "–"
    ticks = "`" * (1 + _longest_backticks(line))
    # One space on each side is taken off again; it keeps backticks apart from the delimiters.
    padded = f" {line} " if line[0] == "`" or line[-1] == "`" else line
    # In a table a bar ends the cell even within code.
    return f"{ticks}{padded}{ticks}".replace("|", "\\|")


def quote_prose(text: str) -> str:
    """Return `text` as paragraphs, its own fenced code as code blocks."""
    return "\n\n".join(_prose_blocks(text.split("\n")))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are markdown already and have no line feeds."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape_line(line: str) -> str:
    space = _LEADING_SPACE.match(line)
    indent = space[0].replace("\t", " " * _TAB_SPACES) if space else ""
    rest = line[space.end() :] if space else line
    escaped = _AUTOLINKS.sub(r"\\", _ANYWHERE.sub(r"\\\g<0>", rest))
    return _NO_BREAK_SPACE * len(indent) + _LINE_START.sub(r"\1\\", escaped)


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
        yield quote_code(text) if in_code else escape_markdown(text)


def _longest_backticks(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0)
