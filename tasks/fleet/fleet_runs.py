"""The runs of a fleet: a limited number at a time, each in its own task, until all have ended."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import anyio
from prefect import get_run_logger

from tasks.agent_job.run_request import AgentRunRequest
from tasks.cluster.watching.shared_clusters import SharedClusters, SharedJobFeed
from tasks.fleet.fleet_cancellation import FleetCancellation, MemberCancellation
from tasks.fleet.fleet_request import FleetMember, MemberState, build_fleet_page
from tasks.orchestrator.artifacts import publish_markdown, update_markdown
from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_controls import FleetShare, RunControls
from tasks.vocabulary.names import FlowRunId

_PROGRESS_KEY = "run-fleet-progress"
_LOOK_SECONDS = 5.0
# Beginning a run takes several writes to Prefect's database, which SQLite makes one at a time.
_BEGINNING_AT_ONCE = 4
# The API may be away or slow; then an update is dropped and the next one tells all.
_UPDATE_SECONDS = 3.0


RunHere = Callable[[AgentRunRequest, RunControls], Awaitable[AgentRunResult]]


@dataclass(frozen=True)
class PlannedRun:
    """One run that is to be, and what is known of it.

    Attributes:
        feed: Watches on its namespace.
    """

    request: AgentRunRequest
    member: FleetMember
    feed: SharedJobFeed


@dataclass(frozen=True)
class _AtWork:
    controls: RunControls
    cancellation: MemberCancellation
    member: FleetMember


class FleetRuns:
    """Runs the planned runs, a limited number at a time."""

    def __init__(
        self,
        planned: list[PlannedRun],
        clusters: SharedClusters,
        flow_run_id: FlowRunId,
        run_here: RunHere,
        *,
        max_concurrent: int,
    ) -> None:
        """Begin nothing yet.

        Args:
            planned: The runs, in the order in which they begin.
            clusters: Connections and watches of all runs.
            flow_run_id: Of the fleet.
            run_here: Runs one agent in this process.
            max_concurrent: How many are at work at a time.
        """
        self._planned = planned
        self._clusters = clusters
        self._run_here = run_here
        self._cancellation = FleetCancellation(flow_run_id)
        self._beginning = asyncio.Semaphore(_BEGINNING_AT_ONCE)
        self._waiting: Iterator[PlannedRun] = iter(planned)
        self._max_concurrent = min(max_concurrent, len(planned))
        self._at_work: list[_AtWork] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._progress: UUID | None = None
        self._shown = ""

    @property
    def cancelled(self) -> bool:
        """Whether the fleet is being cancelled."""
        return self._cancellation.asked

    async def run(self) -> None:
        """Return when all runs have ended.

        Raises:
            asyncio.CancelledError: The process was told to stop; go on with `end`.
        """
        beside = [
            asyncio.create_task(self._cancellation.watch(self._by_flow_run)),
            asyncio.create_task(self._keep_progress_published()),
        ]
        self._workers = {asyncio.create_task(self._work()) for _ in range(self._max_concurrent)}
        try:
            # Not `gather`: what cancels this task would cancel the runs once more, in the midst of
            # what a cancelled run still does.
            await asyncio.wait(self._workers)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        self._say_who_was_not_started()
        await self._publish_progress()

    async def end(self) -> None:
        """Have every run find out whether it is cancelled, and return when all have ended.

        One that is ends its agent with its grace; another one leaves it to its agent's next run.
        """
        with anyio.CancelScope(shield=True):
            # Prefect's SIGTERM has cancelled all tasks by itself, or none.
            for task in self._workers:
                if not task.cancelling():
                    task.cancel()
            if self._workers:
                await asyncio.wait(self._workers)
            await self._cancellation.is_cancelled()
            self._say_who_was_not_started()
            await self._publish_progress()

    async def _work(self) -> None:
        """Take up one run after the other, until there are no more or this one is stopped."""
        task = asyncio.current_task()
        while task is not None and not task.cancelling():
            turn = await self._take_turn()
            planned = None if self.cancelled else next(self._waiting, None)
            if planned is None:
                turn.close()
                return
            await self._run_one(planned, turn)

    async def _run_one(self, planned: PlannedRun, turn: ExitStack) -> None:
        cancellation, member = MemberCancellation(self._cancellation), planned.member
        controls = RunControls(fleet=FleetShare(self._clusters, cancellation), on_begin=turn.close)
        at_work = _AtWork(controls, cancellation, member)
        self._at_work.append(at_work)
        member.state = MemberState.RUNNING
        try:
            # For the whole run: else they would end and begin anew between two short ones.
            with planned.feed.keep_open():
                member.conclude(await self._run_here(planned.request, controls))
        except asyncio.CancelledError:
            member.crash("The process was told to stop; the agent's Job is left to its next run.")
            raise
        except Exception as error:
            # Whatever it is, the other runs go on.
            member.crash(str(error) or type(error).__name__)
            get_run_logger().warning(f"The run of agent {member.agent_id} broke off: {error}")
        finally:
            turn.close()
            self._at_work.remove(at_work)
            member.flow_run_id = member.flow_run_id or controls.flow_run_id

    async def _take_turn(self) -> ExitStack:
        """Wait until few runs are being begun; closing what is returned lets the next one go."""
        turn = ExitStack()
        await self._beginning.acquire()
        turn.callback(self._beginning.release)
        return turn

    def _by_flow_run(self) -> Mapping[FlowRunId, MemberCancellation]:
        return {
            run.controls.flow_run_id: run.cancellation
            for run in self._at_work
            if run.controls.flow_run_id is not None
        }

    def _say_who_was_not_started(self) -> None:
        for planned in self._planned:
            if planned.member.state is MemberState.WAITING:
                planned.member.state = MemberState.NOT_STARTED

    async def _keep_progress_published(self) -> None:
        while True:
            await self._publish_progress()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _publish_progress(self) -> None:
        """Publish how far the fleet has got, where that has changed; raises nothing."""
        for run in self._at_work:
            run.member.flow_run_id = run.controls.flow_run_id
        members = [planned.member for planned in self._planned]
        states = ",".join(f"{member.state}{member.flow_run_id}" for member in members)
        if states == self._shown:
            return
        page = build_fleet_page(members, datetime.now(UTC))
        try:
            if self._progress is None:
                self._progress = await publish_markdown(
                    _PROGRESS_KEY,
                    page,
                    "How far the fleet has got; updated while it is at work.",
                    seconds=_UPDATE_SECONDS,
                )
            else:
                await update_markdown(self._progress, page, seconds=_UPDATE_SECONDS)
            self._shown = states
        except Exception:
            # Nobody waits for it, and the table tells the same in the end.
            return
