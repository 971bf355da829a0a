"""Which arguments people may add to Claude Code's command line."""

from collections.abc import Sequence

_OUTPUT = "what it prints is read by the flow"
_SESSION = "the run decides which session it is"
_INTERACTIVE = "the agent would not do its work in this process"

# Reasons by option, read from `claude --help` and the hidden options of 2.1.329.
_REFUSED: dict[str, str] = {
    "--print": _OUTPUT,
    "--output-format": _OUTPUT,
    "--input-format": _OUTPUT,
    "--verbose": _OUTPUT,
    "--include-partial-messages": _OUTPUT,
    "--include-hook-events": _OUTPUT,
    "--replay-user-messages": _OUTPUT,
    "--debug": f"{_OUTPUT}; --debug-file writes to a file",
    "--debug-to-stderr": f"{_OUTPUT}; --debug-file writes to a file",
    "--help": _OUTPUT,
    "--version": _OUTPUT,
    "--resume": _SESSION,
    "--continue": _SESSION,
    "--session-id": _SESSION,
    "--fork-session": _SESSION,
    "--from-pr": _SESSION,
    "--resume-session-at": _SESSION,
    "--rewind-files": _SESSION,
    "--no-session-persistence": _SESSION,
    "--prefill": _SESSION,
    "--bg": _INTERACTIVE,
    "--background": _INTERACTIVE,
    "--cloud": _INTERACTIVE,
    "--remote": _INTERACTIVE,
    "--remote-control": _INTERACTIVE,
    "--teleport": _INTERACTIVE,
    "--desktop": _INTERACTIVE,
    "--environment": _INTERACTIVE,
    "--worktree": _INTERACTIVE,
    "--tmux": _INTERACTIVE,
    "--init-only": _INTERACTIVE,
    "--model": "the agent's `model` says it",
    "--effort": "the agent's `effort` says it",
    "--max-turns": "the agent's `max_turns` says it",
    "--max-budget-usd": "the agent's `max_budget_usd` says it",
    "--permission-mode": "the agent's `permission_mode` says it",
    "--dangerously-skip-permissions": "the agent's `permission_mode` says it",
    "--allow-dangerously-skip-permissions": "the agent's `permission_mode` says it",
    "--append-system-prompt": "the agent's `instructions` say it",
    "--append-system-prompt-file": "the agent's `instructions` say it",
    "--json-schema": "the agent's `output_schema` says it",
    "--mcp-config": "the agent's `mcp_servers` say it",
    "--strict-mcp-config": "the agent's `mcp_servers` say it",
    "--settings": "the run has a settings file of its own",
}


def refused_extra_args(arguments: Sequence[str]) -> list[str]:
    """Say which arguments cannot be added and why; empty when all can.

    Values are not repeated, as they may hold what is nobody's business; options are.
    """
    reasons: list[str] = []
    if arguments and not arguments[0].startswith("-"):
        reasons.append("the first one is not an option and would become the prompt")
    for argument in arguments:
        option = argument.partition("=")[0]
        if "\x00" in argument:
            reasons.append("an argument holds a NUL character")
        elif option in _REFUSED:
            reasons.append(f"{option} is refused, {_REFUSED[option]}")
        elif argument == "--":
            reasons.append("-- is refused, what follows would become the prompt")
        elif argument[:1] == "-" and argument[1:2].isalpha():
            # Short options can be joined (-pc), so no list of them is complete.
            reasons.append(f"{argument[:2]} is refused, options are written in their long form")
    return reasons
