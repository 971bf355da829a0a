"""The facts that show each ending, except failures of the model API.

Every function returns the fact in words, or `None` if the facts do not show it. They are called in
the order of the precedence table, so each may assume that none before it holds.
"""

from collections.abc import Callable

from tasks.claude_code.event_types import ResultEvent
from tasks.claude_code.session_totals import repeats
from tasks.outcome.causes import deadline_fact, deletion_ended_agent, preempted_by_queue_fact
from tasks.outcome.ending_vocabulary import error_subtype, find_word
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import Ending, RunFacts
from tasks.transcript.line_grammar import Refusal

# Of the run script: out of time, and what a shell says of a program that it could not start.
_NOT_OF_THE_CLI = frozenset({0, 124, 126, 127})

Evidence = Callable[[RunFacts, Ending], str | None]


def only_by_stage(_facts: RunFacts, _ending: Ending) -> None:
    """Return no fact: only a failed stage selects the row."""
    return


def cancelled(facts: RunFacts, _ending: Ending) -> str | None:
    """Prefect's API reports it; what the agent did in the meantime does not matter."""
    return "the flow run's state is cancelled" if facts.cancelled else None


def timed_out(facts: RunFacts, ending: Ending) -> str | None:
    """A time limit ended the run: the agent's, the Job's or the flow's."""
    return deadline_fact(facts, ending)


def stalled(facts: RunFacts, _ending: Ending) -> str | None:
    """The stall rule ended the agent."""
    seconds = facts.stalled_seconds
    return None if seconds is None else f"no output for {seconds:,.0f} s"


def job_deleted(facts: RunFacts, ending: Ending) -> str | None:
    """Somebody else deleted the Job, and that ended the agent."""
    return "deletion of the Job" if deletion_ended_agent(facts, ending) else None


def preempted_by_queue(facts: RunFacts, ending: Ending) -> str | None:
    """The Job's queue gave its place to other work, and that ended the agent."""
    return preempted_by_queue_fact(facts, ending)


def api_refused(facts: RunFacts, ending: Ending) -> str | None:
    """The Kubernetes API refuses every read, and nothing else shows how the agent ended."""
    if facts.api_lost_seconds is None or not facts.api_refused or ending.exit_code is not None:
        return None
    return f"every read refused by the Kubernetes API for {facts.api_lost_seconds:,.0f} s"


def api_lost(facts: RunFacts, ending: Ending) -> str | None:
    """The Kubernetes API does not answer, and nothing else shows how the agent ended."""
    if facts.api_lost_seconds is None or ending.exit_code is not None:
        return None
    return f"no answer from the Kubernetes API for {facts.api_lost_seconds:,.0f} s"


def revoked(facts: RunFacts, _ending: Ending) -> str | None:
    """The run script found a tombstone in place of its prompt."""
    if facts.refusal is Refusal.REVOKED:
        return "the run script found its prompt revoked"
    return None


def closing_result_lost(facts: RunFacts, _ending: Ending) -> str | None:
    """The last line that looked like a result is missing, or lost a piece on its way."""
    number = facts.any_trailer.last_result_line if facts.any_trailer else None
    missing = facts.transcript.missing
    if number is not None and any(gap.first <= number <= gap.last for gap in missing):
        return f"line {number}, which looked like the last result, is missing"
    return _torn_result(facts) if facts.transcript.complete is False else None


def closing_result_torn(facts: RunFacts, _ending: Ending) -> str | None:
    """Only a piece of the last result is there, and nothing tells that more of it was printed."""
    return _torn_result(facts)


def _torn_result(facts: RunFacts) -> str | None:
    if not facts.session.result_torn:
        return None
    if facts.session.last_result is None:
        return "only a piece of a result"
    return "only a piece of the result after the last whole one"


def of_result(judge: Callable[[ResultEvent, RunFacts, Ending], str | None]) -> Evidence:
    """Return evidence that judges the last result; it finds nothing if there is no result."""

    def evidence(facts: RunFacts, ending: Ending) -> str | None:
        result = facts.session.last_result
        return None if result is None else judge(result, facts, ending)

    return evidence


def session_unknown(facts: RunFacts, ending: Ending) -> str | None:
    """Resume requested, no init event and no turn, and an error of the CLI's own.

    A wrong flag or a missing file looks the same, so this alone clears no session.
    """
    session, result = facts.session, facts.session.last_result
    if not facts.resume_requested or session.init_seen or session.model_output_seen:
        return None
    if result is not None:
        if result.has_deferred_tool or _says_what_ended_it(result):
            return None
        # A count of turns may be nonsense, unless the lines of those turns are lost.
        if facts.transcript.missing and result.num_turns:
            return None
        failed = _fails_by_itself(result)
        return f"resume requested, {failed}, no turn, no init event" if failed else None
    if lines_lost(facts, ending) is not None or never_ran(facts, ending) is not None:
        return None
    if facts.refusal is None and ending.by_itself and ending.exit_code not in _NOT_OF_THE_CLI:
        return f"resume requested, exit code {ending.exit_code}, no turn, no init event"
    return None


def _says_what_ended_it(result: ResultEvent) -> bool:
    """Tell whether a result names what ended its turn, which one of a failed resume never does."""
    words = (find_word(result, reason) for reason in Reason if reason is not Reason.ERROR_RESULT)
    return any(word is not None and word.field == "terminal_reason" for word in words)


def _fails_by_itself(result: ResultEvent) -> str | None:
    """Return the field by which a result is an error; how its last turn stopped does not count."""
    if result.is_error is True:
        return "result is_error=true"
    if result.errors:
        return "result errors"
    word = error_subtype(result)
    return str(word) if word is not None else None


def means(reason: Reason) -> Evidence:
    """Return evidence that a word of the last result means this ending."""

    def evidence(facts: RunFacts, _ending: Ending) -> str | None:
        result = facts.session.last_result
        word = find_word(result, reason) if result is not None else None
        return str(word) if word is not None else None

    return evidence


def error_result(result: ResultEvent, facts: RunFacts, ending: Ending) -> str | None:
    """The last result is an error: by its flag, by a word of it, or because it lists errors."""
    return _fails_by_itself(result) or means(Reason.ERROR_RESULT)(facts, ending)


def tool_deferred(result: ResultEvent, facts: RunFacts, ending: Ending) -> str | None:
    """A tool call waits for somebody's approval."""
    if result.has_deferred_tool:
        return "result deferred_tool_use"
    return means(Reason.TOOL_DEFERRED)(facts, ending)


def turn_left_open(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """The main agent began another turn, and no result closed it."""
    return "a turn without a result after the last result" if facts.session.turn_open else None


def exit_unreadable(_result: ResultEvent, _facts: RunFacts, ending: Ending) -> str | None:
    """There is a result, but no exit code."""
    return "a result, but no exit code" if ending.exit_code is None else None


def ended_after_result(_result: ResultEvent, facts: RunFacts, ending: Ending) -> str | None:
    """The agent continued after its last result, and its exit code is not 0."""
    if ending.exit_code != 0 and facts.session.output_after_result:
        return f"output after the last result, exit code {ending.exit_code}"
    return None


def exit_after_result(_result: ResultEvent, facts: RunFacts, ending: Ending) -> str | None:
    """The last result is no error, but the exit code is not 0, and not because we ended it."""
    if facts.ended_after_result:
        return None
    return f"a result, but exit code {ending.exit_code}" if ending.exit_code != 0 else None


def error_unsaid(result: ResultEvent, _facts: RunFacts, _ending: Ending) -> str | None:
    """The last result does not say whether it is an error: by its flag, and by its subtype."""
    if result.is_error is None:
        return "a result without is_error"
    return None if (result.subtype or "").strip() else "a result without a subtype"


def output_missing(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """An answer by a schema was asked for, and there is none; the CLI exits with 0 nevertheless."""
    if facts.output_asked and facts.session.structured_output is None:
        return "a schema, but no structured_output in the result"
    return None


def answered_by_cli(result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """The last result repeats a message of the CLI's own, as about a limit, and no answer."""
    if repeats(result, facts.session.error_text):
        return "a result that repeats a message of the CLI's own"
    return None


def no_answer(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """No successful result has a text or a JSON value."""
    return None if facts.session.has_answer else "exit code 0 and an empty result"


def check_unknown(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """A check was asked for, and how it ended is not known."""
    if facts.check is None or facts.check.exit_code is not None:
        return None
    return f"no result of the check: {facts.check.why_unknown}"


def check_timed_out(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """The run script ended the check at its time limit."""
    end = facts.check.end if facts.check is not None else None
    return "the run script stopped the check at its time limit" if end and end.timed_out else None


def check_failed(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """The check has ended by itself, and not with exit code 0."""
    exit_code = facts.check.exit_code if facts.check is not None else None
    return f"exit code {exit_code} of the check" if exit_code else None


def no_changes(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """Changes were expected, and it is known that there are none."""
    work = facts.work
    if work is None or not work.expect_changes or not work.is_unchanged:
        return None
    return "no commit and no changed file, where changes were expected"


def work_not_delivered(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """The work was to be collected, and it was not."""
    if facts.work is None or facts.work.is_collected:
        return None
    return f"the work was not collected: {facts.work.problem}"


def work_not_published(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str | None:
    """The work was to be on the remote, and was not seen there."""
    if facts.work is None or not facts.work.lacks_publication:
        return None
    return "the work was not seen on the remote"


def success(_result: ResultEvent, facts: RunFacts, _ending: Ending) -> str:
    """None of the rows above holds, so the run succeeded."""
    how = "ended after its result" if facts.ended_after_result else "exit code 0"
    checked = "" if facts.check is None else ", and its check passed"
    collected = "" if facts.work is None else ", and its work was collected"
    if facts.work is not None and facts.work.publish_asked and not facts.work.is_unchanged:
        collected = ", and its work was seen on the remote"
    return f"{how}, result is_error=false, an answer{checked}{collected}"


def _silent(facts: RunFacts) -> bool:
    session = facts.session
    return session.events == 0 and session.plain_lines == 0 and facts.transcript.lines == 0


def never_ran(facts: RunFacts, _ending: Ending) -> str | None:
    """The agent's process was never started."""
    if facts.container_started is False and facts.refusal is None and _silent(facts):
        seen = "was not seen to run" if facts.pod_gone else "never ran"
        return f"the agent's container {seen}"
    return None


def lines_lost(facts: RunFacts, _ending: Ending) -> str | None:
    """There is no result, and lines that may hold it are missing."""
    if facts.transcript.missing:
        return "stdout lines are missing, and there is no result"
    if facts.any_trailer and facts.any_trailer.lines > 0 and _silent(facts):
        return f"the run script counted {facts.any_trailer.lines:,} lines, but none was read"
    if facts.any_trailer is None and facts.unread_because is not None and _silent(facts):
        return "the container's log could not be read, and no line of it is known"
    return None


def empty_model_answer(facts: RunFacts, ending: Ending) -> str | None:
    """The model's last message stayed empty, and the CLI ended without a result."""
    if facts.session.empty_answer_open and ending.signal is None:
        return "an open, empty message of zero tokens, and no result"
    return None


def bad_input(facts: RunFacts, _ending: Ending) -> str | None:
    """The run script could not use the pod's input."""
    if facts.refusal in {Refusal.BUNDLE_MISMATCH, Refusal.NO_PROMPT}:
        return f"run script refused: {facts.refusal}"
    return None


def no_stdout(facts: RunFacts, _ending: Ending) -> str | None:
    """Nothing was printed."""
    return "empty stdout" if _silent(facts) else None


def no_result(facts: RunFacts, _ending: Ending) -> str | None:
    """The model produced output, but no result followed."""
    return "model output, but no result" if facts.session.model_output_seen else None


def start_up_only(facts: RunFacts, _ending: Ending) -> str | None:
    """Start-up events were printed, in full or in part, but no model output."""
    session = facts.session
    if session.events > session.foreign_events:
        return "start-up events, but nothing after them"
    # Only the beginning of an event: start-up was cut short.
    cut = session.fragment_lines > 0 and session.fragment_lines == session.plain_lines
    return "a first event cut short" if cut else None


def always(_facts: RunFacts, _ending: Ending) -> str:
    """Nothing else fits."""
    return "no event on stdout"
