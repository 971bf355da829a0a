"""The report of a sweep for people and automations: findings and changes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel

from tasks.observation.beside_agent import describe_running
from tasks.outcome.run_event import RunEvent
from tasks.sweep.sweep_objects import SweptObject
from tasks.sweep.sweep_rules import ALARMING, Finding, SweepAction, SweepVerdict

FOUND_EVENT = "claude-jobs.sweep.found"
ACTED_EVENT = "claude-jobs.sweep.acted"
# Prefect has no limit, but nobody reads a longer page to its end.
_ROWS_LIMIT = 500


class Outcome(StrEnum):
    """What happened to the proposed action.

    `SKIPPED`: the object was gone, changed or held when it was read again; the next sweep will
    check it. `OVER_LIMIT`: this sweep has reached its maximum number of changes; the next sweep
    will check the object.
    """

    NONE = "-"
    REPORTED = "reported"
    DRY_RUN = "dry run"
    OVER_LIMIT = "over the limit"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SweptRow:
    """One object with its verdict and what was done.

    Attributes:
        note: Details of the outcome, as a sentence; may be empty.
    """

    swept: SweptObject
    verdict: SweepVerdict
    outcome: Outcome
    note: str = ""

    @property
    def reason(self) -> str:
        """The verdict's reason, with the containers that keep a Job from finishing."""
        beside = self.swept.still_running
        return self.verdict.reason + (f"; {describe_running(beside)}" if beside else "")

    @property
    def needs_person(self) -> bool:
        """Whether it costs money or hides a failure until somebody acts."""
        if self.outcome is Outcome.FAILED:
            return True
        is_settled = self.outcome in {Outcome.DONE, Outcome.SKIPPED}
        return self.verdict.finding in ALARMING and not is_settled


class SweepReport(BaseModel):
    """The result of a sweep.

    Attributes:
        objects: Number of objects checked, without flow runs.
        findings: Number of objects per finding, without those that are in order.
        changed: Number of actions carried out.
        needs_person: Number of objects that need a person.
        problems: What could not be checked, as sentences.
        kubernetes_requests: Number of requests sent, including retries.
    """

    namespaces: list[str]
    dry_run: bool
    objects: int
    findings: dict[str, int]
    changed: int
    needs_person: int
    problems: list[str]
    kubernetes_requests: int

    @property
    def summary(self) -> str:
        """The result of the sweep in one line."""
        found = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in self.findings.items())
        mode = "dry run, nothing changed" if self.dry_run else f"{self.changed} changed"
        sentences = [
            f"{self.objects} objects in {', '.join(self.namespaces)}: {found or 'no findings'}; "
            f"{mode}.",
            *([f"{self.needs_person} need a person."] if self.needs_person else []),
            *self.problems,
        ]
        return " ".join(sentences)


def build_sweep_report(
    rows: Sequence[SweptRow],
    *,
    namespaces: Sequence[str],
    dry_run: bool,
    problems: Sequence[str],
    kubernetes_requests: int,
) -> SweepReport:
    """Count findings and changes."""
    found = Counter(row.verdict.finding for row in rows if row.outcome is not Outcome.NONE)
    return SweepReport(
        namespaces=list(namespaces),
        dry_run=dry_run,
        objects=sum(1 for row in rows if row.swept.uid),
        findings={finding.value: found[finding] for finding in Finding if found[finding]},
        changed=sum(row.outcome is Outcome.DONE for row in rows),
        needs_person=sum(row.needs_person for row in rows),
        problems=list(problems),
        kubernetes_requests=kubernetes_requests,
    )


def build_sweep_table(rows: Iterable[SweptRow]) -> tuple[list[dict[str, str]], int]:
    """Return the rows for people to read, most important first, and how many were left out."""
    shown = [row for row in rows if row.verdict.finding is not Finding.RUN_SETTLED]
    shown.sort(key=lambda row: (not row.needs_person, row.outcome is Outcome.NONE))
    return [_columns(row) for row in shown[:_ROWS_LIMIT]], max(0, len(shown) - _ROWS_LIMIT)


def build_sweep_event(row: SweptRow) -> RunEvent | None:
    """Return the Prefect event of a row that was changed or needs a person, else `None`."""
    done = row.outcome is Outcome.DONE
    if not done and not row.needs_person:
        return None
    swept = row.swept
    labels = {
        # The same resource as in the events of the agent's runs.
        "prefect.resource.id": f"claude-jobs.agent.{swept.agent_id or '-'}",
        "prefect.resource.name": swept.agent_id or "unknown agent",
        "claude-jobs.finding": row.verdict.finding,
        "claude-jobs.action": row.verdict.action,
        "claude-jobs.kind": swept.kind,
        "claude-jobs.namespace": swept.namespace,
    }
    return RunEvent(
        name=ACTED_EVENT if done else FOUND_EVENT,
        resource={key: str(value) for key, value in labels.items()},
        payload={
            "name": swept.name,
            "flow_run_id": swept.flow_run_id,
            "reason": row.reason,
            "outcome": row.outcome.value,
            "note": row.note,
        },
    )


def _columns(row: SweptRow) -> dict[str, str]:
    action = row.verdict.action
    return {
        "namespace": row.swept.namespace,
        "kind": row.swept.kind.value,
        "name": row.swept.name,
        "agent": row.swept.agent_id or "-",
        "flow run": row.swept.flow_run_id or "-",
        "finding": row.verdict.finding.replace("_", " "),
        "reason": row.reason,
        "action": "-" if action is SweepAction.NONE else action.replace("_", " "),
        "outcome": f"{row.outcome}: {row.note}" if row.note else row.outcome.value,
    }
