"""Which session a task's next run goes on in, where the agent's HOME outlives its pods."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.conftest import jobs_of
from tests.main_job.conftest import CliRun, Traces
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(240)]

UNKNOWN = {"REPLAY_TRANSCRIPT": "resume_unknown"}


@pytest.mark.slice
@pytest.mark.waits(25)
def test_next_run_of_a_task_resumes_its_session_until_that_is_unknown(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    prefect_server: PrefectServer,
    home_claim: Callable[[str], str],
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    kept = {"home_claim": home_claim(agents_namespace), "working_directory": None}
    request = build_request(
        replay_image, task_id="T-1", runtime={**kept, "retention": {"keep": "always"}}
    )
    agent_id = request["agent"]["agent_id"]

    def resumed_by(run: CliRun) -> list[str | None]:
        """The session that each of its attempts was told to resume."""
        jobs = [
            job
            for job in jobs_of(traces, agents_namespace, agent_id)
            if _annotation(job, "flow-run-id") == run.result["flow_run_id"]
        ]
        return [_resumed(job) for job in sorted(jobs, key=lambda job: _annotation(job, "attempt"))]

    first = run_cli(request)
    second = run_cli(request)
    unknown = run_cli({**request, "env": UNKNOWN})
    after_it = run_cli(request)

    session = first.result["session_id"]
    assert first.exit_code == second.exit_code == 0, second.output
    assert resumed_by(first) == [None]
    assert resumed_by(second) == [session]
    assert second.result["session_id"] == session
    said = f"The task's last session, {session} of flow run {first.result['flow_run_id']}, is"
    assert said in prefect_server.logs(second.result["flow_run_id"])
    # What is unknown is answered by a fresh session, once, and that is the task's last one then.
    assert resumed_by(unknown) == [session, None]
    assert "The session could not be resumed" in prefect_server.logs(unknown.result["flow_run_id"])
    assert unknown.result["session_id"] != session
    assert resumed_by(after_it) == [unknown.result["session_id"]]
    assert after_it.exit_code == 0, after_it.output


def _annotation(job: Any, name: str) -> str:
    return job["metadata"]["annotations"][f"claude-jobs.dev/{name}"]


def _resumed(job: Any) -> str | None:
    [container] = job["spec"]["template"]["spec"]["containers"]
    arguments = container["args"]
    return arguments[arguments.index("--resume") + 1] if "--resume" in arguments else None
