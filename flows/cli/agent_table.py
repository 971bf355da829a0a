"""The list of agents on a terminal: columns like kubectl's, of which no cell is wrapped or cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tasks.operators.agent_rows import AgentRow
from tasks.outcome.report_page import UNKNOWN
from tasks.outcome.state_names import SUCCEEDED
from tasks.text.safe_text import age_text, one_line

_GAP = "   "
_LINE_CHARACTERS = 60
_NAME_CHARACTERS = 256


class ListFormat(StrEnum):
    """How the list is printed, other than in columns that fit 80 characters."""

    WIDE = "wide"
    JSON = "json"


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[AgentRow], str | None]


_COLUMNS = (
    _Column("AGENT", lambda row: row.agent_id),
    _Column("STATE", lambda row: row.state_name),
    _Column("PAUSED", lambda row: "yes" if row.paused else "no"),
    _Column("AGE", lambda row: None if row.age_seconds is None else age_text(row.age_seconds)),
    _Column("COST", lambda row: None if row.cost_usd is None else f"${row.cost_usd:.4f}"),
)
# Names are arguments of other commands, so even here they are never cut.
_WIDE_COLUMNS = (
    *_COLUMNS,
    _Column("TASK", lambda row: row.task_id),
    _Column("JOB", lambda row: row.job_name),
    _Column("FLOW RUN", lambda row: row.flow_run_id),
    _Column("WHY PAUSED", lambda row: row.paused),
    _Column("LAST LINE", lambda row: one_line(row.last_line or UNKNOWN, _LINE_CHARACTERS)),
)
_STATE_AT = 1


class AgentTable:
    """Prints rows; each column is as wide as its widest cell so far."""

    def __init__(self, console: Console, *, wide: bool) -> None:
        """Print nothing yet.

        Args:
            console: Where to print.
            wide: Whether to print the columns that do not fit 80 characters, too.
        """
        self._console = console
        self._columns = _WIDE_COLUMNS if wide else _COLUMNS
        self._widths: list[int] = []

    def print_titles_and(self, rows: Sequence[AgentRow]) -> None:
        """Print the columns' titles, and the rows below them."""
        self._fit(rows)
        self._print([column.title for column in self._columns], "")
        self._print_rows(rows)

    def print_more(self, rows: Sequence[AgentRow]) -> None:
        """Print further rows below those that were printed."""
        self._fit(rows)
        self._print_rows(rows)

    def _fit(self, rows: Sequence[AgentRow]) -> None:
        lines = [[column.title for column in self._columns], *map(self._cells, rows)]
        if self._widths:
            lines.append([" " * width for width in self._widths])
        self._widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]

    def _print_rows(self, rows: Sequence[AgentRow]) -> None:
        for row in rows:
            self._print(self._cells(row), _style(row))

    def _cells(self, row: AgentRow) -> list[str]:
        return [one_line(column.cell(row) or UNKNOWN, _NAME_CHARACTERS) for column in self._columns]

    def _print(self, cells: Sequence[str], state_style: str) -> None:
        line = Text()
        for at, (cell, width) in enumerate(zip(cells, self._widths, strict=True)):
            is_last = at == len(cells) - 1
            line.append(cell, state_style if at == _STATE_AT else "")
            line.append("" if is_last else " " * (width - cell_len(cell)) + _GAP)
        line.rstrip()
        self._console.print(line, soft_wrap=True)


def _style(row: AgentRow) -> str:
    if row.state_name in {"No owner", "No verdict"}:
        return "yellow"
    return "cyan" if row.live else "green" if row.state_name == SUCCEEDED else ""
