"""How fast stream-json is parsed, summed up and rendered, beside json.loads alone.

    python -m bench.parse_speed

Needs no cluster: the recorded sessions of the tests, again and again.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.figures import Table, median, percentile, ratio, render_number
from bench.surroundings import show
from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import render_event
from tasks.claude_code.session_summary import SessionState

ROUNDS = 10
_RECORDINGS = Path(__file__).parents[1] / "tests" / "data" / "transcripts"
_LARGE, _SMALL = "large lines (85 KB)", "small lines (1 KB)"
_SMALL_BYTES = 4_000_000


def _load(lines: Sequence[bytes]) -> None:
    for line in lines:
        json.loads(line)


def _parse(lines: Sequence[bytes]) -> None:
    for line in lines:
        parse_event_leniently(line)


def _sum_up(lines: Sequence[bytes]) -> None:
    session = SessionState()
    for line in lines:
        session.apply(parse_event_leniently(line))


def _render(lines: Sequence[bytes]) -> None:
    session = SessionState()
    for line in lines:
        event = parse_event_leniently(line)
        session.apply(event)
        render_event(event)


_WAYS: dict[str, Callable[[Sequence[bytes]], None]] = {
    "json.loads": _load,
    "parsed": _parse,
    "and summed up": _sum_up,
    "and rendered": _render,
}


def _read() -> dict[str, list[bytes]]:
    large = gzip.decompress((_RECORDINGS / "big.jsonl.gz").read_bytes()).splitlines()
    few = (_RECORDINGS / "tools.jsonl").read_bytes().splitlines()
    times = _SMALL_BYTES // sum(map(len, few))
    return {_LARGE: large, _SMALL: few * times}


def measure(rounds: int = ROUNDS) -> Table:
    """Take all ways in turn, so many times."""
    rows: list[tuple[str, ...]] = []
    for kind, lines in _read().items():
        megabytes = sum(map(len, lines)) / 1e6
        speeds: dict[str, list[float]] = {name: [] for name in _WAYS}
        for _ in range(rounds):
            for name, way in _WAYS.items():
                began_at = time.perf_counter()
                way(lines)
                speeds[name].append(megabytes / (time.perf_counter() - began_at))
        base = median(speeds["json.loads"])
        rows += [_row(f"{kind}, {name}", found, base) for name, found in speeds.items()]
    return Table(
        "(g) stream-json, MB/s",
        ("", "n", "median", "slowest", "fastest", "ratio"),
        tuple(rows),
    )


def _row(name: str, speeds: Sequence[float], base: float) -> tuple[str, ...]:
    spread = (median(speeds), percentile(speeds, 0), percentile(speeds, 100))
    shown = map(render_number, spread)
    return (name, str(len(speeds)), *shown, ratio(median(speeds), base))


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    return show(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    sys.exit(main())
