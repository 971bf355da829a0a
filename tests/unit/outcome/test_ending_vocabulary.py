"""The words of Claude Code's results: what each means, and that the table has them all."""

import json
import mmap
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.outcome import ending_vocabulary
from tasks.outcome.ending_vocabulary import ENDING_FIELDS, VOCABULARY
from tasks.outcome.precedence import PRECEDENCE
from tasks.outcome.reasons import Reason
from tasks.outcome.run_facts import RunFacts
from tasks.outcome.verdict import Outcome, judge_run
from tests.images.build import CLAUDE_CODE_VERSION
from tests.unit.outcome.recordings import summarise

RECORDED = Path(__file__).parents[2] / "data" / f"ending_words_{CLAUDE_CODE_VERSION}.json"
IMAGES = Path("~/.cache/claude-jobs/cluster/images").expanduser()
BINARY = IMAGES / f"claude-code-{CLAUDE_CODE_VERSION}" / "claude"
# How the lists begin in the binary; names around them change with each build.
LISTS: dict[str, tuple[bytes, ...]] = {
    "subtype": (rb'\["error_during_execution","error_max_turns"[^\]]*\]',),
    "terminal_reason": (rb'\["blocking_limit"[^\]]*\]', rb'\["budget_exhausted"[^\]]*\]'),
    "stop_reason": (rb'\["end_turn","max_tokens","stop_sequence"[^\]]*\]',),
}
UNFINISHED = [key for key, meaning in VOCABULARY.items() if meaning.reason is not None]


def _judge(**fields: Any) -> Outcome:
    line = {
        "type": "result",
        "subtype": "success",
        "terminal_reason": "completed",
        "stop_reason": "end_turn",
        "is_error": False,
        "result": "Done.",
        **fields,
    }
    session = summarise(json.dumps(line).encode())
    return judge_run(RunFacts(session=session, container_started=True, container_exit_code=0))


def _recorded() -> dict[str, list[str]]:
    return json.loads(RECORDED.read_text())


def test_table_lists_every_recorded_word() -> None:
    recorded = {(field, word) for field in ENDING_FIELDS for word in _recorded()[field]}

    assert recorded - set(VOCABULARY) == set()


@pytest.mark.skipif(not BINARY.exists(), reason="the pinned binary of Claude Code is not here")
def test_pinned_binary_has_no_word_that_was_not_recorded() -> None:
    with BINARY.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = {
            field: {
                word.decode()
                for pattern in patterns
                for match in [re.search(pattern, data)]
                if match is not None
                for word in re.findall(rb'"([a-z_]+)"', match[0])
            }
            for field, patterns in LISTS.items()
        }

    # `success` has a schema of its own.
    found["subtype"].add("success")
    assert found == {field: set(_recorded()[field]) for field in ENDING_FIELDS}


@pytest.mark.parametrize(("field", "word"), UNFINISHED)
def test_word_of_unfinished_work_is_no_success(field: str, word: str) -> None:
    meaning = VOCABULARY[field, word]

    outcome = _judge(**{field: word})

    assert (outcome.code, outcome.reason) == (meaning.code, meaning.reason)
    assert outcome.facts_used[0] == f"result {field}={word}"


@pytest.mark.parametrize(
    ("field", "word"), [key for key in UNFINISHED if not key[1].startswith("aborted")]
)
def test_word_missing_from_the_table_would_be_noticed(
    field: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meaning = VOCABULARY[field, word]
    monkeypatch.delitem(ending_vocabulary.VOCABULARY, (field, word))

    outcome = _judge(**{field: word})

    assert outcome.reason is not meaning.reason or outcome.reason is Reason.ERROR_RESULT
    assert outcome.code is None or field == "subtype"


@pytest.mark.parametrize(
    ("field", "word"), [key for key, meaning in VOCABULARY.items() if meaning.reason is None]
)
def test_word_of_finished_work_is_a_success_without_a_warning(field: str, word: str) -> None:
    outcome = _judge(**{field: word})

    assert (outcome.code, outcome.warnings) == (None, ())


@pytest.mark.parametrize("word", ["Refusal", " refusal", "REFUSAL\n"])
def test_case_and_blanks_make_no_difference(word: str) -> None:
    assert _judge(stop_reason=word).reason is Reason.REFUSED


@pytest.mark.parametrize("subtype", ["Error_Max_Turns", " error max turns "])
def test_subtype_is_compared_like_the_others(subtype: str) -> None:
    assert _judge(subtype=subtype).reason is Reason.MAX_TURNS


@pytest.mark.parametrize("field", ["terminal_reason", "stop_reason"])
def test_unknown_word_is_a_success_with_a_warning(field: str) -> None:
    outcome = _judge(**{field: "brand_new"})

    assert outcome.code is None
    assert [warning for warning in outcome.warnings if f"{field} brand_new" in warning]


@pytest.mark.parametrize("subtype", ["error_brand_new", "cancelled", "partial_success"])
def test_subtype_other_than_success_is_none(subtype: str) -> None:
    assert _judge(subtype=subtype).reason is Reason.ERROR_RESULT


@pytest.mark.parametrize("word", ["aborted", "aborted_by_user", "Aborted_Later"])
def test_unknown_word_that_says_aborted_is_believed(word: str) -> None:
    assert _judge(terminal_reason=word).reason is Reason.ABORTED


def test_call_of_structured_output_ends_the_work() -> None:
    fields: dict[str, Any] = {"stop_reason": "tool_use", "result": ""}

    assert _judge(**fields).reason is Reason.UNFINISHED
    assert _judge(**fields, structured_output={"n": 1}).code is None


def test_codes_of_the_table_are_those_of_their_rows() -> None:
    rows = {row.reason: row.code for row in PRECEDENCE if row.reason is not Reason.STAGE}

    assert [
        key
        for key, item in VOCABULARY.items()
        if item.reason and rows[item.reason] is not item.code
    ] == []
    assert [key for key, item in VOCABULARY.items() if not item.source] == []
