from typing import Any

import pytest
from pydantic import ValidationError

from tasks.claude_code.agent_spec import AgentSpec


def test_agent_needs_an_id_alone() -> None:
    agent = AgentSpec(agent_id="a-1")

    assert agent.display_name == "a-1"
    assert (agent.permission_mode, agent.max_turns) == ("bypassPermissions", 1000)


def test_agent_does_not_change() -> None:
    agent = AgentSpec(agent_id="a-1", name="Ada")

    assert agent.display_name == "Ada"
    with pytest.raises(ValidationError):
        agent.name = "Bob"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"agent_id": ""}, "agent_id", id="no_id"),
        pytest.param({"agent_id": "a\nb"}, "agent_id", id="id_of_two_lines"),
        pytest.param({"max_turns": 0}, "max_turns", id="no_turns"),
        pytest.param({"max_budget_usd": float("inf")}, "max_budget_usd", id="endless_budget"),
        pytest.param({"model": "--print"}, "model", id="option_as_model"),
        pytest.param({"instructions": "x", "instructions_path": "/x"}, "not both", id="both"),
        pytest.param({"instructions_path": "x.md"}, "instructions_path", id="relative_path"),
        pytest.param({"extra_args": ["--print"]}, "--print is refused", id="extra_args"),
        pytest.param(
            {"skills": [{"name": "s", "files": {"a.md": ""}}]}, "no SKILL.md", id="empty_skill"
        ),
        pytest.param(
            {"skills": [{"name": "s", "files": {"SKILL.md": "", "../x": ""}}]}, "outside", id="path"
        ),
        pytest.param(
            {"skills": [{"name": "s", "files": {"SKILL.md": ""}}] * 2}, "more than once", id="twice"
        ),
        pytest.param(
            {"credentials": [{"env": "K", "secret": "s", "key": "k"}] * 2},
            "credentials: K given more than once",
            id="credential_twice",
        ),
        pytest.param(
            {"mcp_servers": {"m": {"headers": {"Authorization": "Bearer tell-nobody"}}}},
            "credential in plain text",
            id="mcp_header",
        ),
        pytest.param(
            {"mcp_servers": {"m": {"env": {"API_KEY": "tell-nobody"}}}},
            "credential in plain text",
            id="mcp_env",
        ),
        pytest.param(
            {"callback": {"api_url": "https://u:tell-nobody@h", "secret": "s", "key": "k"}},
            "api_url",
            id="credentials_in_address",
        ),
        pytest.param({"nonsense": "tell-nobody"}, "nonsense", id="unknown_field"),
    ],
)
def test_agent_that_cannot_run_is_refused_without_its_values(
    fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        AgentSpec.model_validate({"agent_id": "a-1", **fields})

    assert expected in str(refusal.value)
    assert "tell-nobody" not in str(refusal.value)


def test_agent_takes_mcp_credentials_from_env() -> None:
    servers = {
        "m": {"headers": {"Authorization": "Bearer ${TOKEN}"}, "env": {"LEVEL": "debug"}},
        "n": {"headers": ["no object"]},
    }

    assert AgentSpec(agent_id="a", mcp_servers=servers).mcp_servers == servers
