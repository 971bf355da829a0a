"""The attempt at work: one Job, what its agent has printed, and whether we asked for its end."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property
from pathlib import Path
from uuid import UUID

from tasks.agent_job.publish_settings import PublishPlan
from tasks.claude_code.entry_reader import EntryReader
from tasks.claude_code.rendering import Extent
from tasks.claude_code.session_progress import ProgressState
from tasks.claude_code.session_summary import SessionState
from tasks.claude_code.transcript_page import TranscriptPage
from tasks.log_following.log_follower import FollowedLog, LogFollower
from tasks.outcome.forensics import LAST_LINES
from tasks.run.agent_run import AgentRun
from tasks.run.observed_job import ObservedJob
from tasks.text.log_records import RecordBuffer
from tasks.vocabulary.names import FlowRunId


class StopReason(Enum):
    """Why a run asked for the deletion of its Job."""

    CANCELLED = "cancelled"
    OUT_OF_TIME = "out of time"
    STALLED = "stalled"
    NEVER_STARTED = "never started"
    PREEMPTED = "preempted by its queue"


class SecretFate(Enum):
    """Whether a Job may get its Secret, without which its agent never starts.

    `WITHHELD`: we made the Job and nobody but us can make its Secret, which we have not, or which
    the cluster has refused. `UNKNOWN`: it may be there, or be on its way. `MADE`: it is there.
    """

    WITHHELD = "withheld"
    UNKNOWN = "unknown"
    MADE = "made"


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A deletion of the Job that the run asked for.

    Attributes:
        silent_seconds: How long the agent had been silent, if that was the reason.
    """

    reason: StopReason
    silent_seconds: float | None = None


@dataclass(kw_only=True)
class AttemptAtWork(ObservedJob):
    """One Job at work and what is known of it so far.

    Attributes:
        run: In whose name the Job is at work: ours, or an earlier run that is being concluded.
        namespace: Where the Job is.
        flow_run_id: The flow run that created the Job; another than ours after a takeover.
        resumed: Its session was resumed.
        spool: File with the agent's stdout lines as they were delivered.
        storage_folder: Where its result and transcript are kept in the result storage.
        records: Rendered lines that wait to be logged.
        deadline_at: The run's own bound around all others.
        check_timeout_seconds: The time limit of the check that the Job was created with, if any.
        keeps_work: Its pod has a keeper, which holds what the agent makes.
        publish_plan: Where that is to be pushed; `None` where it is not to be.
        storing_work: Held while some of the work is being stored, under keys that take turns.
        secret_fate: Whether the Job may get its Secret.
        agent_started: The agent's container was seen started, whatever is said of it later.
        last_lines: The end of what was rendered, for the forensics.
        page: The transcript for reading, as far as it came.
        progress: How far the agent has got.
        progress_artifact: Where that is published, once it is.
        follower: Follows the agent's output, once that has begun; it goes on where it stopped.
        followed: All of the output, once that has been followed to its end.
        stopping: A deletion that was sent, whether or not it was answered.
        stopped: A deletion that the API server accepted.
        deadline_at, put_to_work_at, last_output_at: On the monotonic clock, in seconds.
    """

    run: AgentRun
    namespace: str
    flow_run_id: FlowRunId
    number: int
    spool: Path
    storage_folder: str
    resumed: bool
    records: RecordBuffer
    created_at: datetime
    deadline_at: float
    secret_fate: SecretFate
    check_timeout_seconds: int | None = None
    keeps_work: bool = False
    publish_plan: PublishPlan | None = None
    agent_started: bool = False
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
    stopping: StopRequest | None = None
    stopped: StopRequest | None = None
    storing_work: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_of(self, run: AgentRun) -> bool:
        """Tell whether it is the run's own, also if taken over; not an earlier run's."""
        return self.run.prepared.flow_run_id == run.flow_run_id

    @cached_property
    def entries(self) -> EntryReader:
        """Reads what the agent prints into entries, one event after the other."""
        return EntryReader(Extent(printed_by=f"claude-jobs logs {self.flow_run_id} --full"))

    @property
    def followed_so_far(self) -> FollowedLog | None:
        """What was read of its output, whether or not following it came to an end."""
        if self.followed is not None or self.follower is None:
            return self.followed
        return self.follower.so_far()

    @property
    def agent_is_over(self) -> bool:
        """Whether nothing works in the pod any more; its containers may be reported as ended later.

        Of a pod that is being deleted they are, together with the last one.
        """
        followed, pod = self.followed_so_far, self.pod
        has_trailer = followed is not None and followed.trailer is not None
        return has_trailer or self.pod_is_gone or (pod is not None and pod.agent_ended)

    @property
    def delivered_lines(self) -> int:
        """How many stdout lines were delivered until now."""
        return self.follower.delivered_lines if self.follower is not None else 0
