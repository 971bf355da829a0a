"""Every text field of requests, blocks and flow parameters, found in the models themselves.

What no database, environment or file takes is refused everywhere. What ends a line is refused where
a text stands on one line. A new field fails here until it is known which of both it is.
"""

import json
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tasks.agent_job.manifest import JobSpec, build_job_manifest, build_secret_manifest
from tasks.agent_job.pod_settings import (
    Dns,
    DnsOption,
    EnvFromKey,
    GitClone,
    ReadOnlyMount,
    Toleration,
)
from tasks.agent_job.prepared_run import prepare_run
from tasks.agent_job.run_request import (
    AgentRunRequest,
    Wake,
    WakeComment,
    Workspace,
    parse_request,
)
from tasks.agent_job.runtime_spec import (
    RuntimeFields,
    RuntimeSpec,
    WholeRunRetry,
)
from tasks.claude_code.agent_spec import (
    AgentFields,
    AgentSpec,
    Callback,
    Credential,
    SecretKey,
    Skill,
    WorkCheck,
)
from tasks.fleet.fleet_request import FleetRequest
from tasks.preflight.preflight_facts import PreflightConfig
from tasks.sweep.sweep_config import SweepConfig
from tasks.usage.usage_config import UsageConfig
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import FlowRunId, JobUid, PodUid

AGENT = {"agent_id": "ada"}
RUNTIME = {"image": "agent:1"}
REQUEST = {"agent": AGENT, "runtime": RUNTIME}

# The least that each model wants: the field under test is put into it.
LEAST: dict[type[BaseModel], dict[str, Any]] = {
    AgentRunRequest: REQUEST,
    AgentSpec: AGENT,
    AgentFields: AGENT,
    RuntimeSpec: RUNTIME,
    RuntimeFields: RUNTIME,
    Callback: {"api_url": "https://api", "secret": "s", "key": "k"},
    Credential: {"env": "TOKEN", "secret": "s", "key": "k"},
    SecretKey: {"secret": "s", "key": "k"},
    Skill: {"name": "skill", "files": {"SKILL.md": "text"}},
    WakeComment: {"body": "text"},
    DnsOption: {"name": "ndots"},
    EnvFromKey: {"env": "A", "kind": "secret", "name": "n", "key": "k"},
    GitClone: {"image": "git:1"},
    ReadOnlyMount: {"kind": "secret", "name": "n", "path": "/p"},
    WorkCheck: {"command": "npm test"},
    FleetRequest: {"requests": [REQUEST]},
    PreflightConfig: {"request": REQUEST},
}
ROOTS = (AgentRunRequest, FleetRequest, PreflightConfig, SweepConfig, UsageConfig)

# Texts of several lines, or any text; all others stand on one line.
FREE_TEXTS = {
    "AgentRunRequest.env{}",
    "AgentRunRequest.handoff_note",
    "AgentRunRequest.prompt",
    "AgentSpec.bootstrap_template",
    "AgentSpec.env{}",
    "AgentSpec.extra_args[]",
    "AgentSpec.instructions",
    "AgentSpec.prompt_template",
    "GitClone.env{}",
    "RuntimeSpec.annotations{}",
    "RuntimeSpec.env{}",
    "RuntimeSpec.job_annotations{}",
    "Skill.files{}",
    "Wake.reason",
    "WakeComment.body",
    "WorkCheck.command",
    "WorkCheck.env{}",
}
# Any JSON inside: walked through, whatever it is.
JSON_VALUES = {
    "AgentRunRequest.output_schema{}",
    "AgentRunRequest.template_variables{}",
    "AgentSpec.mcp_servers{}{}",
    "AgentSpec.output_schema{}",
}
# Names of things that are not ours, in a JSON text.
FREE_NAMES = {
    "AgentRunRequest.output_schema.",
    "AgentSpec.output_schema.",
    "AgentRunRequest.template_variables.",
    "AgentSpec.mcp_servers.",
    "AgentSpec.mcp_servers{}.",
}
# Kubernetes admits an empty label value.
MAY_BE_EMPTY = {"RuntimeSpec.labels{}", "RuntimeSpec.node_selector{}", "Toleration.value"}


@dataclass(frozen=True)
class Place:
    """A text in a model: `Model.field`, with `[]` for items, `{}` for values and `.` for names."""

    model: type[BaseModel]
    field: str
    steps: str

    @property
    def name(self) -> str:
        return f"{self.model.__name__}.{self.field}{self.steps}"

    def filled(self, text: str) -> dict[str, Any]:
        value: Any = text
        for step in reversed([*_steps(self.steps)]):
            match step:
                case "[]":
                    value = [value]
                case "{}":
                    value = {_NAMES.get(self.field, "a"): value}
                case _:
                    value = {value: _VALUES.get(self.field, "text")}
        return {**LEAST.get(self.model, {}), self.field: value}


_NAMES = {"files": "SKILL.md", "env": "A"}
_VALUES: dict[str, Any] = {"mcp_servers": {"command": "x"}}


def _steps(text: str) -> Iterator[str]:
    while text:
        step = "." if text.startswith(".") else text[:2]
        yield step
        text = text[len(step) :]


def _places(model: type[BaseModel]) -> Iterator[Place]:
    for name, field in model.model_fields.items():
        for steps in _texts(field.annotation):
            yield Place(model, name, steps)


def _texts(annotation: Any) -> Iterator[str]:
    """Yield the steps to each text in a field's type; models are visited by themselves."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is str or annotation is Any:
        yield ""
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _texts(argument)
    elif origin is Annotated:
        yield from _texts(arguments[0])
    elif origin is tuple:
        yield from (f"[]{steps}" for steps in _texts(arguments[0]))
    elif origin is dict:
        yield from (f".{steps}" for steps in _texts(arguments[0]))
        yield from (f"{{}}{steps}" for steps in _texts(arguments[1]))
    elif origin is Literal or (isinstance(annotation, type) and annotation is not str):
        return
    else:
        raise AssertionError(f"a kind of field that this test does not know: {annotation}")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for argument in get_args(annotation):
        yield from _models(argument)


MODELS = sorted({m for root in ROOTS for m in _models(root)}, key=lambda model: model.__name__)
PLACES = list(dict.fromkeys(place for model in MODELS for place in _places(model)))
BY_NAME = {place.name: place for place in PLACES}
ONE_LINE = [place for place in PLACES if place.name not in FREE_TEXTS | JSON_VALUES | FREE_NAMES]


def _ids(place: Place) -> str:
    return place.name


def test_every_model_is_here_and_no_listed_field_is_gone() -> None:
    assert {Dns, Toleration, Wake, WholeRunRetry, Workspace} <= set(MODELS)
    assert set(BY_NAME) >= FREE_TEXTS | JSON_VALUES | FREE_NAMES


def test_blocks_have_the_fields_of_the_specs() -> None:
    # So what holds for one holds for the other; a block has its own base.
    for fields, spec in ((AgentFields, AgentSpec), (RuntimeFields, RuntimeSpec)):
        assert fields.model_fields.keys() == spec.model_fields.keys()
        with pytest.raises(ValidationError):
            fields.model_validate({**LEAST[fields], "env": {"A": "\x00"}})


@pytest.mark.parametrize("place", PLACES, ids=_ids)
@pytest.mark.parametrize(
    "text", ["\x00", "text\x00", "\ud800", "a\udfffb"], ids=["nul", "end", "high", "low"]
)
def test_what_nothing_stores_is_refused_everywhere(place: Place, text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        place.model.model_validate(place.filled(text))

    # It can be printed, and says no more than where.
    assert str(refused.value).encode().isascii()


@pytest.mark.parametrize("place", ONE_LINE, ids=_ids)
@pytest.mark.parametrize(
    "text",
    [" ", "\n", "a\nb", "a\rb", "a\x1b[1mb", "a\x85b", "a\u2028b", "/a\nb"],
    ids=["blank", "newline", "lines", "return", "escape", "next-line", "separator", "path"],
)
def test_one_line_is_one_line_and_not_blank(place: Place, text: str) -> None:
    with pytest.raises(ValidationError):
        place.model.model_validate(place.filled(text))


@pytest.mark.parametrize("place", [p for p in ONE_LINE if p.name not in MAY_BE_EMPTY], ids=_ids)
def test_one_line_is_not_empty(place: Place) -> None:
    with pytest.raises(ValidationError):
        place.model.model_validate(place.filled(""))


def test_blanks_around_an_id_are_taken_off() -> None:
    request = parse_request(
        {
            "agent": {**AGENT, "agent_id": " ada\n", "tenant_id": "\tacme"},
            "runtime": RUNTIME,
            "task_id": " T-1 ",
            "linked_ids": [" a", "b \n"],
            "workspace": {"branch": " main "},
        }
    )

    assert isinstance(request.agent, AgentSpec)
    assert (request.agent.agent_id, request.agent.tenant_id) == ("ada", "acme")
    assert (request.task_id, request.linked_ids) == ("T-1", ("a", "b"))
    assert request.workspace.branch == "main"


TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(["\x00", "\ud800", " ", "\n", "a"])
# What a request holds in itself, its agent and its runtime.
FIELDS: dict[type[BaseModel], Callable[[dict[str, Any]], dict[str, Any]]] = {
    AgentRunRequest: lambda value: value,
    AgentSpec: lambda value: {**REQUEST, "agent": value},
    RuntimeSpec: lambda value: {**REQUEST, "runtime": value},
    Workspace: lambda value: {**REQUEST, "workspace": value},
    Wake: lambda value: {**REQUEST, "wake": value},
    WakeComment: lambda value: {**REQUEST, "wake": {"comments": [value]}},
    Skill: lambda value: {**REQUEST, "agent": {**AGENT, "skills": [value]}},
    WorkCheck: lambda value: {**REQUEST, "check": value},
}


@given(st.sampled_from([place for place in PLACES if place.model in FIELDS]), TEXTS)
def test_any_text_is_refused_with_a_code_or_can_be_sent(place: Place, text: str) -> None:
    request, told = _parsed(FIELDS[place.model](place.filled(text)))

    # A refusal is shown in terminals, logs and artifacts.
    assert "\x00" not in told.encode().decode()
    for sent in _sent(request):
        assert "\\u0000" not in json.dumps(sent)
        assert json.dumps(sent, ensure_ascii=False).encode()


def _parsed(raw: dict[str, Any]) -> tuple[AgentRunRequest | None, str]:
    try:
        return parse_request(raw), ""
    except InputInvalid as refused:
        return None, refused.message


def _sent(request: AgentRunRequest | None) -> Iterator[Any]:
    """Yield what a run stores in Prefect and in the cluster, unless it is refused with a code."""
    if request is None:
        return
    yield request.model_dump(mode="json")
    if not isinstance(request.agent, AgentSpec) or not isinstance(request.runtime, RuntimeSpec):
        return
    with suppress(InputInvalid):
        prepared = prepare_run(
            request,
            request.agent,
            request.runtime,
            flow_run_id=FlowRunId("0f0c9a3e-5a5c-4a27-9f3c-b34b41d8c8f1"),
            run_script="#!/bin/sh\n",
            keeper_script="#!/bin/sh\n",
        )
        spec = JobSpec(prepared, "agents", 1, 1)
        yield build_job_manifest(spec)
        yield build_secret_manifest(spec, job_uid=JobUid("u"), pod_uid=PodUid("p"))
