"""Names a run after its agent, its task and its attempt, as soon as each is known."""

from prefect.runtime import flow_run

from tasks.agent_job.run_naming import run_name, run_tags
from tasks.agent_job.run_request import AgentRunRequest
from tasks.claude_code.agent_spec import AgentSpec
from tasks.observation.snapshots import JobSnapshot
from tasks.orchestrator.flow_run_names import name_flow_run
from tasks.run.agent_run import AgentRun
from tasks.run.run_controls import RunControls
from tasks.text.redaction import Redactor


async def name_run(request: AgentRunRequest, agent: AgentSpec, controls: RunControls) -> None:
    """Name the current run after its agent and its task, or its prompt's first words.

    A prompt that the request only refers to is in no name.
    """
    name = run_name(agent.agent_id, request.task_id, _prompt(request, controls.redactor))
    tags = run_tags(agent.agent_id, agent.tenant_id, request.task_id)
    controls.is_named = True
    await name_flow_run(str(flow_run.id), name, tags, base=name)


async def name_refused_run(agent_id: str, task_id: str | None, controls: RunControls) -> None:
    """Name a run that was refused before it had a name, after as much as can be told."""
    if not controls.is_named and agent_id:
        name = run_name(agent_id, task_id, None)
        await name_flow_run(str(flow_run.id), name, run_tags(agent_id, None, task_id), base=name)


async def name_attempt(run: AgentRun, job: JobSnapshot) -> None:
    """Add the attempt to the name of its run; not that of another run, whose Job is taken over."""
    if job.flow_run_id not in {None, run.flow_run_id}:
        return
    request = run.prepared.request
    # Masked anew: more secrets are known than when the run got its name.
    told = (run.prepared.agent_id, request.task_id, _prompt(request, run.outside.redactor))
    name = run_name(*told, job.attempt or 1)
    await name_flow_run(run.flow_run_id, name, (), base=run_name(*told))


def _prompt(request: AgentRunRequest, redactor: Redactor) -> str | None:
    return redactor.text(request.prompt) if request.prompt else None
