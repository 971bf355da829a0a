"""Lines that lost bytes on their way, or that another program wrote into.

Pure text rules: what surrounds an event is looked through, and what is a piece of one is known as
such, so that nobody is shown half an event as if the agent had said it.
"""

import re
from enum import Enum, auto

from tasks.claude_code.json_fields import STRING
from tasks.text.safe_text import without_terminal_codes

# Keys that stand in events and hardly in what a person writes.
_EVENT_KEYS = re.compile(
    r'"(type|subtype|uuid|session_id|message|content|parent_tool_use_id|tool_use_id|stop_reason|'
    r'stop_sequence|usage|total_cost_usd|num_turns|is_error|permission_denials)"\s*:'
)
# What the stream's own lines are known by, also where they are quoted in a string.
_MARKS = re.compile(r'"(type|uuid|session_id|parent_tool_use_id)\\*"\s*:')
_STRING = re.compile(STRING, re.DOTALL)
# A brace with a key, or where the line ends. Shells and Python write braces as well.
_OBJECT_HEAD = re.compile(r'\{\s*("|$)')
_LITERALS = ("null", "true", "false")
_END_OF_LITERAL = frozenset(word[start:] for word in _LITERALS for start in range(len(word)))
_NUMBER = re.compile(r"-?[\d.]+")
# The beginning tells as much as the whole, which may be many megabytes.
_LOOKED_AT_CHARACTERS = 20_000

_ASSISTANT_HEAD = '{"type":"assistant"'
# A lone brace may be anybody's.
_SHORTEST_HEAD_CHARACTERS = 2
_HEAD_CHARACTERS = 200
# Before that the line may also be the CLI's own, about a failed request.
_SAID = re.compile(r'"content"\s*:\s*\[\s*\{|"delta"\s*:')
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
    """The beginning of such a line, which says nothing yet."""
    SUBAGENT = auto()
    RESULT = auto()
    OTHER = auto()


def looks_like_fragment(text: str) -> bool:
    """Tell whether a line that is no JSON is a piece of an event.

    Either it begins like an object, or it has a key of one, or it closes what it has not opened,
    as the tail of a torn line does.
    """
    bare = without_terminal_codes(text[:_LOOKED_AT_CHARACTERS]).strip()
    tail = text[-_LOOKED_AT_CHARACTERS:].strip()
    if _OBJECT_HEAD.match(bare) or _EVENT_KEYS.search(bare) or _EVENT_KEYS.search(tail):
        return True
    if not tail.endswith(("}", "]")):
        return False
    return _is_bare_end(tail) or ('"' in tail and _closes_more_than_it_opens(tail))


def identify_torn_line(text: str) -> TornLine:
    """Tell whose line a fragment was."""
    bare = text.lstrip()
    head = without_terminal_codes(bare[:_HEAD_CHARACTERS]).strip()
    parents = _PARENT.findall(bare)
    if _SAYS.match(head) or _TOOL_RESULT.match(bare):
        if parents[-1:] == ['"']:
            return TornLine.SUBAGENT
        is_said = _SAID.search(bare) or not _SAYS.match(head)
        return TornLine.MAIN_AGENT if is_said else TornLine.PERHAPS_MAIN_AGENT
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


def holds_stream_keys(text: str) -> bool:
    """Tell whether a line that is JSON but no event is something of the stream all the same.

    One key alone stands in the output of many programs.
    """
    return len({found[1] for found in _MARKS.finditer(text[:_LOOKED_AT_CHARACTERS])}) > 1


def _is_bare_end(tail: str) -> bool:
    """Tell whether a line is the last value of an object or a list, and what closes it."""
    value = tail.rstrip("}]").lstrip(":, ")
    if not value:
        # One alone ends what people write over several lines.
        return len(tail) > 1
    return value in _END_OF_LITERAL or _NUMBER.fullmatch(value) is not None


def _closes_more_than_it_opens(tail: str) -> bool:
    """Tell whether braces are closed that were never opened, strings left out where they are whole.

    A tail may begin within a string, so its first quotation mark may be a closing one.
    """
    return all(
        _depth_falls_below_zero(_STRING.sub(_nothing_if_whole, part))
        for part in (tail, tail[tail.find('"') + 1 :])
    )


def _nothing_if_whole(string: re.Match[str]) -> str:
    return "" if string["open"] is None else string[0]


def _depth_falls_below_zero(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if depth < 0:
            return True
    return False
