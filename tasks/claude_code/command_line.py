"""What Claude Code is told beside its prompt: its command line, and the files that it names.

The command line is the `args` of a Kubernetes container. The prompt is not on it: it comes on
stdin, where it may be of any size and stands in no pod spec. The configuration files travel in the
run's Secret; HOME's are never touched.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tasks.claude_code.agent_spec import AgentSpec
from tasks.claude_code.bundle import INSTRUCTIONS_FILE, Bundle
from tasks.claude_code.tool_output_limit import TOOL_OUTPUT_LIMIT_FILE

# Kubernetes puts the values of the container's env in.
INPUT_REFERENCE = "$(CLAUDE_JOBS_INPUT_DIR)"
BUNDLE_REFERENCE = "$(CLAUDE_JOBS_WORK_DIR)/bundle"

MCP_FILE = "mcp.json"
SETTINGS_FILE = "settings.json"
_HOOK_TIMEOUT_SECONDS = 60


def escape_for_kubernetes(text: str) -> str:
    """Return `text` so that Kubernetes makes it `text` again in args and env values.

    Every dollar is doubled, not only those before a parenthesis: `$$` becomes `$` wherever it
    stands.

    Source:
        third_party/forked/golang/expansion in Kubernetes; tried on 1.36.
    """
    return text.replace("$", "$$")


def build_command_line(
    agent: AgentSpec, *, resume_session: str | None, bundle: Bundle | None
) -> tuple[str, ...]:
    """Return `claude` and its arguments, ready for a container's `args`.

    Args:
        agent: Its model, limits, permissions, MCP servers and extra arguments.
        resume_session: Session to go on with; `None` for a fresh one. Only a fresh one is given
            instructions, as a resumed one has them.
        bundle: What the run script unpacks below `BUNDLE_REFERENCE`.
    """
    return (
        "claude",
        "-p",
        *("--output-format", "stream-json"),
        "--verbose",  # stream-json demands it
        *_option("--resume", resume_session),
        *_permissions(agent),
        *_option("--model", agent.model),
        *_option("--effort", agent.effort),
        *_option("--max-turns", None if agent.max_turns is None else str(agent.max_turns)),
        *_option("--max-budget-usd", _plain_decimal(agent.max_budget_usd)),
        *(() if resume_session else _instructions(agent, bundle)),
        # Takes every word up to the next option; extra arguments begin with one.
        *(() if bundle is None else ("--add-dir", BUNDLE_REFERENCE)),
        *_option("--json-schema", _compact_json(agent.output_schema)),
        *_run_files(agent),
        *map(escape_for_kubernetes, agent.extra_args),
    )


def _option(name: str, value: str | None) -> tuple[str, ...]:
    return () if value is None else (name, escape_for_kubernetes(value))


def _permissions(agent: AgentSpec) -> tuple[str, ...]:
    match agent.permission_mode:
        case "bypassPermissions":
            return ("--dangerously-skip-permissions",)
        case "default":
            return ()
        case mode:
            return ("--permission-mode", mode)


def _instructions(agent: AgentSpec, bundle: Bundle | None) -> tuple[str, ...]:
    if bundle is not None and bundle.has_instructions:
        return ("--append-system-prompt-file", f"{BUNDLE_REFERENCE}/{INSTRUCTIONS_FILE}")
    return _option("--append-system-prompt-file", agent.instructions_path)


def _run_files(agent: AgentSpec) -> tuple[str, ...]:
    mcp = ("--mcp-config", f"{INPUT_REFERENCE}/{MCP_FILE}", "--strict-mcp-config")
    settings = ("--settings", f"{INPUT_REFERENCE}/{SETTINGS_FILE}")
    return (
        *(mcp if agent.mcp_servers else ()),
        *(settings if agent.tool_output_limit_bytes is not None else ()),
    )


def _compact_json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain_decimal(number: float | None) -> str | None:
    """Return digits without an exponent, which Claude Code may not read."""
    return None if number is None else format(Decimal(str(number)), "f")


def render_mcp_config(servers: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return the file for `--mcp-config`; Claude Code itself replaces `${NAME}` in its values."""
    return _json({"mcpServers": servers})


def render_settings(tool_output_limit_bytes: int) -> bytes:
    """Return the file for `--settings`: a hook that shortens what tools answer."""
    command = f'sh "$CLAUDE_JOBS_INPUT_DIR/{TOOL_OUTPUT_LIMIT_FILE}" {tool_output_limit_bytes}'
    hook = {"type": "command", "command": command, "timeout": _HOOK_TIMEOUT_SECONDS}
    return _json({"hooks": {"PostToolUse": [{"matcher": "*", "hooks": [hook]}]}})


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1).encode()
