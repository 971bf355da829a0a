import json
from base64 import b64encode

import pytest

from tasks.text.redaction import MASK, Redactor, pieces_of_file

SECRET = 'p4ss"wörd\\value'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"key is {SECRET}.", id="as-it-is"),
        pytest.param(json.dumps({"key": SECRET}), id="json-ascii"),
        pytest.param(json.dumps({"key": SECRET}, ensure_ascii=False), id="json-utf8"),
        pytest.param(b64encode(SECRET.encode()).decode(), id="base64"),
        pytest.param("ANTHROPIC_API_KEY=sk-ant-api03-abcdefghijklmnop", id="never-learnt-key"),
    ],
)
@pytest.mark.parametrize("others", [0, 100], ids=["alone", "of-many"])
def test_secret_in_text_is_masked(text: str, others: int) -> None:
    redacted = Redactor([SECRET, *(f"other-secret-{n}" for n in range(others))]).text(text)

    assert MASK in redacted
    assert SECRET not in redacted
    assert "abcdefghijklmnop" not in redacted


def test_short_value_is_a_word_and_stays() -> None:
    assert Redactor(["yes"]).text("yes, it is") == "yes, it is"


def test_secret_inside_a_longer_one_leaves_nothing_of_either() -> None:
    assert Redactor(["secret-1", "secret-1-longer"]).text("x secret-1-longer y") == f"x {MASK} y"


def test_json_value_is_masked_at_every_depth_and_other_values_stay() -> None:
    value = {"a": ["secret-value", 1, None, True], "secret-value": {"b": 0.5}}

    assert Redactor(["secret-value"]).json(value) == {
        "a": [MASK, 1, None, True],
        MASK: {"b": 0.5},
    }


def test_lines_of_a_key_file_are_masked_when_indented() -> None:
    redactor = Redactor(["-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nend\n"])

    assert redactor.text("-----BEGIN KEY-----\n    MIIEvQIBADANBgkqhkiG\n    end") == (
        f"{MASK}\n    {MASK}\n    end"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key is secret-va… [4 more characters cut]", f"key is {MASK}… [4 more characters cut]"),
        ("key is secret-… [6 more characters cut]", "key is secret-… [6 more characters cut]"),
        ("a… b secret-valu… secret-value", f"a… b {MASK}… {MASK}"),
        ("secret-valu", "secret-valu"),
        ("is secret-va…\n[3 left out]\n…et-value.", f"is {MASK}…\n[3 left out]\n…{MASK}."),
        ("a…-value", "a…-value"),
        ("et-value", "et-value"),
    ],
    ids=[
        "cut-off",
        "shorter-than-a-secret",
        "second-cut",
        "not-cut",
        "folded",
        "end-shorter-than-a-secret",
        "end-not-cut",
    ],
)
def test_part_of_a_secret_is_masked_where_text_was_cut(text: str, expected: str) -> None:
    assert Redactor(["secret-value"]).text(text) == expected


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        pytest.param("correct horse\n", "correct horse", id="one value"),
        pytest.param("export KEY='correct-horse'\nENV=production", "correct-horse", id="env file"),
        pytest.param("users:\n- token: correct-horse\n", "correct-horse", id="yaml"),
        pytest.param(
            json.dumps({"keys": [{"pem": "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG\n"}], "n": 1}),
            "MIIEvQIBADANBgkqhkiG",
            id="json",
        ),
    ],
)
def test_value_out_of_a_secret_file_is_masked_and_words_of_it_stay(
    content: str, printed: str
) -> None:
    redactor = Redactor(pieces_of_file(content))

    assert redactor.text(f"it is {printed} in production") == f"it is {MASK} in production"


def test_very_long_secret_file_is_looked_through_in_bounds() -> None:
    pieces = pieces_of_file("".join(f"key-{n}=value-number-{n}\n" for n in range(100_000)))

    assert len(pieces) == 500
    assert sum(map(len, pieces)) < 40_000


def test_file_that_is_no_json_and_too_deep_json_are_taken_as_text() -> None:
    deep = "[" * 10_000

    assert pieces_of_file(deep) == (deep,)
