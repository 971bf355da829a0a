"""What a tool was called with, in the form in which people review it.

Known tools have a form of their own where their input is as announced; whatever is not falls back
to its most telling field, so that nothing an agent writes goes unsaid.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tasks.claude_code.json_fields import JsonObject, as_object, flag_field, list_field, text_field
from tasks.text.line_diff import added_lines, line_diff
from tasks.text.safe_text import one_line

DETAIL_LIMIT_CHARACTERS = 300

# Of a tool's input, what tells most; the first one there is shown.
_TELLING_INPUTS = (
    *("command", "file_path", "pattern", "path", "url", "query", "skill", "prompt"),
    *("script", "subject", "plan"),
)
# Of those, the ones that are shown as they are, line by line.
_WHOLE_INPUTS = frozenset({"command", "prompt", "script", "plan"})
# What says in the agent's words, or by a name, what a call is about.
_ABOUT = ("description", "subagent_type")
_TODO_MARKS = {"completed": "☑", "in_progress": "▶", "pending": "☐"}


class BodyForm(StrEnum):
    """How a body of several lines is to be shown."""

    TEXT = "text"
    DIFF = "diff"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class ToolCallText:
    """What a tool was called with.

    Attributes:
        caption: What the call is about, as one safe line; may be empty.
        body: What it carries, unbounded and as the agent wrote it; may be empty.
        form: Of the body.
    """

    caption: str
    body: str
    form: BodyForm = BodyForm.TEXT


def describe_tool_call(name: str | None, tool_input: JsonObject) -> ToolCallText:
    """Return what a tool was called with, for people."""
    described = _FORMS[name](tool_input) if name in _FORMS else None
    return described or _telling(tool_input)


def detail(value: object) -> str:
    """Return any JSON value as one safe line of bounded length."""
    text = value if isinstance(value, str) else _compact_json(value)
    return one_line(text, DETAIL_LIMIT_CHARACTERS)


def _edit(tool_input: JsonObject) -> ToolCallText | None:
    path, change = text_field(tool_input, "file_path"), _change(tool_input)
    if path is None or change is None:
        return None
    return ToolCallText(detail(path) + _everywhere(tool_input), change, BodyForm.DIFF)


def _edits(tool_input: JsonObject) -> ToolCallText | None:
    path, edits = text_field(tool_input, "file_path"), list_field(tool_input, "edits")
    if path is None or not edits:
        return None
    body = "\n".join(f"@@{_edit_header(edit)}\n{_one_edit(edit)}" for edit in edits)
    return ToolCallText(detail(path), body.removeprefix("@@\n"), BodyForm.DIFF)


def _edit_header(edit: object) -> str:
    everywhere = _everywhere(as_object(edit) or {})
    return f" {everywhere.removeprefix(', ')}" if everywhere else ""


def _one_edit(edit: object) -> str:
    change = _change(as_object(edit) or {})
    return f" {detail(edit)}" if change is None else change


def _write(tool_input: JsonObject) -> ToolCallText | None:
    path, content = text_field(tool_input, "file_path"), text_field(tool_input, "content")
    if path is None or content is None:
        return None
    return ToolCallText(detail(path), added_lines(content), BodyForm.DIFF)


def _notebook(tool_input: JsonObject) -> ToolCallText | None:
    path, source = text_field(tool_input, "notebook_path"), text_field(tool_input, "new_source")
    if path is None or source is None:
        return None
    facts = (text_field(tool_input, "edit_mode"), text_field(tool_input, "cell_id"))
    caption = ", ".join(detail(fact) for fact in (path, *facts) if fact)
    return ToolCallText(caption, added_lines(source), BodyForm.DIFF)


def _todos(tool_input: JsonObject) -> ToolCallText | None:
    todos = [as_object(todo) or {} for todo in list_field(tool_input, "todos") or ()]
    texts = [text_field(todo, "content") for todo in todos]
    if not texts or None in texts:
        return None
    states = [text_field(todo, "status") or "" for todo in todos]
    lines = [_todo(text or "", state) for text, state in zip(texts, states, strict=True)]
    done = states.count("completed")
    return ToolCallText(f"{done} of {len(lines)} done", "\n".join(lines), BodyForm.LIST)


def _new_task(tool_input: JsonObject) -> ToolCallText | None:
    subject = text_field(tool_input, "subject")
    if subject is None:
        return None
    return ToolCallText("", _todo(subject, "pending"), BodyForm.LIST)


def _task_update(tool_input: JsonObject) -> ToolCallText | None:
    task, status = tool_input.get("taskId"), text_field(tool_input, "status")
    if task is None or status is None:
        return None
    name = text_field(tool_input, "subject") or f"task {detail(task)}"
    return ToolCallText("", _todo(name, status), BodyForm.LIST)


_FORMS: dict[str | None, Callable[[JsonObject], ToolCallText | None]] = {
    "Edit": _edit,
    "MultiEdit": _edits,
    "NotebookEdit": _notebook,
    "TaskCreate": _new_task,
    "TaskUpdate": _task_update,
    "TodoWrite": _todos,
    "Write": _write,
}


def _change(edit: JsonObject) -> str | None:
    old, new = text_field(edit, "old_string"), text_field(edit, "new_string")
    return None if old is None or new is None else line_diff(old, new)


def _everywhere(edit: JsonObject) -> str:
    return ", every occurrence" if flag_field(edit, "replace_all") else ""


def _todo(text: str, status: str) -> str:
    mark = _TODO_MARKS.get(status)
    words = detail(text)
    return f"{mark} {words}" if mark else f"☐ {words} ({detail(status or 'no status')})"


def _telling(tool_input: JsonObject) -> ToolCallText:
    if not tool_input:
        return ToolCallText("", "")
    telling = next((name for name in _TELLING_INPUTS if tool_input.get(name)), None)
    if telling is None:
        return ToolCallText("", detail(tool_input))
    value = tool_input[telling]
    body = value if telling in _WHOLE_INPUTS and isinstance(value, str) else detail(value)
    about = {name: text_field(tool_input, name) for name in _ABOUT}
    said = [detail(text) for text in about.values() if text]
    others = [detail(name) for name in tool_input if name != telling and not about.get(name)]
    more = [f"and {', '.join(others)}"] if others else []
    return ToolCallText("; ".join([*said, *more]), body)


def _compact_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
