"""What the stages of one run share while its process lives."""

import math
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from tasks.agent_job.manifest import JobSpec
from tasks.agent_job.prepared_run import PreparedRun, prepare_again
from tasks.claude_code.rendering import LineKind, RenderedLine
from tasks.claude_code.session_progress import ProgressState
from tasks.claude_code.session_summary import SessionState
from tasks.claude_code.transcript_page import TranscriptPage
from tasks.cluster.cluster_client import ClusterClient
from tasks.cluster.watching.job_observer import JobObserver
from tasks.log_following.log_follower import FollowedLog, LogFollower
from tasks.observation.api_fields import RawObject
from tasks.observation.cluster_evidence import ClusterEvidence
from tasks.observation.completion_rules import find_agent_pod
from tasks.observation.pod_states import merge_states
from tasks.observation.snapshots import JobSnapshot, PodSnapshot, pods_from_api
from tasks.orchestrator.run_log import RunLog
from tasks.outcome.forensics import LAST_DECISIONS, LAST_LINES, Decision
from tasks.outcome.run_result import AgentRunResult
from tasks.ownership.whole_run_retry import NextAttempt
from tasks.run.lease_keeper import LeaseKeeper
from tasks.run.run_controls import RunControls
from tasks.storage.result_storage import ResultStorage
from tasks.text.log_records import RecordBuffer
from tasks.text.redaction import Redactor
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import FlowRunId, JobName, JobUid, PodUid, line_token


@dataclass(kw_only=True)
class AttemptInProgress:
    """One Job at work and what is known of it so far.

    Attributes:
        flow_run_id: The flow run that created the Job; another than ours after a takeover.
        resumed: Its session was resumed.
        agent_started: The agent's container was seen started, whatever is said of it later.
        pod_uid: The one pod that may use the run's Secret; null until it is known.
        spool: File with the agent's stdout lines as they were delivered.
        storage_folder: Where its result and transcript are kept in the result storage.
        records: Rendered lines that wait to be logged.
        last_lines: The end of what was rendered, for whoever asks how it ended.
        page: The transcript for reading, as far as it came.
        progress: How far the agent has got.
        progress_artifact: Where that is published, once it is.
        put_to_work_at, last_output_at: On the monotonic clock, in seconds.
    """

    job_name: JobName
    job_uid: JobUid
    flow_run_id: FlowRunId
    number: int
    observer: JobObserver
    spool: Path
    storage_folder: str
    resumed: bool
    records: RecordBuffer
    created_at: datetime | None = None
    agent_started: bool = False
    pod_name: str | None = None
    pod_uid: PodUid | None = None
    session: SessionState = field(default_factory=SessionState)
    last_lines: deque[str] = field(default_factory=lambda: deque[str](maxlen=LAST_LINES))
    page: TranscriptPage = field(default_factory=TranscriptPage)
    progress: ProgressState = field(default_factory=ProgressState)
    progress_artifact: UUID | None = None
    put_to_work_at: float = field(default_factory=time.monotonic)
    last_output_at: float = field(default_factory=time.monotonic)
    follower: LogFollower | None = None
    followed: FollowedLog | None = None
    stderr_line: str | None = None

    @property
    def line_token(self) -> str:
        """What every line of its run script begins with."""
        return line_token(self.job_name)

    @property
    def job(self) -> JobSnapshot | None:
        """The Job as last seen."""
        raw = self.observer.observation.job
        return None if raw is None else JobSnapshot.from_api(raw)

    @property
    def pods(self) -> tuple[PodSnapshot, ...]:
        """All pods ever seen, newest first; ended ones as they had ended, whatever came later."""
        return pods_from_api(self.raw_pods)

    @property
    def raw_pods(self) -> tuple[RawObject, ...]:
        """The same as the API server gave them, oldest first."""
        observed = self.observer.observation.pods
        return tuple(merge_states(pod.latest, pod.terminated) for pod in observed)

    @property
    def pod(self) -> PodSnapshot | None:
        """The pod that may use the run's Secret; the first one where that is not known."""
        return find_agent_pod(self.pods, self.pod_uid)

    @property
    def gone_pods(self) -> frozenset[PodUid]:
        """The pods that were deleted."""
        observed = self.observer.observation.pods
        return frozenset(PodUid(pod.latest["metadata"]["uid"]) for pod in observed if pod.is_gone)

    @property
    def followed_so_far(self) -> FollowedLog | None:
        """What was had of its output, whether or not following it came to an end."""
        if self.followed is not None or self.follower is None:
            return self.followed
        return self.follower.so_far()

    @property
    def delivered_lines(self) -> int:
        """How many stdout lines were delivered until now."""
        return self.follower.delivered_lines if self.follower is not None else 0

    @property
    def pod_is_gone(self) -> bool:
        """Whether the pod that may use the run's Secret was deleted."""
        pod = self.pod
        return pod is not None and pod.uid in self.gone_pods

    def bind(self, pod: PodSnapshot) -> None:
        """Note the one pod that may use the run's Secret."""
        self.pod_uid, self.pod_name = pod.uid, pod.name


class RunContext:
    """What the stages of one run share.

    A plain object, not a dataclass: Prefect walks through dataclasses that are given to tasks.

    Attributes:
        flow_run_id: The flow run at work, also while it concludes another one.
        asked_session_id: The session that the request itself names; null where it names none.
        asked_budget_usd: For all attempts together; null for no limit.
        attempt: The Job at work, once there is one.
        uncommitted: The Job that is being created, until it is committed.
        failure: The stage that ended the run, if one did.
        cancelled: The run is being cancelled, and its agent ended for that.
        deleted_by_us: We asked for the Job's deletion.
        deadline_reached: The run's own bound around all others was reached.
        stalled_seconds: Silence for which the agent was ended.
        api_lost_seconds: How long the Kubernetes API had been away when the run gave up.
        result_stored: The result can be read back, so the Job is no longer needed for it.
        stored_results: Results of this flow run that were read back, by Job.
        lease_lost: Another process owns the agent, so nothing is written any more.
        deadline_at: The run's own bound around all others, on the monotonic clock, in seconds.
        decisions: What was said about the run itself, with times.
        evidence: What the cluster said beside Job and pod, read once the run had failed.
        conclude_by: When this process will be killed, on the same clock; infinite if nobody said.
    """

    def __init__(
        self,
        *,
        prepared: PreparedRun,
        client: ClusterClient,
        namespace: str,
        storage: ResultStorage,
        controls: RunControls,
        log: RunLog,
        secrets: Iterable[str],
        folder_path: Path,
    ) -> None:
        self.prepared = prepared
        self.flow_run_id = prepared.flow_run_id
        self.asked_session_id = prepared.request.session_id
        self.asked_budget_usd = prepared.agent.max_budget_usd
        self._secrets = tuple(secrets)
        self.client = client
        self.namespace = namespace
        self.storage = storage
        self.controls = controls
        self.log = log
        self.redactor = Redactor(self._secrets)
        self.started_at = datetime.now(UTC)
        self.attempt: AttemptInProgress | None = None
        self.uncommitted: JobSpec | None = None
        self._asking: RunContext | None = None
        self.lease = LeaseKeeper(client, namespace, prepared.agent_id, prepared.flow_run_id)
        self.failure: AgentRunError | None = None
        self.cancelled = False
        self.deleted_by_us = False
        self.deadline_reached = False
        self.stalled_seconds: float | None = None
        self.api_lost_seconds: float | None = None
        self.result_stored = False
        self.stored_results: dict[JobUid, AgentRunResult] = {}
        self.lease_lost = False
        self.deadline_at = math.inf
        self.decisions = deque[Decision](maxlen=LAST_DECISIONS)
        self.evidence = ClusterEvidence()
        self.conclude_by = math.inf
        self.folder_path = folder_path

    @property
    def attempt_at_work(self) -> AttemptInProgress:
        """The Job at work; stages that need one run only while there is one."""
        if self.attempt is None:
            raise RuntimeError("no Job is at work")
        return self.attempt

    def server_now(self) -> datetime:
        """Return the API server's time; our own clock's before its first answer."""
        return self.client.server_now()

    def bounded(self, seconds: float, *, leaving_seconds: float = 0.0) -> float:
        """Return `seconds`, or less where the process will be killed before.

        Args:
            seconds: How long something may take.
            leaving_seconds: What must be left of the process's life for what comes after it.
        """
        left_seconds = self.conclude_by - time.monotonic() - leaving_seconds
        return max(0.0, min(seconds, left_seconds))

    def put_to_work(self, attempt: AttemptInProgress) -> None:
        """Note the Job at work, also for the run in whose name another one is concluded."""
        self.attempt = attempt
        if self._asking is not None:
            # A cancellation of that run ends whatever agent is at work.
            self._asking.attempt = attempt

    def for_flow_run(self, flow_run_id: FlowRunId | None) -> "RunContext":
        """Return a context for concluding another flow run of the same agent, under our Lease."""
        other = RunContext(
            prepared=replace(self.prepared, flow_run_id=flow_run_id or self.prepared.flow_run_id),
            client=self.client,
            namespace=self.namespace,
            storage=self.storage,
            controls=self.controls,
            log=self.log,
            secrets=self._secrets,
            folder_path=self.folder_path,
        )
        other.lease = self.lease
        other._asking = self
        other.flow_run_id = self.flow_run_id
        other.asked_session_id = self.asked_session_id
        return other

    def for_next_attempt(self, planned: NextAttempt) -> "RunContext":
        """Return a context for another attempt of this flow run, under the same Lease."""
        other = self.for_flow_run(self.prepared.flow_run_id)
        other._asking = self._asking
        other.asked_budget_usd = self.asked_budget_usd
        agent = self.prepared.agent.model_copy(update={"max_budget_usd": planned.budget_usd})
        request = self.prepared.request.model_copy(update={"session_id": planned.session_id})
        other.prepared = prepare_again(replace(self.prepared, agent=agent), request)
        self.controls.job_deleted = False
        return other

    def keep_secret(self, values: Iterable[str]) -> None:
        """Mask these values too from now on, in logs, artifacts, messages and results."""
        self._secrets = (*self._secrets, *values)
        self.redactor = Redactor(self._secrets)

    def resume(self, session_id: str) -> None:
        """Start this run's agent in a session that was not known when the run was asked for."""
        request = self.prepared.request.model_copy(update={"session_id": session_id})
        self.prepared = prepare_again(self.prepared, request)

    def say(self, text: str) -> None:
        """Tell people about the run itself, in the flow run's log and to who reads along."""
        safe = self.redactor.text(text)
        self.log.info(safe)
        self.decisions.append(Decision(datetime.now(UTC), safe))
        self.show([RenderedLine(LineKind.NOTE, safe)])

    def show(self, lines: Sequence[RenderedLine]) -> None:
        """Show lines to who reads along in this process."""
        if self.controls.on_lines is not None:
            self.controls.on_lines(lines)
