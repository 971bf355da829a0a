"""The content of assistant and user messages, block by block."""

from collections.abc import Sequence

from tasks.claude_code.event_types import (
    ContentBlock,
    OtherBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from tasks.claude_code.json_fields import (
    JsonObject,
    as_object,
    flag_field,
    list_field,
    object_field,
    text_field,
)


def parse_blocks(content: Sequence[object] | str) -> tuple[ContentBlock, ...]:
    """Return every entry of a message's content in order; a bare text counts as one block.

    Entries that are no object, or of a type without a meaning here, become `OtherBlock`.
    """
    if isinstance(content, str):
        return (TextBlock(content),) if content else ()
    return tuple([_parse_block(entry) for entry in content])


def _parse_block(entry: object) -> ContentBlock:
    block = as_object(entry)
    if block is None:
        return OtherBlock(f"bare {type(entry).__name__}")
    block_type = text_field(block, "type")
    match block_type:
        case "text":
            return TextBlock(text_field(block, "text") or "")
        case "thinking":
            return ThinkingBlock(text_field(block, "thinking") or "")
        case "tool_use":
            return ToolUseBlock(
                name=text_field(block, "name"),
                tool_use_id=text_field(block, "id") or text_field(block, "tool_use_id"),
                tool_input=object_field(block, "input"),
            )
        case "tool_result":
            return _parse_tool_result(block)
        case _:
            return OtherBlock(block_type or "untyped")


def _parse_tool_result(block: JsonObject) -> ToolResultBlock:
    parts = parse_blocks(list_field(block, "content") or text_field(block, "content") or "")
    texts = [part.text for part in parts if isinstance(part, TextBlock)]
    others = tuple(part.block_type for part in parts if isinstance(part, OtherBlock))
    return ToolResultBlock(
        tool_use_id=text_field(block, "tool_use_id"),
        text="\n".join(texts),
        is_error=flag_field(block, "is_error") is True,
        other_parts=others,
    )
