"""Reads from Prefect and the result storage what commands show about runs."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactCollectionFilter,
    ArtifactCollectionFilterKey,
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterTags,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort, LogSort

from flows.run.inputs import load_agent, load_runtime
from tasks.agent_job.run_naming import agent_tag
from tasks.agent_job.run_request import AgentRunRequest, parse_request
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.session_progress import read_cost
from tasks.observation.snapshots import JobSnapshot
from tasks.operators.agent_listing import ClusterLook, Target
from tasks.operators.agent_rows import RunRecord
from tasks.operators.last_run import PrefectRun, order_runs
from tasks.orchestrator.prefect_api import explain_prefect_failure
from tasks.outcome.run_result import AgentRunResult
from tasks.outcome.state_names import SUCCEEDED
from tasks.ownership.orphans import owner_of
from tasks.storage.result_storage import ResultStorage, open_result_storage
from tasks.storage.storage_keys import AttemptFolder, StorageOwner
from tasks.storage.stored_results import read_stored_result
from tasks.text.safe_text import one_line
from tasks.vocabulary.errors import AgentRunError
from tasks.vocabulary.names import AgentId, FlowRunId, JobUid, artifact_key

T = TypeVar("T")

_ANSWER_SECONDS = 10.0
_LINE_CHARACTERS = 200
_PAGE_SIZE = 200  # Prefect's own limit
_SUCCEEDED_STATE = "Completed"


@asynccontextmanager
async def open_records(kubeconfig: Path | None) -> AsyncGenerator["RunRecords", None]:
    """Connect to the Prefect API in use; if it cannot be reached, everything in it is unknown."""
    async with AsyncExitStack() as stack:
        records = RunRecords(get_client(), kubeconfig)
        await records.connect(stack)
        yield records


class RunRecords:
    """Reads what is stored about runs; what cannot be read is unknown and noted once.

    Attributes:
        notes: Why something is unknown.
    """

    def __init__(self, client: PrefectClient, kubeconfig: Path | None) -> None:
        self._client = client
        self._kubeconfig = kubeconfig
        self._flow_runs: dict[FlowRunId, FlowRun] = {}
        self._runtimes: dict[str, RuntimeSpec] = {}
        self._storages: dict[str | None, ResultStorage] = {}
        self._is_away = False
        self.notes: list[str] = []

    async def connect(self, stack: AsyncExitStack) -> None:
        """Open the connection; `stack` closes it."""
        await self._ask(stack.enter_async_context(self._client), None)

    async def learn_flow_runs(self, ids: Sequence[FlowRunId]) -> None:
        """Read these flow runs, 200 with each request."""
        wanted = [found for text in dict.fromkeys(ids) if (found := _uuid(text)) is not None]
        for page in _pages(wanted, _PAGE_SIZE):
            ids_filter = FlowRunFilter(id=FlowRunFilterId(any_=list(page)))
            found = await self._ask(self._client.read_flow_runs(flow_run_filter=ids_filter), [])
            self._learn(found)

    async def flow_run(self, flow_run_id: FlowRunId) -> FlowRun | None:
        """Return a flow run; `None` if the Prefect API in use does not know it."""
        if flow_run_id not in self._flow_runs:
            await self.learn_flow_runs([flow_run_id])
        return self._flow_runs.get(flow_run_id)

    async def request_of(self, flow_run_id: FlowRunId) -> AgentRunRequest | None:
        """Return the request of a flow run; `None` if unknown."""
        flow_run = await self.flow_run(flow_run_id)
        if flow_run is None:
            return None
        try:
            return parse_request((flow_run.parameters or {})["request"])
        except (AgentRunError, KeyError):
            return None

    async def agent_id_of(self, flow_run_id: FlowRunId) -> AgentId | None:
        """Return the agent of a flow run; `None` if unknown."""
        request = await self.request_of(flow_run_id)
        if request is None:
            return None
        try:
            return AgentId((await load_agent(request)).agent_id)
        except Exception as error:
            self._note_failure(error)
            return None

    async def runs_of(
        self, look: ClusterLook, agents: Sequence[AgentId]
    ) -> Mapping[AgentId, Sequence[PrefectRun]]:
        """Return which flow runs of each agent may be its last one.

        These are the runs of its Jobs, and the newest of two others that is not known to belong to
        another namespace: the newest by its tag, among the 200 newest of 100 agents, and the one
        that published the agent's newest report.
        """
        await self.learn_flow_runs([owner for job in look.jobs if (owner := owner_of(job))])
        found: dict[AgentId, dict[FlowRunId, None]] = {agent: {} for agent in agents}
        for some in _pages(agents, _PAGE_SIZE // 2):
            await self._find_by_tag(some, found)
            await self._find_by_report(some, found)
        return {
            agent: [
                *self._prefect_runs(owner_of(job) for job in look.jobs if job.agent_id == agent),
                *await self._newest_here(look.namespace, self._prefect_runs(ids)),
            ]
            for agent, ids in found.items()
        }

    async def _find_by_tag(
        self, agents: Sequence[AgentId], found: dict[AgentId, dict[FlowRunId, None]]
    ) -> None:
        agent_of_tag = {agent_tag(agent): agent for agent in agents}
        wanted = FlowRunFilter(tags=FlowRunFilterTags(any_=list(agent_of_tag)))
        asked = self._client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.START_TIME_DESC, limit=_PAGE_SIZE
        )
        for run in self._learn(await self._ask(asked, [])):
            for agent in {agent_of_tag[tag] for tag in run.tags if tag in agent_of_tag}:
                found[agent][FlowRunId(str(run.id))] = None

    async def _find_by_report(
        self, agents: Sequence[AgentId], found: dict[AgentId, dict[FlowRunId, None]]
    ) -> None:
        agent_of_key = {artifact_key(agent, "report"): agent for agent in agents}
        wanted = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=list(agent_of_key)))
        reports = await self._ask(self._client.read_latest_artifacts(artifact_filter=wanted), [])
        for report in reports:
            if report.flow_run_id is not None:
                found[agent_of_key[report.key]][FlowRunId(str(report.flow_run_id))] = None
        ids = [flow_run_id for agent in agents for flow_run_id in found[agent]]
        await self.learn_flow_runs([text for text in ids if text not in self._flow_runs])

    def _learn(self, runs: Sequence[FlowRun]) -> Sequence[FlowRun]:
        self._flow_runs |= {FlowRunId(str(run.id)): run for run in runs}
        return runs

    def _prefect_runs(self, ids: Iterable[FlowRunId | None]) -> list[PrefectRun]:
        known = (self._flow_runs.get(text) for text in dict.fromkeys(ids) if text is not None)
        return [_to_prefect_run(run) for run in known if run is not None]

    async def _newest_here(
        self, namespace: str, runs: Sequence[PrefectRun]
    ) -> Sequence[PrefectRun]:
        for run in order_runs(runs):
            runtime = await self.runtime_of(run.flow_run_id)
            if runtime is None or runtime.namespace in {None, namespace}:
                return [run]
        return []

    async def report_of(self, flow_run_id: FlowRunId, agent_id: AgentId) -> str | None:
        """Return the report that a flow run has published, as Markdown."""
        return await self._artifact(flow_run_id, artifact_key(agent_id, "report"))

    async def storage_of(self, flow_run_id: FlowRunId) -> ResultStorage | None:
        """Return where a flow run keeps its results; `None` where that cannot be told."""
        runtime = await self.runtime_of(flow_run_id)
        if runtime is None:
            return None
        reference = runtime.result_storage
        try:
            if reference not in self._storages:
                self._storages[reference] = await open_result_storage(reference)
        except Exception as error:
            self._note_failure(error)
            return None
        return self._storages[reference]

    async def result_of(
        self, flow_run_id: FlowRunId, folder: AttemptFolder
    ) -> AgentRunResult | None:
        """Return a stored result; `None` if there is none, or none can be read from here."""
        storage = await self.storage_of(flow_run_id)
        if storage is None:
            return None
        try:
            return await read_stored_result(storage, folder)
        except AgentRunError as error:
            self._note(error.message)
            return None

    async def newest_folder(
        self, agent_id: AgentId, flow_run_id: FlowRunId, namespace: str
    ) -> AttemptFolder:
        """Return where the newest stored attempt of a flow run lies, or its first would.

        Args:
            agent_id: The flow run's agent.
            flow_run_id: The flow run.
            namespace: Of the agent's Jobs, where the runtime names none.
        """
        runtime = await self.runtime_of(flow_run_id)
        owner = StorageOwner((runtime and runtime.namespace) or namespace, agent_id)
        newest, number = owner.own_attempt(flow_run_id, 1), 1
        while await self.result_of(flow_run_id, folder := owner.own_attempt(flow_run_id, number)):
            newest, number = folder, number + 1
        return newest

    async def records_of(self, jobs: Sequence[JobSnapshot]) -> Mapping[JobUid, RunRecord]:
        """Return what is known about the runs of these Jobs."""
        owners = [owner for job in jobs if (owner := owner_of(job))]
        await self.learn_flow_runs([owner for owner in owners if owner not in self._flow_runs])
        found = await asyncio.gather(*map(self.record_of, jobs))
        return {job.uid: record for job, record in zip(jobs, found, strict=True)}

    async def record_of_run(self, look: ClusterLook, target: Target) -> RunRecord:
        """Return what is known about a run without a Job: its result, if one was stored."""
        if target.agent_id is None or target.flow_run_id is None:
            return RunRecord()
        folder = await self.newest_folder(target.agent_id, target.flow_run_id, look.namespace)
        return RunRecord(await self.result_of(target.flow_run_id, folder))

    async def record_of(self, job: JobSnapshot) -> RunRecord:
        """Return what is known about a Job's run: its result, or its progress."""
        owner = owner_of(job)
        if owner is None or job.agent_id is None or await self.flow_run(owner) is None:
            return RunRecord()
        if job.over:
            folder = StorageOwner(job.namespace, job.agent_id).attempt_of(owner, job)
            return RunRecord(await self.result_of(owner, folder))
        page = await self._artifact(owner, artifact_key(job.agent_id, "progress"))
        cost = read_cost(page) if page is not None else None
        return RunRecord(cost_usd=cost, last_line=await self._last_line(owner))

    async def _last_line(self, flow_run_id: FlowRunId) -> str | None:
        """Return the last line of the run's log, in which known secrets are masked."""
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(flow_run_id)]))
        asked = self._client.read_logs(wanted, limit=1, sort=LogSort.TIMESTAMP_DESC)
        records = await self._ask(asked, [])
        lines = [line for record in records for line in record.message.splitlines() if line.strip()]
        return one_line(lines[-1], _LINE_CHARACTERS) if lines else None

    async def _artifact(self, flow_run_id: FlowRunId, key: str) -> str | None:
        flow_run = _uuid(flow_run_id)
        if flow_run is None:
            return None
        wanted = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]), key=ArtifactFilterKey(any_=[key])
        )
        asked = self._client.read_artifacts(
            artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1
        )
        found = await self._ask(asked, [])
        return str(found[0].data) if found else None

    async def runtime_of(self, flow_run_id: FlowRunId) -> RuntimeSpec | None:
        """Return a flow run's runtime; `None` where that cannot be told."""
        request = await self.request_of(flow_run_id)
        if request is None:
            return None
        if isinstance(request.runtime, RuntimeSpec):
            return request.runtime
        name = request.runtime
        try:
            if name not in self._runtimes:
                self._runtimes[name] = (await load_runtime(request, self._kubeconfig)).spec
        except Exception as error:
            self._note_failure(error)
            return None
        return self._runtimes[name]

    async def _ask(self, question: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Return Prefect's answer; after a failure, do not ask again."""
        if self._is_away:
            question.close()
            return otherwise
        try:
            # If the API is down, Prefect's client would try for 77 s.
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await question
        except Exception as error:
            self._is_away = True
            unusable = explain_prefect_failure(error, asked=True)
            why = unusable.message if unusable else f"Prefect failed ({type(error).__name__})."
            self._note(f"{why} Values that only Prefect has are left out.")
            return otherwise

    def _note_failure(self, error: Exception) -> None:
        """Note why a block could not be read.

        Raises:
            Exception: The error itself, if it is neither one of ours nor of Prefect's client.
        """
        known = error if isinstance(error, AgentRunError) else explain_prefect_failure(error)
        if known is None:
            raise error
        self._note(known.message)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _to_prefect_run(run: FlowRun) -> PrefectRun:
    # Prefect's own name for a success, where reports have a plainer word.
    name = SUCCEEDED if run.state_name == _SUCCEEDED_STATE else run.state_name
    return PrefectRun(
        FlowRunId(str(run.id)),
        name,
        has_ended=run.state is not None and run.state.is_final(),
        started_at=run.start_time,
        ended_at=run.end_time,
    )


def _pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
