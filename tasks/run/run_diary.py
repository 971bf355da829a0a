"""What is said about a run: in its log, to onlookers in its process, and for its forensics."""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tasks.claude_code.rendering import LineKind, RenderedLine
from tasks.orchestrator.run_log import RunLog
from tasks.outcome.forensics import LAST_DECISIONS, Decision
from tasks.run.run_controls import RunControls
from tasks.text.redaction import Redactor


class RunDiary:
    """Says things about the run, with every known secret masked.

    Attributes:
        decisions: What was said about the run itself, with times; the last ones.
    """

    def __init__(self, log: RunLog, controls: RunControls, secrets: Iterable[str]) -> None:
        self._log = log
        self._controls = controls
        self._secrets = tuple(secrets)
        self.decisions = deque[Decision](maxlen=LAST_DECISIONS)
        controls.redactor = Redactor(self._secrets)

    @property
    def redactor(self) -> Redactor:
        """Masks the values that are known as secrets by now."""
        return self._controls.redactor

    def keep_secret(self, values: Iterable[str]) -> None:
        """Mask these values too from now on, in logs, artifacts, messages and results."""
        self._secrets = (*self._secrets, *values)
        self._controls.redactor = Redactor(self._secrets)

    def say(self, text: str) -> None:
        """Tell people about the run itself."""
        safe = self.redactor.text(text)
        self._log.info(safe)
        self.decisions.append(Decision(datetime.now(UTC), safe))
        self.show([RenderedLine(LineKind.NOTE, safe)])

    def show(self, lines: Sequence[RenderedLine]) -> None:
        """Show lines to onlookers in this process; the log is not written."""
        if self._controls.on_lines is not None:
            self._controls.on_lines(lines)
