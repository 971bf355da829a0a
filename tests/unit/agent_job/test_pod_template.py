"""The user's pod template: merged as kubectl does, and never over what a run must control."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.agent_job.environment import mounted_secrets, optional_secrets, secret_references
from tasks.agent_job.manifest import build_job_manifest
from tasks.agent_job.pod_template_shape import leaves
from tasks.agent_job.runtime_spec import POD_TEMPLATE_EXAMPLE, RuntimeSpec
from tasks.agent_job.strategic_merge import POD_TEMPLATE, merge_strategically
from tasks.claude_code.agent_spec import AgentSpec
from tasks.preflight.pod_security import restricted_violations
from tasks.vocabulary.errors import InputInvalid
from tests.unit.agent_job.run_inputs import make_job_spec, make_run
from tests.unit.agent_job.template_cases import (
    ACCEPTED,
    FULL,
    GIT,
    NAMES_A_RUN_SECRET,
    REFUSED,
    REPOSITORY,
    WITH_NULLS,
    agent,
    beside,
    keeper,
    spec,
)

RECORDED = Path(__file__).parents[2] / "data" / "pod_template" / "merged_by_kubectl.json"
DIGEST = "claude-jobs.dev/manifest-sha256"
KUBECTL = shutil.which("kubectl")

Json = dict[str, Any]


def pod_of(template: Json, *, deliver: str = "none", **runtime: Any) -> Json:
    """Return the pod template of a run that clones a repository."""
    fields = {"git": GIT, "image_pull_secrets": ["first"], "node_selector": {"disk": "ssd"}}
    request = {**REPOSITORY, "deliver": deliver}
    job = build_job_manifest(
        make_job_spec(request, runtime={**fields, "pod_template": template, **runtime})
    )
    pod = deepcopy(job["spec"]["template"])
    assert pod["metadata"]["annotations"].pop(DIGEST) == job["metadata"]["annotations"][DIGEST]
    return pod


def agent_of(pod: Json) -> Json:
    [found] = [c for c in pod["spec"]["containers"] if c["name"] == "agent"]
    return found


def keepers_of(pod: Json) -> list[Json]:
    return [c for c in pod["spec"]["containers"] if c["name"] == "keeper"]


def env_of(pod: Json) -> dict[str, Any]:
    entries = agent_of(pod)["env"]
    env = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in entries}
    assert len(env) == len(entries), "a name stands twice"
    return env


def problems_of(template: Any, **runtime: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        RuntimeSpec.model_validate(
            {"image": "agent:1", "git": GIT, "pod_template": template, **runtime}
        )
    [problem] = caught.value.errors()
    return problem["msg"]


# --- merged as kubectl does ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ACCEPTED)
def test_template_is_merged_as_kubectl_has_merged_it(name: str) -> None:
    recorded = json.loads(RECORDED.read_text())["merged"]

    assert pod_of(ACCEPTED[name]) == recorded[name]


@pytest.mark.parametrize("name", WITH_NULLS)
def test_null_of_a_template_reaches_no_pod_and_can_be_judged(name: str) -> None:
    merged = merge_strategically({}, WITH_NULLS[name], POD_TEMPLATE)

    assert None not in dict(leaves(pod_of(WITH_NULLS[name]))).values()
    assert restricted_violations(WITH_NULLS[name]["spec"]) == restricted_violations(merged["spec"])


def merge_by_kubectl(folder: Path, original: Json, patch: Json) -> Json:
    file = folder / "original.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "PodTemplate", "template": original}))
    command = [str(KUBECTL), "patch", "--local", "-f", str(file), "--type", "strategic"]
    output = subprocess.run(
        [*command, "-p", json.dumps({"template": patch}), "-o", "json"],
        check=True,
        capture_output=True,
        timeout=20,
    ).stdout
    return json.loads(output)["template"]


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
@pytest.mark.parametrize("name", ACCEPTED)
def test_template_is_merged_as_the_kubectl_of_this_machine_merges_it(
    name: str, tmp_path: Path
) -> None:
    assert pod_of(ACCEPTED[name]) == merge_by_kubectl(tmp_path, pod_of({}), ACCEPTED[name])


def test_template_of_a_full_pod_keeps_what_it_was_given() -> None:
    pod = pod_of(FULL)

    names = [container["name"] for container in pod["spec"]["initContainers"]]
    assert names == ["istio-proxy", "clone", "vault-agent-init"]
    assert agent_of(pod)["resources"]["limits"] == {
        "cpu": "4",
        "memory": "16Gi",
        "ephemeral-storage": "10Gi",
        "nvidia.com/gpu": "1",
    }
    assert pod["spec"]["securityContext"]["runAsUser"] == 2000
    assert restricted_violations(pod["spec"]) == []


def test_example_of_the_form_is_accepted_and_restricted() -> None:
    assert restricted_violations(pod_of(POD_TEMPLATE_EXAMPLE)["spec"]) == []


def test_place_of_the_clone_means_nothing_where_nothing_is_cloned() -> None:
    template = spec(initContainers=[{"name": "clone"}, {"name": "b", "image": "b:1"}])

    job = build_job_manifest(make_job_spec(runtime={"pod_template": template}))

    assert job["spec"]["template"]["spec"]["initContainers"] == [{"name": "b", "image": "b:1"}]


@pytest.mark.parametrize("name", ["everything", "plain sidecar", "order of containers"])
def test_keeper_is_the_same_beside_the_containers_of_a_template(name: str) -> None:
    [expected] = keepers_of(pod_of({}, deliver="collect"))

    assert keepers_of(pod_of(ACCEPTED[name], deliver="collect")) == [expected]
    assert keepers_of(pod_of(ACCEPTED[name])) == []


def test_template_says_of_the_keeper_what_a_cluster_wants_of_every_container() -> None:
    template = keeper(
        imagePullPolicy="Always",
        resources={"requests": {"cpu": "100m"}, "limits": {"cpu": None, "memory": "1Gi"}},
        securityContext={"appArmorProfile": {"type": "RuntimeDefault"}},
    )

    pod = pod_of(template, deliver="collect")

    [found] = keepers_of(pod)
    [plain] = keepers_of(pod_of({}, deliver="collect"))
    assert found == {
        **plain,
        "imagePullPolicy": "Always",
        "resources": {
            "requests": {**plain["resources"]["requests"], "cpu": "100m"},
            "limits": {"memory": "1Gi", "ephemeral-storage": "832Mi"},
        },
        "securityContext": {
            **plain["securityContext"],
            "appArmorProfile": {"type": "RuntimeDefault"},
        },
    }
    assert [container["name"] for container in pod["spec"]["containers"]] == ["agent", "keeper"]
    assert restricted_violations(pod["spec"]) == []


def test_what_a_template_says_of_the_keeper_means_nothing_where_nothing_is_collected() -> None:
    assert pod_of(keeper(resources={"requests": {"cpu": "100m"}})) == pod_of({})


# --- whose value wins ----------------------------------------------------------------------------


def test_env_of_a_template_is_over_the_runtimes_and_under_the_agents_and_the_runs() -> None:
    reference = {"fieldRef": {"fieldPath": "spec.nodeName"}}
    names = ("OF_THE_RUN", "OF_THE_AGENT", "OF_THE_RUNTIME", "TERM", "ANTHROPIC_API_KEY")
    template = agent(
        env=[
            *({"name": name, "value": "template"} for name in names[:-1]),
            {"name": names[-1], "valueFrom": reference},
            {"name": "NODE", "valueFrom": reference},
            {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "team=x"},
        ]
    )
    credential = {"env": "ANTHROPIC_API_KEY", "secret": "model", "key": "k"}
    job = build_job_manifest(
        make_job_spec(
            {"env": {"OF_THE_RUN": "run"}},
            {"env": {"OF_THE_AGENT": "agent"}, "credentials": [credential]},
            {
                "env": {"OF_THE_RUNTIME": "runtime", "NODE": "runtime"},
                "pod_template": template,
            },
        )
    )

    env = env_of(job["spec"]["template"])
    assert [env[name] for name in names] == [
        "run",
        "agent",
        "template",
        "template",
        {"secretKeyRef": {"name": "model", "key": "k"}},
    ]
    assert env["NODE"] == reference
    assert env["OTEL_RESOURCE_ATTRIBUTES"].startswith("team=x,prefect.run.type=flow")


def test_annotations_of_the_job_alone_are_not_the_pods() -> None:
    job = build_job_manifest(
        make_job_spec(
            runtime={
                "annotations": {"both": "1", "queue": "all"},
                "job_annotations": {"queue": "a"},
                "pod_template": {"metadata": {"annotations": {"pod": "1"}}},
            }
        )
    )

    def own(metadata: Json) -> Json:
        found: Json = metadata["annotations"]
        return {key: value for key, value in found.items() if "/" not in key}

    assert own(job["metadata"]) == {"both": "1", "queue": "a"}
    assert own(job["spec"]["template"]["metadata"]) == {"both": "1", "queue": "all", "pod": "1"}


def test_ids_that_the_cluster_assigns_are_left_out_and_files_stay_readable() -> None:
    ids: Json = {"run_as_user": None, "run_as_group": None, "fs_group": None}

    pod = pod_of({}, **ids)

    assert pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["spec"]["volumes"][0]["secret"]["defaultMode"] == 0o444
    assert restricted_violations(pod["spec"]) == []


def test_mounts_may_be_optional() -> None:
    mounts = [
        {"kind": "secret", "name": "keys", "path": "/keys", "optional": True},
        {"kind": "config_map", "name": "places", "path": "/places", "optional": True},
    ]

    volumes = pod_of({}, mounts=mounts)["spec"]["volumes"]

    assert [v for v in volumes if v["name"].startswith("mount-")] == [
        {"name": "mount-1", "secret": {"secretName": "keys", "optional": True}},
        {"name": "mount-2", "configMap": {"name": "places", "optional": True}},
    ]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "template"), REFUSED, ids=[field for field, _ in REFUSED])
def test_template_over_what_a_run_controls_is_refused_by_field(field: str, template: Json) -> None:
    assert problems_of(template).startswith(f"Value error, pod_template: {field}: ")


def test_every_field_that_is_refused_is_named_at_once() -> None:
    message = problems_of(spec(restartPolicy="Always", containers=[{"name": "agent", "tty": True}]))

    assert "spec.restartPolicy: " in message
    assert "spec.containers[agent].tty: " in message


def test_refusal_quotes_no_value() -> None:
    template = agent(env=[{"name": "GITHUB_TOKEN", "value": "ghp_hush"}], command=["ghp_hush"])

    assert "ghp_hush" not in problems_of(template)


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        ("/keys", {"mounts": [{"kind": "secret", "name": "keys", "path": "/keys"}]}),
        ("/tmp/", {"read_only_root_filesystem": True}),
        ("/work", {"home_path": "/work"}),
    ],
)
def test_folder_of_another_field_is_refused(path: str, runtime: Json) -> None:
    template = agent(volumeMounts=[{"name": "v", "mountPath": path}])
    template["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]

    assert f"volumeMounts[{path}]: " in problems_of(template, **runtime)


@pytest.mark.parametrize(
    ("field", "template"), NAMES_A_RUN_SECRET, ids=[field for field, _ in NAMES_A_RUN_SECRET]
)
def test_template_that_names_a_secret_of_the_agents_runs_is_refused(
    field: str, template: Json
) -> None:
    with pytest.raises(InputInvalid) as caught:
        make_run(runtime={"pod_template": template})

    assert field in caught.value.message


# --- the Secrets it uses -------------------------------------------------------------------------


def test_secrets_of_a_template_are_masked_and_checked() -> None:
    template = agent(
        env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}}],
        envFrom=[{"secretRef": {"name": "two", "optional": True}}],
    )
    template["spec"]["volumes"] = [
        {"name": "a", "secret": {"secretName": "three"}},
        {"name": "b", "projected": {"sources": [{"secret": {"name": "four", "optional": True}}]}},
        {"name": "c", "secret": {"secretName": "four"}},
        {"name": "d", "configMap": {"name": "five"}},
    ]
    runtime = RuntimeSpec.model_validate({"image": "a", "pod_template": template})

    assert secret_references(AgentSpec(agent_id="a"), runtime) == {"one": {"k"}}
    assert mounted_secrets(runtime) == ("two", "three", "four")
    assert optional_secrets(AgentSpec(agent_id="a"), runtime) == {"two"}


# --- nothing that is accepted changes what a run controls ----------------------------------------

FIELDS_OF_THE_POD = (
    *("restartPolicy", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "hostname"),
    *("shareProcessNamespace", "hostPID", "subdomain", "setHostnameAsFQDN", "ephemeralContainers"),
)
FREE_FOR_THE_AGENT = {
    *("env", "envFrom", "imagePullPolicy", "ports", "resizePolicy", "resources"),
    *("securityContext", "volumeDevices", "volumeMounts"),
}
FREE_FOR_THE_KEEPER = {"imagePullPolicy", "resizePolicy", "resources", "securityContext"}
OWN_VOLUMES = {
    *("input", "work", "home", "tmp", "workspace", "git-credentials", "mount-1"),
    *("keeper", "keeper-script"),
}
MARKED = ("claude-jobs.dev/", "app.kubernetes.io/")


def controlled(pod: Json) -> Json:
    """Return all that a run must control, however the pod came to be."""
    found, metadata = pod["spec"], pod["metadata"]
    mine = agent_of(pod)
    others = [c for c in found["containers"] if c["name"] not in {"agent", "keeper"}]
    others += [c for c in found["initContainers"] if c["name"] != "clone"]
    context = {**found["securityContext"], **mine["securityContext"]}
    keepers = keepers_of(pod)
    return {
        "pod": {name: found.get(name) for name in FIELDS_OF_THE_POD},
        "metadata": {
            kind: {k: v for k, v in metadata[kind].items() if k.startswith(MARKED)}
            for kind in ("labels", "annotations")
        },
        "more metadata": set(metadata) - {"labels", "annotations"},
        "agent": {k: v for k, v in mine.items() if k not in FREE_FOR_THE_AGENT},
        "env": {
            name: value
            for name, value in env_of(pod).items()
            if name.startswith("CLAUDE_JOBS_") or name in {"HOME", "CLAUDE_CONFIG_DIR"}
        },
        "mounts": [m for m in mine["volumeMounts"] if m["name"] in OWN_VOLUMES],
        "volumes": [v for v in found["volumes"] if v["name"] in OWN_VOLUMES],
        "clone": [c for c in found["initContainers"] if c["name"] == "clone"],
        "seen by others": {
            mount["name"]
            for container in others
            for mount in container.get("volumeMounts") or ()
            if mount["name"] in OWN_VOLUMES - {"workspace"}
        },
        "keeper": [
            {k: v for k, v in container.items() if k not in FREE_FOR_THE_KEEPER}
            for container in keepers
        ],
        "root of the keeper": [
            (
                {**found["securityContext"], **container["securityContext"]}["runAsNonRoot"],
                container["securityContext"].get("runAsUser") == 0,
            )
            for container in keepers
        ],
        "root": (context["runAsNonRoot"], context.get("runAsUser") == 0),
        "group": found["securityContext"]["fsGroup"],
        "memory": "memory" in mine["resources"]["limits"],
    }


def objects_in(value: Any) -> Iterator[Json]:
    parts: list[Any] = cast("list[Any]", value) if isinstance(value, list) else []
    if isinstance(value, dict):
        yield cast("Json", value)
        parts = list(cast("Json", value).values())
    for part in parts:
        yield from objects_in(part)


def values_by_field() -> dict[str, list[Any]]:
    """Return every field that a case sets, with all values that it is set to."""
    found: dict[str, list[Any]] = {}
    for case in (*ACCEPTED.values(), *(template for _, template in REFUSED)):
        for part in objects_in(case):
            for name, value in part.items():
                found.setdefault(name, []).append(value)
    return found


KNOWN_VALUES = values_by_field()
ODD_VALUES: list[Any] = [
    *(None, True, 0, "x", "agent", "clone", "keeper", "input", "/var/run"),
    *([], {}, {"name": "home"}),
]


@st.composite
def changed_templates(draw: st.DrawFn) -> Json:
    """Return a template that is accepted, but for a few fields set anew."""
    begin_with = [FULL, beside(), agent(), keeper(resources={}), *ACCEPTED.values()]
    template = deepcopy(draw(st.sampled_from(begin_with)))
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from(list(objects_in(template))))
        name = draw(st.sampled_from(sorted({*part, *KNOWN_VALUES})))
        values = [*KNOWN_VALUES.get(name, ()), *ODD_VALUES]
        part[name] = deepcopy(draw(st.sampled_from(values)))
    return template


@given(template=changed_templates(), deliver=st.sampled_from(["none", "collect"]))
@settings(max_examples=500, deadline=None)
def test_template_that_is_accepted_changes_nothing_that_a_run_controls(
    template: Json, deliver: str
) -> None:
    try:
        pod = pod_of(template, deliver=deliver)
    except ValidationError:
        pod = pod_of({}, deliver=deliver)

    assert controlled(pod) == controlled(pod_of({}, deliver=deliver))
    assert None not in dict(leaves(pod)).values()


def test_sidecar_may_see_the_workspace_and_nothing_else_of_the_run() -> None:
    mounts = [{"name": "workspace", "mountPath": "/w"}]

    pod = pod_of(beside(volumeMounts=mounts))

    assert pod["spec"]["containers"][0]["volumeMounts"] == mounts
