r"""The line grammar, version 1: what the run script prints and everybody else reads.

Every line is bytes, ends with LF and starts with the run's token, eight lowercase hex digits:

    TOKEN h 1 pod_uid=UID numbered=0|1 started=EPOCH_SECONDS
        Header, the first line. `numbered=0`: the image has neither perl nor an awk, so the
        agent's stdout passes plain between header and trailer.
    TOKEN o N LENGTH PAYLOAD
        The N-th line of the agent's stdout, from 1; LENGTH is the payload's size in bytes. A
        payload never contains LF; it may be empty, the space before it stays.
    TOKEN e N LENGTH PAYLOAD
        The N-th kept line of its stderr, from 1, printed after the agent's end.
    TOKEN b 1 exit=CODE after_result=0|1 timeout=SECONDS started=EPOCH_SECONDS
        The check has begun, which the run asked for: a command in the agent's container after the
        agent's end. Its lines and the trailer follow when it has ended, SECONDS at the latest.
        `exit` and `after_result` are the agent's, as in the trailer. Where lines are numbered, this
        one stands behind them in the pod's own copy too.
    TOKEN c N LENGTH PAYLOAD
        The N-th kept line of what the check printed on stdout and stderr, from 1.
    TOKEN t 1 lines=N bytes=B sha256=HEX|- exit=CODE timed_out=0|1 last_result=N copied=N
              stderr_lines=N stderr_skipped=N refused=-|REFUSAL
        Trailer, the last line, unfolded and single-spaced. `bytes` and `sha256` are the raw
        stdout's, before numbering; `sha256=-` where it could not be had or would prove nothing.
        When the payloads with one LF each make one byte more than `bytes`, the last line had no
        LF. `last_result` is the number of the last line that looks like a result event, 0 for
        none: a hint. `copied` lines from 1 on stand in the pod's own copy. `stderr_lines` were
        kept, `stderr_skipped` were not. `after_result=1` comes next where the
        script ended the agent, which had printed its result and stayed. Where the run asked for a
        check, these come last: check=CODE|- check_timed_out=0|1 check_seconds=N check_lines=N
        check_skipped=N. `check=-`: it did not run, because the agent failed or was refused, or the
        pod was asked to stop. CODE is 124 after its time limit. `check_seconds` is how long it ran.

The termination message is the trailer without `TOKEN `. Keys unknown to a reader are skipped; a
change of meaning raises the version. Whatever does not match, or whose length is wrong, was not
printed so by the script: another writer's line, or one that lost bytes on the way.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

GRAMMAR_VERSION = 1

ACKNOWLEDGED_ABOVE_BYTES = 8 * 1024 * 1024
"""From how much output on the run script waits for it to be read: a log file holds 10 MiB of it.

It has the number too, in shell; a test holds the two together.
"""

ACKNOWLEDGED_BYTES_PER_LINE = 64
"""Added per line when output is compared with what one log file holds.

The grammar's prefix takes up to 30 bytes and the container runtime's log format about 40.
"""

# Fifteen digits: far above any count, and exact in an awk that counts in doubles.
_PAYLOAD_LINE = re.compile(rb"([oec]) ([1-9][0-9]{0,14}) (0|[1-9][0-9]{0,14}) ")
_FIELD = re.compile(r"([a-z0-9_]+)=([^ ]*)")
_COUNT = re.compile(r"0|[1-9][0-9]{0,14}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Refusal(StrEnum):
    """Why the run script did not start the agent."""

    POD_REPLACED = "pod_replaced"
    REVOKED = "revoked"
    BUNDLE_MISMATCH = "bundle_mismatch"
    NO_PROMPT = "no_prompt"


class LineRange(NamedTuple):
    """Stdout line numbers `first` to `last`, counted from 1, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class CheckEnd:
    """The run script's own account of the check.

    Attributes:
        exit_code: As a shell reports it, 124 after its time limit; `None` where it did not run.
        seconds: How long it ran, in whole seconds of the node's clock.
        lines: Lines of its output that were kept.
        skipped: Lines between the kept head and the kept tail.
    """

    exit_code: int | None
    timed_out: bool
    seconds: int
    lines: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Trailer:
    """The run script's own account of what the agent printed and how it ended.

    Attributes:
        lines: Stdout lines; a last one without LF counts.
        stdout_bytes: Size of stdout before numbering.
        sha256: Over the same bytes, lowercase hex; `None` when it was not computed.
        exit_code: The agent's as a shell reports it (128 + n for signal n), 124 after the
            timeout, 76 to 78 when it was refused.
        last_result_line: Number of the last stdout line that looks like a result event.
        copied_lines: Lines from 1 on that stand in the pod's own copy.
        stderr_lines: Stderr lines that were kept.
        stderr_skipped: Stderr lines between the kept head and the kept tail.
        ended_after_result: The script ended the agent, which stayed after its result.
        check: How the check ended; `None` where none was asked for.
    """

    version: int
    lines: int
    stdout_bytes: int
    sha256: str | None
    exit_code: int
    timed_out: bool
    last_result_line: int | None
    copied_lines: int
    stderr_lines: int
    stderr_skipped: int
    refused: Refusal | None
    ended_after_result: bool = False
    check: CheckEnd | None = None


@dataclass(frozen=True, slots=True)
class HeaderLine:
    """The script's first words; `started_epoch_seconds` is by the node's clock."""

    version: int
    pod_uid: str
    numbered: bool
    started_epoch_seconds: int


@dataclass(frozen=True, slots=True)
class StdoutLine:
    """One line of the agent's stdout without its LF; `number` counts from 1."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class StderrLine:
    """One kept line of the agent's stderr without its LF; `number` counts from 1."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CheckBegunLine:
    """The check has begun; `started_epoch_seconds` is by the node's clock.

    Attributes:
        exit_code: The agent's, as in the trailer.
        ended_after_result: As in the trailer.
        timeout_seconds: The check's own limit.
    """

    version: int
    exit_code: int
    ended_after_result: bool
    timeout_seconds: int
    started_epoch_seconds: int


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One kept line of the check's output without its LF; `number` counts from 1."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class TrailerLine:
    """The script's last words."""

    trailer: Trailer


@dataclass(frozen=True, slots=True)
class ForeignLine:
    """A line that the script did not print like this.

    Attributes:
        damaged: It bears the run's token, so bytes were lost or mixed in on the way; otherwise
            somebody else wrote it, or its head is missing.
    """

    payload: bytes
    damaged: bool = False


ScriptLine = (
    HeaderLine | StdoutLine | StderrLine | CheckBegunLine | CheckLine | TrailerLine | ForeignLine
)
_WITH_PAYLOAD = {b"o": StdoutLine, b"e": StderrLine, b"c": CheckLine}


def parse_line(line: bytes, token: str) -> ScriptLine:
    """Tell what one line of the pod's log is; never raises.

    Args:
        line: Without its LF.
        token: The run's, as it stands in the `line-token` annotation.
    """
    prefix = token.encode() + b" "
    if not line.startswith(prefix):
        return ForeignLine(line)
    match = _PAYLOAD_LINE.match(line, len(prefix))
    if match is not None:
        if len(line) - match.end() != int(match[3]):
            return ForeignLine(line, damaged=True)
        return _WITH_PAYLOAD[match[1]](int(match[2]), line[match.end() :])
    text = line[len(prefix) :].decode("utf-8", errors="replace")
    trailer = parse_trailer_text(text)
    if trailer is not None:
        return TrailerLine(trailer)
    other = _parse_header_text(text) or _parse_check_text(text)
    return other or ForeignLine(line, damaged=True)


def parse_trailer_text(text: str) -> Trailer | None:
    """Return the trailer of a termination message, or `None` when it is none or was cut.

    Surrounding white space is tolerated: the script's own message ends without LF, but a person's
    or a tool's copy may not.
    """
    fields = _parse_fields(text.strip(), f"t {GRAMMAR_VERSION}")
    if fields is None:
        return None
    sha256, refused = fields.get("sha256"), fields.get("refused")
    counts = {key: _parse_count(fields.get(key)) for key in _TRAILER_COUNTS}
    known = {key: count for key, count in counts.items() if count is not None}
    if len(known) != len(counts) or known["timed_out"] > 1 or known["exit"] > 255:
        return None
    if refused not in {"-", *Refusal} or sha256 is None:
        return None
    if sha256 != "-" and not _SHA256.fullmatch(sha256):
        return None
    check = _parse_check_end(fields)
    if check is None and "check" in fields:
        return None
    return Trailer(
        version=GRAMMAR_VERSION,
        lines=known["lines"],
        stdout_bytes=known["bytes"],
        sha256=None if sha256 == "-" else sha256,
        exit_code=known["exit"],
        timed_out=known["timed_out"] == 1,
        last_result_line=known["last_result"] or None,
        copied_lines=known["copied"],
        stderr_lines=known["stderr_lines"],
        stderr_skipped=known["stderr_skipped"],
        refused=None if refused == "-" else Refusal(str(refused)),
        ended_after_result=fields.get("after_result") == "1",
        check=check,
    )


def awaits_acknowledgement(trailer: Trailer, above_bytes: int) -> bool:
    """Tell whether the script waits before it exits, for output that a log file may not hold.

    The script applies the same rule, with `above_bytes` from its environment.
    """
    weight = trailer.stdout_bytes + ACKNOWLEDGED_BYTES_PER_LINE * trailer.lines
    return weight > above_bytes


_TRAILER_COUNTS = (
    "lines",
    "bytes",
    "exit",
    "timed_out",
    "last_result",
    "copied",
    "stderr_lines",
    "stderr_skipped",
)


def _parse_header_text(text: str) -> HeaderLine | None:
    fields = _parse_fields(text, f"h {GRAMMAR_VERSION}")
    if fields is None:
        return None
    started = _parse_count(fields.get("started"))
    numbered = fields.get("numbered")
    if started is None or numbered not in {"0", "1"} or "pod_uid" not in fields:
        return None
    return HeaderLine(GRAMMAR_VERSION, fields["pod_uid"], numbered == "1", started)


def _parse_check_text(text: str) -> CheckBegunLine | None:
    fields = _parse_fields(text, f"b {GRAMMAR_VERSION}")
    if fields is None:
        return None
    counts = [_parse_count(fields.get(key)) for key in ("exit", "timeout", "started")]
    exit_code, timeout_seconds, started = counts
    if exit_code is None or exit_code > 255 or timeout_seconds is None or started is None:
        return None
    after_result = fields.get("after_result") == "1"
    return CheckBegunLine(GRAMMAR_VERSION, exit_code, after_result, timeout_seconds, started)


def _parse_check_end(fields: dict[str, str]) -> CheckEnd | None:
    """Return how the check ended; `None` where none was asked for, or a key of it is wrong."""
    code = fields.get("check")
    exit_code = _parse_count(code)
    counts = [_parse_count(fields.get(f"check_{key}")) for key in _CHECK_COUNTS]
    known = [count for count in counts if count is not None]
    if len(known) != len(counts) or known[0] > 1 or (exit_code or 0) > 255:
        return None
    if exit_code is None and code != "-":
        return None
    timed_out, seconds, lines, skipped = known
    return CheckEnd(exit_code, timed_out == 1, seconds, lines, skipped)


_CHECK_COUNTS = ("timed_out", "seconds", "lines", "skipped")


def _parse_fields(text: str, kind: str) -> dict[str, str] | None:
    """Return `key=value` pairs after `kind`; `None` for any other shape or a key given twice."""
    head, *words = text.split(" ")
    if not words or f"{head} {words[0]}" != kind:
        return None
    pairs = [_FIELD.fullmatch(word) for word in words[1:]]
    fields = {pair[1]: pair[2] for pair in pairs if pair is not None}
    return fields if len(fields) == len(pairs) else None


def _parse_count(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None
