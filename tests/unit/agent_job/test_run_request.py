import json
from typing import Any

import pytest

from tasks.agent_job.run_request import (
    AgentRunRequest,
    parse_parameter,
    parse_request,
    refuse_oversize,
)
from tasks.claude_code.agent_spec import AgentSpec
from tasks.fleet.fleet_request import FleetRequest
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid

LEAST: dict[str, Any] = {"agent": "ada", "runtime": "kit"}


def test_request_needs_an_agent_and_a_runtime_alone() -> None:
    request = parse_request(LEAST)

    assert (request.agent, request.runtime, request.timeout_seconds) == ("ada", "kit", None)


def test_request_takes_an_agent_described_in_it() -> None:
    request = parse_request({**LEAST, "agent": {"agent_id": "a-1", "max_turns": 5}})

    assert request.agent == AgentSpec(agent_id="a-1", max_turns=5)


@pytest.mark.parametrize(
    "url", ["https://host/a@b.git", "ssh://git@host/x", "SSH://git@host/x", "git@host:x.git"]
)
def test_request_takes_addresses_without_credentials(url: str) -> None:
    request = parse_request({**LEAST, "workspace": {"repo_url": url}})

    assert request.workspace.repo_url == url


def test_request_survives_the_way_through_the_api() -> None:
    request = parse_request({**LEAST, "wake": {"comments": [{"body": "x"}]}, "env": {"A": "1"}})

    assert AgentRunRequest.model_validate_json(request.model_dump_json()) == request


def test_request_schema_describes_every_field() -> None:
    """The form of the UI is drawn from it."""
    schema = AgentRunRequest.model_json_schema()

    undescribed = [
        f"{name}.{field}"
        for name, model in {"AgentRunRequest": schema, **schema["$defs"]}.items()
        for field, detail in model.get("properties", {}).items()
        if not detail.get("description")
    ]
    assert undescribed == []


def test_request_schema_has_no_field_for_a_secret() -> None:
    """A secret in a parameter is lost on its way to another process, or readable by everybody."""
    assert "password" not in AgentRunRequest.model_json_schema().__repr__()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"timeout_seconds": 0}, "timeout_seconds: Input should be greater than", id="bound"
        ),
        pytest.param({"tell": "tell-nobody"}, "tell: Extra inputs are not permitted", id="unknown"),
        pytest.param(
            {"agent": "Tell Nobody!"}, "agent: String should match pattern", id="block_name"
        ),
        pytest.param({"agent": 5}, "agent: Input should be a valid string; agent: ", id="neither"),
        pytest.param(
            {"agent": {"agent_id": "a", "extra_args": ["--print"]}},
            "agent: extra_args: --print is refused",
            id="inside_of_the_agent",
        ),
        pytest.param({"session_id": "--print"}, "session_id: String should match", id="option"),
        pytest.param({"linked_ids": ["a,b"]}, "linked_ids.0: String should match", id="comma"),
        pytest.param({"workspace": {"cwd": "tell-nobody"}}, "workspace.cwd: String", id="nested"),
        pytest.param({"env": {"A-B": "tell-nobody"}}, "env.", id="env_name"),
        pytest.param(
            {"workspace": {"repo_url": "https://tell-nobody@host/x.git"}},
            "workspace: repo_url contains credentials",
            id="token_in_address",
        ),
        pytest.param(
            {"workspace": {"repo_url": "ssh://me:tell-nobody@host/x.git"}},
            "workspace: repo_url contains credentials",
            id="password_in_address",
        ),
        *(
            pytest.param(
                {"workspace": {"repo_url": f"{scheme}://me:tell-nobody@host/x.git"}},
                "workspace: repo_url contains credentials",
                id=f"scheme_{scheme}",
            )
            for scheme in ("HTTPS", "SSH", "Http", "git+SSH", "h2")
        ),
        pytest.param(
            {"prompt": "tell-nobody", "prompt_block": "p"},
            "run request: set only one of prompt, prompt_secret and prompt_block",
            id="two_prompts",
        ),
    ],
)
def test_request_that_is_wrong_is_refused_in_one_sentence_without_its_values(
    fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputInvalid) as refusal:
        parse_request({**LEAST, **fields})

    assert refusal.value.code is ErrorCode.INPUT_INVALID
    assert refusal.value.message.startswith("The run request is not valid: ")
    assert expected.removeprefix("env.") in refusal.value.message
    assert "ell-nobody" not in refusal.value.message
    assert "\n" not in refusal.value.message


def test_each_wrong_request_of_a_fleet_is_named() -> None:
    members = [
        {**LEAST, "prompt": "Hello.", "prompt_block": "p"},
        {**LEAST, "agent": {"agent_id": "a", "max_turns": 0}},
        "kit",
    ]

    with pytest.raises(InputInvalid) as refusal:
        parse_parameter(FleetRequest, {"requests": members}, "fleet request")

    assert refusal.value.message == (
        "The fleet request is not valid: "
        "requests.0: set only one of prompt, prompt_secret and prompt_block; "
        "requests.1.agent.max_turns: Input should be greater than or equal to 1; "
        "requests.2: Input should be a valid dictionary or instance of AgentRunRequest."
    )


@pytest.mark.parametrize(
    ("field", "value", "advice"),
    [
        ("prompt", "x", "`prompt_secret`"),
        ("handoff_note", "x", "into the workspace"),
        ("env", {"A": "x"}, "`env_from_keys`"),
        ("linked_ids", ["x"], "into the workspace"),
        ("template_variables", {"a": ["x"]}, "into the workspace"),
        ("wake", {"reason": "x"}, "into the workspace"),
        ("agent", {"agent_id": "ada", "instructions": "x"}, "Claude Code Agent block"),
        ("runtime", {"image": "a:1", "env": {"A": "x"}}, "Agent Runtime block"),
    ],
)
@pytest.mark.parametrize("letter", ["a", "ä", "😀", '"'], ids=["ascii", "latin", "emoji", "quote"])
def test_request_above_prefects_limit_is_refused_by_its_largest_field(
    field: str, value: Any, advice: str, letter: str
) -> None:
    def request(letters: int) -> AgentRunRequest:
        text = json.dumps({field: value}).replace('"x"', json.dumps(letter * letters))
        if field == "linked_ids":
            text = json.dumps({field: [letter * 200] * (letters // 200)})
        return parse_request({"agent": "ada", "runtime": "kit", **json.loads(text)})

    limit = 512 * 1024
    # What Prefect's server counts, and refuses when it is more than the limit.
    each = len(json.dumps(letter)) - 2
    fits = request(limit // each - 1000)
    refuse_oversize(fits, len(json.dumps({"request": fits.model_dump()}, separators=(",", ":"))))
    refuse_oversize(request(limit), 0)
    with pytest.raises(InputInvalid) as refused:
        refuse_oversize(request(limit // each + 1000), limit)

    assert refused.value.code == "prompt_too_large"
    assert f"`{field}`" in refused.value.message
    assert advice in refused.value.message
    assert "at most 524,288" in refused.value.message
    assert letter * 9 not in refused.value.message


@pytest.mark.parametrize(
    ("fields", "asked", "fresh"),
    [
        ({}, None, False),
        ({"session": "resume"}, None, False),
        ({"session": "fresh"}, None, True),
        ({"session": "s-1"}, "s-1", False),
        ({"session_id": "s-1"}, "s-1", False),
    ],
)
def test_session_is_asked_for_by_a_word_or_an_id(
    fields: dict[str, Any], asked: str | None, fresh: bool
) -> None:
    request = AgentRunRequest.model_validate({"agent": "a", "runtime": "r", **fields})

    assert (request.asked_session, request.asks_for_fresh_session) == (asked, fresh)
    assert request.in_session("s-2").asked_session == "s-2"
    assert request.in_session(None).asked_session is None
    assert request.in_session(None).asks_for_fresh_session is fresh


def test_session_is_asked_for_only_once() -> None:
    with pytest.raises(InputInvalid, match="set session or session_id, not both"):
        parse_request({"agent": "a", "runtime": "r", "session": "fresh", "session_id": "s-1"})
