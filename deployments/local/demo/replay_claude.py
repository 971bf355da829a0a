#!/usr/bin/env python3
"""Stands in for the `claude` command: prints a recorded session again, and ends as it ended.

Only the standard library, and one file: the demo and the test images have a copy as `claude`.

    REPLAY_TRANSCRIPT          name of the recording (`ok`)
    REPLAY_LINE_DELAY_SECONDS  pause before each line (0)
    REPLAY_GO_FILE             file for which it waits after the first line; none if empty
    REPLAY_TERM_SECONDS        how long it takes to end after SIGTERM (0)
    REPLAY_FROM_ENV            names, comma-separated: ${NAME} in the recording is replaced by the
                               variable's value, as if the agent had printed its environment
    REPLAY_DIR                 folder of the recordings (/usr/share/replay): NAME.jsonl or
                               NAME.jsonl.gz is printed, NAME.stderr too if there is one, and
                               NAME.meta.json has the exit code

Standard input is read to its end first, as the CLI does with a prompt. With `--resume ID` or
`--session-id ID` the recorded session id is replaced by ID. SIGTERM ends it with exit code 143, and
a recording that was killed by SIGKILL is killed again at its end.
"""

import contextlib
import gzip
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

TERMINATED_EXIT_CODE = 143


def read_lines(folder: Path, name: str) -> list[bytes]:
    """Read a recording, packed or not; the lines keep their ends, and the last may lack it."""
    packed = folder / f"{name}.jsonl.gz"
    plain = folder / f"{name}.jsonl"
    with gzip.open(packed) if packed.exists() else plain.open("rb") as recording:
        return list(recording)


def asked_session_id(arguments: list[str]) -> str | None:
    """Tell which session id the command line asks for, if it does."""
    for option in ("--resume", "-r", "--session-id"):
        if option in arguments[:-1]:
            return arguments[arguments.index(option) + 1]
    return None


def recorded_session_id(lines: list[bytes]) -> str | None:
    """Tell the session id of the first event that has one."""
    for line in lines:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "session_id" in event:
                return str(event["session_id"])  # pyright: ignore[reportUnknownArgumentType] # JSON
    return None


def fill_in(text: bytes) -> bytes:
    """Replace ${NAME} by the environment's value, for the names that are to be shown."""
    for name in filter(None, os.environ.get("REPLAY_FROM_ENV", "").split(",")):
        text = text.replace(f"${{{name}}}".encode(), os.environb[name.encode()])
    return text


def wait_for_go() -> None:
    """Wait for the file that lets the replay go on, if there is to be one."""
    name = os.environ.get("REPLAY_GO_FILE")
    while name and not Path(name).exists():
        time.sleep(0.05)


def replay(folder: Path, name: str, delay_seconds: float, session_id: str | None) -> int:
    """Print the recording `name` and return the exit code it had."""
    lines = read_lines(folder, name)
    recorded = recorded_session_id(lines)
    for line in lines:
        time.sleep(delay_seconds)
        if session_id and recorded:
            line = line.replace(recorded.encode(), session_id.encode())
        sys.stdout.buffer.write(fill_in(line))
        sys.stdout.buffer.flush()
        wait_for_go()
    errors = folder / f"{name}.stderr"
    if errors.exists():
        sys.stderr.buffer.write(fill_in(errors.read_bytes()))
        sys.stderr.buffer.flush()
    meta = json.loads((folder / f"{name}.meta.json").read_bytes())
    if meta.get("signal") == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    return int(meta["exit_code"])


def _terminate(_number: int, _frame: object) -> NoReturn:
    # As with the CLI unfinished output is lost, and nothing more is printed.
    time.sleep(float(os.environ.get("REPLAY_TERM_SECONDS", "0")))
    os._exit(TERMINATED_EXIT_CODE)


def main() -> int:
    """Replay what the environment names; returns the exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    folder = Path(os.environ.get("REPLAY_DIR", "/usr/share/replay"))
    name = os.environ.get("REPLAY_TRANSCRIPT", "ok")
    delay_seconds = float(os.environ.get("REPLAY_LINE_DELAY_SECONDS", "0"))
    sys.stdin.buffer.read()
    return replay(folder, name, delay_seconds, asked_session_id(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
