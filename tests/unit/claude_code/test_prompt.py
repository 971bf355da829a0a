from typing import Any

import pytest

from tasks.claude_code.prompt import Comment, PromptTask, compose_prompt
from tasks.vocabulary.errors import InputInvalid

TEMPLATE = PromptTask(" Go on.\n", from_template=True)
WAKE: dict[str, Any] = {
    "wake_reason": " mention ",
    "wake_comments": [Comment(" please fix "), Comment(" \n"), Comment("soon", "Ann")],
}
WAKE_TEXT = "Why you were woken: mention\n\nComment: please fix\n\nComment by Ann: soon"
NO_WAKE: dict[str, Any] = {"wake_reason": " ", "wake_comments": []}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        pytest.param(
            {
                "resumed": False,
                "bootstrap": " Read. ",
                "handoff_note": " note ",
                "task": TEMPLATE,
                **WAKE,
            },
            f"Read.\n\n{WAKE_TEXT}\n\nnote\n\nGo on.",
            id="fresh",
        ),
        pytest.param(
            {"resumed": True, "bootstrap": "Read.", "handoff_note": None, "task": TEMPLATE, **WAKE},
            WAKE_TEXT,
            id="wake_replaces_template_on_resume",
        ),
        pytest.param(
            {
                "resumed": True,
                "bootstrap": "Read.",
                "handoff_note": "note",
                "task": TEMPLATE,
                **NO_WAKE,
            },
            "note\n\nGo on.",
            id="resumed_without_wake_keeps_template",
        ),
        pytest.param(
            {
                "resumed": True,
                "bootstrap": "",
                "handoff_note": None,
                "task": PromptTask("Do this.", from_template=False),
                **WAKE,
            },
            f"{WAKE_TEXT}\n\nDo this.",
            id="own_prompt_stays_on_resume",
        ),
        pytest.param(
            {"resumed": False, "bootstrap": " ", "handoff_note": "", "task": TEMPLATE, **NO_WAKE},
            "Go on.",
            id="empty_sections_are_not_there",
        ),
    ],
)
def test_prompt_has_its_sections_in_order(sections: dict[str, Any], expected: str) -> None:
    assert compose_prompt(**sections).text == expected


def test_prompt_size_counts_bytes() -> None:
    prompt = compose_prompt(
        resumed=False, bootstrap="", handoff_note=None, task=PromptTask("é", True), **NO_WAKE
    )

    assert prompt.size_bytes == 2


def test_prompt_without_anything_to_say_is_refused() -> None:
    with pytest.raises(InputInvalid, match="The prompt is empty"):
        compose_prompt(
            resumed=True, bootstrap="x", handoff_note=" ", task=PromptTask(" ", False), **NO_WAKE
        )
