"""The report of a run as Markdown: what happened, what to do, why, and what it cost.

These come first, one line each; tables with details follow. Every value comes from the result, so a
report can be rendered again from a stored result. Texts of the agent and of the cluster are
escaped, so they cannot change the structure of the page.
"""

import json
import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from tasks.outcome.run_result import (
    AgentRunResult,
    PublishedWork,
    TranscriptProof,
    WorkResult,
)
from tasks.outcome.state_names import SUCCEEDED, state_name
from tasks.text.markdown import code_span, escape_markdown, quote_code, quote_prose, table
from tasks.text.quoting import without_json_events
from tasks.text.safe_text import duration_text, one_line
from tasks.vocabulary.error_codes import CAUSE_MEANINGS

UNKNOWN = "–"

_LEFT_OUT_SHOWN = 50
_LINE_CHARACTERS = 500


class Link(NamedTuple):
    """A place to look next: a URL, or a name."""

    title: str
    target: str
    is_address: bool = False


def render_report(result: AgentRunResult, links: Sequence[Link] = ()) -> str:
    """Return the report of a run as GitHub-flavoured Markdown."""
    sections = (
        _headline(result),
        *_essentials(result),
        _check(result),
        _work(result),
        _answer(result),
        _section("Timeline", ("Time (UTC)", "After", "Event"), _timeline(result)),
        _section("How it ended", ("Item", "Value"), _observed(result)) if result.observed else "",
        _section("Usage and cost", ("Item", "Amount"), _usage(result)),
        _section("Where it ran", ("Item", "Value"), _places(result)),
        _links(links),
    )
    return "\n\n".join(section for section in sections if section)


def render_output(result: AgentRunResult) -> str:
    """Return the page of a run's answer by its schema."""
    return quote_code(json.dumps(result.output, ensure_ascii=False, indent=2))


def summarize_result(result: AgentRunResult) -> str:
    """Return outcome, cost and turns in one short line of plain text."""
    parts = [outcome_name(result), _cost(result)]
    if result.num_turns is not None:
        parts.append(f"{result.num_turns:,} turns")
    return " · ".join(part for part in parts if part != UNKNOWN)


def outcome_name(result: AgentRunResult) -> str:
    """Return the name of this ending in Prefect's run list."""
    code = result.error_code
    return SUCCEEDED if code is None else state_name(code, result.cause)


def describe_proof(proof: TranscriptProof) -> str:
    """Return one sentence about how much of the agent's stdout was received."""
    size = f"{proof.lines:,} lines, {proof.stdout_bytes:,} bytes"
    if proof.complete:
        return f"complete – {size}; count and SHA-256 match those of the pod."
    if proof.missing:
        ranges = ", ".join(
            str(gap.first) if gap.first == gap.last else f"{gap.first}–{gap.last}"
            for gap in proof.missing
        )
        return f"**incomplete** – {size}; missing line numbers: {ranges}."
    if proof.complete is False:
        return f"**incomplete** – {size}; count or SHA-256 differ from those of the pod."
    return f"unproven – {size}; the pod's own count was not received."


def _headline(result: AgentRunResult) -> str:
    agent = f"agent {escape_markdown(result.agent_id)}"
    if result.error_code is None:
        title = f"## ✔ {outcome_name(result)} – {agent}"
    else:
        title = f"## ✘ {outcome_name(result)} – {agent} (`{result.error_code}`)"
    return f"{title}\n\n{escape_markdown(result.message)}"


def _essentials(result: AgentRunResult) -> list[str]:
    lines: list[str] = []
    if result.check_first:
        lines.append(f"**First check:** {escape_markdown(result.check_first)}.")
    if result.advice:
        lines.append(f"**What to do:** {escape_markdown(result.advice)}")
    lines += [f"**Warning:** {escape_markdown(warning)}" for warning in result.warnings]
    if result.cause is not None:
        lines.append(f"**Cause:** {result.cause} – {CAUSE_MEANINGS[result.cause]}.")
    if result.cluster_said:
        lines.append(f"**Reported by the cluster:** {escape_markdown(result.cluster_said)}")
    if result.kubernetes.job_name is None:
        lines.append("**Cost:** none; this run started no agent.")
    else:
        lines += [f"**Cost:** {_bill(result)}", f"**Transcript:** {_proof(result)}"]
    if result.permission_denials:
        lines.append(f"**Permissions:** {_denials(result)}")
    if result.reattached_from:
        lines.append(
            f"**Takeover:** this run took over the Job of flow run `{result.reattached_from}`: "
            "prompt and output belong to that run."
        )
    return lines


def _bill(result: AgentRunResult) -> str:
    usage = result.usage
    tokens = f"{_count(usage.input_tokens)} in, {_count(usage.output_tokens)} out"
    turns = f"{_count(result.num_turns)} turns"
    return f"{_cost(result)} · {turns} · tokens {tokens} · {_work_time(result)}"


def _work_time(result: AgentRunResult) -> str:
    timings = result.timings
    total = duration_text((timings.ended_at - timings.started_at).total_seconds())
    if timings.agent_started_at is None or timings.agent_ended_at is None:
        return f"{total} in total"
    worked = timings.agent_ended_at - timings.agent_started_at
    return f"{duration_text(worked.total_seconds())} of work, {total} in total"


def _proof(result: AgentRunResult) -> str:
    proof = describe_proof(result.transcript)
    if not result.unknown_events:
        return proof
    kinds = ", ".join(f"{code_span(name)} × {count:,}" for name, count in result.unknown_events)
    return f"{proof} It contains event types that this version does not know: {kinds}."


def _denials(result: AgentRunResult) -> str:
    tools = sorted({denial.tool_name for denial in result.permission_denials})
    return (
        f"Denied tool uses: {len(result.permission_denials)} "
        f"({', '.join(map(code_span, tools))}). The answer may be incomplete because of them."
    )


def _answer(result: AgentRunResult) -> str:
    if not result.summary:
        return ""
    title = "Answer" if result.error_code is None else "The agent's last words"
    quoted = quote_prose(without_json_events(result.summary)).replace("\n", "\n> ")
    return f"### {title}\n\n> {quoted}"


def _check(result: AgentRunResult) -> str:
    check = result.check
    if check is None:
        return ""
    lasted = check.duration_seconds
    limit = UNKNOWN if check.timeout_seconds is None else duration_text(check.timeout_seconds)
    rows = [
        ("Exit code", _count(check.exit_code)),
        ("Duration", UNKNOWN if lasted is None else duration_text(lasted)),
        ("Time limit", f"{limit}, reached" if check.timed_out else limit),
    ]
    section = _section("Check", ("Item", "Value"), rows)
    if not check.last_lines:
        return section
    skipped = check.lines_skipped
    before = f" ({skipped:,} lines before them)" if skipped else ""
    printed = quote_code(without_json_events(check.last_lines))
    return f"{section}\n\nIts last lines{before}:\n\n{printed}"


def _work(result: AgentRunResult) -> str:
    work = result.work
    if work is None:
        return ""
    rows = [
        ("Collected", "yes" if work.collected else f"no: {_line(work.problem)}"),
        ("Commits", _count(work.commits)),
        ("Changed files", _count(work.files_changed)),
        ("Added lines", _count(work.insertions)),
        ("Deleted lines", _count(work.deletions)),
        ("Branch", _name(work.branch)),
        ("Started from", _name(work.base_commit)),
        ("Ended with", _name(work.work_commit)),
        *published_rows(work.published),
        *work_places(work),
    ]
    section = _section("Work", ("Item", "Value"), rows)
    parts = [section, left_out_list(work)]
    if work.collected and not work.is_unchanged:
        parts.append(f"To get it: {code_span(fetch_command(result.agent_id))}")
    return "\n\n".join(part for part in parts if part)


def published_rows(published: PublishedWork | None) -> list[tuple[str, str]]:
    """Return rows of a table with where the work was published; markdown."""
    if published is None:
        return []
    rows = [
        ("Repository", code_span(published.remote)),
        ("Pushed to", code_span(published.branch)),
        ("Seen there", _name(published.commit)),
    ]
    if published.replaced_commit is not None:
        rows.append(("In the place of", code_span(published.replaced_commit)))
    if published.deliver == "pull_request":
        url, number = published.pull_request_url, published.pull_request_number
        shown = UNKNOWN if number is None else f"#{number}"
        rows.append(("Pull request", f"[{shown}](<{url}>)" if url else shown))
    if published.problem is not None:
        rows.append(("Not published", _line(published.problem)))
    return rows


def work_places(work: WorkResult) -> list[tuple[str, str]]:
    """Return rows of a table with where the work lies in the result storage; markdown."""
    places = (
        ("Git bundle", work.bundle_key),
        ("Patch", work.patch_key),
        ("List of all changed files", work.files_key),
    )
    return [(title, code_span(key)) for title, key in places if key is not None]


def left_out_list(work: WorkResult) -> str:
    """Return what was left out of the work as a list in markdown; empty where nothing was."""
    if not work.left_out:
        return ""
    shown = [f"- {_line(item)}" for item in work.left_out[:_LEFT_OUT_SHOWN]]
    more = len(work.left_out) - len(shown)
    rest = [f"- and {more:,} more"] if more else []
    return "\n".join(["Left out:\n", *shown, *rest])


def fetch_command(agent_id: str, *options: str) -> str:
    """Return the command that gets the work of an agent's last run."""
    return " ".join(["claude-jobs work", shlex.quote(agent_id), *options])


def _timeline(result: AgentRunResult) -> list[tuple[str, ...]]:
    timings = result.timings
    steps = (
        ("Run started", timings.started_at),
        ("Job created", timings.job_created_at),
        ("Agent started", timings.agent_started_at),
        ("Agent ended", timings.agent_ended_at),
        ("Run ended", timings.ended_at),
    )
    return [(*_instant(at, timings.started_at), name) for name, at in steps]


def _instant(at: datetime | None, start: datetime) -> tuple[str, str]:
    if at is None:
        return UNKNOWN, UNKNOWN
    # The cluster reports whole seconds, so its first times may seem earlier than ours.
    return f"{at:%Y-%m-%d %H:%M:%S}", duration_text((at - start).total_seconds())


def _usage(result: AgentRunResult) -> list[tuple[str, str]]:
    usage = result.usage
    return [
        ("Model", _name(result.model)),
        ("Turns", _count(result.num_turns)),
        ("Input tokens", _count(usage.input_tokens)),
        ("Cache read tokens", _count(usage.cache_read_input_tokens)),
        ("Cache write tokens", _count(usage.cache_creation_input_tokens)),
        ("Output tokens", _count(usage.output_tokens)),
        ("Cost", _cost(result)),
    ]


def _places(result: AgentRunResult) -> list[tuple[str, str]]:
    names = result.kubernetes
    beside = ", ".join(map(code_span, names.still_running))
    return [
        ("Namespace", _name(names.namespace)),
        ("Job", _name(names.job_name)),
        ("Attempt", _count(result.attempt)),
        ("Pod", _name(names.pod_name)),
        *([("Still running after the agent's end", beside)] if beside else []),
        ("Node", _name(names.node_name)),
        ("Image", _name(names.image)),
        *(() if result.observed else _exit(result)),
        ("Session", _session(result)),
    ]


def _observed(result: AgentRunResult) -> list[tuple[str, str]]:
    return [(escape_markdown(name), escape_markdown(value)) for name, value in result.observed]


def _exit(result: AgentRunResult) -> list[tuple[str, str]]:
    return [("Exit code", _count(result.exit_code)), ("Signal", _count(result.signal))]


def _session(result: AgentRunResult) -> str:
    if result.session_id is None:
        return UNKNOWN
    notes = ["resumed" if result.resumed else "new"]
    if result.clear_session:
        notes.append("cleared: the next run starts a new one")
    return f"{_name(result.session_id)} ({', '.join(notes)})"


def _links(links: Sequence[Link]) -> str:
    if not links:
        return ""
    return "\n".join(["### Where to look next\n", *map(_link, links)])


def _link(link: Link) -> str:
    if link.is_address:
        return f"- [{escape_markdown(link.title)}]({link.target})"
    return f"- {escape_markdown(link.title)}: {code_span(link.target)}"


def _cost(result: AgentRunResult) -> str:
    return UNKNOWN if result.cost_usd is None else f"${result.cost_usd:.4f}"


def _name(text: str | None) -> str:
    return code_span(text) if text else UNKNOWN


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _line(text: str | None) -> str:
    return escape_markdown(one_line(text, _LINE_CHARACTERS)) if text else UNKNOWN


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"### {title}\n\n{table(header, rows)}"
