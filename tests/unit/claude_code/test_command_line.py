from typing import Any

import pytest

from tasks.claude_code.agent_spec import AgentSpec
from tasks.claude_code.bundle import build_bundle
from tasks.claude_code.command_line import build_command_line, escape_for_kubernetes
from tasks.claude_code.extra_args import refused_extra_args

START = ("claude", "-p", "--output-format", "stream-json", "--verbose")
BYPASS = "--dangerously-skip-permissions"
BUNDLE = "$(CLAUDE_JOBS_WORK_DIR)/bundle"
INPUT = "$(CLAUDE_JOBS_INPUT_DIR)"
APPEND = "--append-system-prompt-file"


@pytest.mark.parametrize(
    ("fields", "session", "expected"),
    [
        pytest.param({}, None, (BYPASS,), id="least"),
        pytest.param({"max_turns": 10}, None, (BYPASS, "--max-turns", "10"), id="turns"),
        pytest.param(
            {"max_budget_usd": 1e-5}, None, (BYPASS, "--max-budget-usd", "0.00001"), id="budget"
        ),
        pytest.param(
            {"model": "opus", "effort": "max"},
            None,
            (BYPASS, "--model", "opus", "--effort", "max"),
            id="model",
        ),
        pytest.param({"permission_mode": "default"}, None, (), id="asking"),
        pytest.param({"permission_mode": "plan"}, None, ("--permission-mode", "plan"), id="plan"),
        pytest.param({}, "s-1", ("--resume", "s-1", BYPASS), id="resume"),
        pytest.param(
            {"instructions": "Be nice."},
            None,
            (BYPASS, APPEND, f"{BUNDLE}/instructions.md", "--add-dir", BUNDLE),
            id="instructions",
        ),
        pytest.param(
            {"instructions": "Be nice."},
            "s-1",
            ("--resume", "s-1", BYPASS, "--add-dir", BUNDLE),
            id="instructions_not_repeated_on_resume",
        ),
        pytest.param(
            {"instructions_path": "/etc/$(x).md"},
            None,
            (BYPASS, APPEND, "/etc/$$(x).md"),
            id="instructions_path",
        ),
        pytest.param(
            {"instructions_path": "/a.md"}, "s", ("--resume", "s", BYPASS), id="path_not_repeated"
        ),
        pytest.param(
            {"mcp_servers": {"a": {}}},
            None,
            (BYPASS, "--mcp-config", f"{INPUT}/mcp.json", "--strict-mcp-config"),
            id="mcp",
        ),
        pytest.param(
            {"output_schema": {"type": "object", "$id": "x"}},
            None,
            (BYPASS, "--json-schema", '{"type":"object","$$id":"x"}'),
            id="output_schema",
        ),
        pytest.param(
            {"tool_output_limit_bytes": 50_000},
            None,
            (BYPASS, "--settings", f"{INPUT}/settings.json"),
            id="settings",
        ),
        pytest.param(
            {"extra_args": ["--disallowedTools", "Bash($(x) $$)"], "mcp_servers": {"a": {}}},
            None,
            (
                *(BYPASS, "--mcp-config", f"{INPUT}/mcp.json", "--strict-mcp-config"),
                *("--disallowedTools", "Bash($$(x) $$$$)"),
            ),
            id="extra_args_last_and_literal",
        ),
    ],
)
def test_command_line(
    fields: dict[str, Any], session: str | None, expected: tuple[str, ...]
) -> None:
    agent = AgentSpec.model_validate({"agent_id": "a", "max_turns": None, **fields})
    bundle = build_bundle(agent.instructions, agent.skills)

    assert build_command_line(agent, resume_session=session, bundle=bundle) == (*START, *expected)


@pytest.mark.parametrize("text", ["plain", "$(HOME)", "$$(HOME)", "$$", "a$", "$$$(X)$"])
def test_escaped_text_comes_back_from_kubernetes(text: str) -> None:
    """Its expansion makes one dollar of two, wherever they stand."""
    assert escape_for_kubernetes(text).replace("$$", "$") == text
    assert "$$" * text.count("$") == "".join(c for c in escape_for_kubernetes(text) if c == "$")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--add-dir", "/a", "/b"],
        ["--disallowedTools=Bash(rm *)", "--fallback-model", "sonnet"],
        ["--fallback-model", "-1"],
    ],
)
def test_extra_args_that_change_nothing_of_ours_are_taken(arguments: list[str]) -> None:
    assert refused_extra_args(arguments) == []


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--print", "--print"),
        ("--output-format=text", "--output-format"),
        ("--input-format", "--input-format"),
        ("--verbose", "--verbose"),
        ("--resume", "--resume"),
        ("--continue", "--continue"),
        ("--session-id=x", "--session-id"),
        ("--settings", "--settings"),
        ("--mcp-config", "--mcp-config"),
        ("--max-turns", "--max-turns"),
        ("-p", "-p"),
        ("-dp", "-d"),
        ("-r=sk-ant-secret", "-r"),
        ("--", "--"),
        ("prompt text", "the first one"),
        ("--x\x00", "NUL"),
    ],
)
def test_extra_args_that_would_break_the_run_are_refused_by_name(argument: str, named: str) -> None:
    reasons = refused_extra_args([argument])

    assert len(reasons) == 1
    assert named in reasons[0]
    assert "secret" not in reasons[0]
    assert "prompt text" not in reasons[0]
