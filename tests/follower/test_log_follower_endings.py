import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tasks.outcome.run_result import LineRange
from tasks.transcript.line_grammar import parse_trailer_text
from tests.follower.following import Run
from tests.follower.log_api import TOKEN
from tests.scripted_api import status

Open = Callable[..., Awaitable[Run]]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncGenerator[Open, None]:
    async with AsyncExitStack() as stack:

        async def open_run(**options: Any) -> Run:
            return await Run(stack, tmp_path / "spool", **options).open()

        yield open_run


def ranges(missing: Sequence[LineRange]) -> list[tuple[int, int]]:
    return [(gap.first, gap.last) for gap in missing]


async def print_with_a_rotation_unseen(run: Run) -> None:
    """Print 60 lines: the first 20 are followed, the next 20 rotated away before anyone looks."""
    run.pod.start()
    following = asyncio.create_task(run.follower.follow())
    for number in range(1, 21):
        run.pod.print(b"line %d" % number)
    await run.delivered_until(20)
    following.cancel()
    await asyncio.wait({following})
    for number in range(21, 41):
        run.pod.print(b"line %d" % number)
    run.pod.rotate()
    for number in range(41, 61):
        run.pod.print(b"line %d" % number)


@pytest.mark.parametrize(
    ("exec_allowed", "exec_status", "copied", "missing"),
    [
        pytest.param(True, None, None, [], id="copy has all"),
        pytest.param(True, None, 30, [(31, 40)], id="copy was cut at its limit"),
        pytest.param(False, None, None, [(21, 40)], id="exec not allowed"),
        pytest.param(True, 403, None, [(21, 40)], id="exec forbidden"),
        pytest.param(True, 500, None, [(21, 40)], id="exec fails for ever"),
    ],
)
async def test_lines_that_nothing_has_are_named_and_the_rest_is_delivered(
    opened: Open,
    exec_allowed: bool,
    exec_status: int | None,
    copied: int | None,
    missing: list[tuple[int, int]],
) -> None:
    run = await opened(exec_allowed=exec_allowed)
    run.pod.exec_status, run.pod.copy_limit = exec_status, copied
    await print_with_a_rotation_unseen(run)
    run.pod.print_end()
    followed = await run.follower.follow()

    lost = {number for first, last in missing for number in range(first, last + 1)}
    assert run.payloads == [b"line %d" % n for n in range(1, 61) if n not in lost]
    assert ranges(followed.proof.missing) == missing
    assert followed.proof.complete is (not missing)
    assert followed.proof.lines == 60 - len(lost)
    assert followed.trailer is not None


@pytest.mark.parametrize("status", [403, 500])
async def test_copy_that_cannot_be_read_is_asked_for_a_bounded_number_of_times(
    opened: Open, status: int
) -> None:
    run = await opened()
    run.pod.exec_status = status
    await print_with_a_rotation_unseen(run)
    run.pod.print_end()
    await run.follower.follow()

    # Two minutes with a pause of ten seconds at most, which chance halves.
    assert run.pod.requests.count("exec") in ([1] if status == 403 else range(6, 31))


async def test_lines_at_the_end_that_only_the_termination_message_tells_of_are_named(
    opened: Open,
) -> None:
    run = await opened()
    await print_with_a_rotation_unseen(run)
    run.pod.print_end((b"oops",))
    run.pod.rotate()
    run.pod.tells_termination = True
    run.pod.end()
    followed = await run.follower.follow()

    assert ranges(followed.proof.missing) == [(21, 60)]
    assert followed.proof.complete is False
    assert followed.trailer == parse_trailer_text(run.pod.termination_text)
    assert followed.stderr_lines == ()
    assert followed.gave_up is None


async def test_stderr_is_read_although_the_termination_message_came_first(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    run.pod.print_end((b"oops",))
    run.pod.tells_termination = True
    run.pod.end()
    followed = await run.follower.follow()

    assert followed.stderr_lines == (b"oops",)
    assert followed.proof.complete is True


@pytest.mark.parametrize("log_is_refused", [False, True], ids=["log", "copy"])
async def test_check_that_has_begun_is_known_at_once(opened: Open, log_is_refused: bool) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    if log_is_refused:
        run.pod.log_answer = lambda: status(403, "Forbidden")
    following = asyncio.create_task(run.follower.follow())
    await run.delivered_until(1)
    assert not run.follower.agent_has_ended

    run.pod.print_check_begun()
    for _ in range(1000):
        if run.follower.check_begun is not None:
            break
        await asyncio.sleep(0.01)
    assert run.follower.agent_has_ended
    assert run.follower.check_begun is not None
    assert run.follower.check_begun.timeout_seconds == 600
    following.cancel()


async def test_check_that_was_cut_short_has_begun_and_no_end(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    run.pod.print_check_begun()
    run.pod.end()
    followed = await run.follower.follow()

    assert followed.check_begun is not None
    assert (followed.trailer, followed.check_lines) == (None, ())


async def test_killed_agent_leaves_what_it_printed_unproven(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    following = asyncio.create_task(run.follower.follow())
    await run.delivered_until(1)
    run.end()
    followed = await following

    assert run.payloads == [b"{}"]
    assert followed.proof.complete is None
    assert followed.proof.missing == ()
    assert followed.trailer is None
    assert followed.gave_up is None


async def test_trailer_without_a_hash_proves_nothing(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    run.pod.print_end(hashed=False)
    followed = await run.follower.follow()

    assert followed.proof.complete is None


async def test_silent_agent_leaves_an_empty_spool(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print_end((b"no such file",), exit_code=1)
    followed = await run.follower.follow()

    assert run.delivered == []
    assert run.spool.read_bytes() == b""
    assert followed.proof.complete is True
    assert followed.proof.lines == 0
    assert followed.stderr_lines == (b"no such file",)


async def test_deleted_pod_is_given_up_soon(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    following = asyncio.create_task(run.follower.follow())
    await run.delivered_until(1)
    run.pod.print_foreign(
        b"rpc error: code = NotFound desc = an error occurred when try to find container"
    )
    run.pod.remove()
    run.follower.look_again()
    followed = await following

    assert run.payloads == [b"{}"]
    assert followed.gave_up == "The pod is gone, and its log with it."
    assert followed.proof.complete is None
    assert len(run.pod.requests) <= 4


async def test_pod_gone_before_it_started_is_given_up_soon(opened: Open) -> None:
    run = await opened()
    run.pod.remove()
    followed = await run.follower.follow()

    assert followed.gave_up is not None
    assert followed.numbered is None
    assert followed.proof.complete is None


async def test_nothing_is_asked_before_the_container_has_started(opened: Open) -> None:
    run = await opened()
    following = asyncio.create_task(run.follower.follow())
    await asyncio.sleep(0.2)
    assert run.pod.requests == []
    run.pod.start()
    run.pod.print(b"{}")
    run.follower.look_again()
    await run.delivered_until(1)
    run.pod.print_end()
    await following


async def test_follow_begins_when_told_and_not_at_the_next_look(opened: Open) -> None:
    run = await opened(sleep_seconds=60.0)
    following = asyncio.create_task(run.follower.follow())
    await asyncio.sleep(0.05)
    run.pod.start()
    run.pod.print_end()
    run.follower.look_again()
    await asyncio.wait_for(following, 5)


async def test_last_output_is_dated_and_counted(opened: Open) -> None:
    run = await opened()
    assert run.follower.last_output_at is None
    run.pod.start()
    run.pod.print(b"{}")
    run.pod.print_end()
    await run.follower.follow()

    assert run.follower.last_output_at is not None
    assert run.follower.delivered_lines == 1


async def test_second_follow_of_a_finished_one_delivers_nothing_again(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"no newline", newline=b"")
    run.pod.print_end()
    first = await run.follower.follow()
    second = await run.follower.follow()

    assert first == second
    assert run.payloads == [b"no newline"]
    assert run.spool.read_bytes() == b"no newline"


async def test_failure_of_the_taker_ends_the_follow(opened: Open) -> None:
    run = await opened()

    async def fail() -> None:
        raise LookupError("no room")

    run.pause = fail
    run.pod.start()
    run.pod.print(b"{}")
    with pytest.raises(LookupError, match="no room"):
        await run.follower.follow()


async def test_slow_taker_holds_back_the_reading(opened: Open) -> None:
    run = await opened(silence_seconds=30.0)
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    run.pause = wait
    run.pod.start()
    lines = [b"%06d" % number + b"x" * 10_000 for number in range(5000)]
    for line in lines:
        run.pod.print(line)
    run.pod.print_end()
    following = asyncio.create_task(run.follower.follow())
    held = -1
    while run.pod.sent_bytes == 0 or held != run.pod.sent_bytes:
        held = run.pod.sent_bytes
        await asyncio.sleep(0.5)
    gate.set()
    followed = await following

    # What the kernel keeps between the two differs by machine: 4 to 11 MB were seen.
    assert held < 25_000_000
    assert run.pod.sent_bytes > 50_000_000
    assert run.payloads == lines
    assert followed.proof.complete is True


async def test_line_of_many_megabytes_comes_whole(opened: Open) -> None:
    run = await opened(silence_seconds=30.0)
    run.pod.start()
    run.pod.print("é".encode() * 8_000_000)
    run.pod.print_end()
    followed = await run.follower.follow()

    assert run.payloads == ["é".encode() * 8_000_000]
    assert followed.proof.complete is True


@pytest.mark.parametrize("cuts", [0, 3])
async def test_plain_output_comes_once_and_unproven(opened: Open, cuts: int) -> None:
    run = await opened(numbered=False)
    run.pod.start()
    following = asyncio.create_task(run.follower.follow())
    lines: list[bytes] = []
    for part in range(cuts + 1):
        for number in range(50):
            lines.append(b'{"type":"user","uuid":"%d-%d"}' % (part, number))
            run.pod.print(lines[-1])
            lines.append(b"the same plain line")
            run.pod.print(lines[-1])
        await run.delivered_until(len(lines))
        following.cancel()
        await asyncio.wait({following})
        following = asyncio.create_task(run.follower.follow())
    run.pod.print_end((b"oops",))
    followed = await following

    assert run.payloads == lines
    assert followed.numbered is False
    assert followed.proof.complete is None
    assert followed.proof.lines == len(lines)
    assert followed.stderr_lines == (b"oops",)


async def test_acknowledgement_is_given_for_much_output_only(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    run.pod.print_end()
    await run.follower.follow()

    assert not run.pod.acknowledged.is_set()
    assert "exec" not in run.pod.requests


@pytest.mark.parametrize(("status", "tries"), [(403, 1), (500, 6)])
async def test_acknowledgement_that_fails_is_tried_a_bounded_number_of_times(
    opened: Open, status: int, tries: int
) -> None:
    run = await opened(acknowledge_above_bytes=10)
    run.pod.exec_status = status
    run.pod.start()
    run.pod.print(b"more than ten bytes")
    run.pod.print_end()
    followed = await run.follower.follow()

    assert run.pod.requests.count("exec") == tries
    assert followed.proof.complete is True


async def test_foreign_lines_are_no_output(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"{}")
    run.pod.print_foreign(b"somebody else")
    run.pod.print_foreign(f"{TOKEN} o 2 5 four".encode())
    run.pod.print(b"second")
    run.pod.print_end()
    followed = await run.follower.follow()

    assert run.payloads == [b"{}", b"second"]
    assert followed.proof.complete is True


async def test_line_damaged_on_its_way_is_had_from_the_copy_at_once(opened: Open) -> None:
    run = await opened(silence_seconds=30.0)
    run.pod.start()
    following = asyncio.create_task(run.follower.follow())
    run.pod.print(b"first")
    run.pod.print(b"second", damaged=True)
    run.pod.print(b"third")
    await asyncio.wait_for(run.delivered_until(3), 5)
    run.pod.print_end()
    followed = await following

    assert run.payloads == [b"first", b"second", b"third"]
    assert followed.proof.complete is True


async def test_log_cut_off_behind_a_whole_line_gives_that_line(opened: Open) -> None:
    run = await opened()
    run.pod.start()
    run.pod.print(b"first")
    run.pod.print(b"last")
    run.pod.lacks_last_newline = True
    run.pod.end()
    followed = await run.follower.follow()

    assert run.payloads == [b"first", b"last"]
    assert followed.proof.complete is None


async def test_plain_events_are_known_again_when_the_header_is_rotated_away(opened: Open) -> None:
    run = await opened(numbered=False)
    run.pod.start()
    following = asyncio.create_task(run.follower.follow())
    run.pod.print(b'{"type":"user","uuid":"1"}')
    await run.delivered_until(1)
    run.pod.rotate()
    for number in range(2, 6):
        run.pod.print(b'{"type":"user","uuid":"%d"}' % number)
        await run.delivered_until(number)
        following.cancel()
        await asyncio.wait({following})
        following = asyncio.create_task(run.follower.follow())
    run.pod.print_end()
    followed = await following

    assert run.payloads == [b'{"type":"user","uuid":"%d"}' % number for number in range(1, 6)]
    assert followed.proof.complete is None
