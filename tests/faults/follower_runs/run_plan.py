"""Everything that chance decides about a run of a follower, drawn from a seed beforehand."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.cluster.scripted_agent import INPUT_DIR, TOKEN

ROTATION_BYTES = 65_536
# What 8 MiB is to a log file of 10 MiB.
ACKNOWLEDGE_ABOVE_BYTES = ROTATION_BYTES * 8 // 10
STDERR = b"one warning"

_SIZES = [3_000, 40_000, 120_000, 400_000]
_LONGEST_LINES = [200, 20_000, 120_000]
_FORGED = b"%s o 1 3 abc" % TOKEN.encode()


@dataclass(frozen=True)
class RunPlan:
    """One run.

    Attributes:
        seed: Of all runs.
        index: Which of them; both together give the same plan again.
        output: What the agent prints.
        pieces: After how many bytes it pauses, and for how many seconds.
        exit_code: What it ends with.
        log_faults: What meets its log requests, one after the other; None leaves one alone.
        exec_faults: The same of its exec requests.
        restart: When after the start the API server is restarted and how long it is away, in
            seconds; None where this run does not restart it.
    """

    seed: int
    index: int
    output: bytes
    pieces: tuple[tuple[int, float], ...]
    exit_code: int
    log_faults: tuple[dict[str, Any] | None, ...]
    exec_faults: tuple[dict[str, Any] | None, ...]
    restart: tuple[float, float] | None

    @property
    def command(self) -> str:
        """What the agent's shell runs; it finds the output beside its prompt."""
        pieces = "; ".join(f"head -c {size}; sleep {pause:.2f}" for size, pause in self.pieces)
        report = f"echo {STDERR.decode()} >&2; exit {self.exit_code}"
        return f"{{ {pieces}; cat; }} <{INPUT_DIR}/output; {report}"

    @property
    def lines(self) -> list[bytes]:
        """The lines of the output; the last one may have had no newline."""
        *lines, rest = self.output.split(b"\n")
        return [*lines, rest] if rest else lines


def plan_run(seed: int, index: int) -> RunPlan:
    """Draw one run."""
    rng = random.Random(f"{seed}/{index}")
    output = _draw_output(rng)
    return RunPlan(
        seed=seed,
        index=index,
        output=output,
        pieces=tuple(_draw_pieces(rng, len(output))),
        exit_code=rng.choice([0, 0, 3]),
        log_faults=tuple(_draw_log_fault(rng) for _ in range(rng.randint(4, 14))),
        exec_faults=tuple(_draw_exec_fault(rng) for _ in range(rng.randint(0, 4))),
        restart=(rng.uniform(0.5, 5), rng.uniform(0.3, 3)) if rng.random() < 0.1 else None,
    )


def _draw_output(rng: random.Random) -> bytes:
    size = rng.choice(_SIZES)
    longest = rng.choice(_LONGEST_LINES)
    kinds: list[Callable[[], bytes]] = [
        lambda: '{"type":"assistant","text":"é – 漢字 🎉"}'.encode() * rng.randint(1, 20),
        # Not every awk keeps NUL.
        lambda: rng.randbytes(rng.randint(0, 300)).translate(None, b"\n\0"),
        lambda: b"",
        lambda: b"\r",
        lambda: _FORGED,
        lambda: b"plain " * rng.randint(1, 100),
    ]
    lines = [bytes(rng.choices(b"abc{}\xc3\xa9", k=longest))]
    while size > 0:
        lines.append(rng.choice(kinds)())
        size -= len(lines[-1]) + 1
    rng.shuffle(lines)
    output = b"\n".join(lines)
    # An empty last line without its newline is no line.
    return output if rng.random() < 0.3 and lines[-1] else output + b"\n"


def _draw_pieces(rng: random.Random, size: int) -> list[tuple[int, float]]:
    cuts = sorted(rng.randrange(1, size) for _ in range(rng.randint(1, 12)))
    sizes = [end - begin for begin, end in zip([0, *cuts], cuts, strict=False) if end > begin]
    return [(piece, rng.uniform(0, 0.8)) for piece in sizes]


def _draw_log_fault(rng: random.Random) -> dict[str, Any] | None:
    cut = {
        "afterBytes": int(rng.expovariate(1 / 15_000)),
        "afterSeconds": round(rng.uniform(0, 2), 2),
    }
    kinds: list[tuple[int, dict[str, Any] | None]] = [
        (10, {"stream": {**cut, "end": "cut"}}),
        (2, {"stream": {**cut, "end": "eof"}}),
        (2, {"stream": {**cut, "end": "hang"}}),
        (1, {"status": 500}),
        (1, {"status": 429, "retryAfterSeconds": 1}),
        (1, {"status": 400, "reason": "BadRequest", "message": "container is waiting to start"}),
        (1, {"drop": True}),
        (1, {"delaySeconds": 1}),
        (1, None),
    ]
    weights, effects = zip(*kinds, strict=True)
    return rng.choices(effects, weights)[0]


def _draw_exec_fault(rng: random.Random) -> dict[str, Any] | None:
    return rng.choice([{"status": 500}, {"status": 429}, {"drop": True}, None])
