"""The words about a run's ending: what happened, what to check first, and what was seen of it.

Every sentence that people read about an outcome is built here. Texts of the agent, the API and the
kubelet are quoted, shortened and made safe; they never influence the verdict.
"""

from dataclasses import dataclass
from signal import Signals

from tasks.claude_code.event_types import ApiRetryEvent, ResultEvent
from tasks.claude_code.rendering import render_epoch
from tasks.claude_code.session_summary import SessionSummary
from tasks.outcome.api_failures import api_fields, api_status, reset_epoch, shows_failure
from tasks.outcome.cluster_words import container_words, init_words, node_words, pod_words
from tasks.outcome.diagnosis_texts import (
    AFTER_RESULT,
    BY_CAUSE,
    EXPLAINED_BY_CAUSE,
    LEADS,
    LOG_REFUSED,
    LOSES_LINES,
    STARTS_NOTHING,
    WORDINGS,
    WRONG_ARCHITECTURE,
)
from tasks.outcome.ending_vocabulary import find_word
from tasks.outcome.reasons import OF_THE_CHECK, OF_THE_WORK, Reason
from tasks.outcome.run_facts import CheckFacts, Ending, RunFacts, WorkFacts
from tasks.text.quoting import QUOTE_LIMIT_CHARACTERS, plain_words, quote
from tasks.vocabulary.error_codes import Cause

_NAME_LIMIT_CHARACTERS = 200

# What to do about work that was not collected.
_KEEPER_WAITS = (
    "Mend that, then start the run again while the keeper waits: it finds the Job and collects the "
    "work."
)
_KEEPER_GONE = (
    "Run again to resume the session; what a persistent volume has kept of the work is collected "
    "then."
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What happened, in a sentence or two, what to check first and what to do.

    Attributes:
        message: For people: no pod, node, exit code or reason stands in it.
        check: Completes "First check …"; `None` after success and where the message says it.
        advice: What to do; `None` after success.
    """

    message: str
    check: str | None
    advice: str | None


def describe(reason: Reason, facts: RunFacts, ending: Ending, cause: Cause | None) -> Diagnosis:
    """Describe an ending in words; the facts must support the reason."""
    failed = facts.stage_failure
    if reason is Reason.STAGE and failed is not None:
        return Diagnosis(failed.message, None, failed.advice)
    wording = WORDINGS[reason]
    words = _words(facts, ending)
    happened = wording.happened.format_map(words)
    check, advice = wording.check, wording.advice and wording.advice.format_map(words)
    if check is None:
        return Diagnosis(f"{happened}.", None, None)
    # What the agent wrote does not tell what its check found, or what became of its work.
    stderr = "" if reason in OF_THE_CHECK | OF_THE_WORK else quote(facts.stderr_line)
    if stderr and stderr not in happened:
        happened = f"{happened}; stderr {stderr}"
    if _printed_result(facts):
        advice = AFTER_RESULT.get(reason, advice)
    if reason in LOSES_LINES and facts.unread_because is not None:
        check, advice = LOG_REFUSED
    elif reason in STARTS_NOTHING and facts.wrong_architecture:
        check, advice = WRONG_ARCHITECTURE
    elif reason in EXPLAINED_BY_CAUSE and cause in BY_CAUSE:
        check, advice = BY_CAUSE[cause]
        happened = f"{_lead(facts, cause)}{happened}"
    return Diagnosis(f"{happened}.", check, advice)


def list_observations(
    facts: RunFacts, ending: Ending, cause: Cause | None
) -> tuple[tuple[str, str], ...]:
    """Return what was seen of the run's end, as rows of a table in a fixed order."""
    rows = (
        ("Exit code", _exit_words(facts, ending)),
        ("Signal", _signal_words(ending)),
        ("Check", facts.check.words if facts.check else None),
        ("Work", facts.work.words if facts.work else None),
        ("Log", _refusal_words(facts)),
        ("Container", _after("container ", container_words(facts))),
        ("Init container", _after("init container ", init_words(facts))),
        ("Pod", _after("pod ", pod_words(facts))),
        ("Node", node_words(facts)),
        ("Job", _forensics(facts) if facts.job_gone or facts.job_deletion_seen else None),
        ("Pod deleted", _deletion_words(facts) if cause is Cause.POD_REPLACED else None),
        ("Pod replaced", _replacement_words(facts)),
        ("Model", _model_words(facts)),
    )
    return tuple((name, value) for name, value in rows if value)


def _after(title: str, words: str | None) -> str | None:
    return words.removeprefix(title) if words else None


def _lead(facts: RunFacts, cause: Cause | None) -> str:
    """Return the sentence that names the cause; empty where the ending needs none."""
    if cause is Cause.OOM_KILLED and facts.container_reason != "OOMKilled":
        # An init container was, with a limit of its own.
        return ""
    lead = LEADS.get(cause) if cause is not None else None
    limit = f" (limit {_name(facts.memory_limit)})" if facts.memory_limit else ""
    return f"{lead.format(memory_limit=limit)}. " if lead else ""


def _words(facts: RunFacts, ending: Ending) -> dict[str, str]:
    """Return the values of the placeholders; empty if there is nothing to report."""
    session, result = facts.session, facts.session.last_result
    text = result.text if result is not None else session.error_text
    status, resets = api_status(facts), render_epoch(reset_epoch(facts))
    return {
        "said": _first_quote(*_said(result, text)),
        "last_words": _after_colon(text),
        "word": _word(result),
        "had": _had(facts),
        "hook": _hook(session),
        "tool": f": {_name(result.deferred_tool)}" if result and result.deferred_tool else "",
        "subtype": f" of subtype {_name(result.subtype)}" if result and result.subtype else "",
        "status": f" with status {status}" if status is not None else "",
        "fields": _in_brackets(facts),
        "resets": f", and the limit resets at {resets}" if resets else "",
        "retries": _retries(session.last_api_retry),
        "plain": _after_colon(session.plain_line),
        "last_said": _first_quote(session.error_text, session.plain_line),
        "stderr": _after_colon(facts.stderr_line or facts.foreign_line),
        "limit": f" of {facts.timeout_seconds:,.0f} s" if facts.timeout_seconds else "",
        "silence": f"{facts.stalled_seconds or 0:,.0f} s",
        "api_silence": f"{facts.api_lost_seconds or 0:,.0f} s",
        "api_failure": f" ({facts.api_failure.rstrip('.')})" if facts.api_failure else "",
        "output": _output(facts),
        "job": _job(facts),
        "refused": f" ({facts.refusal})" if facts.refusal else "",
        "missing": _missing(facts),
        "before": _before(facts, ending),
        "never_ran": "was not seen to run" if facts.pod_gone else "never ran",
        "silent_end": _silent_end(facts, ending),
        "kind_of_result": _kind_of_result(facts),
        "see_answer": "The answer so far is in the report. " if session.has_answer else "",
        **_check_words(facts.check),
        **_work_words(facts.work),
    }


def _check_words(check: CheckFacts | None) -> dict[str, str]:
    if check is None:
        return {}
    by_signal = _signal_words(Ending(signal=check.signal))
    limit = check.timeout_seconds
    return {
        "check_code": f"{check.exit_code}" + (f" (signal {by_signal})" if by_signal else ""),
        "check_said": _after_colon(check.line),
        "check_limit": f" of {limit:,} s" if limit is not None else "",
        "check_unknown": check.why_unknown,
    }


def _work_words(work: WorkFacts | None) -> dict[str, str]:
    if work is None:
        return {}
    left_out = work.result.left_out if work.result is not None else ()
    return {
        "work_left_out": " that could be collected" if left_out else "",
        "work_problem": work.problem,
        **_published_words(work),
        "work_waits": ". The Job's keeper still waits with it" if work.keeper_waits else "",
        "work_advice": _KEEPER_WAITS if work.keeper_waits else _KEEPER_GONE,
    }


def _published_words(work: WorkFacts) -> dict[str, str]:
    published = work.result.published if work.result is not None else None
    problem = plain_words((published and published.problem) or "", QUOTE_LIMIT_CHARACTERS)
    return {
        "unpublished": problem.rstrip(".") or "Nothing is known of it",
        "publish_advice": (published and published.advice) or "Look at the run's log.",
    }


def _has_been_seen(facts: RunFacts, ending: Ending) -> bool:
    """Return whether anybody saw the agent's process: running, ended, or by its output."""
    output = max(facts.transcript.lines, facts.session.lines)
    seen = facts.container_started is True or facts.any_trailer is not None or output > 0
    return seen or ending.exit_code is not None


def _before(facts: RunFacts, ending: Ending) -> str:
    if ending.exit_code is not None:
        return "before the agent had ended"
    if _has_been_seen(facts, ending):
        return "before the agent was seen to end"
    if facts.pod_name is None:
        return "at a time when nobody saw its agent, which may have ended before"
    return "before the agent was seen to start"


def _silent_end(facts: RunFacts, ending: Ending) -> str:
    if _has_been_seen(facts, ending):
        return "Claude Code ended without printing anything"
    return "Nothing was seen of Claude Code: neither that it started, nor its output or its end"


def _exit_words(facts: RunFacts, ending: Ending) -> str:
    if ending.exit_code is not None:
        by = "" if ending.source == "container state" else f" by the {ending.source}"
        return f"{ending.exit_code}{by}"
    if facts.pod_gone:
        return "unknown because the pod was gone before it could be read"
    if facts.pod_gone is False:
        return "unknown, the pod is present but its container is not reported as terminated"
    return "unknown"


def _signal_words(ending: Ending) -> str | None:
    if ending.signal is None:
        return None
    try:
        return f"{ending.signal} {Signals(ending.signal).name}"
    except ValueError:
        return f"{ending.signal}"


def _deletion_words(facts: RunFacts) -> str | None:
    asked_at = facts.pod_deletion_asked_at
    return f"at {asked_at:%H:%M:%S} UTC" if asked_at is not None else None


def _refusal_words(facts: RunFacts) -> str | None:
    said = quote(facts.unread_because)
    return f"could not be read: {said}" if said else None


def _replacement_words(facts: RunFacts) -> str | None:
    if facts.pod_replaced is None:
        return None
    first, second = facts.pod_replaced.first_pod, facts.pod_replaced.second_pod
    return f"{_name(first)} was lost and replaced by {_name(second)}, which ran no agent"


def _model_words(facts: RunFacts) -> str | None:
    used, asked = facts.session.model, facts.model
    if used is None and asked is None:
        return None
    if used is None or asked is None or used == asked:
        return _name(used or asked or "")
    return f"{_name(used)}, requested as {_name(asked)}"


def _retries(last: ApiRetryEvent | None) -> str:
    if last is None:
        return ""
    return " after 1 retry" if last.attempt == 1 else f" after {last.attempt} retries"


def _in_brackets(facts: RunFacts) -> str:
    fields = dict.fromkeys(
        str(field.value)
        for field in api_fields(facts)
        if field.name.startswith(("api_error", "error")) and isinstance(field.value, str)
    )
    return f" [{_name(', '.join(fields))}]" if fields else ""


def _output(facts: RunFacts) -> str:
    proof = facts.transcript
    lines = max(proof.lines, facts.session.lines)
    size = f" and {proof.stdout_bytes:,} bytes" if proof.stdout_bytes else ""
    return f"{lines:,} lines{size} of output"


def _job(facts: RunFacts) -> str:
    if facts.job_name is None:
        return "The Job"
    return f"Job {_name(facts.job_name)}" + (
        f" in namespace {_name(facts.namespace)}" if facts.namespace else ""
    )


def _forensics(facts: RunFacts) -> str:
    conditions = ", ".join(
        f"{item.type}={item.status}" + (f" {item.reason}" if item.reason else "")
        for item in facts.job_conditions
    )
    last = f"last conditions {_name(conditions)}" if conditions else "no condition seen before"
    gone = facts.job_gone
    if gone is None:
        return f"it was being deleted, {last}"
    since, observations = gone.seconds_since_pod_ran, gone.observations
    ran = "the pod was never seen running" if since is None else f"{since:,.0f} s after the pod ran"
    seen = "" if observations is None else f", {observations:,} observations before"
    return f"404 from {_name(gone.detected_by)}, {ran}{seen}, {last}"


def _missing(facts: RunFacts) -> str:
    ranges = [
        str(gap.first) if gap.first == gap.last else f"{gap.first}–{gap.last}"
        for gap in facts.transcript.missing[:5]
    ]
    more = " and more" if len(facts.transcript.missing) > len(ranges) else ""
    return f" (missing lines {', '.join(ranges)}{more})" if ranges else ""


def _said(result: ResultEvent | None, text: str | None) -> tuple[str | None, ...]:
    if result is None:
        return (text,)
    # The text of a result that is no error by its flag is an answer, not a word about the errors.
    return (text, *result.errors) if result.is_error is not False else (*result.errors, text)


def _printed_result(facts: RunFacts) -> bool:
    session = facts.session
    return session.has_answer and not session.turn_open and not shows_failure(session)


def _hook(session: SessionSummary) -> str:
    """Name the hook that stopped the run; where none says so, the last one, as just that."""
    if session.stopping_hook is not None:
        return f": {_name(session.stopping_hook)}"
    return f"; the last hook was {_name(session.last_hook)}" if session.last_hook else ""


def _kind_of_result(facts: RunFacts) -> str:
    """Return how much a result that is not known to be an error says."""
    result = facts.session.last_result
    if not facts.session.has_answer:
        return "an empty result"
    return "a successful result" if result and result.is_error is False else "a result"


def _had(facts: RunFacts) -> str:
    """Tell what a run that was stopped had brought about by then."""
    if facts.session.last_result is None:
        return ""
    cost = facts.session.cost_usd
    paid = "" if cost is None else f", with a cost of ${cost:.4f}"
    return f"; it had printed a result by then{paid}"


def _first_quote(*texts: str | None) -> str:
    return next((quoted for text in texts if (quoted := _after_colon(text))), "")


def _word(result: ResultEvent | None) -> str:
    word = find_word(result, Reason.UNFINISHED) if result is not None else None
    return f" [{_name(f'{word.field}={word.value}')}]" if word is not None else ""


def _after_colon(text: str | None) -> str:
    quoted = quote(text)
    return f": {quoted}" if quoted else ""


def _name(text: str) -> str:
    return plain_words(text, _NAME_LIMIT_CHARACTERS) or "(unreadable)"
