"""Lines that lost bytes on their way, or that another program wrote into.

Pure text rules: what surrounds an event is looked through, and what is a piece of one is known as
such, so that nobody is shown half an event as if the agent had said it.
"""

import re

# CSI sequences, OSC sequences with either end, other two-character escapes, and single controls.
_TERMINAL_CODES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f\ufeff]"
)
# Keys that stand in events and hardly in what a person writes.
_EVENT_KEYS = re.compile(
    r'"(type|subtype|uuid|session_id|message|content|parent_tool_use_id|tool_use_id|stop_reason|'
    r'stop_sequence|usage|total_cost_usd|num_turns|is_error|permission_denials)"\s*:'
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
# The beginning tells as much as the whole, which may be many megabytes.
_LOOKED_AT_CHARACTERS = 20_000


def without_terminal_codes(text: str) -> str:
    """Return `text` without what steers a terminal."""
    return _TERMINAL_CODES.sub("", text)


def looks_like_fragment(text: str) -> bool:
    """Tell whether a line that is no JSON is a piece of an event.

    Either it begins like an object, or it has a key of one, or it closes what it has not opened,
    as the tail of a torn line does.
    """
    bare = without_terminal_codes(text[:_LOOKED_AT_CHARACTERS]).strip()
    tail = text[-_LOOKED_AT_CHARACTERS:].strip()
    if bare.startswith("{") or _EVENT_KEYS.search(bare) or _EVENT_KEYS.search(tail):
        return True
    return tail.endswith(("}", "]")) and '"' in tail and _closes_more_than_it_opens(tail)


def _closes_more_than_it_opens(tail: str) -> bool:
    """Tell whether braces are closed that were never opened, strings left out where they are whole.

    A tail may begin within a string, so its first quotation mark may be a closing one.
    """
    return all(
        _depth_falls_below_zero(_STRING.sub("", part))
        for part in (tail, tail[tail.find('"') + 1 :])
    )


def _depth_falls_below_zero(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if depth < 0:
            return True
    return False
