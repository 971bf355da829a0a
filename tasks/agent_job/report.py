"""The report of a run as markdown: what happened, why, what it cost, what to do.

People read the first three lines; tables follow for those who want to know more. Every value comes
from the result, so a report can be written again from what is stored.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tasks.agent_job.run_result import AgentRunResult, TranscriptProof

UNKNOWN = "–"


class Link(NamedTuple):
    """A place to look at next."""

    title: str
    target: str


def render_report(result: AgentRunResult, links: Sequence[Link] = ()) -> str:
    """Return the report of a run as GitHub-flavoured markdown."""
    return "\n\n".join(
        section
        for section in (
            _headline(result),
            _answer(result),
            _table("Timeline", _timeline(result)),
            _table("Usage and cost", _usage(result)),
            _table("Where it ran", _places(result)),
            f"**Transcript:** {describe_proof(result.transcript)}",
            _denials(result),
            _links(links),
        )
        if section
    )


def describe_proof(proof: TranscriptProof) -> str:
    """Say in one sentence how much of the agent's stdout was had."""
    size = f"{proof.lines:,} lines, {proof.stdout_bytes:,} bytes"
    if proof.complete:
        return f"complete – {size}, count and SHA-256 agree with what the pod counted."
    if proof.missing:
        ranges = ", ".join(
            str(gap.first) if gap.first == gap.last else f"{gap.first}–{gap.last}"
            for gap in proof.missing
        )
        return f"**incomplete** – {size}; missing line numbers: {ranges}."
    if proof.complete is False:
        return f"**incomplete** – {size}; the pod counted something else."
    return f"unproven – {size}; the pod's own count was not seen."


def _headline(result: AgentRunResult) -> str:
    if result.succeeded:
        lines = [f"## ✅ Agent {result.agent_id} succeeded", result.message]
    else:
        lines = [f"## ❌ Agent {result.agent_id}: `{result.error_code}`", result.message]
        if result.cause is not None:
            lines.append(f"**Cause:** {result.cause}")
    if result.advice:
        lines.append(f"**What to do:** {result.advice}")
    if result.reattached_from:
        lines.append(
            f"This run took over the Job of flow run `{result.reattached_from}`: "
            "the prompt and the output are that run's."
        )
    return "\n\n".join(lines)


def _answer(result: AgentRunResult) -> str:
    if not result.summary:
        return ""
    quoted = "\n".join(f"> {line}" for line in result.summary.splitlines())
    return f"### Answer\n\n{quoted}"


def _timeline(result: AgentRunResult) -> list[tuple[str, str]]:
    timings = result.timings
    steps = (
        ("Run started", timings.started_at),
        ("Job created", timings.job_created_at),
        ("Agent started", timings.agent_started_at),
        ("Agent ended", timings.agent_ended_at),
        ("Run ended", timings.ended_at),
    )
    return [(name, _instant(at, timings.started_at)) for name, at in steps]


def _instant(at: datetime | None, start: datetime) -> str:
    if at is None:
        return UNKNOWN
    return f"{at:%Y-%m-%d %H:%M:%S} UTC (+{(at - start).total_seconds():.1f} s)"


def _usage(result: AgentRunResult) -> list[tuple[str, str]]:
    usage = result.usage
    return [
        ("Model", result.model or UNKNOWN),
        ("Turns", _count(result.num_turns)),
        ("Input tokens", _count(usage.input_tokens)),
        ("Cache read tokens", _count(usage.cache_read_input_tokens)),
        ("Cache write tokens", _count(usage.cache_creation_input_tokens)),
        ("Output tokens", _count(usage.output_tokens)),
        ("Cost", UNKNOWN if result.cost_usd is None else f"${result.cost_usd:.4f}"),
    ]


def _places(result: AgentRunResult) -> list[tuple[str, str]]:
    names = result.kubernetes
    return [
        ("Namespace", names.namespace),
        ("Job", names.job_name or UNKNOWN),
        ("Pod", names.pod_name or UNKNOWN),
        ("Node", names.node_name or UNKNOWN),
        ("Image", names.image or UNKNOWN),
        ("Exit code", _count(result.exit_code)),
        ("Signal", _count(result.signal)),
        ("Session", _session(result)),
    ]


def _session(result: AgentRunResult) -> str:
    if result.session_id is None:
        return UNKNOWN
    notes = ["resumed" if result.resumed else "fresh"]
    if result.clear_session:
        notes.append("cleared: the next run starts a fresh one")
    return f"{result.session_id} ({', '.join(notes)})"


def _denials(result: AgentRunResult) -> str:
    if not result.permission_denials:
        return ""
    tools = ", ".join(sorted({denial.tool_name for denial in result.permission_denials}))
    return (
        f"**Permissions:** {len(result.permission_denials)} tool use(s) were denied ({tools}); "
        "the answer may lack what they would have done."
    )


def _links(links: Sequence[Link]) -> str:
    return "\n".join(f"- [{link.title}]({link.target})" for link in links)


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    body = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)
    return f"### {title}\n\n| | |\n|---|---|\n{body}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
