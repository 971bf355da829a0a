"""Figures of a measurement, as people read them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SPREAD_COLUMNS = ("n", "median", "p95", "p99", "longest", "ratio")
NOT_MEASURED = "–"


@dataclass(frozen=True)
class Goal:
    """What a measurement is to show.

    Attributes:
        what: Of which figure.
        measured: None where it was not measured.
        limit: What it may be at most.
    """

    what: str
    measured: float | None
    limit: float
    unit: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether it was measured and is above its limit."""
        return self.measured is not None and self.measured > self.limit

    def render(self) -> str:
        """Say it in a line, with what was measured."""
        unit = f" {self.unit}" if self.unit else ""
        wanted = f"{self.what}: at most {self.limit:g}{unit}"
        if self.measured is None:
            return f"not measured – {wanted}"
        word = "MISSED" if self.is_missed else "met"
        return f"{word} – {wanted}, measured {render_number(self.measured)}{unit}"


@dataclass(frozen=True)
class Table:
    """One scenario's measurements.

    Attributes:
        rows: As many cells as `columns`.
        goals: What they are to show.
        notes: What a reader must know of them, gaps included.
        samples: By whom they were measured.
        plot_name: Under which the samples are plotted, if they are.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    plot_name: str | None = None


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that so many percent of the others do not exceed; nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the middle value, the lower one of two."""
    return percentile(values, 50)


def render_number(value: float) -> str:
    """Write a figure as short as it can be compared."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def render_spread(values: Sequence[float]) -> str:
    """Write the median, and the least and the most where they differ."""
    least, most = min(values), max(values)
    middle = render_number(median(values))
    if least == most:
        return middle
    return f"{middle} ({render_number(least)}–{render_number(most)})"


def ratio(value: float, base: float | None) -> str:
    """Say how many times `base` a value is."""
    return NOT_MEASURED if not base else f"{value / base:.2f} ×"


def spread_rows(samples: Mapping[str, Sequence[float]], base: str) -> tuple[tuple[str, ...], ...]:
    """Return a row per name: `SPREAD_COLUMNS`, the ratio being that of its median to `base`'s."""
    base_median = median(samples[base]) if samples.get(base) else None
    return tuple(_spread_row(name, values, base_median) for name, values in samples.items())


def _spread_row(name: str, values: Sequence[float], base: float | None) -> tuple[str, ...]:
    if not values:
        return (name, "0", *(NOT_MEASURED for _ in SPREAD_COLUMNS[1:]))
    shown = (render_number(percentile(values, percent)) for percent in (50, 95, 99, 100))
    return (name, str(len(values)), *shown, ratio(median(values), base))


def render_table(table: Table) -> str:
    """Write a table, its goals and notes as Markdown."""
    widths = [max(map(len, cells)) for cells in zip(table.columns, *table.rows, strict=True)]
    lines = [f"### {table.title}", "", _line(table.columns, widths)]
    lines.append(f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    lines += [_line(row, widths) for row in table.rows]
    said = [*(goal.render() for goal in table.goals), *table.notes]
    lines += ["", *(f"- {text}" for text in said)] if said else []
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


@dataclass(frozen=True)
class LineCount:
    """What became of numbered lines on their way."""

    lost: int
    doubled: int


def render_line_counts(counts: Sequence[LineCount]) -> str:
    """Say what was lost and what was doubled in several rounds."""
    lost = render_spread([count.lost for count in counts])
    return f"{lost} / {render_spread([count.doubled for count in counts])}"


def count_lines(numbers: Iterable[int], printed: int) -> LineCount:
    """Compare the numbers that arrived with those from 1 to `printed`."""
    arrived = list(numbers)
    distinct = set(arrived) & set(range(1, printed + 1))
    return LineCount(printed - len(distinct), len(arrived) - len(set(arrived)))


def count_round_trips(spans: Iterable[tuple[float, float]]) -> int:
    """Return how many of these requests (start, end) had to wait for one another.

    Requests under way together are one round trip: the longest chain of which each begins after the
    one before has ended.
    """
    trips, free_at = 0, float("-inf")
    for start, end in sorted(spans, key=lambda span: span[1]):
        if start >= free_at:
            trips, free_at = trips + 1, end
    return trips
