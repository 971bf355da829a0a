"""Requests, agents and runtimes for tests, as people would write them: JSON."""

from typing import Any

from tasks.agent_job.manifest import JobSpec
from tasks.agent_job.prepared_run import PreparedRun, prepare_run
from tasks.agent_job.run_request import parse_request
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.vocabulary.names import FlowRunId

FLOW_RUN_ID = FlowRunId("0f0c9a3e-5a5c-4a27-9f3c-b34b41d8c8f1")
RUN_SCRIPT = "#!/bin/sh\n# the run script\n"
KEEPER_SCRIPT = "#!/bin/sh\n# the keeper's script\n"


def make_run(
    request: dict[str, Any] | None = None,
    agent: dict[str, Any] | None = None,
    runtime: dict[str, Any] | None = None,
    confidential_prompt: str | None = None,
) -> PreparedRun:
    return prepare_run(
        parse_request({"agent": "ada", "runtime": "kit", **(request or {})}),
        AgentSpec.model_validate({"agent_id": "agent-abc", "name": "Ada", **(agent or {})}),
        RuntimeSpec.model_validate({"image": "agent:1", **(runtime or {})}),
        flow_run_id=FLOW_RUN_ID,
        run_script=RUN_SCRIPT,
        keeper_script=KEEPER_SCRIPT,
        confidential_prompt=confidential_prompt,
    )


def make_job_spec(
    request: dict[str, Any] | None = None,
    agent: dict[str, Any] | None = None,
    runtime: dict[str, Any] | None = None,
    *,
    attempt: int = 1,
    owner_epoch: int = 7,
    exec_permitted: bool = True,
) -> JobSpec:
    run = make_run(request, agent, runtime)
    return JobSpec(run, "agents", attempt, owner_epoch, exec_permitted)
