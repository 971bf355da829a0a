"""Every finding that a preflight can make of a cluster, from the facts alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.agent_job.needed_permissions import (
    NEEDED_PERMISSIONS,
    READ_NODES,
    RUN_PERMISSIONS,
    Permission,
)
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.claude_code.agent_spec import AgentSpec
from tasks.preflight.cluster_checks import judge_cluster
from tasks.preflight.preflight_facts import (
    ClaimFacts,
    ClusterFacts,
    KubernetesVersion,
    QuotaFacts,
    Unread,
    WhyUnread,
)
from tasks.preflight.preflight_results import Check, CheckResult, Level

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECURE: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "agent",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
    ],
}


LARGE = {
    "spec": {
        **SECURE,
        "containers": [
            {**SECURE["containers"][0], "resources": {"limits": {"memory": "8Gi"}}},
            {**SECURE["containers"][0], "resources": {"limits": {"nvidia.com/gpu": "8"}}},
        ],
    }
}
NOT_TRIED = Unread(WhyUnread.NOT_ASKED, "`create pods` is not allowed.")


def job(pod: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": pod}}}


AGENT = AgentSpec.model_validate(
    {
        "agent_id": "ada",
        "credentials": [{"env": "ANTHROPIC_API_KEY", "secret": "anthropic", "key": "api-key"}],
    }
)
RUNTIME = RuntimeSpec.model_validate({"image": "agent:1", "home_claim": "homes"})
GOOD = ClusterFacts(
    where="kubeconfig k",
    namespace="agents",
    namespace_source="given",
    version=KubernetesVersion(1, 34, "v1.34.1"),
    server_now=NOW,
    own_now=NOW,
    permissions=dict.fromkeys((*RUN_PERMISSIONS, READ_NODES), True),
    secrets={"anthropic": {"api-key": 40}},
    claim=ClaimFacts("Bound", ("ReadWriteMany",)),
    quotas=(QuotaFacts("all", {"pods": "40", "requests.cpu": "12"}, {"pods": "39"}),),
    job=job(SECURE),
    pod={"spec": SECURE},
    pod_as_sent={"spec": SECURE},
    secret_accepted=True,
)
OPTIONAL = [p for p in RUN_PERMISSIONS if p not in NEEDED_PERMISSIONS]
EXEC = [p for p in OPTIONAL if p.resource == "pods/exec"]
[LIST_LEASES] = [p for p in OPTIONAL if p not in EXEC]


def unread(why: WhyUnread = WhyUnread.NO_ANSWER) -> Unread:
    return Unread(why, "the server's sentence.")


def without(*missing: Any) -> dict[Any, bool | Unread]:
    return {**GOOD.permissions, **dict.fromkeys(missing, False)}


def judge(agent: AgentSpec | None = AGENT, **changes: Any) -> list[CheckResult]:
    return judge_cluster(replace(GOOD, **changes), agent, RUNTIME)


def bad(results: list[CheckResult]) -> list[tuple[Check, Level]]:
    return [(r.check, r.level) for r in results if r.level is not Level.OK]


def test_correct_set_up_is_green_and_every_check_says_something() -> None:
    results = judge()

    assert bad(results) == []
    assert all(r.advice == "" for r in results)
    around = {
        Check.REQUEST,
        Check.RETENTION,
        Check.RESULT_STORAGE,
        # Only where work is to be pushed.
        Check.PUSH,
        Check.PREFECT_API,
        Check.PREFECT_VERSION,
        Check.PREFECT_SETTINGS,
    }
    assert {r.check for r in results} == set(Check) - around


@pytest.mark.parametrize("why", [WhyUnread.UNAUTHORISED, WhyUnread.NO_ANSWER])
def test_cluster_that_cannot_be_used_leaves_everything_else_unchecked(why: WhyUnread) -> None:
    results = judge(version=unread(why))

    [cluster] = [r for r in results if r.level is Level.ERROR]
    assert cluster.check is Check.CLUSTER
    assert {r.check for r in results} == {r.check for r in judge()}
    assert all("Not checked" in r.finding for r in results if r is not cluster)


CASES: list[tuple[str, dict[str, Any], Check, Level, str]] = [
    (
        "old Kubernetes",
        {"version": KubernetesVersion(1, 31, "v1.31.9")},
        Check.KUBERNETES_VERSION,
        Level.ERROR,
        "v1.31.9; the oldest supported one is 1.32",
    ),
    (
        "clock ahead",
        {"own_now": NOW + timedelta(seconds=30)},
        Check.CLOCK,
        Level.WARNING,
        "30 s ahead of",
    ),
    (
        "clock far behind",
        {"own_now": NOW - timedelta(minutes=5)},
        Check.CLOCK,
        Level.ERROR,
        "300 s behind",
    ),
    ("no time", {"server_now": None}, Check.CLOCK, Level.WARNING, "Not checked"),
    (
        "missing verb",
        {"permissions": without(NEEDED_PERMISSIONS[0])},
        Check.PERMISSIONS,
        Level.ERROR,
        f"`{NEEDED_PERMISSIONS[0]}` is not allowed",
    ),
    (
        "no exec",
        {"permissions": without(EXEC[0])},
        Check.PERMISSIONS,
        Level.WARNING,
        "cannot recover output",
    ),
    (
        "no list of Leases",
        {"permissions": without(LIST_LEASES)},
        Check.PERMISSIONS,
        Level.WARNING,
        "cannot keep the table of all agents current",
    ),
    (
        "no create of exec where it is needed",
        {"permissions": without(EXEC[1]), "version": KubernetesVersion(1, 35, "v1.35.0")},
        Check.PERMISSIONS,
        Level.WARNING,
        "cannot recover lost output",
    ),
    (
        "verb not told",
        {"permissions": {**GOOD.permissions, NEEDED_PERMISSIONS[0]: unread()}},
        Check.PERMISSIONS,
        Level.WARNING,
        "Not checked",
    ),
    (
        "missing Secret",
        {"secrets": {"anthropic": unread(WhyUnread.NOT_FOUND)}},
        Check.SECRETS,
        Level.ERROR,
        "no Secret anthropic",
    ),
    (
        "missing key",
        {"secrets": {"anthropic": {"other": 1}}},
        Check.SECRETS,
        Level.ERROR,
        "Key api-key of Secret anthropic is missing; the Secret has other",
    ),
    (
        "empty key",
        {"secrets": {"anthropic": {"api-key": 0}}},
        Check.SECRETS,
        Level.ERROR,
        "is empty",
    ),
    (
        "Secret not readable",
        {"secrets": {"anthropic": unread(WhyUnread.FORBIDDEN)}},
        Check.SECRETS,
        Level.WARNING,
        "Not checked",
    ),
    ("agent not known", {"agent": None}, Check.SECRETS, Level.WARNING, "Not checked"),
    (
        "missing claim",
        {"claim": unread(WhyUnread.NOT_FOUND)},
        Check.HOME_CLAIM,
        Level.ERROR,
        "no PersistentVolumeClaim homes",
    ),
    (
        "claim not readable",
        {"claim": unread(WhyUnread.FORBIDDEN)},
        Check.HOME_CLAIM,
        Level.WARNING,
        "Not checked",
    ),
    (
        "unbound claim",
        {"claim": ClaimFacts("Pending", ("ReadWriteMany",))},
        Check.HOME_CLAIM,
        Level.WARNING,
        "not bound",
    ),
    (
        "lost claim",
        {"claim": ClaimFacts("Lost", ("ReadWriteMany",))},
        Check.HOME_CLAIM,
        Level.ERROR,
        "is Lost",
    ),
    (
        "claim for one node",
        {"claim": ClaimFacts("Bound", ("ReadWriteOnce",))},
        Check.HOME_CLAIM,
        Level.WARNING,
        "ReadWriteOnce",
    ),
    (
        "claim for reading",
        {"claim": ClaimFacts("Bound", ("ReadOnlyMany",))},
        Check.HOME_CLAIM,
        Level.ERROR,
        "cannot share it for writing",
    ),
    (
        "full quota",
        {"quotas": (QuotaFacts("all", {"pods": "40"}, {"pods": "40"}),), "pod": NOT_TRIED},
        Check.QUOTA,
        Level.ERROR,
        "40 of 40 pods",
    ),
    (
        "full quota, and the pod was accepted",
        {"quotas": (QuotaFacts("all", {"pods": "40"}, {"pods": "40"}),)},
        Check.QUOTA,
        Level.WARNING,
        "40 of 40 pods",
    ),
    (
        "quota smaller than one agent",
        {
            "quotas": (QuotaFacts("all", {"limits.memory": "4Gi"}, {}),),
            "pod": NOT_TRIED,
            "pod_as_sent": LARGE,
        },
        Check.QUOTA,
        Level.ERROR,
        "one agent needs 8Gi",
    ),
    (
        "quota smaller than the pod with what its template adds",
        {
            "quotas": (QuotaFacts("all", {"requests.nvidia.com/gpu": "4"}, {}),),
            "pod": NOT_TRIED,
            "pod_as_sent": LARGE,
        },
        Check.QUOTA,
        Level.ERROR,
        "one agent needs 8.",
    ),
    (
        "quota not readable",
        {"quotas": unread(WhyUnread.FORBIDDEN)},
        Check.QUOTA,
        Level.WARNING,
        "Not checked",
    ),
    (
        "Job refused",
        {"job": unread(WhyUnread.REFUSED)},
        Check.JOB,
        Level.ERROR,
        "the server's sentence",
    ),
    ("Job forbidden", {"job": unread(WhyUnread.FORBIDDEN)}, Check.JOB, Level.ERROR, "sentence"),
    ("Job not offered", {"job": unread(WhyUnread.NOT_ASKED)}, Check.JOB, Level.WARNING, "Not"),
    (
        "Secret refused",
        {"secret_accepted": unread(WhyUnread.REFUSED)},
        Check.RUN_SECRET,
        Level.ERROR,
        "Secret with prompt and script",
    ),
    (
        "namespace missing",
        {"secret_accepted": unread(WhyUnread.NAMESPACE_NOT_FOUND)},
        Check.NAMESPACE,
        Level.ERROR,
        "no namespace agents",
    ),
    (
        "namespace going",
        {"job": unread(WhyUnread.NAMESPACE_TERMINATING)},
        Check.NAMESPACE,
        Level.ERROR,
        "is being deleted",
    ),
    (
        "Job refused by a namespace that goes",
        {"job": unread(WhyUnread.NAMESPACE_TERMINATING)},
        Check.JOB,
        Level.ERROR,
        "would not accept",
    ),
    (
        "namespace not known",
        {"job": unread(), "secret_accepted": unread()},
        Check.NAMESPACE,
        Level.WARNING,
        "Not checked",
    ),
    (
        "pod opened",
        {"pod": {"spec": {**SECURE, "hostNetwork": True}}},
        Check.POD_SECURITY,
        Level.ERROR,
        "restricted",
    ),
    (
        "pod opened by a webhook for Jobs, and not tried",
        {
            "job": job({**SECURE, "hostNetwork": True}),
            "pod": Unread(WhyUnread.REFUSED, "no"),
        },
        Check.POD_SECURITY,
        Level.ERROR,
        "restricted",
    ),
    (
        "pod opened by its template",
        {
            "pod": {"spec": {**SECURE, "hostNetwork": True}},
            "pod_as_sent": {"spec": {**SECURE, "hostNetwork": True}},
        },
        Check.POD_SECURITY,
        Level.WARNING,
        "hostNetwork",
    ),
    (
        "pod refused",
        {"pod": Unread(WhyUnread.FORBIDDEN, 'serviceaccount "agents" not found')},
        Check.POD,
        Level.ERROR,
        'serviceaccount "agents" not found',
    ),
    (
        "pod not tried",
        {"pod": Unread(WhyUnread.NOT_ASKED, "`create pods` is not allowed.")},
        Check.POD,
        Level.WARNING,
        "create pods",
    ),
]


@pytest.mark.parametrize(
    ("changes", "check", "level", "words"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_fault_is_named_with_what_to_do(
    changes: dict[str, Any], check: Check, level: Level, words: str
) -> None:
    results = judge(**changes)

    [found] = [r for r in results if r.check is check and r.level is not Level.OK]
    assert found.level is level
    assert words in found.finding
    assert found.advice


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"permissions": without(READ_NODES)}, Check.PERMISSIONS, "fewer lost nodes"),
        ({"permissions": without(EXEC[1])}, Check.PERMISSIONS, "All 17 permissions"),
        ({"claim": None}, Check.HOME_CLAIM, "sessions cannot be resumed"),
        ({"quotas": ()}, Check.QUOTA, "There is no quota."),
        (
            {"quotas": (QuotaFacts("odd", {"pods": "many", "services": "0"}, {}),)},
            Check.QUOTA,
            "Quota odd",
        ),
        ({"secrets": {}}, Check.SECRETS, "needs no Secret"),
    ],
    ids=["no-nodes", "exec-by-get", "no-claim", "no-quota", "odd-number", "no-secret"],
)
def test_what_is_not_needed_is_no_fault(changes: dict[str, Any], check: Check, words: str) -> None:
    results = judge(**changes)

    assert bad(results) == []
    [found] = [r for r in results if r.check is check]
    assert words in found.finding


def test_agent_without_a_cpu_limit_counts_in_no_quota_of_limits() -> None:
    runtime = RuntimeSpec.model_validate({"image": "agent:1", "resources": {"cpu_limit": None}})
    facts = replace(GOOD, quotas=(QuotaFacts("all", {"limits.cpu": "1"}, {}),), claim=None)

    assert bad(judge_cluster(facts, AGENT, runtime)) == []


def key_of(optional: bool, name: str = "extra", key: str = "k") -> dict[str, Any]:
    return {"env": "K", "kind": "secret", "name": name, "key": key, "optional": optional}


def templated(optional: bool) -> dict[str, Any]:
    reference = {"name": "extra", "key": "k", "optional": optional}
    env = [{"name": "T", "valueFrom": {"secretKeyRef": reference}}]
    return {"spec": {"containers": [{"name": "agent", "env": env}]}}


def mounted(optional: bool) -> list[dict[str, Any]]:
    return [{"kind": "secret", "name": "extra", "path": "/extra", "optional": optional}]


@pytest.mark.parametrize(
    ("runtime", "is_missed", "is_missed_without_the_key"),
    [
        pytest.param({"env_from_keys": [key_of(True)]}, False, False, id="runtime"),
        pytest.param(
            {"git": {"image": "git:1", "env_from_keys": [key_of(True)]}}, False, False, id="clone"
        ),
        pytest.param({"pod_template": templated(True)}, False, False, id="template"),
        pytest.param({"env_from_keys": [key_of(False)]}, True, True, id="needed"),
        pytest.param(
            {"git": {"image": "git:1", "env_from_keys": [key_of(False)]}},
            True,
            True,
            id="clone needs it",
        ),
        pytest.param({"pod_template": templated(False)}, True, True, id="template needs it"),
        pytest.param(
            {"env_from_keys": [key_of(True)], "pod_template": templated(False)},
            True,
            True,
            id="one of two uses needs it",
        ),
        pytest.param(
            {"env_from_keys": [key_of(True)], "mounts": mounted(False)},
            True,
            False,
            id="a mount needs the Secret, and not the key",
        ),
    ],
)
def test_key_may_be_missing_if_every_use_of_it_says_so(
    runtime: dict[str, Any], is_missed: bool, is_missed_without_the_key: bool
) -> None:
    spec = RuntimeSpec.model_validate({"image": "agent:1", **runtime})
    absent = {**GOOD.secrets, "extra": unread(WhyUnread.NOT_FOUND)}
    keyless = {**GOOD.secrets, "extra": {"other": 1}}
    for secrets, missed in ((absent, is_missed), (keyless, is_missed_without_the_key)):
        results = judge_cluster(replace(GOOD, secrets=secrets, claim=None), AGENT, spec)
        assert bad(results) == ([(Check.SECRETS, Level.ERROR)] if missed else [])


def test_secret_that_the_agents_credentials_name_is_needed_whatever_another_use_says() -> None:
    item = key_of(True, name="anthropic", key="other")
    runtime = RuntimeSpec.model_validate({"image": "agent:1", "env_from_keys": [item]})
    facts = replace(GOOD, secrets={"anthropic": unread(WhyUnread.NOT_FOUND)}, claim=None)

    assert bad(judge_cluster(facts, AGENT, runtime)) == [(Check.SECRETS, Level.ERROR)]


@pytest.mark.parametrize("permission", NEEDED_PERMISSIONS, ids=str)
def test_any_verb_that_runs_need_and_that_is_missing_is_named_with_what_to_do(
    permission: Permission,
) -> None:
    results = judge(permissions=without(permission))

    [missing] = [result for result in results if result.level is not Level.OK]
    assert (missing.check, missing.level) == (Check.PERMISSIONS, Level.ERROR)
    assert f"`{permission}` is not allowed" in missing.finding
    assert f"Add verb `{permission.verb}` on `{permission.resource}`" in missing.advice


def test_secret_that_may_be_absent_is_no_fault() -> None:
    mount = {"kind": "secret", "name": "extra", "path": "/extra", "optional": True}
    runtime = RuntimeSpec.model_validate({"image": "agent:1", "mounts": [mount]})
    secrets = {**GOOD.secrets, "extra": unread(WhyUnread.NOT_FOUND)}

    results = judge_cluster(replace(GOOD, secrets=secrets), AGENT, runtime)

    assert [r for r in results if r.check is Check.SECRETS and r.level is not Level.OK] == []
