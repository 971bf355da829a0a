"""The built Job and Secret on a real cluster: admitted, started, and read as they were meant."""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from typing import Any, cast

import pytest
from kubernetes import client

from tasks.agent_job.manifest import (
    JobSpec,
    build_job_manifest,
    build_secret_manifest,
    build_tombstone_manifest,
)
from tasks.agent_job.prepared_run import prepare_run
from tasks.agent_job.run_request import parse_request
from tasks.agent_job.runtime_spec import RuntimeSpec
from tasks.agent_job.strategic_merge import POD_TEMPLATE, Place
from tasks.claude_code.agent_spec import AgentSpec
from tasks.vocabulary.names import FlowRunId, JobUid, PodUid
from tests.waits import wait_for_value

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(120)]

RUN_SCRIPT = files("tasks.transcript").joinpath("run_script.sh").read_text()
# Prints its command line, its env and where it is, as the agent would see them.
SHOW = """#!/bin/sh
unset CLAUDE_JOBS_LINE_TOKEN
printf '%s\\n' "$@"
env
pwd
id
cat "$CLAUDE_JOBS_INPUT_DIR/prompt"
echo kept >>"$HOME/note" && cat "$HOME/note"
"""
LITERAL = "$(HOME) $$(HOME) $$ a$"


# The official client's models refuse plain JSON in annotations only.
Api = Any


@pytest.fixture
def batch_api(core_api: Api) -> Api:
    return client.BatchV1Api(core_api.api_client)


def _spec(
    namespace: str, *, run_script: str, runtime: dict[str, Any], agent: dict[str, Any]
) -> JobSpec:
    resources = {"cpu_request": "10m", "memory_request": "16Mi"}
    request = {
        "agent": "ada",
        "runtime": "kit",
        "task_id": "T 1",
        "prompt": "Do it.",
        "wake": {"reason": LITERAL},
        "workspace": {"repo_url": "https://git.example/project.git"},
        "env": {"LITERAL": LITERAL},
        "timeout_seconds": 60,
    }
    run = prepare_run(
        parse_request(request),
        AgentSpec.model_validate({"agent_id": "user@example.com", **agent}),
        RuntimeSpec.model_validate({"image": "agent:dev", "resources": resources, **runtime}),
        flow_run_id=FlowRunId(str(uuid.uuid4())),
        run_script=run_script,
        keeper_script="exit 0\n",
    )
    return JobSpec(run, namespace, attempt=1, owner_epoch=1)


def _pods(core_api: Api, spec: JobSpec) -> list[Any]:
    selector = f"batch.kubernetes.io/job-name={spec.name}"
    return core_api.list_namespaced_pod(spec.namespace, label_selector=selector).items


def _run_to_its_end(core_api: Api, batch_api: Api, spec: JobSpec) -> tuple[str, int]:
    """Create Job and Secret as a run does; return the container's log and exit code."""
    job = batch_api.create_namespaced_job(spec.namespace, build_job_manifest(spec))
    (pod,) = wait_for_value(lambda: _pods(core_api, spec), 30)
    secret = build_secret_manifest(
        spec, job_uid=JobUid(job.metadata.uid), pod_uid=PodUid(pod.metadata.uid)
    )
    core_api.create_namespaced_secret(spec.namespace, secret)
    name = pod.metadata.name

    def ended() -> Any:
        status = core_api.read_namespaced_pod(name, spec.namespace).status
        return [s.state.terminated for s in status.container_statuses or () if s.state.terminated]

    (terminated,) = wait_for_value(ended, 30)
    return core_api.read_namespaced_pod_log(name, spec.namespace), terminated.exit_code


def test_job_and_secrets_pass_the_servers_own_checks(
    core_api: Api, batch_api: Api, namespace: str
) -> None:
    runtime = {
        "annotations": {"note": "x"},
        "image_pull_secrets": ["regcred"],
        "node_selector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists", "effect": "NoExecute", "toleration_seconds": 5}],
        "dns": {"policy": "None", "nameservers": ["1.1.1.1"], "options": [{"name": "edns0"}]},
        "mounts": [{"kind": "config_map", "name": "m", "path": "/etc/m"}],
        "env_from_keys": [{"env": "K", "kind": "secret", "name": "s", "key": "k"}],
        "home_claim": "homes",
        "read_only_root_filesystem": True,
        "git": {"image": "git:1", "credentials_secret": "git-robot"},
    }
    agent = {"instructions": "Hi.", "deliver": "collect"}
    spec = _spec(namespace, run_script=RUN_SCRIPT, runtime=runtime, agent=agent)
    job_uid = JobUid(str(uuid.uuid4()))
    secrets = [
        build_secret_manifest(spec, job_uid=job_uid, pod_uid=PodUid("x")),
        build_tombstone_manifest(
            namespace=namespace, job_name=spec.name, job_uid=job_uid, run_script=RUN_SCRIPT
        ),
    ]

    sent = build_job_manifest(spec)
    stored = batch_api.create_namespaced_job(namespace, sent, dry_run="All")
    for secret in secrets:
        core_api.create_namespaced_secret(namespace, secret, dry_run="All")

    # A field that the server does not know is dropped without a word.
    kept = core_api.api_client.sanitize_for_serialization(stored)
    assert _lost(sent, kept) == []


@pytest.mark.cluster
def test_merge_keys_of_pod_templates_are_the_servers(core_api: Api) -> None:
    api = core_api.api_client
    asked = api.param_serialize(
        "GET",
        "/openapi/v2",
        header_params={"Accept": "application/json"},
        auth_settings=["BearerToken"],
    )
    answer = json.loads(api.call_api(*asked).read())
    definitions = answer["definitions"]
    definition = definitions["io.k8s.api.core.v1.PodTemplateSpec"]

    found = dict(_merge_keys(definitions, definition, ()))

    # Nothing that a template may set has owners.
    found = {path: key for path, key in found.items() if path[-1] != "ownerReferences"}
    assert found == dict(_known_merge_keys(POD_TEMPLATE, ()))


def _merge_keys(definitions: Any, definition: Any, path: Any) -> Iterator[tuple[Any, str]]:
    for name, field in definition.get("properties", {}).items():
        below = field.get("items", field)
        if key := field.get("x-kubernetes-patch-merge-key"):
            yield (*path, name), key
        reference = below.get("$ref", "").rpartition("/")[2]
        # What lies below a list that is replaced as a whole is not merged either.
        if reference and ("items" not in field or key) and len(path) < 6:
            yield from _merge_keys(definitions, definitions[reference], (*path, name))


def _known_merge_keys(place: Place, path: Any) -> Iterator[tuple[Any, str]]:
    for name, below in place.fields.items():
        if below.merge_key is not None:
            yield (*path, name), below.merge_key
        yield from _known_merge_keys(below, (*path, name))


@pytest.mark.cluster
def test_agent_works_in_a_pod_of_a_template(core_api: Api, batch_api: Api, namespace: str) -> None:
    core_api.create_namespaced_config_map(
        namespace, {"metadata": {"name": "proxies"}, "data": {"PROXIED": "yes"}}
    )
    secure = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    forever = ["sh", "-c", "trap exit TERM; while :; do sleep 0.1; done"]
    small = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    sidecar = {"image": "busybox:1.36", "securityContext": secure, "resources": small}
    template = {
        "metadata": {"labels": {"team": "x"}},
        "spec": {
            "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["git.internal"]}],
            "securityContext": {"supplementalGroups": [4444]},
            "initContainers": [
                {**sidecar, "name": "mesh", "restartPolicy": "Always", "command": forever},
                {
                    **sidecar,
                    "name": "vault",
                    "command": ["sh", "-c", "echo from-vault >/vault/secret"],
                    "volumeMounts": [{"name": "vault", "mountPath": "/vault"}],
                },
            ],
            "containers": [
                {
                    "name": "agent",
                    "env": [
                        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
                    ],
                    "envFrom": [{"configMapRef": {"name": "proxies"}}],
                    "volumeMounts": [{"name": "vault", "mountPath": "/vault"}],
                }
            ],
            "volumes": [{"name": "vault", "emptyDir": {"medium": "Memory"}}],
        },
    }
    show = SHOW + "cat /vault/secret; grep git.internal /etc/hosts\n"

    log, exit_code = _run_to_its_end(
        core_api,
        batch_api,
        _spec(namespace, run_script=show, runtime={"pod_template": template}, agent={}),
    )

    lines = log.splitlines()
    assert exit_code == 0
    assert "PROXIED=yes" in lines
    assert [line for line in lines if line.startswith("NODE=")] != ["NODE="]
    assert "from-vault" in lines
    assert any("git.internal" in line for line in lines)
    assert any(line.startswith("uid=1000") and "4444" in line for line in lines)


def _lost(sent: Any, kept: Any) -> list[str]:
    """Name what the server has left out or changed; it may have added more."""
    stored = dict(_leaves(kept))
    return [path for path, value in _leaves(sent) if stored.get(path) != value]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        parts = enumerate(cast("list[Any]", value))
    for key, part in parts:
        yield from _leaves(part, f"{path}.{key}")
    if not isinstance(value, dict | list):
        yield path, value


@pytest.mark.parametrize("claimed", [False, True], ids=["local_home", "claimed_home"])
def test_agent_finds_what_it_was_given(
    core_api: Api,
    batch_api: Api,
    namespace: str,
    home_claim: Callable[[str], str],
    claimed: bool,
) -> None:
    runtime = {"home_claim": home_claim(namespace)} if claimed else {}
    agent = {"extra_args": ["--x", LITERAL]}

    log, exit_code = _run_to_its_end(
        core_api, batch_api, _spec(namespace, run_script=SHOW, runtime=runtime, agent=agent)
    )

    lines = log.splitlines()
    assert exit_code == 0
    assert lines[0] == "claude"
    assert lines[lines.index("--x") + 1] == LITERAL
    assert f"LITERAL={LITERAL}" in lines
    assert f"CLAUDE_JOBS_WAKE_REASON={LITERAL}" in lines
    assert "CLAUDE_JOBS_AGENT_ID=user@example.com" in lines
    assert "HOME=/home/agent" in lines
    assert "/home/agent" in lines
    assert any(line.startswith("uid=1000") and "gid=1000" in line for line in lines)
    assert "Do it.kept" in lines
    # Nothing about the namespace's Services, and no token.
    assert not [line for line in lines if "_SERVICE_HOST=" in line and "KUBERNETES" not in line]


def test_run_script_starts_the_agent_with_its_bundle(
    core_api: Api, batch_api: Api, namespace: str
) -> None:
    agent = {
        "instructions": "Be nice.",
        "skills": [{"name": "s", "files": {"SKILL.md": "x"}}],
        "env": {"FAKE_CLAUDE_SCENARIO": "ok"},
    }
    spec = _spec(namespace, run_script=RUN_SCRIPT, runtime={}, agent=agent)

    log, exit_code = _run_to_its_end(core_api, batch_api, spec)

    assert exit_code == 0
    assert all(line.startswith(f"{spec.line_token} ") for line in log.splitlines())
    assert log.splitlines()[-1].endswith("refused=-")
