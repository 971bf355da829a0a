"""Configuration files of Claude Code that travel in the run's Secret; HOME's are never touched."""

import json
from collections.abc import Mapping
from typing import Any

from tasks.claude_code.tool_output_limit import TOOL_OUTPUT_LIMIT_FILE

_HOOK_TIMEOUT_SECONDS = 60


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
