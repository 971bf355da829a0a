"""What a run may do: the list, the shipped Role, and the calls that the code makes."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.agent_job.needed_permissions import (
    NEEDED_PERMISSIONS,
    PREFLIGHT_PERMISSIONS,
    READ_NODES,
    RUN_PERMISSIONS,
    SWEEP_PERMISSIONS,
    Permission,
    PolicyRule,
    missing_permissions,
)

KUBERNETES = Path(__file__).parents[3] / "deployments" / "kubernetes"
OWN_PACKAGES = ("blocks", "flows", "tasks")

# The functions that make calls, and what each of them has to be allowed.
CALLS = {
    "read_lease": {"get leases"},
    "create_lease": {"create leases"},
    "replace_lease": {"update leases"},
    "list_leases": {"list leases"},
    "delete_lease": {"delete leases"},
    "read_job": {"get jobs"},
    "list_jobs": {"list jobs"},
    "create_job": {"create jobs"},
    "patch_job": {"patch jobs"},
    "delete_job": {"delete jobs"},
    "list_pods": {"list pods"},
    "watch_objects": {"list jobs", "watch jobs", "list pods", "watch pods"},
    "read_log_tail": {"get pods/log"},
    "read_pod_log": {"get pods/log"},
    "follow_pod_log": {"get pods/log"},
    "open_exec": {"get pods/exec", "create pods/exec"},
    "run_in_pod": {"get pods/exec", "create pods/exec"},
    "touch_pod_file": {"get pods/exec", "create pods/exec"},
    "read_secret": {"get secrets"},
    "list_secrets_metadata": {"list secrets"},
    "create_secret": {"create secrets"},
    "delete_secret": {"delete secrets"},
    "list_kubernetes_events": {"list events"},
    "read_volume_claim": {"get persistentvolumeclaims"},
    "list_resource_quotas": {"list resourcequotas"},
    "try_pod": {"create pods"},
    # Helps to name a cause, and only where a ClusterRole allows it.
    "read_node": set[str](),
    # Everybody may.
    "read_server_version": set[str](),
    "create_access_review": set[str](),
    "list_own_rules": set[str](),
}
CALLING_MODULES = {
    f"tasks.cluster.{name}"
    for name in (
        "kinds.access_reviews",
        "kinds.jobs",
        "kinds.leases",
        "kinds.pod_exec",
        "kinds.pod_logs",
        "kinds.read_only",
        "kinds.secrets",
        "watching.watch",
    )
}


def short(permission: Permission) -> str:
    return f"{permission.verb} {permission.resource}"


def role_named(name: str, file: Path) -> list[Any]:
    documents = yaml.safe_load_all(file.read_text())
    [role] = [d for d in documents if d["metadata"]["name"] == name and "rules" in d]
    return role["rules"]


def granted_by(rules: list[Any]) -> list[tuple[str, str, str]]:
    return [
        (verb, group, resource)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def as_triples(permissions: tuple[Permission, ...]) -> list[tuple[str, str, str]]:
    return [(p.verb, p.group, p.resource) for p in permissions]


@pytest.mark.parametrize(
    ("name", "permissions"),
    [
        ("flow-run", RUN_PERMISSIONS),
        ("preflight", PREFLIGHT_PERMISSIONS),
        ("sweep", SWEEP_PERMISSIONS),
    ],
    ids=["flow-run", "preflight", "sweep"],
)
def test_shipped_role_is_exactly_the_list(name: str, permissions: tuple[Permission, ...]) -> None:
    granted = granted_by(role_named(name, KUBERNETES / "base" / f"{name}-role.yaml"))

    assert granted == as_triples(permissions)


def test_shipped_cluster_role_reads_nodes_and_nothing_else() -> None:
    file = KUBERNETES / "components" / "node-reader" / "cluster-role.yaml"

    assert granted_by(role_named("claude-jobs-node-reader", file)) == as_triples((READ_NODES,))


def test_list_is_exactly_what_the_flow_and_what_it_imports_call() -> None:
    called = {name for module in modules_below("flows.run_agent") for name in calls_of(module)}

    assert set().union(*(CALLS[name] for name in called)) == {short(p) for p in RUN_PERMISSIONS}


def test_list_is_exactly_what_a_sweep_calls() -> None:
    called = calls_reached_from("flows.sweep_orphans", "sweep_orphans")

    assert set().union(*(CALLS[name] for name in called)) == {short(p) for p in SWEEP_PERMISSIONS}


def test_list_is_exactly_what_a_preflight_calls_beside_runs() -> None:
    called = calls_reached_from("flows.preflight", "preflight")
    wanted = set[str]().union(*(CALLS[name] for name in called))

    assert wanted - {short(p) for p in RUN_PERMISSIONS} == {short(p) for p in PREFLIGHT_PERMISSIONS}


def calls_reached_from(module: str, name: str) -> set[str]:
    """Name the calls that a function can get to: a sweep uses little of what its modules can do."""
    called: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(module, name)]
    while waiting:
        where, what = waiting.pop()
        if (where, what) in seen:
            continue
        seen.add((where, what))
        if where in CALLING_MODULES:
            called |= {what} & set(CALLS)
            continue
        definitions, imported = parts_of(where)
        for used in definitions.get(what, ()):
            waiting.append(imported.get(used) or (where, used))
    return called


@cache
def parts_of(module: str) -> tuple[dict[str, set[str]], dict[str, tuple[str, str]]]:
    """Return which names each function and class of a module uses, and where they are from."""
    tree = tree_of(module)
    definitions = {
        node.name: {used.id for used in ast.walk(node) if isinstance(used, ast.Name)}
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    return definitions, {name: (source, name) for source, name in imports_of(module)}


def modules_below(start: str) -> set[str]:
    """Name the modules that a module imports, directly or not, those in functions too."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [name for name, _ in imports_of(module) if is_module(name)]
    return found


def calls_of(module: str) -> Iterator[str]:
    for source, name in imports_of(module):
        if source in CALLING_MODULES and name[0].islower():
            yield name


def imports_of(module: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OWN_PACKAGES:
            for alias in node.names:
                yield node.module or "", alias.name


def tree_of(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    return ast.parse(Path(spec.origin).read_text())


def is_module(name: str) -> bool:
    return find_spec(name) is not None


@pytest.mark.parametrize(
    "permissions",
    [RUN_PERMISSIONS, PREFLIGHT_PERMISSIONS, SWEEP_PERMISSIONS],
    ids=["run", "preflight", "sweep"],
)
def test_nothing_is_listed_twice_or_without_a_purpose(permissions: tuple[Permission, ...]) -> None:
    assert len({short(p) for p in permissions}) == len(permissions)
    assert all(p.purpose for p in permissions)


def test_run_does_without_exec_and_the_table_of_agents_only() -> None:
    assert [short(p) for p in RUN_PERMISSIONS if p not in NEEDED_PERMISSIONS] == [
        "list leases",
        "get pods/exec",
        "create pods/exec",
    ]


LOG = Permission("get", "", "pods/log", "read")
JOB = Permission("list", "batch", "jobs", "look")


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (PolicyRule(("",), ("pods/log",), ("get",)), [JOB]),
        (PolicyRule(("",), ("*/log",), ("get", "list")), [JOB]),
        (PolicyRule(("*",), ("*",), ("*",)), []),
        (PolicyRule(("batch",), ("*",), ("list",)), [LOG]),
        (PolicyRule(("",), ("pods",), ("get",)), [LOG, JOB]),
        (PolicyRule(("",), ("jobs",), ("list",)), [LOG, JOB]),
        (PolicyRule(("apps", "batch"), ("jobs",), ("watch",)), [LOG, JOB]),
        (PolicyRule((), (), ()), [LOG, JOB]),
    ],
    ids=[
        "exact",
        "subresource-of-all",
        "everything",
        "all-of-a-group",
        "pods-are-not-their-logs",
        "another-group",
        "another-verb",
        "nothing",
    ],
)
def test_permission_is_missing_where_no_rule_grants_it(
    rule: PolicyRule, missing: list[Permission]
) -> None:
    assert missing_permissions([LOG, JOB], [rule]) == missing


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        ({}, PolicyRule((), (), ())),
        ({"apiGroups": None, "verbs": ["get"]}, PolicyRule((), (), ("get",))),
        (
            {"apiGroups": [""], "resources": ["pods", "*/log"], "verbs": ["get"]},
            PolicyRule(("",), ("pods", "*/log"), ("get",)),
        ),
    ],
    ids=["nothing", "null", "whole"],
)
def test_rule_is_read_from_the_server_s_own_answer(raw: dict[str, Any], rule: PolicyRule) -> None:
    assert PolicyRule.from_api(raw) == rule


def test_permission_is_told_as_a_role_would_have_it() -> None:
    assert (str(LOG), str(JOB)) == ("get pods/log", "list jobs.batch")
