"""The request of a fleet, and the results of its runs for people to read."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from tasks.agent_job.run_request import AgentRunRequest
from tasks.claude_code.agent_spec import SpecModel
from tasks.outcome.run_result import AgentRunResult
from tasks.text.markdown import escape_markdown
from tasks.vocabulary.errors import InputInvalid

MEMBERS_LIMIT = 1000
_NAMED_IN_SUMMARY = 5
_MESSAGE_CHARACTERS = 300


class FleetRequest(SpecModel):
    """Many agents to run from one process."""

    requests: tuple[AgentRunRequest, ...] = Field(
        min_length=1,
        max_length=MEMBERS_LIMIT,
        description="One request per run. Each agent may occur once per namespace.",
    )
    max_concurrent: int = Field(
        default=10, ge=1, le=200, description="Maximum number of runs at the same time."
    )


class MemberState(StrEnum):
    """State of a fleet's run; the last four are final."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASHED = "crashed"
    NOT_STARTED = "not started"


@dataclass(slots=True)
class FleetMember:
    """One run of a fleet and what is known about it; its result belongs to its own flow run.

    Attributes:
        error_code: Why it failed; `None` after a success, and if there is no verdict.
    """

    agent_id: str
    namespace: str
    state: MemberState = MemberState.WAITING
    flow_run_id: str | None = None
    error_code: str | None = None
    message: str = ""
    cost_usd: float | None = None

    def conclude(self, result: AgentRunResult) -> None:
        """Record how the run ended."""
        self.state = MemberState.SUCCEEDED if result.succeeded else MemberState.FAILED
        self.flow_run_id = result.flow_run_id
        self.error_code = None if result.error_code is None else result.error_code.value
        self.message = result.message[:_MESSAGE_CHARACTERS]
        self.cost_usd = result.cost_usd

    def crash(self, message: str) -> None:
        """Record that the run ended without a verdict."""
        self.state = MemberState.CRASHED
        self.message = message[:_MESSAGE_CHARACTERS]


class FleetReport(BaseModel):
    """How the runs of a fleet ended.

    Attributes:
        failed: Runs that did not succeed, including crashed ones.
        not_started: Runs that were not started because the fleet was cancelled.
        cost_usd: US dollars, summed over the runs whose cost is known.
        failures: Agent, flow run, code and message of each run that did not succeed.
    """

    runs: int
    succeeded: int
    failed: int
    not_started: int
    cost_usd: float
    failures: list[dict[str, str | None]]

    @property
    def all_succeeded(self) -> bool:
        """Whether every run succeeded."""
        return self.succeeded == self.runs

    @property
    def summary(self) -> str:
        """The results of the fleet in one line."""
        sentences = [f"{self.succeeded} of {self.runs} runs succeeded, ${self.cost_usd:.4f}."]
        if self.failures:
            named = [
                f"{failure['agent']} ({failure['code'] or failure['state']})"
                for failure in self.failures[:_NAMED_IN_SUMMARY]
            ]
            more = len(self.failures) - len(named)
            sentences.append(f"Failed: {', '.join(named)}{f' and {more} more' if more else ''}.")
        if self.not_started:
            sentences.append(f"{self.not_started} were not started.")
        return " ".join(sentences)


def check_members(places: Iterable[tuple[Hashable, str, str]]) -> None:
    """Reject a fleet in which an agent occurs twice.

    Args:
        places: Cluster, namespace and agent id of each run.

    Raises:
        InputInvalid: Two runs are for the same agent, which can have one run at a time.
    """
    seen: set[tuple[Hashable, str, str]] = set()
    for place in places:
        if place in seen:
            raise InputInvalid(
                f"Agent {place[2]} occurs twice for namespace {place[1]}. An agent has one run at "
                "a time, so put its runs into separate fleets."
            )
        seen.add(place)


def build_fleet_report(members: Sequence[FleetMember]) -> FleetReport:
    """Count how the members ended."""
    ended = [member.state for member in members]
    return FleetReport(
        runs=len(members),
        succeeded=ended.count(MemberState.SUCCEEDED),
        failed=ended.count(MemberState.FAILED) + ended.count(MemberState.CRASHED),
        not_started=ended.count(MemberState.NOT_STARTED),
        cost_usd=sum(member.cost_usd or 0.0 for member in members),
        failures=[
            {
                "agent": member.agent_id,
                "flow_run_id": member.flow_run_id,
                "state": member.state.value,
                "code": member.error_code,
                "message": member.message,
            }
            for member in members
            if member.state in {MemberState.FAILED, MemberState.CRASHED}
        ],
    )


def build_fleet_table(members: Sequence[FleetMember]) -> list[dict[str, str]]:
    """Return one row per run for people to read, runs that did not succeed first."""
    ordered = sorted(members, key=lambda member: member.state is MemberState.SUCCEEDED)
    return [
        {
            "agent": member.agent_id,
            "namespace": member.namespace,
            "state": member.state.value,
            "code": member.error_code or "-",
            "cost": "–" if member.cost_usd is None else f"${member.cost_usd:.4f}",
            "message": member.message or "-",
            "flow run": member.flow_run_id or "-",
        }
        for member in ordered
    ]


def build_fleet_page(members: Sequence[FleetMember], at: datetime) -> str:
    """Return the progress of a fleet as Markdown: counts, runs at work, and failures."""
    states = [member.state for member in members]
    counts = ", ".join(f"{states.count(state)} {state}" for state in MemberState if state in states)
    lines = [f"**{len(members)} runs**: {counts}. As of {at:%Y-%m-%d %H:%M:%S} UTC.", ""]
    for title, wanted in (
        ("At work", {MemberState.RUNNING}),
        ("Failed", {MemberState.FAILED, MemberState.CRASHED}),
    ):
        shown = [member for member in members if member.state in wanted]
        if shown:
            lines += [f"## {title}", *map(_line, shown), ""]
    return "\n".join(lines)


def _line(member: FleetMember) -> str:
    parts = [member.agent_id, member.flow_run_id, member.error_code, member.message]
    return f"- {escape_markdown(' · '.join(part for part in parts if part))}"
