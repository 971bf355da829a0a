import gzip
import hashlib
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.run_script.script_run import POD_UID, ScriptRun


def python_agent(source: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(source))


def shell_agent(source: str) -> tuple[str, ...]:
    return ("sh", "-c", source)


def assert_accounted(script: ScriptRun, printed_stdout: bytes, lines: list[bytes]) -> None:
    """Compare the trailer with the stdout that the agent is known to have printed."""
    trailer = script.termination_message()
    assert trailer is not None
    assert (trailer.lines, trailer.stdout_bytes) == (len(lines), len(printed_stdout))
    assert trailer.sha256 == hashlib.sha256(printed_stdout).hexdigest()


@pytest.mark.parametrize("exit_code", [0, 3, 7, 127, 255])
def test_exit_code_of_the_agent_is_kept(script: ScriptRun, exit_code: int):
    printed = script.run(*shell_agent(f"echo done; exit {exit_code}"))

    assert printed.exit_code == exit_code
    assert printed.trailer.exit_code == exit_code
    assert script.termination_message() == printed.trailer
    assert script.list_leftovers() == []


def test_header_comes_first_and_trailer_last(script: ScriptRun):
    before = int(time.time())
    printed = script.run(*shell_agent("echo one; echo oops >&2"))
    lines = printed.raw.splitlines()

    assert printed.header is not None
    assert printed.header.pod_uid == POD_UID
    assert printed.header.numbered == script.tools.numbers_lines
    assert before <= printed.header.started_epoch_seconds <= time.time()
    assert b" h 1 " in lines[0]
    assert b" t 1 " in lines[-1]
    assert printed.script_stderr == b""


@pytest.mark.parametrize(
    "stdout",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n", id="one-empty-line"),
        pytest.param(b"one\n", id="one-line"),
        pytest.param(b"one", id="no-final-newline"),
        pytest.param(b"one\n\n\n  two  \n\n", id="empty-lines-and-spaces"),
        pytest.param(b"a\rb\r\n\tc\x1b[0m\x0b\x0c\x07\n", id="control-characters"),
        pytest.param("漢字かな🎉\u2028\u0085é\n".encode(), id="cjk-emoji-and-line-separators"),
        pytest.param(b"\xff\xfe\x80broken\n\xe2\x80", id="invalid-utf8"),
        pytest.param(b"\\n %s %d \\0 'x' \"y\" $HOME `id`\n-n\n-e\n", id="no-text-is-interpreted"),
        pytest.param(("漢" * 133_334 + "\n").encode() * 2, id="400-kb-lines"),
        pytest.param(b"x" * 3_000_000 + b"\nshort", id="3-mb-line"),
    ],
)
def test_stdout_arrives_byte_for_byte(script: ScriptRun, tmp_path: Path, stdout: bytes):
    (tmp_path / "stdout").write_bytes(stdout)
    printed = script.run("cat", str(tmp_path / "stdout"))
    expected = stdout.split(b"\n") if stdout else []
    if stdout.endswith(b"\n"):
        expected.pop()

    assert printed.payloads == expected
    assert_accounted(script, stdout, expected)
    if script.tools.numbers_lines:
        assert [line.number for line in printed.stdout] == list(range(1, len(expected) + 1))
        assert printed.foreign == []


def test_nul_bytes_arrive_or_are_exposed_by_the_hash(script: ScriptRun):
    printed = script.run(*python_agent(r"import os; os.write(1, b'a\0b\nc\n')"))

    assert printed.trailer.stdout_bytes == 6
    assert printed.trailer.sha256 == hashlib.sha256(b"a\0b\nc\n").hexdigest()
    if script.tools.keeps_nul:
        assert printed.payloads == [b"a\0b", b"c"]


def test_many_lines_arrive_whole(script: ScriptRun):
    printed = script.run("seq", "1", "50000")
    expected = [str(number).encode() for number in range(1, 50001)]

    assert printed.payloads == expected
    assert_accounted(script, b"".join(line + b"\n" for line in expected), expected)


def test_line_is_out_before_the_agent_prints_the_next(script: ScriptRun, tmp_path: Path):
    """A barrier instead of a clock: the agent waits until its line has been read."""
    seen = tmp_path / "seen"
    process = script.start(
        *shell_agent(
            f"for i in 1 2 3 4 5; do echo line $i; "
            f"while [ ! -e {seen}-$i ]; do sleep 0.01; done; done"
        )
    )
    assert process.stdout is not None
    head = process.stdout.readline()
    for number in range(1, 6):
        line = process.stdout.readline()
        head += line
        assert line.endswith(f"line {number}\n".encode())
        Path(f"{seen}-{number}").touch()
    printed = script.finish(process, head)

    assert printed.exit_code == 0
    assert len(printed.payloads) == 5


def test_steady_megabyte_a_second_arrives_whole_and_live(script: ScriptRun):
    process = script.start(
        *python_agent(
            """
            import sys, time
            for second in range(2):
                for line in range(50):
                    print(f"{time.monotonic():.6f} ", "漢" * 7000, flush=True)
                    time.sleep(0.02)
            """
        )
    )
    assert process.stdout is not None
    raw, delays = b"", list[float]()
    for line in process.stdout:
        raw += line
        if "漢".encode() in line:
            delays.append(time.monotonic() - float(line.split("漢".encode())[0].split()[-1]))
    printed = script.finish(process, raw)

    assert len(printed.payloads) == 100
    assert printed.trailer.lines == 100
    # Typically a millisecond; an awk that holds back its input shows delays of the whole run.
    assert sorted(delays)[50] < 0.5


def test_last_result_line_is_pointed_at(script: ScriptRun):
    if not script.tools.numbers_lines:
        pytest.skip("found where lines are numbered")
    printed = script.run(
        *python_agent(
            r"""
            print('{"duration_api_ms":1,"type":"result","n":0}')
            print('{"type":"user","text":"\\"type\\":\\"result\\""}')
            print('{"type":"result"}')
            print('{"type":"system"}')
            """
        )
    )

    assert printed.trailer.last_result_line == 3


def test_stderr_is_kept_apart_and_printed_at_the_end(script: ScriptRun):
    printed = script.run(
        *shell_agent("echo first >&2; echo out 1; printf '\\n漢 two\\n' >&2; echo out 2")
    )

    assert printed.payloads == [b"out 1", b"out 2"]
    assert [line.payload for line in printed.stderr] == [b"first", b"", "漢 two".encode()]
    assert [line.number for line in printed.stderr] == [1, 2, 3]
    assert (printed.trailer.stderr_lines, printed.trailer.stderr_skipped) == (3, 0)


def test_stderr_of_a_flood_is_bounded_to_head_and_tail(script: ScriptRun):
    printed = script.run(*shell_agent("seq 1 200000 >&2; echo last words >&2"))
    kept = [line.payload for line in printed.stderr]

    assert sum(map(len, kept)) < 80_000
    assert kept[0] == b"1"
    assert printed.trailer.stderr_lines == len(kept)
    if script.tools.awk is not None:
        assert kept[-1] == b"last words"
        assert printed.trailer.stderr_skipped + len(kept) == 200_001


def test_stderr_line_without_end_is_cut(script: ScriptRun):
    printed = script.run(*python_agent("import sys; sys.stderr.write('x' * 5_000_000)"))

    assert 0 < sum(len(line.payload) for line in printed.stderr) <= 70_000


def test_command_that_does_not_exist_says_so_on_stderr(script: ScriptRun):
    printed = script.run("no-such-agent")

    assert printed.exit_code == 127
    assert b"no-such-agent" in printed.stderr[0].payload
    assert printed.trailer.lines == 0


def test_copy_holds_the_numbered_lines(script: ScriptRun):
    if not script.tools.numbers_lines:
        pytest.skip("a copy is made of numbered lines alone")
    printed = script.run("seq", "1", "1000")

    expected = b"".join(line + b"\n" for line in printed.raw.splitlines()[1:1001])
    assert (script.work / "transcript").read_bytes() == expected
    assert printed.trailer.copied_lines == 1000


def test_copy_stops_at_its_limit_and_the_output_goes_on(script: ScriptRun):
    if not script.tools.numbers_lines:
        pytest.skip("a copy is made of numbered lines alone")
    printed = script.run("seq", "1", "1000", env={"CLAUDE_JOBS_COPY_LIMIT_BYTES": "1000"})
    copy = (script.work / "transcript").read_bytes()

    assert len(printed.stdout) == 1000
    assert len(copy) <= 1000
    assert printed.raw.splitlines()[1:].index(copy.splitlines()[-1]) + 1 == len(copy.splitlines())
    assert printed.trailer.copied_lines == len(copy.splitlines())


def test_copy_that_cannot_be_written_costs_the_copy_alone(script: ScriptRun):
    if not script.tools.numbers_lines:
        pytest.skip("a copy is made of numbered lines alone")
    # Stands for a full disk: writing beyond this size fails.
    printed = script.run("seq", "1", "20000", largest_file_bytes=65536)

    assert len(printed.stdout) == 20_000
    assert printed.trailer.lines == 20_000
    assert 0 < printed.trailer.copied_lines < 20_000
    assert printed.exit_code == 0


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_prompt_reaches_the_agent_on_stdin(script: ScriptRun, packed: bool):
    prompt = "漢字\n".encode() * 100_000
    (script.input / "prompt").unlink()
    if packed:
        (script.input / "prompt.gz").write_bytes(gzip.compress(prompt))
    else:
        (script.input / "prompt").write_bytes(prompt)
    source = "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    printed = script.run(*python_agent(source))

    assert printed.payloads == [hashlib.sha256(prompt).hexdigest().encode()]
    assert not list(script.work.rglob("prompt*"))


def test_agent_keeps_its_arguments_directory_and_environment_but_not_the_token(script: ScriptRun):
    printed = script.run(
        *python_agent("import os, sys; print(os.getcwd(), *sys.argv[1:]); print(dict(os.environ))"),
        "two words",
        "$(id)",
        "",
        "*",
        env={"AGENT_SETTING": "a b"},
    )

    assert printed.payloads[0] == f"{Path.cwd()} two words $(id)  *".encode()
    assert b"'AGENT_SETTING': 'a b'" in printed.payloads[1]
    assert b"LINE_TOKEN" not in printed.payloads[1]
    assert b"LC_ALL" not in printed.payloads[1]


def test_lines_are_numbered_without_a_hole(script: ScriptRun):
    if not script.tools.numbers_lines:
        pytest.skip("nothing here numbers lines")
    numbers = [line.number for line in script.run("seq", "1", "5000").stdout]

    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))
