"""One recorded scenario, made on the embedded cluster by the flow itself."""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow_async
from prefect.states import Scheduled

from flows.run_agent import run_agent, run_in_this_process
from tasks.agent_job.run_request import parse_request
from tasks.claude_code.rendering import LineKind, RenderedLine
from tasks.outcome.run_result import AgentRunResult
from tasks.run.run_controls import CONTROLS, RunControls
from tests.faults.agent_space import AgentSpace
from tests.faults.cluster_record import SeenPod
from tests.faults.scenarios.recorded_case import EarlierJob, RecordedCase
from tests.faults.scenarios.scenario_table import Act, Chance, Scenario, When
from tests.faults.world import World

_LIMIT_SECONDS = 480.0  # for busy machines; the longest takes 40 s on a quiet one
_LOOK_SECONDS = 0.02
NOT_DISTURBED = "the faults did not come about"
_GATE = "gate"
_FLOW_RUN_ID = "claude-jobs.dev/flow-run-id"
_MERGE_PATCH = {"content_type": "application/merge-patch+json"}


@dataclass(frozen=True)
class ScenarioReport:
    """What came of a scenario; no problems means that it ended as its row says."""

    case: str
    problems: tuple[str, ...]
    ending: str
    seconds: float

    def __str__(self) -> str:
        verdict = "; ".join(("WRONG", *self.problems)) if self.problems else "as good"
        return f"{self.seconds:5.1f} s  {self.case}: {self.ending} | {verdict}"


class ScenarioRun(AgentSpace):
    """An agent, what happens to it, and its run."""

    def __init__(self, world: World, scenario: Scenario, case: RecordedCase) -> None:
        super().__init__(world)
        self._scenario = scenario
        self._case = case
        self._record = world.record
        self._gate = world.storage / f"gate-{self.agent_id}"
        self._earlier_flow_run_id: str | None = None
        self._earlier_pod: SeenPod | None = None
        self._is_disturbed = True

    async def run(self) -> ScenarioReport:
        """Make it and compare."""
        began = time.monotonic()
        await self._prepare()
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                result = await self._run_disturbed()
            problems = [*self._compare(result), *await self._faults_not_met()]
            ending = _describe(result)
        except Exception as error:  # one that breaks must not end the others
            problems, ending = [f"it broke: {error!r}"], "none"
        finally:
            await self._call("DELETE", f"/_faults?id={self.name}")
            await asyncio.to_thread(self.clear_away)
        seconds = time.monotonic() - began
        return ScenarioReport(self._case.name, tuple(problems), ending, seconds)

    async def _prepare(self) -> None:
        if self._case.given["driver"].get("session"):
            claim = {
                "metadata": {"name": "home"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }
            await self._call("POST", f"{self.core}/persistentvolumeclaims", claim)

    async def _run_disturbed(self) -> AgentRunResult:
        if self._case.earlier is not None:
            await self._leave_behind(self._case.earlier)
        await self._add_rules(self._scenario.rules)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self._run())
            acting = group.create_task(self._disturb())
            await running
            self._is_disturbed = acting.done()
            acting.cancel()
        return running.result()

    async def _leave_behind(self, earlier: EarlierJob) -> None:
        """Start a run and take it away from its agent."""
        request = self._complete(self._case.earlier_request(earlier))
        running = asyncio.create_task(run_in_this_process(parse_request(request), RunControls()))
        at_work = asyncio.create_task(self._pod_when(When.AGENT_RUNNING))
        await asyncio.wait({running, at_work}, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done(), f"the earlier run ended: {running.result().message}"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        [job] = self._record.jobs_in(self.name)
        name = job["metadata"]["name"]
        if earlier.is_same_run:
            self._earlier_flow_run_id = job["metadata"]["annotations"][_FLOW_RUN_ID]
        if earlier.conditions:
            status = {"status": {"conditions": list(earlier.conditions)}}
            await self._call("PATCH", f"{self.jobs}/{name}/status", status, **_MERGE_PATCH)
        if earlier.is_deleted:
            self._record.allow_deletion(job["metadata"]["uid"])
            action = {"do": "delete-job", "namespace": self.name, "name": name}
            await self._call("POST", "/_faults/actions", action)
        self._earlier_pod = at_work.result()

    async def _run(self) -> AgentRunResult:
        request = parse_request(self._complete(self._case.request()))
        controls = RunControls(on_lines=self._let_agent_go)
        if self._earlier_flow_run_id is None:
            return await run_in_this_process(request, controls)
        # The same flow run again, as when its process was lost and another one has it now.
        CONTROLS.set(controls)
        async with get_client() as client:
            flow_run_id = uuid.UUID(self._earlier_flow_run_id)
            await client.set_flow_run_state(
                flow_run_id, Scheduled(name="AwaitingRetry"), force=True
            )
            flow_run = await client.read_flow_run(flow_run_id)
        await run_flow_async(
            run_agent, flow_run=flow_run, parameters={"request": request}, return_type="state"
        )
        assert controls.result is not None
        return controls.result

    def _complete(self, request: dict[str, Any]) -> dict[str, Any]:
        """Add where it runs and who."""
        more: dict[str, Any] = {
            "namespace": self.name,
            "result_storage": str(self.world.storage),
            **json.loads(self._fill(json.dumps(self._scenario.runtime))),
        }
        if "session_id" in request:
            more["home_claim"] = "home"
        if self._case.phases:
            more["mounts"] = [{"kind": "config_map", "name": _GATE, "path": "/var/run/gate"}]
        runtime = {**request["runtime"], **more}
        env = {**request["env"], "GATE": str(self._gate)}
        agent = {"agent_id": self.agent_id}
        limit = self._scenario.timeout_seconds or request.get("timeout_seconds")
        return {
            **request,
            "env": env,
            "agent": agent,
            "runtime": runtime,
            "timeout_seconds": limit,
        }

    async def _disturb(self) -> None:
        for phase in self._case.phases:
            await self._show(phase)
        for act in self._scenario.acts:
            pod = await self._pod_when(act.when)
            await asyncio.sleep(act.after_seconds)
            await self._act(act, pod)

    async def _show(self, phase: dict[str, Any]) -> None:
        """Have the API report a recorded state of the pod, or let the pod start."""
        pod = await self._pod_when(When.POD_THERE)
        await asyncio.sleep(phase["atMs"] / 1000)
        if phase.get("normal"):
            body = {"metadata": {"name": _GATE}}
            await self._call("POST", f"{self.core}/configmaps", body)
            return
        status: dict[str, Any] = {"phase": phase["phase"]}
        for recorded, name in (
            ("conditions", "conditions"),
            ("init", "initContainerStatuses"),
            ("containers", "containerStatuses"),
        ):
            if recorded in phase:
                status[name] = phase[recorded]
            elif recorded == "containers":
                status[name] = None
        status_text = json.dumps({"status": status}).replace('"claude"', '"agent"')
        path = f"{self.core}/pods/{pod.name}/status"
        await self._call("PATCH", path, json.loads(status_text), **_MERGE_PATCH)

    async def _act(self, act: Act, pod: SeenPod) -> None:
        if act.path == "/_faults":
            await self._add_rules(act.body["rules"])
            return
        if act.deletes_job:
            self._record.allow_deletion(pod.job_uid)
        node = await self._call("GET", "/api/v1/nodes")
        places = {
            "job": pod.manifest["metadata"]["labels"]["batch.kubernetes.io/job-name"],
            "pod": pod.name,
            "node": node["items"][0]["metadata"]["name"],
        }
        headers = _MERGE_PATCH if act.method == "PATCH" else {}
        body = json.loads(self._fill(json.dumps(act.body), **places))
        path = self._fill(act.path, **places)
        answer = await asyncio.to_thread(self.api.call, act.method, path, body, **headers)
        # A pod that is to be deleted may have gone with its Job.
        assert answer.status_code < 300 or answer.status_code == 404, answer.text

    async def _add_rules(self, rules: Sequence[dict[str, Any]]) -> None:
        met = [{**rule, "id": self.name} for rule in rules]
        await asyncio.to_thread(self.add_faults, *met)

    async def _pod_when(self, when: When) -> SeenPod:
        """Return the pod of the run once it is there, or once its agent runs."""
        while True:
            pod = self._record.newest_pod(self.name)
            is_new = pod is not None and (
                self._earlier_pod is None or pod.name != self._earlier_pod.name
            )
            if pod is not None and is_new and (when is When.POD_THERE or pod.running):
                return pod
            await asyncio.sleep(_LOOK_SECONDS)

    def _let_agent_go(self, lines: Sequence[RenderedLine]) -> None:
        """Let the agent that was taken over end, once the run reads it."""
        if any(line.kind is not LineKind.NOTE for line in lines):
            self._gate.touch()

    async def _faults_not_met(self) -> list[str]:
        """Say so where the run ended before its faults came about."""
        state = await self._call("GET", "/_faults")
        fired = [rule["fired"] for rule in state["rules"] if rule["id"] == self.name]
        if not self._is_disturbed or (fired and any(fired) == self._scenario.is_never_met):
            return [NOT_DISTURBED]
        return []

    def _compare(self, result: AgentRunResult) -> list[str]:
        row = self._scenario
        printed = self._case.lines
        wanted = printed if row.lines is None else printed[: row.lines]
        recorded = self._case.expected
        facts: dict[str, tuple[Any, Any]] = {
            "code": (result.error_code, row.code),
            "cause": (result.cause, row.cause),
            "exit code": (result.exit_code, row.exit_code),
            "lines": (self.world.stored_lines(result.model_dump(mode="json")), wanted),
        }
        if wanted:
            facts["complete"] = (result.transcript.complete, row.complete)
        if row.code is None:
            facts["summary"] = (result.summary, recorded.get("summary") or "Done.")
            facts["cost"] = (result.cost_usd, 0.001)
        problems = [
            f"{name} {found!r}, not {expected!r}"
            for name, (found, expected) in facts.items()
            if expected is not Chance.EITHER and found != expected
        ]
        if self._created() > 1:
            problems.append(f"{self._created()} Jobs were created")
        twins = [found for found in self._record.twins if self.agent_id in found]
        return [*problems, *twins, *self._record.deleted_alive(self.name)]

    def _created(self) -> int:
        """Count the Jobs, without one that was to be replaced from the beginning."""
        earlier = self._case.earlier
        was_replaced = earlier is not None and earlier.is_deleted
        return len(self._record.jobs_in(self.name)) - int(was_replaced)

    def _fill(self, text: str, **places: str) -> str:
        for name, value in {"namespace": self.name, **places}.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    async def _call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return await asyncio.to_thread(self.api.ok, method, path, body, **headers)


def _describe(result: AgentRunResult) -> str:
    proof = result.transcript
    return (
        f"{result.error_code or 'success'}, cause {result.cause}, exit code {result.exit_code}, "
        f"{proof.lines} lines, complete {proof.complete}"
    )
