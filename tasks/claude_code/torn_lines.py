"""Whose line a fragment was, as far as the piece that is left of it tells."""

import re
from enum import Enum, auto

from tasks.claude_code.line_damage import without_terminal_codes

_ASSISTANT_HEAD = '{"type":"assistant"'
# A lone brace may be anybody's.
_SHORTEST_HEAD_CHARACTERS = 2
_HEAD_CHARACTERS = 200
_SAYS = re.compile(r'\{\s*"type"\s*:\s*"(?:assistant"|stream_event")')
# The CLI names a result's type late, and this field first.
_RESULT_HEAD = re.compile(r'\{\s*"(?:duration_api_ms"|type"\s*:\s*"result")')
_RESULT = re.compile(r'"type"\s*:\s*"result"')
_SYSTEM = re.compile(r'\{\s*"type"\s*:\s*"system"')
_TOOL_RESULT = re.compile(r'\{\s*"type"\s*:\s*"user".*"(?:tool_use_id|tool_result)"', re.DOTALL)
_PARENT = re.compile(r'"parent_tool_use_id"\s*:\s*(null|")')


class TornLine(Enum):
    """What a fragment is a piece of."""

    MAIN_AGENT = auto()
    """Something that the main agent, or a tool for it, said; also where nothing tells of whom."""
    PERHAPS_MAIN_AGENT = auto()
    SUBAGENT = auto()
    RESULT = auto()
    OTHER = auto()


def identify_torn_line(text: str) -> TornLine:
    """Tell whose line a fragment was."""
    bare = text.lstrip()
    head = without_terminal_codes(bare[:_HEAD_CHARACTERS]).strip()
    parents = _PARENT.findall(bare)
    if _SAYS.match(head) or _TOOL_RESULT.match(bare):
        return TornLine.SUBAGENT if parents[-1:] == ['"'] else TornLine.MAIN_AGENT
    if _RESULT_HEAD.match(head):
        return TornLine.RESULT
    if _SYSTEM.match(head):
        return TornLine.OTHER
    if parents:
        return TornLine.SUBAGENT if parents[-1] == '"' else TornLine.MAIN_AGENT
    if _RESULT.search(bare):
        return TornLine.RESULT
    if len(head) >= _SHORTEST_HEAD_CHARACTERS and _ASSISTANT_HEAD.startswith(head):
        return TornLine.PERHAPS_MAIN_AGENT
    return TornLine.OTHER
