"""What ended the agent's container: one ordered table; no cause is named without a fact.

What the cluster did to the pod comes before what happened to the container, unless the agent had
ended by then. A signal is the cause only if nothing shows who sent it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from tasks.observation import pod_reasons
from tasks.observation.api_fields import Condition
from tasks.observation.container_states import CLOCK_SLACK, cause_of_failed_init
from tasks.observation.snapshots import JOB_FAILED
from tasks.outcome.run_facts import (
    SIGABRT_NUMBER,
    SIGKILL_NUMBER,
    SIGTERM_NUMBER,
    SIGTRAP_NUMBER,
    Ending,
    RunFacts,
)
from tasks.text.quoting import is_heap_exhaustion
from tasks.transcript.line_grammar import Refusal
from tasks.vocabulary.error_codes import Cause

Evidence = Callable[[RunFacts, Ending], str | None]
CauseRule = tuple[Cause, Evidence]

# Of the times of Kubernetes' objects.
_CLOCK_STEP = timedelta(seconds=1)

_BAD_INPUT = frozenset({Refusal.BUNDLE_MISMATCH, Refusal.NO_PROMPT})


@dataclass(frozen=True, slots=True)
class CauseFinding:
    """A cause and the fact that shows it; only `Unknown` has no fact."""

    cause: Cause
    fact: str | None


def find_cause(facts: RunFacts, ending: Ending, table: Sequence[CauseRule]) -> CauseFinding:
    """Return the first cause in the table that a fact supports, else `Unknown`."""
    for cause, evidence in table:
        fact = evidence(facts, ending)
        if fact is not None:
            return CauseFinding(cause, fact)
    return CauseFinding(Cause.UNKNOWN, None)


def deletion_ended_agent(facts: RunFacts, ending: Ending) -> bool:
    """Return whether the Job's deletion ended the agent, rather than following its own end.

    It did not if the Job had finished or the agent's container had ended before, for example when
    its TTL passed, if the agent had printed a result and exited by itself, or if the agent was
    killed for its memory use.
    """
    if facts.job_gone is None and not facts.job_deletion_seen:
        return False
    return not (
        _finished_before_deletion(facts)
        or _agent_ended_before_deletion(facts, ending)
        or _ended_of_itself(facts, ending)
    )


def _finished_before_deletion(facts: RunFacts) -> bool:
    deleted_at = facts.job_deletion_at
    # A Job that is being deleted fails once the deletion has ended its agent.
    return (
        any(_final_conditions(facts)) if deleted_at is None else _finished_before(facts, deleted_at)
    )


def _finished_before(facts: RunFacts, at: datetime) -> bool:
    # Times are in whole seconds, so equal times prove nothing.
    return any(item.changed_at and item.changed_at < at for item in _final_conditions(facts))


def _final_conditions(facts: RunFacts) -> list[Condition]:
    final = {"Complete", "Failed"}
    return [item for item in facts.job_conditions if item.is_true and item.type in final]


def _agent_ended_before_deletion(facts: RunFacts, ending: Ending) -> bool:
    """Return whether the agent had ended, while another container kept its Job from finishing."""
    deleted_at, ended_at = facts.job_deletion_at, facts.container_ended_at
    slack = CLOCK_SLACK if _may_have_been_ended(ending) else timedelta(0)
    # As above, equal times prove nothing.
    return deleted_at is not None and ended_at is not None and ended_at + slack < deleted_at


def _may_have_been_ended(ending: Ending) -> bool:
    """Return whether the agent did not end with a code of its own, as far as is known."""
    return ending.exit_code is None or ending.signal in {SIGKILL_NUMBER, SIGTERM_NUMBER}


def _ended_of_itself(facts: RunFacts, ending: Ending) -> bool:
    return _closed_by_itself(facts, ending) or _out_of_memory(facts, ending) is not None


def _closed_by_itself(facts: RunFacts, ending: Ending) -> bool:
    return ending.by_itself and facts.session.last_result is not None


def deadline_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the fact that shows that a time limit ended the run.

    The limits of the Job, the pod and the flow count only if they ended the agent. They did not if
    it had printed a result and exited by itself, or was killed for its memory use.
    """
    trailer = facts.any_trailer
    if facts.agent_timed_out or (trailer is not None and trailer.timed_out):
        return "the run script stopped the agent at its time limit"
    if _ended_of_itself(facts, ending):
        return None
    given_up = _given_up_for(facts, "DeadlineExceeded")
    if given_up is not None:
        return f"Job condition {given_up.type}, reason DeadlineExceeded"
    if facts.pod_reason == "DeadlineExceeded":
        return "pod reason DeadlineExceeded"
    if facts.event_about_job(pod_reasons.DEADLINE_EVENTS) is not None:
        return "Kubernetes Event DeadlineExceeded about the Job"
    return "the flow run's own time limit was reached" if facts.flow_deadline_reached else None


def _given_up_for(facts: RunFacts, reason: str) -> Condition | None:
    """Return the Job's condition that says so, if that was before the agent's end."""
    found = _conditions_of_failure(facts, reason)
    times = (item.changed_at for item in found if item.changed_at is not None)
    return found[0] if found and facts.may_have_ended_agent(min(times, default=None)) else None


def _conditions_of_failure(facts: RunFacts, reason: str) -> list[Condition]:
    """Return the Job's conditions that say so: the final one, which comes late, says it best."""
    found = (item for item in facts.job_conditions if item.is_true and item.type in JOB_FAILED)
    return sorted((item for item in found if item.reason == reason), key=lambda item: item.type)


def _job_deleted(facts: RunFacts, ending: Ending) -> str | None:
    if not deletion_ended_agent(facts, ending):
        return None
    if facts.job_gone is not None:
        return f"the Job was gone ({facts.job_gone.detected_by})"
    return "the Job was being deleted before the agent was seen to end"


def _own_exit(facts: RunFacts, ending: Ending) -> str | None:
    """Return the exit code of an agent that exited by itself after a result.

    What happened to its pod afterwards is not the cause.
    """
    if facts.refusal is not None or not _closed_by_itself(facts, ending):
        return None
    return f"exit code {ending.exit_code}"


def preempted_by_queue_fact(facts: RunFacts, ending: Ending) -> str | None:
    """Return the fact that shows that the Job's queue took its place back from the agent."""
    if not facts.preempted_by_queue or _ended_of_itself(facts, ending):
        return None
    suspended = (item for item in facts.job_conditions if item.type == "Suspended" and item.is_true)
    times = (*(item.changed_at for item in suspended), facts.pod_deletion_asked_at)
    if not facts.may_have_ended_agent(min((at for at in times if at is not None), default=None)):
        return None
    return "the Job was suspended and its pod deleted while the agent was at work"


def _disrupted(reasons: frozenset[str], disruptions: frozenset[str]) -> Evidence:
    def evidence(facts: RunFacts, _ending: Ending) -> str | None:
        disruption = facts.disruption
        # A pod's reason has no time of its own; it comes with the condition.
        if disruption is not None and not facts.may_have_ended_agent(disruption.changed_at):
            return None
        if facts.pod_reason in reasons:
            return f"pod reason {facts.pod_reason}"
        if disruption is not None and disruption.reason in disruptions:
            return f"pod {pod_reasons.disruption_words(disruption.reason)}"
        return None

    return evidence


def _disrupted_for_another_reason(facts: RunFacts, _ending: Ending) -> str | None:
    disruption = facts.disruption
    if disruption is None or not facts.may_have_ended_agent(disruption.changed_at):
        return None
    return f"pod {pod_reasons.disruption_words(disruption.reason)}"


def _disrupted_says_job(facts: RunFacts, ending: Ending) -> str | None:
    """Return what the Job says of a pod that was gone before its own condition could be read."""
    if facts.disruption is not None or not _may_have_been_ended(ending):
        return None
    # The Job's conditions come after the pod's end, so their times tell nothing of the agent's.
    if not _conditions_of_failure(facts, pod_reasons.POD_DISRUPTED):
        return None
    return "the Job failed because its pod was disrupted; the pod no longer tells for which reason"


def _node_lost(facts: RunFacts, ending: Ending) -> str | None:
    if ending.exit_code is not None:
        return None
    if facts.pod_phase == "Unknown":
        return "pod phase Unknown"
    if facts.node is not None and facts.node.is_lost:
        return facts.node.words_when_lost
    return _event(pod_reasons.NODE_LOST_EVENTS)(facts, ending)


def _event(reasons: frozenset[str]) -> Evidence:
    def evidence(facts: RunFacts, _ending: Ending) -> str | None:
        event = facts.event_about_pod(reasons)
        return None if event is None else f"Kubernetes Event {event.reason} about the pod"

    return evidence


def _pod_deleted(facts: RunFacts, ending: Ending) -> str | None:
    """Return the fact that somebody deleted the pod under an agent that was at work.

    A plain deletion leaves no condition and no reason, only the pod's own deletion time.
    """
    asked_at, ended_at = facts.pod_deletion_asked_at, facts.container_ended_at
    if asked_at is None:
        return None
    if ended_at is None:
        if _finished_before(facts, asked_at):
            return None
        return f"the pod was deleted at {asked_at:%H:%M:%S} UTC, before its agent was seen to end"
    # An agent that exited by itself gets no slack, and equal times prove nothing.
    slack = CLOCK_SLACK if _may_have_been_ended(ending) else -_CLOCK_STEP
    if asked_at > ended_at + slack:
        return None
    return f"the pod was deleted at {asked_at:%H:%M:%S} UTC, before its agent had ended"


def _pod_replaced(facts: RunFacts, _ending: Ending) -> str | None:
    if facts.pod_replaced is not None:
        return f"pod {facts.pod_replaced.second_pod} replaced {facts.pod_replaced.first_pod}"
    if facts.refusal is Refusal.POD_REPLACED:
        return "the run script refused to start in a pod other than the first"
    return None


def _out_of_memory(facts: RunFacts, ending: Ending) -> str | None:
    killed = ending.exit_code is None or ending.signal == SIGKILL_NUMBER
    # Exit code other than 0 and no result: a child was killed, and the agent ended because of it.
    cut_short = ending.exit_code != 0 and facts.session.last_result is None
    if facts.container_reason == "OOMKilled" and (killed or cut_short):
        return "container reason OOMKilled"
    return None


def _container_reason(reasons: frozenset[str]) -> Evidence:
    def evidence(facts: RunFacts, _ending: Ending) -> str | None:
        if facts.container_reason in reasons:
            return f"container reason {facts.container_reason}"
        # Once the agent has started, a native sidecar that waits to be started again ends nothing.
        waiting = (item for item in facts.init_containers if item.waiting is not None)
        for container in () if facts.container_started else waiting:
            if container.waiting and container.waiting.reason in reasons:
                return f"init container {container.name}, reason {container.waiting.reason}"
        return None

    return evidence


def _init_container(facts: RunFacts, _ending: Ending, *, cause: Cause) -> str | None:
    failed = facts.failed_init_container
    ended = failed.terminated if failed is not None else None
    if failed is None or ended is None or facts.container_started:
        return None
    if cause_of_failed_init(ended) is not cause:
        return None
    return f"init container {failed.name} {ended.words}"


def _bad_input(facts: RunFacts, _ending: Ending) -> str | None:
    return f"run script refused: {facts.refusal}" if facts.refusal in _BAD_INPUT else None


def _unschedulable(facts: RunFacts, ending: Ending) -> str | None:
    for condition in facts.pod_conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"pod condition PodScheduled False, reason {condition.reason}"
    if facts.container_started is False and facts.node_name is None:
        return _event(pod_reasons.UNSCHEDULABLE_EVENTS)(facts, ending)
    return None


def _heap_exhausted(facts: RunFacts, ending: Ending) -> str | None:
    """Return V8's own word for it; an abort or a trap alone may have another reason."""
    by_v8 = ending.signal in {SIGABRT_NUMBER, SIGTRAP_NUMBER}
    if by_v8 and is_heap_exhaustion(facts.stderr_line):
        return f"signal {ending.signal}, and V8 reports that it is out of memory"
    return None


def _signal(number: int) -> Evidence:
    def evidence(_facts: RunFacts, ending: Ending) -> str | None:
        return f"signal {number}" if ending.signal == number else None

    return evidence


def _app_exit(_facts: RunFacts, ending: Ending) -> str | None:
    return None if ending.exit_code is None else f"exit code {ending.exit_code}"


CAUSE_TABLE: tuple[CauseRule, ...] = (
    (Cause.DEADLINE_EXCEEDED, deadline_fact),
    (Cause.JOB_DELETED, _job_deleted),
    (Cause.APP_EXIT, _own_exit),
    (Cause.PREEMPTED, preempted_by_queue_fact),
    (Cause.PREEMPTED, _disrupted(pod_reasons.PREEMPTED, pod_reasons.PREEMPTED_BY)),
    (Cause.PREEMPTED, _event(pod_reasons.PREEMPTED_EVENTS)),
    (Cause.NODE_LOST, _disrupted(pod_reasons.NODE_LOST, pod_reasons.NODE_LOST_BY)),
    (Cause.EVICTED, _disrupted(frozenset(), pod_reasons.DRAINED_BY)),
    (Cause.NODE_LOST, _node_lost),
    (Cause.EVICTED, _disrupted(pod_reasons.EVICTED, pod_reasons.EVICTED_BY)),
    (Cause.EVICTED, _event(pod_reasons.EVICTED_EVENTS)),
    (Cause.OOM_KILLED, _out_of_memory),
    (Cause.EVICTED, _disrupted_for_another_reason),
    (Cause.EVICTED, _disrupted_says_job),
    (Cause.POD_REPLACED, _pod_replaced),
    (Cause.POD_REPLACED, _pod_deleted),
    (Cause.OOM_KILLED, partial(_init_container, cause=Cause.OOM_KILLED)),
    (Cause.IMAGE_PULL, _container_reason(pod_reasons.IMAGE_PULL)),
    (Cause.CONFIG_ERROR, _container_reason(pod_reasons.CONFIG_ERROR)),
    (Cause.CONFIG_ERROR, partial(_init_container, cause=Cause.CONFIG_ERROR)),
    (Cause.CONFIG_ERROR, _bad_input),
    (Cause.APP_EXIT, partial(_init_container, cause=Cause.APP_EXIT)),
    (Cause.UNSCHEDULABLE, _unschedulable),
    (Cause.HEAP_EXHAUSTED, _heap_exhausted),
    (Cause.SIGKILL, _signal(SIGKILL_NUMBER)),
    (Cause.SIGTERM, _signal(SIGTERM_NUMBER)),
    (Cause.APP_EXIT, _app_exit),
)
