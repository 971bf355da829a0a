"""Reads from Prefect and the result storage what commands show about runs."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
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
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort, LogSort

from flows.run.inputs import load_agent, load_runtime
from tasks.agent_job.run_request import AgentRunRequest, parse_request
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.session_progress import read_cost
from tasks.observation.snapshots import JobSnapshot
from tasks.operators.agent_listing import RunRecord
from tasks.orchestrator.prefect_api import explain_prefect_failure
from tasks.outcome.run_result import AgentRunResult
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
        self._storages: dict[str | None, ResultStorage] = {}
        self._is_away = False
        self.notes: list[str] = []

    async def connect(self, stack: AsyncExitStack) -> None:
        """Open the connection; `stack` closes it."""
        await self._ask(stack.enter_async_context(self._client), None)

    async def learn_flow_runs(self, ids: Sequence[FlowRunId]) -> None:
        """Read these flow runs with one request."""
        wanted = [found for text in dict.fromkeys(ids) if (found := _uuid(text)) is not None]
        if not wanted:
            return
        ids_filter = FlowRunFilter(id=FlowRunFilterId(any_=wanted))
        found = await self._ask(self._client.read_flow_runs(flow_run_filter=ids_filter), [])
        self._flow_runs |= {FlowRunId(str(run.id)): run for run in found}

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

    async def last_flow_run_of(self, agent_id: AgentId) -> FlowRunId | None:
        """Return the flow run that published the agent's newest report."""
        wanted = ArtifactCollectionFilter(
            key=ArtifactCollectionFilterKey(any_=[artifact_key(agent_id, "report")])
        )
        found = await self._ask(self._client.read_latest_artifacts(artifact_filter=wanted), [])
        ids = [str(item.flow_run_id) for item in found if item.flow_run_id is not None]
        return FlowRunId(ids[0]) if ids else None

    async def report_of(self, flow_run_id: FlowRunId, agent_id: AgentId) -> str | None:
        """Return the report that a flow run has published, as Markdown."""
        return await self._artifact(flow_run_id, artifact_key(agent_id, "report"))

    async def storage_of(self, flow_run_id: FlowRunId) -> ResultStorage | None:
        """Return where a flow run keeps its results; `None` where that cannot be told."""
        runtime = await self._runtime_of(flow_run_id)
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
        runtime = await self._runtime_of(flow_run_id)
        owner = StorageOwner((runtime and runtime.namespace) or namespace, agent_id)
        newest, number = owner.own_attempt(flow_run_id, 1), 1
        while await self.result_of(flow_run_id, folder := owner.own_attempt(flow_run_id, number)):
            newest, number = folder, number + 1
        return newest

    async def records_of(self, jobs: Sequence[JobSnapshot]) -> Mapping[JobUid, RunRecord]:
        """Return what is known about the runs of these Jobs."""
        await self.learn_flow_runs([owner for job in jobs if (owner := owner_of(job))])
        found = await asyncio.gather(*map(self.record_of, jobs))
        return {job.uid: record for job, record in zip(jobs, found, strict=True)}

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

    async def _runtime_of(self, flow_run_id: FlowRunId) -> RuntimeSpec | None:
        """Return a flow run's runtime; `None` where that cannot be told."""
        request = await self.request_of(flow_run_id)
        if request is None:
            return None
        if isinstance(request.runtime, RuntimeSpec):
            return request.runtime
        try:
            return (await load_runtime(request, self._kubeconfig)).spec
        except Exception as error:
            self._note_failure(error)
            return None

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


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
