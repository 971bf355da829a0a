"""The shipped Role: a run needs all of it, and says what is missing before it does anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.agent_job.needed_permissions import NEEDED_PERMISSIONS, RUN_PERMISSIONS, Permission
from tests.main_job.conftest import CliRun, Traces

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300)]

ROLE_FILE = Path(__file__).parents[2] / "deployments" / "kubernetes" / "base" / "flow-run-role.yaml"
# One of each kind of consequence that it would have otherwise: none, late, and after the money.
_IN_SLICE = {"watch jobs.batch", "create secrets", "patch jobs.batch"}


def shipped_rules() -> list[dict[str, Any]]:
    [rules] = [d["rules"] for d in yaml.safe_load_all(ROLE_FILE.read_text()) if "rules" in d]
    return rules


def rules_without(permission: Permission) -> list[dict[str, Any]]:
    def kept(rule: dict[str, Any]) -> list[str]:
        named = rule["apiGroups"] == [permission.group] and rule["resources"] == [
            permission.resource
        ]
        return [verb for verb in rule["verbs"] if not (named and verb == permission.verb)]

    rules = [{**rule, "verbs": kept(rule)} for rule in shipped_rules()]
    return [rule for rule in rules if rule["verbs"]]


@pytest.mark.waits(8)
def test_run_completes_with_the_shipped_role_alone(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    kubeconfig: Callable[..., str],
    token_allowed: Callable[..., str],
) -> None:
    limited = kubeconfig(token=token_allowed(*shipped_rules()))

    ended = run_cli(build_request(replay_image), "--kubeconfig", limited)

    assert ended.exit_code == 0, ended.output
    assert ended.result["transcript"]["complete"] is True
    assert "answered 403" not in ended.output


@pytest.mark.long
@pytest.mark.parametrize(
    "permission",
    [
        pytest.param(p, id=str(p), marks=[pytest.mark.slice] if str(p) in _IN_SLICE else [])
        for p in NEEDED_PERMISSIONS
    ],
)
def test_run_with_one_verb_less_names_it_and_creates_nothing(
    permission: Permission,
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    kubeconfig: Callable[..., str],
    token_allowed: Callable[..., str],
    traces: Traces,
    agents_namespace: str,
) -> None:
    limited = kubeconfig(token=token_allowed(*rules_without(permission)))
    request = build_request(replay_image)

    ended = run_cli(request, "--kubeconfig", limited)

    assert ended.exit_code == 1, ended.output
    assert ended.result["error_code"] == "k8s_concurrency_guard_unreachable"
    assert f"so nothing was created: {permission}." in ended.result["message"]
    agent_id = request["agent"]["agent_id"]
    jobs = [job["metadata"]["name"] for job in traces.jobs(agents_namespace)]
    assert [name for name in jobs if name.startswith(agent_id)] == []


@pytest.mark.long
@pytest.mark.parametrize(
    "permission", [p for p in RUN_PERMISSIONS if p.resource == "pods/exec"], ids=str
)
def test_run_without_exec_goes_on_and_says_what_that_means(
    permission: Permission,
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    kubeconfig: Callable[..., str],
    token_allowed: Callable[..., str],
) -> None:
    limited = kubeconfig(token=token_allowed(*rules_without(permission)))

    ended = run_cli(build_request(replay_image), "--kubeconfig", limited)

    assert ended.exit_code == 0, ended.output
    assert "pods/exec" in ended.output
