"""The hook runs in every shell image: sh with any awk, no JSON tool."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.claude_code.tool_output_limit import TOOL_OUTPUT_LIMIT_FILE, TOOL_OUTPUT_LIMIT_SCRIPT

Limit = Callable[[int, str], str]


@pytest.fixture(params=["mawk", "gawk", "original-awk", "busybox"])
def limit(request: pytest.FixtureRequest, tmp_path: Path) -> Limit:
    name: str = request.param
    awk = shutil.which(name)
    if awk is None:
        pytest.skip(f"{name} is not installed")
    script = tmp_path / TOOL_OUTPUT_LIMIT_FILE
    script.write_text(TOOL_OUTPUT_LIMIT_SCRIPT)
    applet = " awk" if name == "busybox" else ""
    (tmp_path / "awk").write_text(f'#!/bin/sh\nexec {awk}{applet} "$@"\n')
    (tmp_path / "awk").chmod(0o755)

    def run(limit_bytes: int, text: str) -> str:
        return subprocess.run(
            ["sh", str(script), str(limit_bytes)],
            input=text.encode(),
            stdout=subprocess.PIPE,
            check=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        ).stdout.decode()

    return run


def _output_of(text: str) -> Any:
    answer = json.loads(text)["hookSpecificOutput"]
    assert answer["hookEventName"] == "PostToolUse"
    return answer["updatedToolOutput"]


@pytest.mark.parametrize(
    ("limit_bytes", "text", "expected"),
    [
        pytest.param(
            5,
            '{"tool_response":{"content":"abcdefghij"}}',
            {"content": "abcde\n[5 more bytes left out]"},
            id="bytes_are_counted",
        ),
        pytest.param(
            5,
            '{"tool_response":{"content":"中中"}}',
            {"content": "中\n[3 more bytes left out]"},
            id="character_is_not_split",
        ),
        pytest.param(
            9,
            r'{"tool_response":"abc\ud83d\ude00"}',
            "abc\n[12 more bytes left out]",
            id="surrogates_are_not_split",
        ),
        pytest.param(
            4, r'{"tool_response":"abc\n12"}', "abc\n[4 more bytes left out]", id="escape"
        ),
        pytest.param(
            4, r'{"tool_response":"ab\\u0041"}', "ab\\\n[5 more bytes left out]", id="escaped_slash"
        ),
        pytest.param(
            6,
            '{"tool_response":{"content-key":"b","file":{"base64":"AAAAAAAAAA"},"x":"1234567"}}',
            {
                "content-key": "b",
                "file": {"base64": "A" * 10},
                "x": "123456\n[1 more bytes left out]",
            },
            id="keys_and_images_stay",
        ),
        pytest.param(
            3,
            '{"a":{"tool_response":"12345"}, "tool_response" : ["1234",{"b":[5]},null],"z":"1234"}',
            ["123\n[1 more bytes left out]", {"b": [5]}, None],
            id="only_the_outer_one",
        ),
        pytest.param(
            4,
            '{"tool_input":"{\\"tool_response\\":\\"aaaaaaaa\\"}",\n"tool_response":"12345"}',
            "1234\n[1 more bytes left out]",
            id="quoted_json_is_text",
        ),
    ],
)
def test_long_texts_are_shortened(limit: Limit, limit_bytes: int, text: str, expected: Any) -> None:
    assert _output_of(limit(limit_bytes, text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"other":"abcdefgh"}',
        "plain text",
        "",
        '{"tool_response":"1234","z":"12345"}',
        '{"x":"tool_response","y":"12345"}',
        '{"tool_response":12345}',
    ],
)
def test_what_is_not_too_long_is_left_as_it_is(limit: Limit, text: str) -> None:
    assert limit(4, text) == ""


def test_any_output_stays_valid_and_keeps_its_beginning(limit: Limit) -> None:
    dice = random.Random(11)
    alphabet = ['"', "\\", "é", "😀", "\n", "{", "]", ",", ":", "中", "a"]
    for _ in range(40):
        text = "".join(dice.choices(alphabet, k=dice.randrange(40)))
        ascii_only, limit_bytes = dice.random() < 0.5, dice.randrange(12, 40)
        body = json.dumps({"k": text, "tool_response": {"t": [text]}}, ensure_ascii=ascii_only)
        size = len(json.dumps(text, ensure_ascii=ascii_only).encode()) - 2

        answer = limit(limit_bytes, body)

        if size <= limit_bytes:
            assert answer == ""
        else:
            kept, _, _ = _output_of(answer)["t"][0].rpartition("\n[")
            assert text.startswith(kept)
            kept_size = len(json.dumps(kept, ensure_ascii=ascii_only).encode()) - 2
            assert limit_bytes - 12 < kept_size <= limit_bytes


@pytest.mark.parametrize("text", ['"x\\' * 150_000, "x" * 20_000_000], ids=["quotes", "one line"])
def test_megabytes_take_no_quadratic_time(limit: Limit, text: str) -> None:
    body = json.dumps({"tool_response": text})

    assert _output_of(limit(50_000, body)).endswith("more bytes left out]")


@pytest.mark.parametrize("space", ["\n", "\n\n  ", "\r\n\t"], ids=["line", "lines", "crlf"])
def test_white_space_between_values_changes_nothing(limit: Limit, space: str) -> None:
    body = f'{{{space}"tool_response"{space}:{space}["{"a" * 9000}",{space}1]{space}}}{space}'

    assert _output_of(limit(4, body)) == ["aaaa\n[8996 more bytes left out]", 1]
