"""How the work on an attempt ended, and what was concluded from it: what stages hand on."""

from dataclasses import dataclass, field
from pathlib import Path

from tasks.observation.cluster_evidence import ClusterEvidence
from tasks.outcome.run_result import AgentRunResult, WorkResult
from tasks.run.agent_run import AgentRun
from tasks.run.attempt_at_work import AttemptAtWork, StopReason, StopRequest
from tasks.vocabulary.errors import AgentRunError


@dataclass(frozen=True, kw_only=True)
class CollectedWork:
    """What an agent made, as far as it has left the pod.

    Attributes:
        patch: File with the changes, for as long as this process concludes the run; null where
            nothing has changed, or they could not be had.
        bundle: File with the Git bundle, likewise.
        keeper_waits: The keeper still holds it, and a later try may get it.
    """

    result: WorkResult
    patch: Path | None = None
    bundle: Path | None = None
    keeper_waits: bool = False


@dataclass(frozen=True, kw_only=True)
class EndedAttempt:
    """The end of the work on an attempt, as this process saw it; nothing is judged yet.

    Attributes:
        run: In whose name it is concluded.
        work: The Job that was at work; null if the run ended before there was one.
        stored: The result, if the run had succeeded before and nothing was at work now.
        failure: The stage that ended the run, if one did.
        stopped: Why we asked for the Job's deletion, if we did.
        api_lost_seconds: How long the Kubernetes API had been away when the run gave up.
        lease_lost: Another process owns the agent, so nothing is written any more.
        left_to_twin: Another process of the same flow run is at work on it, or has ended it; the
            run's state is its business.
        collected: What the agent made; null where nobody asked for it, or no agent has started.
    """

    run: AgentRun
    work: AttemptAtWork | None
    stored: AgentRunResult | None = None
    failure: AgentRunError | None = None
    stopped: StopRequest | None = None
    api_lost_seconds: float | None = None
    lease_lost: bool = False
    left_to_twin: bool = False
    collected: CollectedWork | None = None

    @classmethod
    def of(
        cls,
        run: AgentRun,
        work: AttemptAtWork | None,
        failure: AgentRunError | None = None,
        *,
        lease_lost: bool = False,
        left_to_twin: bool = False,
    ) -> "EndedAttempt":
        """Return the end of an attempt whose stages were broken off."""
        return cls(
            run=run,
            work=work,
            failure=failure,
            stopped=work.stopped if work is not None else None,
            lease_lost=lease_lost,
            left_to_twin=left_to_twin,
        )

    @property
    def asks_to_publish(self) -> bool:
        """Whether there is work that was to be pushed, and this process may push it."""
        plan = self.work.publish_plan if self.work is not None else None
        return plan is not None and self.collected is not None and not self.lease_lost

    def was_stopped_for(self, reason: StopReason) -> bool:
        """Tell whether we asked for the Job's deletion, and for this reason."""
        return self.stopped is not None and self.stopped.reason is reason


@dataclass(frozen=True, kw_only=True)
class ConcludedAttempt:
    """The verdict on an attempt, and whether it outlives the Job.

    Attributes:
        is_stored: Result and transcript can be read back, so the Job is no longer needed for them.
        evidence: What the cluster said beside Job and pod; empty for a success.
    """

    result: AgentRunResult
    is_stored: bool
    evidence: ClusterEvidence = field(default_factory=ClusterEvidence)
