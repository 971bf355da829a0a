"""Shows a run's output live on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tasks.claude_code.entry_reader import EntryReader
from tasks.claude_code.events import parse_line
from tasks.claude_code.rendering import FOLDED, Extent, LineKind, RenderedLine
from tasks.claude_code.tool_calls import BodyForm
from tasks.outcome.report_page import UNKNOWN, describe_proof
from tasks.outcome.run_result import AgentRunResult
from tasks.text.redaction import Redactor
from tasks.text.safe_text import clock_text

_STYLES: dict[LineKind, str] = {
    LineKind.SESSION: "bold cyan",
    LineKind.TURN: "cyan",
    LineKind.ASSISTANT: "default",
    LineKind.THINKING: "dim italic",
    LineKind.TOOL_CALL: "yellow",
    LineKind.TOOL_RESULT: "dim",
    LineKind.TOOL_ERROR: "red",
    LineKind.USER: "blue",
    LineKind.RETRY: "magenta",
    LineKind.RATE_LIMIT: "magenta",
    LineKind.RESULT: "bold green",
    LineKind.ERROR: "bold red",
    LineKind.NOTE: "dim",
    LineKind.UNKNOWN: "dim",
    LineKind.PLAIN: "default",
    LineKind.STDERR: "red",
    LineKind.CHECK: "default",
}
# Only in bodies: the first line of an entry is not indented.
_DIFF_STYLES = {r"(?m)^(?:│ )* {4}\+.*$": "green", r"(?m)^(?:│ )* {4}-.*$": "red"}


class LiveOutput:
    """Prints rendered lines in the colour of their kind, and the outcome at the end."""

    def __init__(self, console: Console, extent: Extent = FOLDED) -> None:
        """Print nothing yet.

        Args:
            console: The terminal.
            extent: How much of long texts of a transcript is shown.
        """
        self._console = console
        self._redactor = Redactor()
        self._entries = EntryReader(extent)

    def show_lines(self, lines: Sequence[RenderedLine]) -> None:
        """Print lines of the agent's output."""
        for line in lines:
            elapsed = line.elapsed_seconds
            time = "" if elapsed is None else f"{clock_text(elapsed)} "
            text = Text(f"{time}{line.text}", style=_STYLES[line.kind])
            if line.form is BodyForm.DIFF:
                for pattern, style in _DIFF_STYLES.items():
                    text.highlight_regex(pattern, style)
            self._console.print(text)

    def show_lines_of_transcript(self, lines: Sequence[bytes]) -> None:
        """Print Claude Code's lines rendered for people, with API keys masked by their format."""
        for line in lines:
            for event in parse_line(line):
                rendered = self._entries.read(event)
                self.show_lines([entry.rewritten(self._redactor.text) for entry in rendered])

    def show_note(self, text: str) -> None:
        """Print a message of the run itself."""
        self._console.print(Text(text, style="cyan"))

    def show_refusal(self, code: str, message: str) -> None:
        """Print why nothing was started."""
        self._console.print(f"[bold red]✘ {escape(code)}[/] {escape(message)}")

    def show_result(self, result: AgentRunResult) -> None:
        """Print the outcome, the cost and what to do next."""
        if result.succeeded:
            self._console.print(f"\n[bold green]✔ {escape(result.message)}[/]")
        else:
            code = escape(result.error_code or "")
            self._console.print(f"\n[bold red]✘ {code}[/] {escape(result.message)}")
        if result.check_first:
            self._console.print(f"[yellow]First check:[/] {escape(result.check_first)}.")
        if result.advice:
            self._console.print(f"[yellow]What to do:[/] {escape(result.advice)}")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in _rows(result):
            table.add_row(f"[dim]{name}[/]", escape(value))
        self._console.print(table)


def _rows(result: AgentRunResult) -> list[tuple[str, str]]:
    if result.kubernetes.job_name is None:
        return [("Flow run", result.flow_run_id)]
    usage = result.usage
    tokens = f"{_count(usage.input_tokens)} in, {_count(usage.output_tokens)} out"
    rows = [
        ("Flow run", result.flow_run_id),
        ("Job", _job(result)),
        ("Model", result.model or UNKNOWN),
        ("Turns", _count(result.num_turns)),
        ("Tokens", tokens),
        ("Cost", UNKNOWN if result.cost_usd is None else f"${result.cost_usd:.4f}"),
        ("Session", result.session_id or UNKNOWN),
        ("Transcript", describe_proof(result.transcript).replace("**", "")),
    ]
    if result.transcript.storage_key:
        rows.append(("Stored at", result.transcript.storage_key))
    return rows


def _job(result: AgentRunResult) -> str:
    names = result.kubernetes
    return f"{names.namespace}/{names.job_name}" if names.job_name else UNKNOWN


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"
