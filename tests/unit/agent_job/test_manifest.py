import json
from base64 import b64decode
from copy import deepcopy
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from tasks.agent_job.manifest import (
    build_job_manifest,
    build_secret_manifest,
    build_tombstone_manifest,
)
from tasks.agent_job.quantities import quantity_bytes
from tasks.preflight.pod_needs import pod_needs
from tasks.preflight.pod_security import restricted_violations
from tasks.vocabulary.names import JobUid, PodUid
from tests.unit.agent_job.run_inputs import (
    FLOW_RUN_ID,
    KEEPER_SCRIPT,
    RUN_SCRIPT,
    make_job_spec,
)

NAME = make_job_spec().name
TOKEN = make_job_spec().line_token
LABELS = {
    "app.kubernetes.io/managed-by": "claude-jobs",
    "claude-jobs.dev/version": "1",
    "claude-jobs.dev/agent-id": "agent-abc",
    "claude-jobs.dev/flow-run-id": FLOW_RUN_ID,
    "claude-jobs.dev/attempt": "1",
}
ANNOTATIONS = {
    "claude-jobs.dev/agent-id": "agent-abc",
    "claude-jobs.dev/agent-name": "Ada",
    "claude-jobs.dev/flow-run-id": FLOW_RUN_ID,
    "claude-jobs.dev/attempt": "1",
    "claude-jobs.dev/line-token": TOKEN,
}
NOT_TO_BE_MOVED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
ATTRIBUTES = (
    f"prefect.run.type=flow,prefect.run.id={FLOW_RUN_ID},k8s.namespace.name=agents,"
    f"k8s.job.name={NAME},claude_jobs.agent.id=agent-abc"
)
ENV: dict[str, Any] = {
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
    "TRACEPARENT": f"00-{UUID(FLOW_RUN_ID).hex}-{sha256(NAME.encode()).hexdigest()[:16]}-01",
    "OTEL_RESOURCE_ATTRIBUTES": ATTRIBUTES,
    "HOME": "/home/agent",
    "CLAUDE_CONFIG_DIR": "/home/agent/.claude",
    "CLAUDE_JOBS_INPUT_DIR": "/var/run/claude-jobs/input",
    "CLAUDE_JOBS_WORK_DIR": "/var/run/claude-jobs/work",
    "CLAUDE_JOBS_TIMEOUT_SECONDS": "86400",
    "CLAUDE_JOBS_KILL_AFTER_SECONDS": "10",
    "CLAUDE_JOBS_AFTER_RESULT_SECONDS": "60",
    "CLAUDE_JOBS_ACK_WAIT_SECONDS": "120",
    "CLAUDE_JOBS_COPY_LIMIT_BYTES": "939524096",
    "CLAUDE_JOBS_AGENT_ID": "agent-abc",
    "CLAUDE_JOBS_AGENT_NAME": "Ada",
    "CLAUDE_JOBS_FLOW_RUN_ID": FLOW_RUN_ID,
    "CLAUDE_JOBS_ATTEMPT": "1",
    "CLAUDE_JOBS_LINE_TOKEN": TOKEN,
    "CLAUDE_JOBS_POD_UID": {"fieldRef": {"fieldPath": "metadata.uid"}},
}
BASE: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "name": NAME,
        "namespace": "agents",
        "labels": LABELS,
        "annotations": {
            **ANNOTATIONS,
            "claude-jobs.dev/owner-flow-run-id": FLOW_RUN_ID,
            "claude-jobs.dev/owner-epoch": "7",
        },
    },
    "spec": {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                }
            ]
        },
        "activeDeadlineSeconds": 86_400 + 600 + 300 + 120 + 20 + 120 + 60,
        "ttlSecondsAfterFinished": 86_400,
        "template": {
            "metadata": {"labels": LABELS, "annotations": {**NOT_TO_BE_MOVED, **ANNOTATIONS}},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 20,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "dnsPolicy": "ClusterFirst",
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 1000,
                    "runAsGroup": 1000,
                    "fsGroup": 1000,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "agent",
                        "image": "agent:1",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "$(CLAUDE_JOBS_INPUT_DIR)/run.sh"],
                        "args": [
                            *("claude", "-p", "--output-format", "stream-json", "--verbose"),
                            *("--dangerously-skip-permissions", "--max-turns", "1000"),
                        ],
                        "workingDir": "/home/agent",
                        "env": ENV,
                        "resources": {
                            "requests": {
                                "cpu": "1",
                                "memory": "2Gi",
                                "ephemeral-storage": "1Gi",
                            },
                            "limits": {
                                "cpu": "4",
                                "memory": "8Gi",
                                "ephemeral-storage": "10Gi",
                            },
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "readOnlyRootFilesystem": False,
                            "runAsNonRoot": True,
                        },
                        "volumeMounts": [
                            {
                                "name": "input",
                                "mountPath": "/var/run/claude-jobs/input",
                                "readOnly": True,
                            },
                            {"name": "work", "mountPath": "/var/run/claude-jobs/work"},
                            {"name": "home", "mountPath": "/home/agent"},
                        ],
                    }
                ],
                "volumes": [
                    {
                        "name": "input",
                        "secret": {"secretName": NAME, "defaultMode": 0o440, "optional": False},
                    },
                    {"name": "work", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "home", "emptyDir": {"sizeLimit": "10Gi"}},
                ],
            },
        },
    },
}

JOB = "metadata"
JOB_SPEC = "spec"
TEMPLATE = "spec.template.metadata"
POD = "spec.template.spec"
CONTAINER = "spec.template.spec.containers.0"


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if part.isdecimal() else value[part]
    return value


def _expected(changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the base with fields replaced; `env`, labels and annotations are merged."""
    manifest = deepcopy(BASE)
    for path, fields in changes.items():
        target = _at(manifest, path)
        for field, value in fields.items():
            if field in {"env", "labels", "annotations"}:
                target[field] = {**target[field], **value}
            else:
                target[field] = value
    return manifest


def _comparable(manifest: dict[str, Any]) -> dict[str, Any]:
    """Turn `env` into a mapping and check and take out the hash, which is not worth writing out."""
    manifest = deepcopy(manifest)
    container = _at(manifest, CONTAINER)
    entries = container["env"]
    container["env"] = {
        entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in entries
    }
    assert len(container["env"]) == len(entries), "a name stands twice"
    hashes = {
        _at(manifest, path)["annotations"].pop("claude-jobs.dev/manifest-sha256")
        for path in (JOB, TEMPLATE)
    }
    assert [len(digest) for digest in hashes] == [64]
    return manifest


def test_job_of_a_run_that_says_nothing() -> None:
    assert _comparable(build_job_manifest(make_job_spec())) == BASE


@pytest.mark.parametrize(
    ("request_fields", "agent", "runtime", "changes"),
    [
        pytest.param(
            {"timeout_seconds": 60},
            {},
            {"limits": {"acknowledgement_seconds": 0, "termination_grace_seconds": 1}},
            {
                JOB_SPEC: {"activeDeadlineSeconds": 60 + 600 + 300 + 120 + 1 + 0 + 60},
                POD: {"terminationGracePeriodSeconds": 1},
                CONTAINER: {
                    "env": {
                        "CLAUDE_JOBS_TIMEOUT_SECONDS": "60",
                        "CLAUDE_JOBS_KILL_AFTER_SECONDS": "1",
                        "CLAUDE_JOBS_ACK_WAIT_SECONDS": "0",
                    }
                },
            },
            id="limits",
        ),
        pytest.param(
            {},
            {},
            {"retention": {"unharvested_seconds": 600}},
            {JOB_SPEC: {"ttlSecondsAfterFinished": 600}},
            id="time_to_live",
        ),
        pytest.param(
            {},
            {"tenant_id": "co1"},
            {"labels": {"team": "x"}, "annotations": {"note": "a b"}},
            {
                JOB: {
                    "labels": {"team": "x"},
                    "annotations": {"note": "a b", "claude-jobs.dev/tenant-id": "co1"},
                },
                TEMPLATE: {
                    "labels": {"team": "x"},
                    "annotations": {"note": "a b", "claude-jobs.dev/tenant-id": "co1"},
                },
                CONTAINER: {"env": {"CLAUDE_JOBS_TENANT_ID": "co1"}},
            },
            id="labels_and_tenant",
        ),
        pytest.param(
            {
                "task_id": "T-1",
                "session_id": "s-1",
                "linked_ids": ["a", "b"],
                "workspace": {
                    "cwd": "/w",
                    "id": "w1",
                    "repo_url": "u",
                    "repo_ref": "r",
                    "branch": "b",
                },
            },
            {},
            {"home_claim": "homes"},
            {
                JOB: {
                    "labels": {"claude-jobs.dev/task-id": "T-1"},
                    "annotations": {
                        "claude-jobs.dev/task-id": "T-1",
                        "claude-jobs.dev/session-id": "s-1",
                    },
                },
                TEMPLATE: {
                    "labels": {"claude-jobs.dev/task-id": "T-1"},
                    "annotations": {
                        "claude-jobs.dev/task-id": "T-1",
                        "claude-jobs.dev/session-id": "s-1",
                    },
                },
                CONTAINER: {
                    "workingDir": "/w",
                    "args": [
                        *("claude", "-p", "--output-format", "stream-json", "--verbose"),
                        *("--resume", "s-1", "--dangerously-skip-permissions"),
                        *("--max-turns", "1000"),
                    ],
                    "env": {
                        "OTEL_RESOURCE_ATTRIBUTES": f"{ATTRIBUTES},claude_jobs.task.id=T-1",
                        "CLAUDE_JOBS_TASK_ID": "T-1",
                        "CLAUDE_JOBS_SESSION_ID": "s-1",
                        "CLAUDE_JOBS_LINKED_IDS": "a,b",
                        "CLAUDE_JOBS_WORKSPACE_CWD": "/w",
                        "CLAUDE_JOBS_WORKSPACE_ID": "w1",
                        "CLAUDE_JOBS_WORKSPACE_REPO_URL": "u",
                        "CLAUDE_JOBS_WORKSPACE_REPO_REF": "r",
                        "CLAUDE_JOBS_WORKSPACE_BRANCH": "b",
                    },
                    "volumeMounts": [
                        *BASE["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][:2],
                        {
                            "name": "home",
                            "mountPath": "/home/agent",
                            "subPath": "agents/agent-abc",
                        },
                    ],
                },
                POD: {
                    "volumes": [
                        *BASE["spec"]["template"]["spec"]["volumes"][:2],
                        {"name": "home", "persistentVolumeClaim": {"claimName": "homes"}},
                    ]
                },
            },
            id="context_session_and_claim",
        ),
        pytest.param(
            {"wake": {"reason": "mention", "comments": [{"body": "confidential"}]}},
            {},
            {},
            {
                CONTAINER: {
                    "env": {
                        "CLAUDE_JOBS_WAKE_REASON": {
                            "secretKeyRef": {"name": NAME, "key": "wake-reason", "optional": True}
                        },
                        "CLAUDE_JOBS_WAKE_PAYLOAD_JSON": {
                            "secretKeyRef": {"name": NAME, "key": "wake.json", "optional": True}
                        },
                    }
                }
            },
            id="wake_content_by_reference",
        ),
        pytest.param(
            {"env": {"A": "$(run) $$", "TERM": "xterm"}},
            {
                "provider": "bedrock",
                "env": {"A": "agent", "B": "agent"},
                "credentials": [{"env": "AWS_SECRET_ACCESS_KEY", "secret": "aws", "key": "k"}],
                "callback": {"api_url": "http://h/$(x)", "secret": "cb", "key": "token"},
            },
            {
                "env": {"B": "runtime", "C": "runtime"},
                "env_from_keys": [
                    {"env": "C", "kind": "secret", "name": "s", "key": "k"},
                    {"env": "D", "kind": "secret", "name": "s", "key": "k", "optional": True},
                    {"env": "E", "kind": "config_map", "name": "m", "key": "k"},
                ],
            },
            {
                CONTAINER: {
                    "env": {
                        "A": "$$(run) $$$$",
                        "B": "agent",
                        "C": "runtime",
                        "D": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}},
                        "E": {"configMapKeyRef": {"name": "m", "key": "k"}},
                        "TERM": "xterm",
                        "AWS_SECRET_ACCESS_KEY": {"secretKeyRef": {"name": "aws", "key": "k"}},
                        "CLAUDE_CODE_USE_BEDROCK": "1",
                        "CLAUDE_JOBS_API_URL": "http://h/$$(x)",
                        "CLAUDE_JOBS_API_TOKEN": {"secretKeyRef": {"name": "cb", "key": "token"}},
                    }
                }
            },
            id="env_and_who_wins",
        ),
        pytest.param(
            {},
            {},
            {
                "image": "registry/agent@sha256:0",
                "image_pull_policy": "Always",
                "image_pull_secrets": ["regcred"],
                "service_account": "agent",
                "automount_service_account_token": True,
                "node_selector": {"disk": "ssd"},
                "tolerations": [
                    {"key": "spot", "value": "yes", "effect": "NoSchedule"},
                    {"operator": "Exists", "effect": "NoExecute", "toleration_seconds": 0},
                ],
                "dns": {
                    "policy": "None",
                    "nameservers": ["10.0.0.1"],
                    "searches": ["svc"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                },
                "run_as_user": 5,
                "run_as_group": 6,
                "fs_group": 7,
                "resources": {"cpu_limit": None},
            },
            {
                POD: {
                    "imagePullSecrets": [{"name": "regcred"}],
                    "serviceAccountName": "agent",
                    "automountServiceAccountToken": True,
                    "nodeSelector": {"disk": "ssd"},
                    "tolerations": [
                        {
                            "key": "spot",
                            "operator": "Equal",
                            "value": "yes",
                            "effect": "NoSchedule",
                        },
                        {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
                    ],
                    "dnsPolicy": "None",
                    "dnsConfig": {
                        "nameservers": ["10.0.0.1"],
                        "searches": ["svc"],
                        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                    },
                    "securityContext": {
                        **BASE["spec"]["template"]["spec"]["securityContext"],
                        "runAsUser": 5,
                        "runAsGroup": 6,
                        "fsGroup": 7,
                    },
                },
                CONTAINER: {
                    "image": "registry/agent@sha256:0",
                    "imagePullPolicy": "Always",
                    "resources": {
                        "requests": {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "1Gi"},
                        "limits": {"memory": "8Gi", "ephemeral-storage": "10Gi"},
                    },
                },
            },
            id="placement",
        ),
        pytest.param(
            {},
            {},
            {
                "read_only_root_filesystem": True,
                "mounts": [
                    {"kind": "secret", "name": "gcp", "path": "/etc/gcp"},
                    {"kind": "config_map", "name": "conf", "path": "/etc/conf"},
                ],
            },
            {
                CONTAINER: {
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                        "runAsNonRoot": True,
                    },
                    "volumeMounts": [
                        *BASE["spec"]["template"]["spec"]["containers"][0]["volumeMounts"],
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "mount-1", "mountPath": "/etc/gcp", "readOnly": True},
                        {"name": "mount-2", "mountPath": "/etc/conf", "readOnly": True},
                    ],
                },
                POD: {
                    "volumes": [
                        *BASE["spec"]["template"]["spec"]["volumes"],
                        {"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}},
                        {"name": "mount-1", "secret": {"secretName": "gcp"}},
                        {"name": "mount-2", "configMap": {"name": "conf"}},
                    ]
                },
            },
            id="mounts_and_read_only_root",
        ),
    ],
)
def test_job_differs_from_the_base_as_asked(
    request_fields: dict[str, Any],
    agent: dict[str, Any],
    runtime: dict[str, Any],
    changes: dict[str, dict[str, Any]],
) -> None:
    manifest = build_job_manifest(make_job_spec(request_fields, agent, runtime))

    assert _comparable(manifest) == _expected(changes)
    assert restricted_violations(manifest["spec"]["template"]["spec"]) == []


CHECK = {"command": "npm test # hush", "timeout_seconds": 90, "env": {"NPM_KEY": "hush hush"}}


@pytest.mark.parametrize("asked_by", ["request", "agent"])
def test_job_tells_of_a_check_by_its_time_limit_alone(asked_by: str) -> None:
    request, agent = ({"check": CHECK}, {}) if asked_by == "request" else ({}, {"check": CHECK})
    manifest = build_job_manifest(make_job_spec(request, agent))
    annotations = {"annotations": {"claude-jobs.dev/check-timeout-seconds": "90"}}

    assert "hush" not in repr(manifest)
    assert _comparable(manifest) == _expected(
        {
            JOB: annotations,
            TEMPLATE: annotations,
            JOB_SPEC: {
                "activeDeadlineSeconds": BASE["spec"]["activeDeadlineSeconds"] + 90 + 20,
            },
            CONTAINER: {"env": {"CLAUDE_JOBS_CHECK_TIMEOUT_SECONDS": "90"}},
        }
    )


CLONED = {"workspace": {"repo_url": "https://git.example/p.git", "branch": "work"}}
CLONING: dict[str, Any] = {"git": {"image": "git:1", "path": "/src/$(X)"}}
KEEPER: dict[str, Any] = {
    "name": "keeper",
    "image": "git:1",
    "imagePullPolicy": "IfNotPresent",
    "command": ["/bin/sh", "/var/run/claude-jobs/keeper-script/keeper.sh"],
    "env": [
        {"name": "HOME", "value": "/var/run/claude-jobs/keeper"},
        {"name": "TMPDIR", "value": "/var/run/claude-jobs/keeper"},
        {"name": "CLAUDE_JOBS_KEEPER_TREE", "value": "/src/$$(X)/repo"},
        {"name": "CLAUDE_JOBS_KEEPER_DIR", "value": "/var/run/claude-jobs/keeper"},
        {"name": "CLAUDE_JOBS_KEEPER_ALIVE_FILE", "value": "/var/run/claude-jobs/work/alive"},
        {"name": "CLAUDE_JOBS_KEEPER_PATIENCE_SECONDS", "value": "3600"},
        {"name": "CLAUDE_JOBS_KEEPER_CHECKPOINT_SECONDS", "value": "60"},
        {"name": "CLAUDE_JOBS_KEEPER_LIMIT_BYTES", "value": "268435456"},
    ],
    "workingDir": "/var/run/claude-jobs/keeper",
    "resources": {
        "requests": {"cpu": "10m", "memory": "32Mi", "ephemeral-storage": "64Mi"},
        "limits": {"cpu": "1", "memory": "512Mi", "ephemeral-storage": "832Mi"},
    },
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    },
    "volumeMounts": [
        {
            "name": "keeper-script",
            "mountPath": "/var/run/claude-jobs/keeper-script",
            "readOnly": True,
        },
        {"name": "work", "mountPath": "/var/run/claude-jobs/work", "readOnly": True},
        {"name": "workspace", "mountPath": "/src/$(X)", "readOnly": True},
        {"name": "keeper", "mountPath": "/var/run/claude-jobs/keeper"},
    ],
}


def _with_keeper(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the Job of a run that collects, from that of the same run that does not."""
    manifest = deepcopy(plain)
    manifest["spec"]["activeDeadlineSeconds"] += 3600
    for path in (JOB, TEMPLATE):
        _at(manifest, path)["annotations"]["claude-jobs.dev/keeps-work"] = "true"
    pod = _at(manifest, POD)
    pod["containers"][0]["env"]["CLAUDE_JOBS_ALIVE_FILE"] = "/var/run/claude-jobs/work/alive"
    pod["containers"].append(KEEPER)
    [clone] = pod["initContainers"]
    shell, option, script = clone["command"]
    *before, last = script.splitlines(keepends=True)
    note = 'git rev-parse --verify HEAD >"$$CLAUDE_JOBS_KEEPER_DIR/base"\n'
    clone["command"] = [shell, option, "".join([*before, note, last])]
    clone["env"].append({"name": "CLAUDE_JOBS_KEEPER_DIR", "value": "/var/run/claude-jobs/keeper"})
    clone["volumeMounts"].append({"name": "keeper", "mountPath": "/var/run/claude-jobs/keeper"})
    script_alone = {
        "secretName": NAME,
        "items": [{"key": "keeper.sh", "path": "keeper.sh"}],
        "defaultMode": 0o440,
        "optional": False,
    }
    pod["volumes"] += [
        {"name": "keeper", "emptyDir": {"sizeLimit": "832Mi"}},
        {"name": "keeper-script", "secret": script_alone},
    ]
    return manifest


@pytest.mark.parametrize("asked_by", ["request", "agent"])
def test_job_of_a_run_that_collects_has_a_keeper_and_is_the_same_otherwise(asked_by: str) -> None:
    asked = {"deliver": "collect"}
    request, agent = ({**CLONED, **asked}, {}) if asked_by == "request" else (CLONED, asked)
    manifest = build_job_manifest(make_job_spec(request, agent, CLONING))
    plain = build_job_manifest(make_job_spec(CLONED, runtime=CLONING))

    assert _comparable(manifest) == _with_keeper(_comparable(plain))
    assert restricted_violations(_at(manifest, POD)) == []


def test_job_of_a_run_that_does_not_collect_is_the_same_to_the_byte() -> None:
    plain = build_job_manifest(make_job_spec(CLONED, runtime=CLONING))
    none = build_job_manifest(
        make_job_spec(
            {**CLONED, "deliver": "none", "expect_changes": False},
            {"deliver": "collect", "expect_changes": True},
            {**CLONING, "limits": {"keeper_patience_seconds": 60}},
        )
    )

    assert json.dumps(none) == json.dumps(plain)


@pytest.mark.parametrize(
    ("runtime", "env", "volume_limit"),
    [
        ({"resources": {"work_limit": "1Mi"}}, {"LIMIT_BYTES": "1048576"}, "67Mi"),
        ({"resources": {"work_limit": "4Gi"}}, {"LIMIT_BYTES": "4294967296"}, "12352Mi"),
        ({"resources": {"work_limit": "2500000"}}, {"LIMIT_BYTES": "2500000"}, "72Mi"),
        ({"limits": {"keeper_patience_seconds": 60}}, {"PATIENCE_SECONDS": "60"}, "832Mi"),
    ],
)
def test_keeper_has_the_limits_of_the_runtime(
    runtime: dict[str, Any], env: dict[str, str], volume_limit: str
) -> None:
    spec = make_job_spec({**CLONED, "deliver": "collect"}, runtime={**CLONING, **runtime})
    pod = _at(build_job_manifest(spec), POD)

    found = {item["name"]: item["value"] for item in pod["containers"][1]["env"]}
    assert {f"CLAUDE_JOBS_KEEPER_{name}": value for name, value in env.items()}.items() <= (
        found.items()
    )
    limits = pod["containers"][1]["resources"]["limits"]
    assert limits["ephemeral-storage"] == volume_limit
    assert pod["volumes"][-2] == {"name": "keeper", "emptyDir": {"sizeLimit": volume_limit}}


def test_keeper_is_as_free_of_limits_and_groups_as_the_agent() -> None:
    runtime = {**CLONING, "resources": {"cpu_limit": None}, "fs_group": None}
    pod = _at(
        build_job_manifest(make_job_spec({**CLONED, "deliver": "collect"}, runtime=runtime)), POD
    )

    assert set(pod["containers"][1]["resources"]["limits"]) == {"memory", "ephemeral-storage"}
    assert pod["volumes"][-1]["secret"]["defaultMode"] == 0o444


def test_quota_counts_the_keeper_beside_the_agent() -> None:
    spec = make_job_spec({**CLONED, "deliver": "collect"}, runtime=CLONING)

    needs = pod_needs(build_job_manifest(spec)["spec"]["template"])

    assert (needs["requests.cpu"], needs["limits.cpu"]) == ("1010m", "5")
    assert (needs["requests.memory"], needs["limits.memory"]) == ("2080Mi", "8704Mi")


def test_pod_does_not_wait_for_a_reader_that_may_not_exec() -> None:
    manifest = _comparable(build_job_manifest(make_job_spec(exec_permitted=False)))

    assert manifest == _expected({CONTAINER: {"env": {"CLAUDE_JOBS_ACK_WAIT_SECONDS": "0"}}})


def test_job_holds_nothing_of_the_prompt() -> None:
    confidential = {
        "prompt": "confidential",
        "handoff_note": "confidential",
        "wake": {"reason": "confidential", "comments": [{"body": "confidential"}]},
    }
    agent = {"instructions": "confidential", "bootstrap_template": "confidential"}

    assert "confidential" not in repr(build_job_manifest(make_job_spec(confidential, agent)))


def test_job_hash_is_the_same_for_every_owner_and_differs_for_everything_else() -> None:
    def digest(**fields: Any) -> str:
        manifest = build_job_manifest(make_job_spec(**fields))
        return manifest["metadata"]["annotations"]["claude-jobs.dev/manifest-sha256"]

    assert digest() == digest(owner_epoch=8)
    others = [
        digest(),
        digest(attempt=2),
        digest(exec_permitted=False),
        digest(request={"env": {"A": "1"}}),
        digest(runtime={"labels": {"a": "1"}}),
        digest(runtime={"retention": {"unharvested_seconds": 600}}),
    ]
    assert len(set(others)) == len(others)


def test_attempts_have_jobs_of_their_own() -> None:
    first, second = make_job_spec(attempt=1), make_job_spec(attempt=2)

    assert first.name != second.name
    assert first.line_token != second.line_token


OWNER = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "name": NAME,
    "uid": "job-uid",
    "controller": False,
    "blockOwnerDeletion": False,
}


def test_secret_belongs_to_its_job_and_to_one_pod() -> None:
    spec = make_job_spec({"prompt": "Do it."})

    manifest = build_secret_manifest(spec, job_uid=JobUid("job-uid"), pod_uid=PodUid("pod-uid"))

    data = {key: b64decode(value).decode() for key, value in manifest.pop("data").items()}
    assert data == {"run.sh": RUN_SCRIPT, "prompt": "Do it.", "pod-uid": "pod-uid\n"}
    assert manifest == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NAME,
            "namespace": "agents",
            "labels": LABELS,
            "annotations": ANNOTATIONS,
            "ownerReferences": [OWNER],
        },
        "type": "Opaque",
        "immutable": True,
    }


def test_secret_has_the_command_and_the_environment_of_the_check() -> None:
    spec = make_job_spec({"prompt": "Do it.", "check": CHECK})

    manifest = build_secret_manifest(spec, job_uid=JobUid("job-uid"), pod_uid=PodUid("pod-uid"))

    data = {key: b64decode(value).decode() for key, value in manifest.pop("data").items()}
    assert data == {
        "run.sh": RUN_SCRIPT,
        "prompt": "Do it.",
        "pod-uid": "pod-uid\n",
        "check": "npm test # hush\n",
        "check-env": "set -- env 'NPM_KEY=hush hush'\n",
    }
    assert "hush" not in repr(manifest)


def test_secret_of_a_run_that_collects_has_the_keepers_script() -> None:
    spec = make_job_spec({**CLONED, "prompt": "Do it.", "deliver": "collect"}, runtime=CLONING)

    manifest = build_secret_manifest(spec, job_uid=JobUid("job-uid"), pod_uid=PodUid("pod-uid"))

    data = {key: b64decode(value).decode() for key, value in manifest["data"].items()}
    assert data == {
        "run.sh": RUN_SCRIPT,
        "keeper.sh": KEEPER_SCRIPT,
        "prompt": "Do it.",
        "pod-uid": "pod-uid\n",
    }
    assert manifest["metadata"]["annotations"] == {
        **ANNOTATIONS,
        "claude-jobs.dev/keeps-work": "true",
    }


def test_tombstone_takes_the_secrets_place_without_a_prompt() -> None:
    manifest = build_tombstone_manifest(
        namespace="agents", job_name=NAME, job_uid=JobUid("job-uid"), run_script=RUN_SCRIPT
    )

    data = {key: b64decode(value).decode() for key, value in manifest.pop("data").items()}
    assert data == {"run.sh": RUN_SCRIPT, "revoked": "1\n", "keeper.sh": "exit 0\n"}
    assert manifest == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": NAME,
            "namespace": "agents",
            "labels": {
                "app.kubernetes.io/managed-by": "claude-jobs",
                "claude-jobs.dev/version": "1",
            },
            "ownerReferences": [OWNER],
        },
        "type": "Opaque",
        "immutable": True,
    }


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("1Gi", 1 << 30), ("1.5Mi", 1_572_864), ("10G", 10**10), ("5k", 5000), ("7", 7), ("1500m", 1)],
)
def test_quantities_in_bytes(quantity: str, expected: int) -> None:
    assert quantity_bytes(quantity) == expected
