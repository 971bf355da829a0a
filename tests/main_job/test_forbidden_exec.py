"""Without the permission to run commands in pods no agent waits for a reader of its copy."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.service_accounts import rule
from tests.main_job.conftest import CliRun, Traces, plain

pytestmark = [pytest.mark.slice, pytest.mark.any_cluster, pytest.mark.timeout(300)]

_WITHOUT_EXEC = [
    rule("coordination.k8s.io", "leases", "get", "list", "create", "update", "delete"),
    rule("batch", "jobs", "get", "list", "watch", "create", "patch", "delete"),
    rule("", "pods", "get", "list", "watch"),
    rule("", "pods/log", "get"),
    rule("", "secrets", "get", "list", "create", "delete"),
    rule("", "events", "list"),
]
_SAID = "may not run commands in pods"


@pytest.mark.parametrize(
    ("verbs", "wait_seconds"),
    [((), "0"), (("create",), "0"), (("get", "create"), "120")],
    ids=["neither verb", "one of two verbs", "both verbs"],
)
def test_agent_waits_only_for_a_reader_that_may_exec(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    kubeconfig: Callable[..., str],
    token_allowed: Callable[..., str],
    traces: Traces,
    replay_image: str,
    verbs: tuple[str, ...],
    wait_seconds: str,
) -> None:
    allowed = [*_WITHOUT_EXEC, rule("", "pods/exec", *verbs)] if verbs else _WITHOUT_EXEC
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "tools"})

    ended = run_cli(request, KUBECONFIG=kubeconfig(token=token_allowed(*allowed)))

    assert ended.result["error_code"] is None, ended.output
    assert ended.result["transcript"]["complete"] is True
    job = traces.job(request["runtime"]["namespace"], ended.result["kubernetes"]["job_name"])
    [agent] = job["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in agent["env"]}
    assert environment["CLAUDE_JOBS_ACK_WAIT_SECONDS"] == wait_seconds
    assert (_SAID in plain(ended.output)) is (wait_seconds == "0")
