"""One run that is interrupted at one stage, and what is left of it."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.embedded_cluster import REPLAY_IMAGE
from tests.engine.conftest import LiveProcess
from tests.faults.agent_space import AgentSpace, has_ended
from tests.faults.interruptions.hosts import Hosts, engine_of, kill_tree, wait_until_gone
from tests.faults.interruptions.interruption_table import (
    HOSTS,
    TABLE,
    Follows,
    Host,
    Interruption,
    Jobs,
    Stage,
)
from tests.faults.interruptions.stage_barriers import READY, Barrier
from tests.faults.prefect_gate import PrefectGate
from tests.faults.world import World
from tests.main_job.conftest import SMALL
from tests.waits import wait_until

LINES = 17  # of the recording
_OUTAGE_SECONDS = 5.0
_DEPLOYMENTS = {Host.SERVE: "served", Host.WORKER: "worked", Host.EXECUTE: "served"}


@dataclass(frozen=True)
class Surroundings:
    """What all runs have in common."""

    world: World
    gate: PrefectGate
    hosts: Hosts


class InterruptedRun(AgentSpace):
    """A run in a namespace of its own."""

    def __init__(
        self, around: Surroundings, interruption: Interruption, stage: Stage, folder: Path
    ) -> None:
        super().__init__(around.world)
        self._gate, self._hosts = around.gate, around.hosts
        self._prefect = around.world.prefect
        self._interruption = interruption
        self._stage = stage
        self._host = HOSTS[interruption]
        self._starts_file = folder / "starts"
        self._starts_file.touch()
        self._starts_file.chmod(0o666)
        self._go_file = folder / "go"
        repeatedly = interruption is Interruption.OWN_BOUND and stage in {
            Stage.GUARD,
            Stage.CLEANUP,
        }
        # Longer where a new process must still find the agent at work.
        is_taken_over = TABLE[interruption, stage].follows is Follows.NEW_CONTINUES
        self.barrier = Barrier(
            stage, self, repeatedly, late_status_seconds=60 if is_taken_over else 20
        )
        self.flow_run_id = ""
        self._process: LiveProcess | None = None
        self._engine: int | None = None

    def start(self) -> None:
        """Start the run and hold it at its stage."""
        self.barrier.set()
        self._process = self._host_process()
        pending = {"type": "PENDING", "name": "Pending"}
        self.flow_run_id = self._create(
            self._host, pending if self._host is Host.EXECUTE else {"type": "SCHEDULED"}
        )
        if self._host is Host.EXECUTE:
            # Whoever serves the flow is there for the run that is put back into the queue.
            self._hosts.serve()
            behaviour = self._interruption.value
            self._process = self._hosts.execute(self.flow_run_id, behaviour)
        if self._stage is Stage.COMPLETION:
            # Its node must have reported that it runs, or the run learns both at once.
            self.wait_for_output(self.flow_run_id)
            self.let_agent_end()
        self.barrier.wait(self.flow_run_id)

    def interrupt(self) -> None:
        """Do to it what the row says, and let go what would be held for ever."""
        self._engine = engine_of(self._parent())
        match self._interruption:
            case Interruption.CANCEL | Interruption.CANCEL_IN_WORKER:
                self._cancel()
            case Interruption.SIGTERM_CHILD:
                os.kill(self._engine, signal.SIGTERM)
            case Interruption.SIGKILL_CHILD:
                os.kill(self._engine, signal.SIGKILL)
            case Interruption.SIGTERM_PARENT | Interruption.RELINQUISH | Interruption.RESCHEDULE:
                os.kill(self._parent(), signal.SIGTERM)
                assert wait_until_gone(self._engine, 30), "the run's process goes on"
                if self._interruption is Interruption.RESCHEDULE:
                    self.barrier.lift()
            case Interruption.SIGKILL_PARENT:
                os.kill(self._parent(), signal.SIGKILL)
                self.barrier.lift()
            case Interruption.PREFECT_DOWN:
                self._have_no_prefect()
            case Interruption.KUBERNETES_DOWN:
                self._have_no_kubernetes()
            case Interruption.OWN_BOUND:
                """It comes by itself."""

    def _cancel(self) -> None:
        self.world.record.allow_deletions(self.name)
        self.set_state("CANCELLING", "Cancelling")
        if self._stage is Stage.RESULT:
            # A storage that never answers would be waited for until the runner kills.
            time.sleep(2)
            self.barrier.lift()

    def _have_no_prefect(self) -> None:
        self._gate.shut()
        time.sleep(1)
        self.barrier.lift()
        time.sleep(_OUTAGE_SECONDS)
        self._gate.open()

    def _have_no_kubernetes(self) -> None:
        outage = {"do": "restart-api", "downSeconds": _OUTAGE_SECONDS}
        self.api.ok("POST", "/_faults/actions", outage)
        wait_until(lambda: not self._kubernetes_answers(), _OUTAGE_SECONDS)
        wait_until(self._kubernetes_answers, 30)
        self.barrier.lift()

    def follow(self, how: Follows) -> str:
        """Start who comes next, and return the flow run that must end well."""
        if how is Follows.NOBODY or self._interruption is Interruption.RESCHEDULE:
            return self.flow_run_id
        if how in {Follows.SAME_STARTS, Follows.SAME_CONTINUES}:
            self._host_process()
            self.set_state("SCHEDULED", "AwaitingRetry", force=True)
            return self.flow_run_id
        self._hosts.serve()
        return self._create(Host.SERVE, {"type": "SCHEDULED"})

    def set_state(self, kind: str, name: str, *, force: bool = False) -> None:
        body = {"state": {"type": kind, "name": name}, "force": force}
        self._prefect.post(f"/flow_runs/{self.flow_run_id}/set_state", body)

    def wait_for_state(self, flow_run_id: str, wanted: str, seconds: float) -> None:
        def is_reached() -> bool:
            state = self._prefect.flow_run(flow_run_id)["state"]
            return f"{state['type']}/{state['name']}" == wanted

        self.wait_for(flow_run_id, is_reached, seconds)

    def wait_for(self, flow_run_id: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until it holds; says how the flow run is where it does not."""
        say = self._describe_run
        wait_until(condition, seconds, pause_seconds=0.3, describe=lambda: say(flow_run_id))

    def are(self, jobs: Jobs) -> bool:
        """Tell whether the cluster has that of the run."""
        found = self.found_jobs
        secrets = self.run_secrets
        if jobs is Jobs.NONE:
            return not found and not secrets
        if len(found) != 1 or "deletionTimestamp" in found[0]["metadata"]:
            return False
        [job] = found
        if jobs is Jobs.INERT:
            return not secrets and not has_ended(job)
        if [secret["metadata"]["name"] for secret in secrets] != [job["metadata"]["name"]]:
            return False
        return has_ended(job) == (jobs is Jobs.ENDED)

    def wait_for_output(self, flow_run_id: str) -> None:
        """Wait until a run shows what the agent has said so far."""
        log = self._prefect.logs
        self.wait_for(flow_run_id, lambda: READY in log(flow_run_id), 90)

    def let_agent_end(self) -> None:
        """Let the agent go on behind its first line."""
        self._go_file.touch()

    def agents_started(self) -> int:
        """How often a prompt was handed to an agent."""
        return len(self._starts_file.read_text().splitlines())

    def result(self, flow_run_id: str) -> dict[str, Any]:
        """The newest stored result of a flow run."""
        found = self.world.storage.glob(f"*/{flow_run_id}/*/result.json")
        found = sorted(found, key=lambda path: path.stat().st_mtime)
        assert found, self._describe_run(flow_run_id)
        return json.loads(found[-1].read_bytes())

    def clear_away(self) -> None:
        """End its processes too."""
        self._gate.open()
        self.barrier.lift()
        if self._process is not None and self._host is Host.EXECUTE:
            kill_tree(self._process.process.pid)
        if self._engine is not None and not wait_until_gone(self._engine, 0.1):
            os.kill(self._engine, signal.SIGKILL)
        super().clear_away()

    def _request(self) -> dict[str, Any]:
        limits: dict[str, Any] = {"termination_grace_seconds": 5}
        request: dict[str, Any] = {"task_id": "T-1"}
        if self._interruption is Interruption.OWN_BOUND:
            if self._stage is Stage.POD_WAIT:
                limits["start_seconds"] = 3
            elif self._stage is Stage.STREAMING:
                request["timeout_seconds"] = 3
        return {
            **request,
            "agent": {"agent_id": self.agent_id},
            "prompt": "Say hello.",
            "env": {
                "REPLAY_TRANSCRIPT": "tools",
                "REPLAY_GO_FILE": str(self._go_file) if self._agent_waits() else "",
                "STARTS_FILE": str(self._starts_file),
            },
            "runtime": {
                "image": REPLAY_IMAGE,
                "namespace": self.name,
                "resources": SMALL,
                "limits": limits,
                "retention": {"keep": "always"},
                "result_storage": "held-folder/interruptions",
                **self.barrier.request_fields(),
            },
        }

    def _agent_waits(self) -> bool:
        """Whether the agent is to stay at its first line until it is told to go on."""
        return self._stage in {
            Stage.SECRET,
            Stage.POD_WAIT,
            Stage.STREAMING,
            Stage.COMPLETION,
        }

    def _create(self, host: Host, state: dict[str, str]) -> str:
        wanted = {"deployments": {"name": {"any_": [_DEPLOYMENTS[host]]}}}
        [deployment] = self._prefect.post("/deployments/filter", wanted)
        return self._prefect.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            {"parameters": {"request": self._request()}, "state": state},
        )["id"]

    def _host_process(self) -> LiveProcess:
        return self._hosts.worker() if self._host is Host.WORKER else self._hosts.serve()

    def _parent(self) -> int:
        assert self._process is not None
        return self._process.process.pid

    def _kubernetes_answers(self) -> bool:
        try:
            return self.api.call("GET", "/version").status_code == 200
        except httpx.TransportError:
            return False

    def _describe_run(self, flow_run_id: str) -> str:
        state = self._prefect.flow_run(flow_run_id)["state"]
        output = self._process.output if self._process else ""
        log = self._prefect.logs(flow_run_id)
        return f"{state}\n{log}\n{output[-6000:]}\n{self.describe()}"
