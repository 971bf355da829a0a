"""A run: its request and its connections. Neither changes while it is in progress.

What is learned while an agent works is kept in `attempt_at_work`; how the work ended is a value
that the stages pass on (`ended_attempt`).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tasks.agent_job.manifest import JobSpec
from tasks.agent_job.prepared_run import PreparedRun, prepare_again
from tasks.claude_code.rendering import LineKind, RenderedLine
from tasks.cluster.cluster_client import ClusterClient
from tasks.orchestrator.run_log import RunLog
from tasks.outcome.forensics import LAST_DECISIONS, Decision
from tasks.ownership.whole_run_retry import NextAttempt
from tasks.run.lease_keeper import LeaseKeeper
from tasks.run.run_controls import RunControls
from tasks.storage.result_storage import ResultStorage
from tasks.storage.storage_keys import StorageOwner
from tasks.text.redaction import Redactor
from tasks.vocabulary.names import FlowRunId


class RunDiary:
    """Reports about the run, with every known secret masked.

    Attributes:
        decisions: The latest reports about the run itself, with their times.
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
        """Report about the run itself, in its log and on its live output."""
        safe = self.redactor.text(text)
        self._log.info(safe)
        self.decisions.append(Decision(datetime.now(UTC), safe))
        self.show([RenderedLine(LineKind.NOTE, safe)])

    def show(self, lines: Sequence[RenderedLine]) -> None:
        """Show lines on the live output of this process only, not in the log."""
        if self._controls.on_lines is not None:
            self._controls.on_lines(lines)


@dataclass(frozen=True, kw_only=True)
class Connections:
    """What a run is connected to.

    Attributes:
        namespace: Where the agent's objects are.
        lease: This process's hold on the agent's Lease.
        controls: What surrounds the run in its process.
        diary: Reports about the run.
        log: The flow run's log in Prefect.
        folder_path: For the run's temporary files.
    """

    client: ClusterClient
    namespace: str
    storage: ResultStorage
    lease: LeaseKeeper
    controls: RunControls
    diary: RunDiary
    log: RunLog
    folder_path: Path

    @property
    def redactor(self) -> Redactor:
        """Masks the values that are known as secrets by now."""
        return self.diary.redactor

    def say(self, text: str) -> None:
        """Report about the run itself, in its log and on its live output."""
        self.diary.say(text)

    def server_now(self) -> datetime:
        """Return the API server's time; before its first answer, the time of our own clock."""
        return self.client.server_now()


@dataclass(frozen=True, kw_only=True)
class AgentRun:
    """One run of one agent, or one attempt of it where attempts differ.

    Attributes:
        prepared: The request, checked and rendered; another flow run's while that is concluded.
        flow_run_id: The flow run of this process, also while it concludes another one.
        asked_session_id: The session that the request itself names; null if it names none.
        asked_budget_usd: Budget of all attempts together; null for no limit.
        delay_seconds: How long to wait before this attempt begins.
        outside: The connections.
    """

    prepared: PreparedRun
    flow_run_id: FlowRunId
    asked_session_id: str | None
    asked_budget_usd: float | None
    outside: Connections
    delay_seconds: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def begin(cls, prepared: PreparedRun, outside: Connections) -> "AgentRun":
        """Return the run as it was asked for."""
        return cls(
            prepared=prepared,
            flow_run_id=prepared.flow_run_id,
            asked_session_id=prepared.request.asked_session,
            asked_budget_usd=prepared.agent.max_budget_usd,
            outside=outside,
        )

    @property
    def storage_owner(self) -> StorageOwner:
        """Under whose keys what is kept of the run lies in the result storage."""
        return StorageOwner(self.outside.namespace, self.prepared.agent_id)

    def job_spec(self, number: int, *, exec_permitted: bool = True) -> JobSpec:
        """Return the specification of an attempt's Job, with the epoch of the Lease that we hold.

        Raises:
            LeaseLost: We do not hold the Lease.
        """
        return JobSpec(
            run=self.prepared,
            namespace=self.outside.namespace,
            attempt=number,
            owner_epoch=self.outside.lease.lease.epoch,
            exec_permitted=exec_permitted,
        )

    def for_flow_run(self, flow_run_id: FlowRunId | None) -> "AgentRun":
        """Return a run that concludes another flow run of the same agent, under our Lease."""
        theirs = replace(self.prepared, flow_run_id=flow_run_id or self.prepared.flow_run_id)
        return replace(self, prepared=theirs, started_at=datetime.now(UTC))

    def resuming(self, session_id: str) -> "AgentRun":
        """Return the run with a session to resume that its request did not name."""
        request = self.prepared.request.in_session(session_id)
        return replace(self, prepared=prepare_again(self.prepared, request))

    def for_next_attempt(self, planned: NextAttempt) -> "AgentRun":
        """Return the run as its next attempt makes it, under the same Lease."""
        agent = self.prepared.agent.model_copy(update={"max_budget_usd": planned.budget_usd})
        request = self.prepared.request.in_session(planned.session_id)
        prepared = prepare_again(replace(self.prepared, agent=agent), request)
        return replace(
            self,
            prepared=prepared,
            delay_seconds=planned.delay_seconds,
            started_at=datetime.now(UTC),
        )
