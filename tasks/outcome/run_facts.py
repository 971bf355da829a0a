"""What is known about a run before its verdict: plain facts without conclusions."""

from dataclasses import dataclass
from datetime import datetime

from tasks.claude_code.session_summary import SessionSummary
from tasks.observation.api_fields import Condition
from tasks.observation.cluster_evidence import NodeSnapshot, refuses_to_execute
from tasks.observation.container_states import CLOCK_SLACK, ContainerSnapshot, find_failed
from tasks.observation.snapshots import KubernetesEventSnapshot
from tasks.outcome.run_result import TranscriptProof, WorkResult
from tasks.text.quoting import QUOTE_LIMIT_CHARACTERS, plain_words
from tasks.text.safe_text import duration_text
from tasks.transcript.line_grammar import CheckBegunLine, CheckEnd, Refusal, Trailer
from tasks.vocabulary.error_codes import Cause, ErrorCode

SIGTRAP_NUMBER = 5
SIGABRT_NUMBER = 6
SIGKILL_NUMBER = 9
SIGTERM_NUMBER = 15

# A shell reports signal n as exit code 128 + n; Linux has no signal above 64.
_SIGNAL_BASE = 128
_HIGHEST_SIGNAL = 64
# Exit code of the run script in a pod that is not the first; agents never end with it.
_REFUSED_POD_EXIT_CODE = 76
# The kubelet's reason for an exit code that was not observed; the number is invented.
_EXIT_CODE_MADE_UP = frozenset({"ContainerStatusUnknown"})

_NO_SESSION = SessionSummary()
_NO_PROOF = TranscriptProof()


@dataclass(frozen=True, slots=True)
class StageFailure:
    """A stage before the agent's output ended the run; its sentence is final."""

    code: ErrorCode
    message: str
    cause: Cause | None = None
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class PodReplacement:
    """The Job controller started a second pod in place of a lost one."""

    first_pod: str
    second_pod: str


@dataclass(frozen=True, slots=True)
class JobGone:
    """A second read confirmed the Job's 404.

    Attributes:
        detected_by: Which read got the 404.
        seconds_since_pod_ran: `None` if the pod was never seen running.
        observations: How often the Job had been observed before.
    """

    detected_by: str
    seconds_since_pod_ran: float | None = None
    observations: int | None = None


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """What is known of a check that was asked for.

    Attributes:
        timeout_seconds: Its time limit, as its Job says; `None` for a Job without a check.
        begun: What the run script said when it began; `None` where that was not seen.
        end: The run script's account of it, where the trailer was read.
        line: The last telling line that it printed.
    """

    timeout_seconds: int | None = None
    begun: CheckBegunLine | None = None
    end: CheckEnd | None = None
    line: str | None = None

    @property
    def exit_code(self) -> int | None:
        """Its exit code; `None` where it did not run, or that is not known."""
        return self.end.exit_code if self.end is not None else None

    @property
    def signal(self) -> int | None:
        """Number of the signal that ended it, if its exit code says so."""
        return None if self.exit_code is None else signal_of(self.exit_code)

    @property
    def why_unknown(self) -> str:
        """Why its exit code is not known, as a clause; there must be none."""
        if self.timeout_seconds is None:
            return "the Job was created without a check"
        if self.end is not None:
            return "it did not run"
        if self.begun is not None:
            return "it began, and was not seen to end"
        return "the run script's account of it could not be read"

    @property
    def words(self) -> str:
        """How it ended, in words."""
        end = self.end
        if end is None:
            return f"unknown: {self.why_unknown}"
        if end.exit_code is None:
            return "did not run"
        lasted = duration_text(end.seconds)
        if end.timed_out:
            return f"stopped at its time limit, after {lasted}"
        return f"exit code {end.exit_code} after {lasted}"


@dataclass(frozen=True, slots=True)
class WorkFacts:
    """What is known of the work that was to be collected.

    Attributes:
        expect_changes: A run that changed nothing has failed.
        result: What came of collecting it; `None` where nobody got so far.
        keeper_waits: The Job's keeper was seen last as still waiting with the work.
        publish_asked: It was to be pushed.
    """

    expect_changes: bool
    result: WorkResult | None
    keeper_waits: bool
    publish_asked: bool = False

    @property
    def lacks_publication(self) -> bool:
        """Whether it is collected and should be on the remote, and was not seen there."""
        if not self.publish_asked or not self.is_collected or self.is_unchanged:
            return False
        published = self.result.published if self.result is not None else None
        return published is None or not published.is_there

    @property
    def is_collected(self) -> bool:
        """Whether it lies in the result storage."""
        return self.result is not None and self.result.collected

    @property
    def is_unchanged(self) -> bool:
        """Whether it is known that the agent changed nothing, as far as it could be collected."""
        return self.result is not None and self.result.is_unchanged

    @property
    def problem(self) -> str:
        """Why it was not collected, without a full stop."""
        said = self.result.problem if self.result is not None else None
        words = plain_words(said or "", QUOTE_LIMIT_CHARACTERS).rstrip(".")
        return words or "Nothing is known of it"

    @property
    def words(self) -> str:
        """What came of it, in words."""
        changes = self.result.changes if self.result is not None else None
        end = "collected" if self.is_collected else f"not collected: {self.problem}"
        return f"{changes}; {end}" if changes else end


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Everything that the verdict is based on; `None` means not observed.

    Attributes:
        resume_requested: Claude was told to resume a session.
        output_asked: Claude was given a schema of its answer.
        check: What is known of the check that was asked for; `None` where none was.
        work: What is known of the work; `None` where it was not to be collected.
        stderr_line: The most informative line that the agent wrote to stderr.
        foreign_line: The first line of the container's log that is not the run script's.
        log_refusal: Why the container's log could not be read when it was asked for last.
        trailer: From the log stream; `termination_trailer` from the termination message.
        container_started: Whether the agent's process was ever started; `None` also where it was
            seen waiting, and its pod has gone since.
        container_reason: Reason of the terminated state, else of the waiting state.
        init_containers: The init containers, as last seen.
        pod_deleting: Somebody asked for the pod's deletion; `pod_deletion_asked_at` is when.
        pod_gone: Whether the pod was absent when it was looked for.
        pod_conditions, job_conditions: As last seen.
        job_gone: Set once the 404 is confirmed.
        job_deletion_seen: Somebody else asked for the Job's deletion; `job_deletion_at` is when.
        cancelled: Prefect's API reports that the run was cancelled.
        preempted_by_queue: The Job was suspended while its agent was at work, so that its pod was
            deleted; the run has deleted the Job.
        agent_timed_out: The agent reached its time limit, as known without a trailer.
        timeout_seconds: The agent's own limit.
        flow_deadline_reached: The flow's own limit, which covers all others, was reached.
        stalled_seconds: Time without output after which the agent was stopped as stalled.
        api_lost_seconds: How long the Kubernetes API has not answered, if longer than its limit.
        api_failure: Why its last call failed; None when it simply said nothing.
        api_refused: It did answer, and refused every call in that time with 401 or 403.
        model, image: As requested.
        memory_limit: Of the agent's container, as requested for a Job of this run.
        kubernetes_events: About the Job and its pods, oldest first; clusters keep them for an hour.
        node: Node of the pod, if nodes may be read.
    """

    session: SessionSummary = _NO_SESSION
    transcript: TranscriptProof = _NO_PROOF
    stage_failure: StageFailure | None = None
    resume_requested: bool = False
    output_asked: bool = False
    check: CheckFacts | None = None
    work: WorkFacts | None = None
    stderr_line: str | None = None
    foreign_line: str | None = None
    log_refusal: str | None = None
    trailer: Trailer | None = None
    termination_trailer: Trailer | None = None
    container_started: bool | None = None
    container_exit_code: int | None = None
    container_signal: int | None = None
    container_reason: str | None = None
    container_message: str | None = None
    container_ended_at: datetime | None = None
    init_containers: tuple[ContainerSnapshot, ...] = ()
    pod_name: str | None = None
    pod_phase: str | None = None
    pod_reason: str | None = None
    pod_message: str | None = None
    pod_deleting: bool = False
    pod_deletion_asked_at: datetime | None = None
    pod_gone: bool | None = None
    pod_conditions: tuple[Condition, ...] = ()
    pod_replaced: PodReplacement | None = None
    job_name: str | None = None
    namespace: str | None = None
    job_conditions: tuple[Condition, ...] = ()
    job_gone: JobGone | None = None
    job_deletion_seen: bool = False
    preempted_by_queue: bool = False
    job_deletion_at: datetime | None = None
    cancelled: bool = False
    agent_timed_out: bool = False
    timeout_seconds: float | None = None
    flow_deadline_reached: bool = False
    stalled_seconds: float | None = None
    api_lost_seconds: float | None = None
    api_failure: str | None = None
    api_refused: bool = False
    model: str | None = None
    image: str | None = None
    memory_limit: str | None = None
    node_name: str | None = None
    kubernetes_events: tuple[KubernetesEventSnapshot, ...] = ()
    node: NodeSnapshot | None = None

    @property
    def any_trailer(self) -> Trailer | None:
        """The run script's trailer, from the stream, else from the termination message."""
        return self.trailer or self.termination_trailer

    @property
    def refusal(self) -> Refusal | None:
        """Why the run script did not start the agent; `None` if it did, or without a trailer."""
        return self.any_trailer.refused if self.any_trailer else None

    @property
    def ended_after_result(self) -> bool:
        """Whether the run script ended an agent that stayed after its result.

        Its exit code then tells nothing about the work.
        """
        said = self.any_trailer or self.check_cut_short
        return said is not None and said.ended_after_result

    @property
    def check_cut_short(self) -> CheckBegunLine | None:
        """What the run script said when the check began, if it said nothing after that.

        The container's exit code is then not the agent's, which had ended before.
        """
        check = self.check
        if check is None or check.end is not None or self.any_trailer is not None:
            return None
        return check.begun

    @property
    def disruption(self) -> Condition | None:
        """The pod's condition by which the cluster itself ended it, if it did."""
        found = (item for item in self.pod_conditions if item.type == "DisruptionTarget")
        return next((item for item in found if item.is_true), None)

    def may_have_ended_agent(self, at: datetime | None) -> bool:
        """Return whether what happened at that time, or at an unknown one, may have ended it.

        Another container may keep the pod for hours after the agent's end, and what ends the pod
        then has not ended the agent.
        """
        ended_at = self.container_ended_at
        return at is None or ended_at is None or at <= ended_at + CLOCK_SLACK

    @property
    def failed_init_container(self) -> ContainerSnapshot | None:
        """The init container that failed, if one did."""
        return find_failed(self.init_containers)

    def event_about_pod(self, reasons: frozenset[str]) -> KubernetesEventSnapshot | None:
        """Return the newest Event about the agent's pod, with one of these reasons, by its end."""
        return self._event("Pod", self.pod_name, reasons)

    def event_about_job(self, reasons: frozenset[str]) -> KubernetesEventSnapshot | None:
        """Return the newest Event about the Job, with one of these reasons, by the agent's end."""
        return self._event("Job", self.job_name, reasons)

    def _event(
        self, kind: str, name: str | None, reasons: frozenset[str]
    ) -> KubernetesEventSnapshot | None:
        found = (
            event
            for event in reversed(self.kubernetes_events)
            if (event.about_kind, event.about_name) == (kind, name)
            and event.reason in reasons
            and self.may_have_ended_agent(event.last_at)
        )
        return next(found, None)

    @property
    def unread_because(self) -> str | None:
        """Why the output is not known to be whole, if the log was refused."""
        return None if self.transcript.complete else self.log_refusal

    @property
    def wrong_architecture(self) -> bool:
        """Whether the kernel has refused to execute a program of the image."""
        return refuses_to_execute(self.container_message, self.stderr_line, self.foreign_line)

    @property
    def exit_code_is_made_up(self) -> bool:
        """Whether the kubelet invented the exit code."""
        return self.container_reason in _EXIT_CODE_MADE_UP


@dataclass(frozen=True, slots=True)
class Ending:
    """How the agent's process ended, as far as it is known.

    Attributes:
        exit_code: As a shell reports it; `None` if unknown.
        source: Where the exit code was read.
        signal: Number of the signal that ended it.
    """

    exit_code: int | None = None
    source: str | None = None
    signal: int | None = None

    @property
    def by_itself(self) -> bool:
        """Whether it is known to have exited, with any code, without a signal."""
        return self.exit_code is not None and self.signal is None


def read_ending(facts: RunFacts) -> Ending:
    """Return the agent's exit code: the container's, else the trailer's, else the message's.

    Of an agent whose check was cut short it is what the run script said when the check began. If a
    second pod refused to start the agent, the ending in the first pod stays unknown.
    """
    if facts.check_cut_short is not None:
        return Ending(facts.check_cut_short.exit_code, "start of the check")
    container = None if facts.exit_code_is_made_up else facts.container_exit_code
    stream, message = facts.trailer, facts.termination_trailer
    sources = (
        ("container state", container),
        ("trailer", stream.exit_code if stream else None),
        ("termination message", message.exit_code if message else None),
    )
    refused = _REFUSED_POD_EXIT_CODE if facts.refusal is Refusal.POD_REPLACED else None
    for source, exit_code in sources:
        if exit_code is not None and exit_code != refused:
            if facts.ended_after_result:
                return Ending(exit_code, source)
            # A process that exited with 0 was not ended by a signal, whatever else is reported.
            signal = (facts.container_signal if exit_code else None) or signal_of(exit_code)
            return Ending(exit_code, source, signal)
    return Ending(signal=facts.container_signal or None)


def is_exit_by_signal(exit_code: int) -> bool:
    """Tell whether an exit code is one that a shell reports for a signal."""
    return signal_of(exit_code) is not None


def signal_of(exit_code: int) -> int | None:
    """Return the number of the signal for which a shell reports an exit code, if it is for one."""
    number = exit_code - _SIGNAL_BASE
    return number if 0 < number <= _HIGHEST_SIGNAL else None
