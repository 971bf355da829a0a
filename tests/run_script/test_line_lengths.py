"""Lines of every length that a buffer may have come through exactly, whatever ends the agent.

Buffers grow by powers of two and by pages; a line that just fills one is where a program errs.
"""

import hashlib
import itertools
import os
import random
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.run_script.script_run import Printed, ScriptRun

PAGE = 4096
LONGEST = 200_000
PATTERN = b"".join(b"%06d," % number for number in range(LONGEST // 7 + 2))
FIRST = b'{"type":"system"}\n'


def lengths_around(sizes: Iterable[int]) -> list[int]:
    around = {size + step for size in sizes for step in (-1, 0, 1)}
    return sorted(length for length in around if 1 <= length <= LONGEST)


ALL_LENGTHS = lengths_around(
    [*(2**power for power in range(18)), *range(PAGE, LONGEST, PAGE), 50_000, LONGEST]
)
FEW_LENGTHS = [1, 4096, 8191, 16_384, 32_768, 50_000, 65_536, 131_072]
SEEDS = range(8)


def lines_of(lengths: Iterable[int]) -> list[bytes]:
    """Lines that differ wherever one of them is cut, shifted or repeated."""
    return [PATTERN[:length] for length in lengths]


def assert_exact(script: ScriptRun, printed: Printed, stdout: bytes) -> None:
    expected = stdout.removesuffix(b"\n").split(b"\n")

    assert printed.trailer.sha256 == hashlib.sha256(stdout).hexdigest()
    assert printed.trailer.stdout_bytes == len(stdout)
    assert printed.trailer.lines == len(expected)
    # Compared one by one: a diff of megabytes helps nobody.
    for payload, wanted in itertools.zip_longest(printed.payloads, expected):
        assert payload == wanted, (len(payload or b""), len(wanted or b""))
    if script.tools.numbers_lines:
        assert [line.number for line in printed.stdout] == list(range(1, len(expected) + 1))
        assert printed.foreign == []
        assert printed.trailer.copied_lines == len(expected)
        numbered = [line for line in printed.raw.splitlines(keepends=True) if b" o " in line[:12]]
        assert (script.work / "transcript").read_bytes() == b"".join(numbered)


def assert_exact_without_last_end(
    script: ScriptRun, directory: Path, lengths: Iterable[int]
) -> None:
    for length, killed in itertools.product(lengths, [False, True]):
        stdout = FIRST + PATTERN[:length]
        (directory / "stdout").write_bytes(stdout)
        end = "kill -KILL $$" if killed else "exit 3"
        printed = script.run("sh", "-c", f"cat '{directory}/stdout'; {end}")

        assert printed.exit_code == (128 + signal.SIGKILL if killed else 3)
        assert_exact(script, printed, stdout)


@pytest.mark.parametrize(
    "lengths",
    [
        pytest.param(FEW_LENGTHS, id="few"),
        pytest.param(ALL_LENGTHS, id="all", marks=pytest.mark.long),
    ],
)
def test_whole_line_of_any_length_arrives(script: ScriptRun, tmp_path: Path, lengths: list[int]):
    stdout = b"".join(line + b"\n" for line in lines_of(lengths))
    (tmp_path / "stdout").write_bytes(stdout)

    assert_exact(script, script.run("cat", str(tmp_path / "stdout")), stdout)


def test_last_line_without_end_arrives(script: ScriptRun, tmp_path: Path):
    assert_exact_without_last_end(script, tmp_path, FEW_LENGTHS)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(4))
def test_last_line_of_any_length_without_end_arrives(script: ScriptRun, tmp_path: Path, part: int):
    assert_exact_without_last_end(script, tmp_path, ALL_LENGTHS[part::4])


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_lines_of_random_lengths_arrive(script: ScriptRun, tmp_path: Path, seed: int):
    dice = random.Random(seed)
    lengths = [dice.randrange(int(10 ** dice.uniform(0, 5.3)) + 1) for _ in range(60)]
    stdout = b"\n".join(lines_of([*lengths, dice.choice(ALL_LENGTHS)]))
    (tmp_path / "stdout").write_bytes(stdout)

    assert_exact(script, script.run("cat", str(tmp_path / "stdout")), stdout)


@pytest.mark.parametrize("line_length", [100, 70_000])
def test_agent_killed_while_its_pipe_is_full_loses_nothing(
    script: ScriptRun, tmp_path: Path, line_length: int
):
    lines = lines_of([line_length]) * (4_000_000 // line_length)
    (tmp_path / "stdout").write_bytes(b"".join(line + b"\n" for line in lines))
    process = script.start("sh", "-c", f"exec cat '{tmp_path}/stdout'")
    assert process.stdout is not None
    head = b""
    while len(head) < 200:
        head += os.read(process.stdout.fileno(), 200)
    script.kill_agent()
    printed = script.finish(process, head)
    size = printed.trailer.stdout_bytes

    assert printed.exit_code == 128 + signal.SIGKILL
    assert 0 < size < 4_000_000
    assert_exact(script, printed, (tmp_path / "stdout").read_bytes()[:size])


megabytes_in_one_line = pytest.mark.parametrize(
    "megabytes", [3, pytest.param(70, marks=[pytest.mark.long, pytest.mark.timeout(120)])]
)


# A program that copies a line whenever its buffer grows needs half an hour for 70 MB.
@megabytes_in_one_line
def test_line_of_megabytes_takes_no_quadratic_time(
    script: ScriptRun, tmp_path: Path, megabytes: int
):
    stdout = b"x" * (megabytes * 1_000_000)
    (tmp_path / "stdout").write_bytes(stdout)
    process = script.start("cat", str(tmp_path / "stdout"))

    assert_exact(script, script.finish(process, timeout=60), stdout)


@megabytes_in_one_line
def test_stderr_line_of_megabytes_takes_no_quadratic_time(
    script: ScriptRun, tmp_path: Path, megabytes: int
):
    (tmp_path / "stderr").write_bytes(b"x" * (megabytes * 1_000_000) + b"\nlast words")
    process = script.start("sh", "-c", f"cat '{tmp_path}/stderr' >&2")
    kept = [line.payload for line in script.finish(process, timeout=60).stderr]

    assert kept[0].startswith(b"x" * 8192)
    if script.tools.awk is not None:
        assert kept == [b"x" * 8192, b"last words"]
