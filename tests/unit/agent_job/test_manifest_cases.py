"""The recorded cases about building a Job: each is checked, or overridden by a rule of ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.agent_job.manifest import build_job_manifest
from tasks.vocabulary.errors import InputInvalid
from tests.unit.agent_job.run_inputs import make_job_spec, make_run

CASES: dict[str, dict[str, Any]] = {
    case["name"]: case
    for case in json.loads((Path(__file__).parents[2] / "data/cases/manifest.json").read_text())
}

_FORM = "forms hand over objects and numbers; text in another notation is refused"
_OWN_ENV = "nothing of the flow's own environment reaches an agent"
_LABELS = "labels only select; a reserved or unusable one is refused, not skipped"
_SECRET = "the prompt is never in the pod spec, whatever its size"
_HASH = "an id that a label cannot hold gets a hash suffix"

OVERRIDDEN = {
    "timeoutSec 0 means no deadline": "every run ends within a bound; no timeout is the ceiling",
    "timeoutSec as text is ignored": "bad input is refused",
    "extra labels as key=value text": _FORM,
    "reserved label paperclip.io refused": _LABELS,
    "reserved label app.kubernetes.io refused": _LABELS,
    "run id of symbols only": "a flow run's id is a UUID",
    "DNS config inherited": "the runtime says it, not the flow's own pod",
    "inherited variables": _OWN_ENV,
    "HOME cannot be overridden": "it is refused, not dropped",
    "configured variable that is not text is dropped": "bad input is refused",
    "inherited PAPERCLIP_RUN_ID loses to the run": _OWN_ENV,
    "valueFrom variable inherited": _OWN_ENV,
    "envFrom inherited": _OWN_ENV,
    "node selector text with comment and blank line": _FORM,
    "node selector: value with an equals sign, line without one": _FORM,
    "turn limit 0 is no limit": "an empty field is no limit",
    "prompt of exactly 256 KiB stays inline": _SECRET,
    "limit counts bytes, not characters": _SECRET,
    "agent id with @": _HASH,
    "agent id with blanks": _HASH,
    "agent id capitals kept in label": _HASH,
}

# Not for `buildJobManifest`, but for the hook: checked beside it, in test_tool_output_limit.py.
OF_THE_HOOK = {
    "output filter on",
    "output filter on with own limit",
    "long text cut with a byte count",
    "cut never splits a character",
    "no tool field",
    "not JSON passes through",
}

BUNDLE = {"instructions": "Be nice.", "skills": [{"name": "s", "files": {"SKILL.md": "x"}}]}
KEPT = {"runtime": {"home_claim": "homes"}}

# Our words for the inputs of the cases.
INPUTS: dict[str, dict[str, Any]] = {
    "defaults: every facet": {},
    "own time to live": {"runtime": {"retention": {"unharvested_seconds": 600}}},
    "extra labels as object": {"runtime": {"labels": {"env": "prod", "team": "platform"}}},
    "no pull secrets": {},
    "workspace directory": {"request": {"workspace": {"cwd": "/workspace/myproject"}}},
    "configured directory": {"runtime": {"working_directory": "/custom/path"}},
    "workspace directory wins over configured": {
        "request": {"workspace": {"cwd": "/workspace/myproject"}},
        "runtime": {"working_directory": "/custom/path"},
    },
    "own resources by dotted keys": {
        "runtime": {
            "resources": {
                "cpu_request": "500m",
                "memory_request": "1Gi",
                "cpu_limit": "2000m",
                "memory_limit": "4Gi",
            }
        }
    },
    "node selector as object": {
        "runtime": {"node_selector": {"topology.kubernetes.io/zone": "us-east-1a"}}
    },
    "turn limit": {"agent": {"max_turns": 10}},
    "resume": {"request": {"session_id": "sess_abc"}, **KEPT},
    "permission prompts kept": {"agent": {"permission_mode": "default"}},
    "instructions file not repeated on resume": {
        "request": {"session_id": "sess_existing"},
        "agent": {"instructions_path": "/paperclip/instructions.md"},
        **KEPT,
    },
    "bundle directory": {"agent": {"skills": BUNDLE["skills"]}},
    "bundle instructions win over the configured file": {"agent": BUNDLE},
    "bundle on resume: directory yes, instructions no": {
        "request": {"session_id": "sess_existing"},
        "agent": BUNDLE,
        **KEPT,
    },
    "own prompt template": {"agent": {"prompt_template": "You are a helpful assistant."}},
    "template value of an object is serialised": {
        "request": {"template_variables": {"o": {"a": [1, 2]}}},
        "agent": {"prompt_template": "{{context.o}}"},
    },
    "wake text with reason and comments": {
        "request": {
            "wake": {"reason": " mention ", "comments": [{"body": "please fix"}, {"body": " "}]}
        }
    },
    "wake text replaces the template on resume": {
        "request": {"session_id": "s", "wake": {"reason": "mention"}},
        **KEPT,
    },
    "empty wake object": {"request": {"wake": {}}},
    "service account": {"runtime": {"service_account": "paperclip-agent"}},
    "own namespace": {},
}


def _job(inputs: dict[str, Any]) -> dict[str, Any]:
    agent = {"agent_id": "agent-abc", "max_turns": None, **inputs.get("agent", {})}
    return build_job_manifest(make_job_spec(inputs.get("request"), agent, inputs.get("runtime")))


def _container(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]["template"]["spec"]["containers"][0]


def _has_labels(job: dict[str, Any], expect: dict[str, Any]) -> None:
    theirs = {k: v for k, v in expect["labels"].items() if "paperclip" not in k and "/" not in k}
    assert theirs.items() <= job["metadata"]["labels"].items()
    assert theirs.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def _same_arguments(job: dict[str, Any], expect: dict[str, Any]) -> None:
    """Compare options and values as sets: the order differs, and paths are ours."""

    def facts(arguments: list[str]) -> set[str]:
        words = {"--print": "-p", "-": ""}
        told = {words.get(argument, argument) for argument in arguments} - {"", "claude"}
        return {word for word in told if not word.startswith(("/", "$("))}

    assert facts(_container(job)["args"]) == facts(expect["claudeArgs"])


def _same_directory(job: dict[str, Any], expect: dict[str, Any]) -> None:
    assert _container(job)["workingDir"] == expect["container"]["workingDir"]


def _same_as_defaults(job: dict[str, Any], expect: dict[str, Any]) -> None:
    assert expect in ({}, {"imagePullSecrets": None})
    assert job == _job({})


def _same_pod_field(field: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def check(job: dict[str, Any], expect: dict[str, Any]) -> None:
        assert job["spec"]["template"]["spec"][field] == expect[field]

    return check


def _same_resources(job: dict[str, Any], expect: dict[str, Any]) -> None:
    ours = _container(job)["resources"]
    for kind, quantities in expect["resources"].items():
        assert quantities.items() <= ours[kind].items()


def _same_time_to_live(job: dict[str, Any], expect: dict[str, Any]) -> None:
    assert job["spec"]["ttlSecondsAfterFinished"] == expect["ttlSecondsAfterFinished"]


def _same_namespace(job: dict[str, Any], expect: dict[str, Any]) -> None:
    assert job["metadata"]["namespace"] == expect["namespace"] == "agents"


def _same_defaults(job: dict[str, Any], expect: dict[str, Any]) -> None:
    pod, container = job["spec"]["template"]["spec"], _container(job)
    assert job["spec"]["backoffLimit"] == expect["backoffLimit"]
    assert pod["restartPolicy"] == expect["restartPolicy"]
    assert expect["podSecurityContext"].items() <= pod["securityContext"].items()
    theirs = {k: v for k, v in expect["containerSecurityContext"].items() if k != "runAsUser"}
    assert theirs.items() <= container["securityContext"].items()
    assert container["imagePullPolicy"] == expect["container"]["imagePullPolicy"]
    assert container["resources"]["requests"]["memory"] == expect["resources"]["requests"]["memory"]
    assert container["resources"]["limits"]["memory"] == expect["resources"]["limits"]["memory"]
    assert not {"nodeSelector", "tolerations", "dnsConfig", "serviceAccountName"} & set(pod)
    _same_arguments(job, expect)


CHECKS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "defaults: every facet": _same_defaults,
    "own time to live": _same_time_to_live,
    "extra labels as object": _has_labels,
    "no pull secrets": _same_as_defaults,
    "workspace directory": _same_directory,
    "configured directory": _same_directory,
    "workspace directory wins over configured": _same_directory,
    "own resources by dotted keys": _same_resources,
    "node selector as object": _same_pod_field("nodeSelector"),
    "turn limit": _same_arguments,
    "resume": _same_arguments,
    "permission prompts kept": _same_arguments,
    "instructions file not repeated on resume": _same_arguments,
    "bundle directory": _same_arguments,
    "bundle instructions win over the configured file": _same_arguments,
    "bundle on resume: directory yes, instructions no": _same_arguments,
    "empty wake object": _same_as_defaults,
    "service account": _same_pod_field("serviceAccountName"),
    "own namespace": _same_namespace,
}

# Wording is ours; what is said, and in which order, is compared.
PROMPTS = {
    "own prompt template": ["You are a helpful assistant."],
    "template value of an object is serialised": ['{"a":[1,2]}'],
    "wake text with reason and comments": ["mention", "please fix", "You are"],
    "wake text replaces the template on resume": ["mention"],
}


def test_every_case_is_checked_or_overridden() -> None:
    groups = [set(CHECKS), set(PROMPTS), set(OVERRIDDEN), OF_THE_HOOK]

    assert set().union(*groups) == set(CASES)
    assert sum(map(len, groups)) == len(CASES)
    assert set(INPUTS) == set(CHECKS) | set(PROMPTS)


@pytest.mark.parametrize("name", CHECKS)
def test_case_of_the_job_holds(name: str) -> None:
    CHECKS[name](_job(INPUTS[name]), CASES[name]["expect"])


@pytest.mark.parametrize("name", PROMPTS)
def test_case_of_the_prompt_holds(name: str) -> None:
    inputs = INPUTS[name]
    run = make_run(inputs.get("request"), inputs.get("agent"), inputs.get("runtime"))
    ours = run.prompt.text.split("\n\n")

    assert len(ours) == len(CASES[name]["expect"]["prompt"].split("\n\n")) == len(PROMPTS[name])
    for section, fact in zip(ours, PROMPTS[name], strict=True):
        assert fact in section


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({"request": {"timeout_seconds": 0}}, id="timeout_0"),
        pytest.param({"runtime": {"labels": {"app.kubernetes.io/managed-by": "x"}}}, id="reserved"),
        pytest.param({"runtime": {"labels": "env=prod"}}, id="labels_as_text"),
        pytest.param({"runtime": {"node_selector": "disktype=ssd"}}, id="selector_as_text"),
        pytest.param({"request": {"env": {"HOME": "/root"}}}, id="home"),
        pytest.param({"request": {"env": {"A": 1}}}, id="number_in_env"),
        pytest.param({"agent": {"max_turns": 0}}, id="no_turns"),
    ],
)
def test_input_that_was_ignored_once_is_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises((InputInvalid, ValidationError)):
        make_run(inputs.get("request"), inputs.get("agent"), inputs.get("runtime"))


@pytest.mark.parametrize("agent_id", ["user@example.com", "my agent id", "Agent@Test"])
def test_altered_label_values_are_hashed_and_annotations_exact(agent_id: str) -> None:
    metadata = _job({"agent": {"agent_id": agent_id}})["metadata"]

    assert metadata["annotations"]["claude-jobs.dev/agent-id"] == agent_id
    assert metadata["labels"]["claude-jobs.dev/agent-id"].count("-") >= 1
