"""What the agent is told: the sections of its prompt, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tasks.vocabulary.errors import InputInvalid


class Comment(NamedTuple):
    """What somebody said; `author` may be unknown."""

    body: str
    author: str | None = None


class PromptTask(NamedTuple):
    """What there is to do; `from_template` when the run itself brought no prompt."""

    text: str
    from_template: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """The sections of a prompt, trimmed; an empty one is not there.

    Attributes:
        bootstrap: What a fresh session is told first.
        wake: Why the agent was woken, and what people said.
        handoff: What the previous session left.
        task: What there is to do.
    """

    bootstrap: str
    wake: str
    handoff: str
    task: str

    @property
    def text(self) -> str:
        """The whole prompt: its sections with one blank line between them."""
        return _join([self.bootstrap, self.wake, self.handoff, self.task])

    @property
    def size_bytes(self) -> int:
        """Size of the whole prompt in UTF-8."""
        return len(self.text.encode())


def compose_prompt(
    *,
    resumed: bool,
    bootstrap: str,
    wake_reason: str | None,
    wake_comments: Sequence[Comment],
    handoff_note: str | None,
    task: PromptTask,
) -> Prompt:
    """Return the prompt of a fresh or a resumed session.

    A resumed session knows its bootstrap. When it is woken for something, that is said instead of
    the agent's template, which it has been told before; a prompt that the run brought stays. When
    nothing else is left to say, it is told the bootstrap again: for such an agent that is the whole
    of its instructions, and a wake must not fail only because an earlier one succeeded.

    Raises:
        InputInvalid: There is nothing to say, to a fresh session or to a resumed one.
    """
    wake = _wake_section(wake_reason, wake_comments)
    replaced = resumed and task.from_template and wake
    rest = Prompt(
        bootstrap="",
        wake=wake,
        handoff=(handoff_note or "").strip(),
        task="" if replaced else task.text.strip(),
    )
    needs_bootstrap = not resumed or not rest.text
    prompt = replace(rest, bootstrap=bootstrap.strip()) if needs_bootstrap else rest
    if not prompt.text:
        raise InputInvalid(
            "The prompt is empty: give the run a prompt or a wake reason, or the agent a template "
            "that says something."
        )
    return prompt


def _wake_section(reason: str | None, comments: Sequence[Comment]) -> str:
    lines = [f"Why you were woken: {reason.strip()}" if reason and reason.strip() else ""]
    for comment in comments:
        if comment.body.strip():
            author = f" by {comment.author}" if comment.author else ""
            lines.append(f"Comment{author}: {comment.body.strip()}")
    return _join(lines)


def _join(sections: Sequence[str]) -> str:
    return "\n\n".join(section for section in sections if section)
