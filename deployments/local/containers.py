"""Processes that stand for containers, each under a launcher of its own."""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.local.log_files import LogFile

_LAUNCHER = Path(__file__).with_name("launcher.py")
_READ_BYTES = 64 * 1024
_PROBE_SECONDS = 5.0
_CLOSE_SECONDS = 3.0


@dataclass(frozen=True)
class Mount:
    """One directory or file of the pod, seen by a container.

    Attributes:
        source: Where it is.
        target: Where the container sees it.
        read_only: Whether the container may not write.
    """

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class ProcessSpec:
    """What to run.

    Attributes:
        argv: Program and arguments.
        env: The whole environment.
        cwd: Working directory; made if missing.
        root: An empty directory on which the container's root is put together.
        mounts: What differs from the host.
        uid: The user inside; None for the image's.
        gid: The group inside.
        memory_limit_bytes: Resident memory of all its processes; None for no limit.
        join_pid: Run inside of the container whose main process this is.
        tty: Whether standard input is a terminal to be taken.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    root: Path
    mounts: tuple[Mount, ...] = ()
    uid: int | None = None
    gid: int | None = None
    memory_limit_bytes: int | None = None
    join_pid: int | None = None
    tty: bool = False


@dataclass(frozen=True)
class Exit:
    """How a process ended.

    Attributes:
        code: Exit code; 128 + n for signal n.
        oom: Whether a process was killed over the memory limit.
        start_error: Why it never ran; empty when it did.
    """

    code: int
    oom: bool = False
    start_error: str = ""


@dataclass
class RunningProcess:
    """A process under its launcher.

    Attributes:
        pid: The main process, in the host's numbering.
        process: The launcher; its streams are the container's.
        ended: Done when the main process has ended.
    """

    pid: int
    process: asyncio.subprocess.Process
    ended: asyncio.Future[Exit]
    _control: int = field(repr=False, default=-1)

    def terminate(self) -> None:
        """Send SIGTERM to the main process."""
        self._command(b"T")

    def kill(self) -> None:
        """Kill everything in the container."""
        self._command(b"K")

    def _command(self, command: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._control, command)


class StartError(Exception):
    """The process could not be started; the text is the operating system's reason."""


class ContainerRuntime:
    """Starts processes; knows whether this machine lets it make namespaces."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.isolated = False
        self._running: dict[asyncio.Task[None], RunningProcess] = {}

    async def choose_isolation(self, wanted: str) -> None:
        """Decide between mount namespaces and path rewriting.

        Args:
            wanted: `namespaces`, `none`, or `auto` for namespaces where they work.

        Raises:
            StartError: Namespaces were wanted and do not work here.
        """
        if wanted == "none":
            return
        self.isolated = True
        root = self._folder / "probe"
        root.mkdir(exist_ok=True)
        spec = ProcessSpec(
            [sys.executable, "-I", "-S", "-c", ""], {}, "/", root, uid=1000, gid=1000
        )
        try:
            running = await self.start(spec, stdin=asyncio.subprocess.DEVNULL)
            outcome = await asyncio.wait_for(running.ended, _PROBE_SECONDS)
            if outcome.code == 0:
                return
            problem = f"the probe ended with {outcome.code}"
        except StartError as error:
            problem = str(error)
        if wanted == "namespaces":
            raise StartError(problem)
        self.isolated = False

    async def start(self, spec: ProcessSpec, *, stdin: int) -> RunningProcess:
        """Start a process; its output must be read by the caller.

        Args:
            spec: What to run.
            stdin: As for `asyncio.create_subprocess_exec`, or a terminal's descriptor, which then
                is output too.

        Raises:
            StartError: The program cannot be run.
        """
        spec_file = self._folder / f"{secrets.token_hex(8)}.json"
        spec_file.write_text(json.dumps(self._describe(spec)))
        spec_file.chmod(0o600)
        control_reader, control_writer = os.pipe()
        status_reader, status_writer = os.pipe()
        output = stdin if spec.tty else asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_LAUNCHER), str(spec_file)),
            *(str(control_reader), str(status_writer)),
            stdin=stdin,
            stdout=output,
            stderr=output,
            env={},
            pass_fds=(control_reader, status_writer),
            start_new_session=True,
            limit=_READ_BYTES,
        )
        os.close(control_reader)
        os.close(status_writer)
        status = await _open_reader(status_reader)
        first = await _read_message(status)
        spec_file.unlink(missing_ok=True)
        ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        if "pid" not in first:
            os.close(control_writer)
            await process.wait()
            raise StartError(first.get("start_error", "the launcher ended without a word"))
        running = RunningProcess(first["pid"], process, ended, control_writer)
        task = asyncio.create_task(_await_end(running, status, control_writer))
        # The event loop holds tasks weakly; this one must live as long as the process does.
        self._running[task] = running
        task.add_done_callback(self._running.pop)
        return running

    async def close(self) -> None:
        """Kill every process, commands in containers too, and return when they have ended."""
        for running in self._running.values():
            running.kill()
        if self._running:
            await asyncio.wait(list(self._running), timeout=_CLOSE_SECONDS)

    def _describe(self, spec: ProcessSpec) -> dict[str, Any]:
        return {
            "argv": spec.argv,
            "env": spec.env,
            "cwd": spec.cwd,
            "root": str(spec.root),
            "mounts": [
                {"source": str(m.source), "target": m.target, "read_only": m.read_only}
                for m in spec.mounts
            ],
            "uid": spec.uid,
            "gid": spec.gid,
            "memory_limit_bytes": spec.memory_limit_bytes,
            "join_pid": spec.join_pid if self.isolated else None,
            "isolated": self.isolated,
            "tty": spec.tty,
        }


async def _open_reader(descriptor: int) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader


async def _read_message(status: asyncio.StreamReader) -> dict[str, Any]:
    line = await status.readline()
    return json.loads(line) if line else {}


async def _await_end(running: RunningProcess, status: asyncio.StreamReader, control: int) -> None:
    message = await _read_message(status)
    # A launcher that was killed itself says nothing; its container has gone with it.
    outcome = Exit(message.get("exit_code", 137), message.get("oom", False))
    await running.process.wait()
    os.close(control)
    if not running.ended.done():
        running.ended.set_result(outcome)


async def copy_output(
    running: RunningProcess, log: LogFile, monotonic: Callable[[], float] = time.monotonic
) -> None:
    """Write a process's output to its log until both streams have ended."""
    streams = (("stdout", running.process.stdout), ("stderr", running.process.stderr))
    async with asyncio.TaskGroup() as group:
        for name, stream in streams:
            if stream is not None:
                group.create_task(_copy_stream(stream, log, name, monotonic))


async def _copy_stream(
    stream: asyncio.StreamReader, log: LogFile, name: str, monotonic: Callable[[], float]
) -> None:
    while chunk := await stream.read(_READ_BYTES):
        if log.is_closed:
            continue
        log.rotate_when_due(monotonic())
        log.write(name, chunk, time.time_ns())
    if not log.is_closed:
        log.end_stream(name, time.time_ns())
