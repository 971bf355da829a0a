import re
from dataclasses import replace
from importlib.resources import files
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.agent_job.runtime_spec import Limits
from tasks.transcript import line_grammar
from tasks.transcript.line_grammar import (
    ACKNOWLEDGED_ABOVE_BYTES,
    ACKNOWLEDGED_BYTES_PER_LINE,
    CheckBegunLine,
    CheckEnd,
    CheckLine,
    ForeignLine,
    HeaderLine,
    Refusal,
    StderrLine,
    StdoutLine,
    Trailer,
    TrailerLine,
    awaits_acknowledgement,
    parse_line,
    parse_trailer_text,
)
from tasks.transcript.rotation_watch import LONGEST_QUIET_SECONDS

TOKEN = "0123abcd"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TRAILER_TEXT = (
    f"t 1 lines=12 bytes=3456 sha256={SHA256} exit=3 timed_out=0 last_result=11 copied=12 "
    "stderr_lines=2 stderr_skipped=0 refused=-"
)
TRAILER = Trailer(
    version=1,
    lines=12,
    stdout_bytes=3456,
    sha256=SHA256,
    exit_code=3,
    timed_out=False,
    last_result_line=11,
    copied_lines=12,
    stderr_lines=2,
    stderr_skipped=0,
    refused=None,
)

CHECK_TEXT = "check=1 check_timed_out=0 check_seconds=12 check_lines=3 check_skipped=40"
CHECK = CheckEnd(exit_code=1, timed_out=False, seconds=12, lines=3, skipped=40)
BEGUN_TEXT = "b 1 exit=0 after_result=0 timeout=600 started=1700000000"

payloads = st.binary(max_size=200).map(lambda raw: raw.replace(b"\n", b"|"))
numbers = st.integers(min_value=1, max_value=10**15 - 1)


def print_payload_line(kind: str, number: int, payload: bytes) -> bytes:
    return f"{TOKEN} {kind} {number} {len(payload)} ".encode() + payload


def print_check(check: CheckEnd | None) -> str:
    if check is None:
        return ""
    code = "-" if check.exit_code is None else check.exit_code
    return (
        f" check={code} check_timed_out={int(check.timed_out)} check_seconds={check.seconds} "
        f"check_lines={check.lines} check_skipped={check.skipped}"
    )


def print_trailer(trailer: Trailer) -> str:
    return (
        f"t {trailer.version} lines={trailer.lines} bytes={trailer.stdout_bytes} "
        f"sha256={trailer.sha256 or '-'} exit={trailer.exit_code} "
        f"timed_out={int(trailer.timed_out)} last_result={trailer.last_result_line or 0} "
        f"copied={trailer.copied_lines} stderr_lines={trailer.stderr_lines} "
        f"stderr_skipped={trailer.stderr_skipped} refused={trailer.refused or '-'}"
        f"{print_check(trailer.check)}"
    )


counts = st.integers(min_value=0, max_value=10**15 - 1)
trailers = st.builds(
    Trailer,
    version=st.just(1),
    lines=counts,
    stdout_bytes=counts,
    sha256=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    exit_code=st.integers(min_value=0, max_value=255),
    timed_out=st.booleans(),
    last_result_line=st.none() | numbers,
    copied_lines=counts,
    stderr_lines=counts,
    stderr_skipped=counts,
    refused=st.none() | st.sampled_from(Refusal),
)
checks = st.builds(
    CheckEnd,
    exit_code=st.none() | st.integers(min_value=0, max_value=255),
    timed_out=st.booleans(),
    seconds=counts,
    lines=counts,
    skipped=counts,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            f"{TOKEN} h 1 pod_uid=4f-9 numbered=1 started=1700000000".encode(),
            HeaderLine(1, "4f-9", True, 1700000000),
            id="header",
        ),
        pytest.param(
            f"{TOKEN} h 1 pod_uid= numbered=0 started=0 later=x".encode(),
            HeaderLine(1, "", False, 0),
            id="header-with-an-unknown-key",
        ),
        pytest.param(f"{TOKEN} o 1 2 {{}}".encode(), StdoutLine(1, b"{}"), id="stdout"),
        pytest.param(f"{TOKEN} o 7 0 ".encode(), StdoutLine(7, b""), id="empty-stdout-line"),
        pytest.param(f"{TOKEN} o 7 2   ".encode(), StdoutLine(7, b"  "), id="only-spaces"),
        pytest.param(f"{TOKEN} o 1 6 漢字".encode(), StdoutLine(1, "漢字".encode()), id="bytes"),
        pytest.param(
            f"{TOKEN} o 1 2 \xff\xfe".encode("latin-1"), StdoutLine(1, b"\xff\xfe"), id="no-utf8"
        ),
        pytest.param(f"{TOKEN} e 2 3 bad".encode(), StderrLine(2, b"bad"), id="stderr"),
        pytest.param(f"{TOKEN} c 3 2 ok".encode(), CheckLine(3, b"ok"), id="check"),
        pytest.param(
            f"{TOKEN} {BEGUN_TEXT}".encode(),
            CheckBegunLine(1, 0, False, 600, 1700000000),
            id="check-begun",
        ),
        pytest.param(
            f"{TOKEN} b 1 exit=143 after_result=1 timeout=1 started=0 later=x".encode(),
            CheckBegunLine(1, 143, True, 1, 0),
            id="check-begun-with-an-unknown-key",
        ),
        pytest.param(f"{TOKEN} {TRAILER_TEXT}".encode(), TrailerLine(TRAILER), id="trailer"),
        pytest.param(
            f"{TOKEN} {TRAILER_TEXT} {CHECK_TEXT}".encode(),
            TrailerLine(replace(TRAILER, check=CHECK)),
            id="trailer-with-a-check",
        ),
        pytest.param(
            f"{TOKEN} {TRAILER_TEXT} {CHECK_TEXT.replace('check=1', 'check=-')}".encode(),
            TrailerLine(replace(TRAILER, check=replace(CHECK, exit_code=None))),
            id="trailer-of-a-check-that-did-not-run",
        ),
    ],
)
def test_line_of_the_grammar_is_read(line: bytes, expected: object):
    assert parse_line(line, TOKEN) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"rpc error: code = NotFound desc = an error occurred when try to find container",
        b"0123abcd",
        b"0123abcdo 1 2 {}",
        b"89abcdef o 1 2 {}",
        b" 0123abcd o 1 2 {}",
        b"3abcd o 1 2 {}",
    ],
)
def test_line_without_the_token_is_foreign(line: bytes):
    assert parse_line(line, TOKEN) == ForeignLine(line)


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "o",
        "o 1",
        "o 1 2",
        "o 1 2 {",
        "o 1 2 {}}",
        "o 0 2 {}",
        "o 01 2 {}",
        "o 1 02 {}",
        "o -1 2 {}",
        "o 1000000000000000 2 {}",
        "o  1 2 {}",
        "x 1 2 {}",
        "h 1",
        "h 2 pod_uid=a numbered=1 started=1",
        "h 1 pod_uid=a numbered=2 started=1",
        "h 1 pod_uid=a numbered=1",
        "h 1 numbered=1 started=1",
        "h 1 pod_uid=a numbered=1 started=",
        TRAILER_TEXT.replace("t 1", "t 2"),
        TRAILER_TEXT.replace("t 1", "t  1"),
        TRAILER_TEXT.replace("exit=3", "exit=256"),
        TRAILER_TEXT.replace("exit=3", "exit=3 exit=3"),
        TRAILER_TEXT.replace("timed_out=0", "timed_out=2"),
        TRAILER_TEXT.replace(SHA256, SHA256[1:]),
        TRAILER_TEXT.replace(f"sha256={SHA256} ", ""),
        TRAILER_TEXT.replace("refused=-", "refused=unheard_of"),
        TRAILER_TEXT.replace("copied=12", "copied"),
        TRAILER_TEXT.replace("copied=12", "copied=1e3"),
        "c 0 2 ok",
        "c 1 3 ok",
        BEGUN_TEXT.replace("b 1", "b 2"),
        BEGUN_TEXT.replace("exit=0", "exit=256"),
        BEGUN_TEXT.replace("exit=0", "exit=-"),
        BEGUN_TEXT.replace(" timeout=600", ""),
        BEGUN_TEXT.replace("started=1700000000", "started="),
        f"{TRAILER_TEXT} {CHECK_TEXT.replace('check=1', 'check=256')}",
        f"{TRAILER_TEXT} {CHECK_TEXT.replace('check=1', 'check=x')}",
        f"{TRAILER_TEXT} {CHECK_TEXT.replace('timed_out=0', 'timed_out=2')}",
        f"{TRAILER_TEXT} {CHECK_TEXT.replace(' check_seconds=12', '')}",
    ],
)
def test_line_with_the_token_but_wrong_is_damaged(rest: str):
    line = f"{TOKEN} {rest}".encode()

    assert parse_line(line, TOKEN) == ForeignLine(line, damaged=True)


@given(number=numbers, payload=payloads, kind=st.sampled_from("oec"))
def test_payload_line_is_read_back(number: int, payload: bytes, kind: str):
    expected = {"o": StdoutLine, "e": StderrLine, "c": CheckLine}[kind](number, payload)

    assert parse_line(print_payload_line(kind, number, payload), TOKEN) == expected


@given(payload=payloads.filter(bool), data=st.data())
def test_payload_line_that_lost_bytes_is_never_output(payload: bytes, data: st.DataObject):
    line = print_payload_line("o", 12, payload)
    start = data.draw(st.integers(0, len(line) - 1))
    end = data.draw(st.integers(start + 1, len(line)))
    rest = line[:start] + line[end:]

    parsed = parse_line(rest, TOKEN)

    # A cut may turn one number or length into another only where the digits themselves are hit.
    if start >= len(f"{TOKEN} o 12 {len(payload)}"):
        assert parsed == ForeignLine(rest, damaged=True)
    else:
        assert start > len(TOKEN) or not isinstance(parsed, StdoutLine)


@given(line=st.binary(max_size=300))
def test_any_bytes_are_judged_without_an_error(line: bytes):
    parse_line(line, TOKEN)
    parse_line(TOKEN.encode() + b" " + line, TOKEN)
    parse_trailer_text(line.decode("latin-1"))


@given(trailer=trailers)
def test_trailer_is_read_back_and_fits_a_termination_message(trailer: Trailer):
    text = print_trailer(trailer)

    assert parse_trailer_text(text) == trailer
    assert parse_line(f"{TOKEN} {text}".encode(), TOKEN) == TrailerLine(trailer)
    assert len(text) <= 4096


@given(trailer=trailers, check=checks, data=st.data())
def test_trailer_with_a_check_is_read_back_and_cut_short_never_passes_one(
    trailer: Trailer, check: CheckEnd, data: st.DataObject
):
    text = print_trailer(replace(trailer, check=check))
    cut = parse_trailer_text(text[: data.draw(st.integers(0, len(text) - 1))])

    assert parse_trailer_text(text) == replace(trailer, check=check)
    assert len(text) <= 4096
    # Cut before the check's keys it tells of none; within the last one a count may be shorter.
    found = cut.check if cut is not None else None
    assert found is None or replace(found, skipped=0) == replace(check, skipped=0)


@given(trailer=trailers, data=st.data())
def test_trailer_cut_short_is_no_trailer(trailer: Trailer, data: st.DataObject):
    text = print_trailer(trailer)
    cut = data.draw(st.integers(0, len(text) - 1))

    assert parse_trailer_text(text[:cut]) is None


def test_trailer_text_tolerates_white_space_around_and_unknown_keys():
    assert parse_trailer_text(f" {TRAILER_TEXT} later=1\n") == TRAILER


@pytest.mark.parametrize(("lines", "stdout_bytes"), list(product((0, 1, 10), (0, 100, 360, 361))))
def test_acknowledgement_is_awaited_by_weight_of_bytes_and_lines(lines: int, stdout_bytes: int):
    trailer = replace(TRAILER, lines=lines, stdout_bytes=stdout_bytes)

    assert awaits_acknowledgement(trailer, 1000) == (stdout_bytes + 64 * lines > 1000)


def test_written_grammar_names_every_trailer_key():
    written = line_grammar.__doc__ or ""

    assert re.findall(r"(\w+)=", TRAILER_TEXT) == re.findall(
        r"(\w+)=", written[written.index("TOKEN t 1") :].split("Trailer,")[0]
    )


def test_written_grammar_names_every_key_of_the_check():
    written = line_grammar.__doc__ or ""
    begun = written[written.index("TOKEN b 1") :].split("The check", 1)[0]

    assert re.findall(r"(\w+)=", BEGUN_TEXT) == re.findall(r"(\w+)=", begun)
    assert re.findall(r"(\w+)=", CHECK_TEXT) == re.findall(
        r"(check\w*)=[C0N]", written[written.index("these come last") :]
    )


def test_script_waits_by_the_same_numbers() -> None:
    script = files("tasks.transcript").joinpath("run_script.sh").read_text()

    assert f"ack_above=${{CLAUDE_JOBS_ACK_ABOVE_BYTES:-{ACKNOWLEDGED_ABOVE_BYTES}}}" in script
    assert f'"$((bytes + {ACKNOWLEDGED_BYTES_PER_LINE} * lines))" -gt "$ack_above"' in script


def test_suspicion_of_a_rotated_log_comes_well_within_the_script_s_wait() -> None:
    assert Limits().acknowledgement_seconds / 3 >= LONGEST_QUIET_SECONDS
