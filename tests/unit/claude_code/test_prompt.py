from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# B bootstrap, T agent's template, W wake reason, H handoff note, P the run's own prompt: what there
# is to say; what a fresh session is told, and what a resumed one is.
TOLD = [
    ("BTWHP", "BWHP", "WHP"),
    ("BTWH", "BWHT", "WH"),
    ("BTWP", "BWP", "WP"),
    ("BTW", "BWT", "W"),
    ("BTHP", "BHP", "HP"),
    ("BTH", "BHT", "HT"),
    ("BTP", "BP", "P"),
    ("BT", "BT", "T"),
    ("BWHP", "BWHP", "WHP"),
    ("BWH", "BWH", "WH"),
    ("BWP", "BWP", "WP"),
    ("BW", "BW", "W"),
    ("BHP", "BHP", "HP"),
    ("BH", "BH", "H"),
    ("BP", "BP", "P"),
    ("B", "B", "B"),
    ("TWHP", "WHP", "WHP"),
    ("TWH", "WHT", "WH"),
    ("TWP", "WP", "WP"),
    ("TW", "WT", "W"),
    ("THP", "HP", "HP"),
    ("TH", "HT", "HT"),
    ("TP", "P", "P"),
    ("T", "T", "T"),
    ("WHP", "WHP", "WHP"),
    ("WH", "WH", "WH"),
    ("WP", "WP", "WP"),
    ("W", "W", "W"),
    ("HP", "HP", "HP"),
    ("H", "H", "H"),
    ("P", "P", "P"),
    ("", "", ""),
]
SAYS = {"B": "Read.", "T": "Go on.", "W": "mention", "H": "note", "P": "Do this."}
SECTIONS = {**SAYS, "W": "Why you were woken: mention"}


def _compose(given: str, *, resumed: bool) -> str:
    said = {letter: text if letter in given else " " for letter, text in SAYS.items()}
    own = "P" in given
    return compose_prompt(
        resumed=resumed,
        bootstrap=said["B"],
        wake_reason=said["W"],
        wake_comments=[],
        handoff_note=said["H"],
        task=PromptTask(said["P"] if own else said["T"], from_template=not own),
    ).text


@pytest.mark.parametrize(("given", "fresh", "resumed"), TOLD, ids=[row[0] or "-" for row in TOLD])
def test_session_is_told_what_there_is_to_say(given: str, fresh: str, resumed: str) -> None:
    for is_resumed, letters in ((False, fresh), (True, resumed)):
        if letters:
            expected = "\n\n".join(SECTIONS[letter] for letter in letters)
            assert _compose(given, resumed=is_resumed) == expected
        else:
            with pytest.raises(InputInvalid, match="The prompt is empty"):
                _compose(given, resumed=is_resumed)


@given(st.sets(st.sampled_from("BTWHP")))
def test_agent_that_can_be_woken_once_can_be_woken_again(letters: set[str]) -> None:
    def is_refused(*, resumed: bool) -> bool:
        try:
            return not _compose("".join(letters), resumed=resumed)
        except InputInvalid:
            return True

    assert is_refused(resumed=False) == is_refused(resumed=True)


def test_resumed_session_is_told_the_bootstrap_again_where_there_is_nothing_else_to_say() -> None:
    prompt = compose_prompt(
        resumed=True, bootstrap=" x ", handoff_note=" ", task=PromptTask(" ", False), **NO_WAKE
    )

    assert (prompt.bootstrap, prompt.text) == ("x", "x")


def test_prompt_without_anything_to_say_is_refused() -> None:
    with pytest.raises(InputInvalid, match="The prompt is empty"):
        compose_prompt(
            resumed=True, bootstrap="\n", handoff_note=" ", task=PromptTask(" ", False), **NO_WAKE
        )
