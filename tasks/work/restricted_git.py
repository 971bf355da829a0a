"""Git on objects that nobody has checked yet: no configuration, no hook, no network, and bounds.

A pack may ask for any amount of memory: a delta of a few kilobytes may make gigabytes. So every
command has a limit of its address space and of its processor time, which hold even when our
process is killed.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

# Where the kernel knows no limit of memory for a process (macOS), there is none.
_BOUNDED = """
(ulimit -v "$1") 2>/dev/null && ulimit -v "$1"
(ulimit -t "$2") 2>/dev/null && ulimit -t "$2"
shift 2; exec "$@"
"""
# Of a file larger than the first, Git holds a piece at a time; the others bound its caches.
_SETTINGS = {
    "core.bigFileThreshold": "8m",
    "core.packedGitWindowSize": "8m",
    "core.packedGitLimit": "32m",
    "core.deltaBaseCacheLimit": "16m",
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
    "pack.threads": "1",
}
_PIPE_BYTES = 256 * 1024
_KEPT_STDERR_BYTES = 8_192
_END_SECONDS = 2.0


class GitMissing(Exception):
    """There is no program `git` here; `str()` is a sentence."""


class GitFailed(Exception):
    """A command of Git failed.

    Attributes:
        exit_code: As a shell reports it; negative for a signal.
        said: The end of what it wrote to stderr, as it is.
    """

    def __init__(self, exit_code: int, said: str) -> None:
        super().__init__(f"git ended with exit code {exit_code}: {said}")
        self.exit_code = exit_code
        self.said = said


def find_git() -> str:
    """Return where Git is.

    Raises:
        GitMissing: Nowhere.
    """
    program = shutil.which("git")
    if program is None:
        raise GitMissing("The program git is not installed where the flow runs.")
    # It is started in another folder.
    return str(Path(program).absolute())


@dataclass(frozen=True, slots=True)
class RestrictedGit:
    """Runs Git in one bare repository.

    Attributes:
        program: Git itself.
        repository: A folder that the commands find as their repository and as their home.
        memory_bytes: Most address space of a command.
        processor_seconds: Most processor time of a command.
        environment: Variables that count before those that forbid it everything.
    """

    program: str
    repository: Path
    memory_bytes: int
    processor_seconds: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    async def run(self, *args: str) -> None:
        """Run a command to its end, whatever it prints.

        Raises:
            GitFailed: It failed.
        """
        async with self.printing(*args) as stdout:
            await _drop_rest(stdout)

    @asynccontextmanager
    async def printing(
        self, *args: str, stdin: Path | None = None
    ) -> AsyncGenerator[asyncio.StreamReader]:
        """Run a command for a block that reads what it prints; it has ended after the block.

        A block that finds the end of the output too early raises `EOFError`.

        Raises:
            GitFailed: The command failed, or printed too little.
        """
        process = await self._start(args, stdin or Path(os.devnull))
        assert process.stdout is not None
        stderr = bytearray()
        errors = asyncio.create_task(_keep_tail(process, stderr))
        ended_early = False
        try:
            try:
                yield process.stdout
            except EOFError:
                ended_early = True
            await errors
            code = await process.wait()
        finally:
            await _end(process, errors)
        if code != 0 or ended_early:
            raise GitFailed(code, stderr.decode(errors="replace"))

    async def _start(self, args: tuple[str, ...], stdin: Path) -> asyncio.subprocess.Process:
        settings = [part for item in _SETTINGS.items() for part in ("-c", "=".join(item))]
        limits = (str(self.memory_bytes // 1024), str(self.processor_seconds))
        with stdin.open("rb") as source:
            return await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                _BOUNDED,
                "sh",
                *limits,
                self.program,
                *settings,
                *args,
                cwd=self.repository,
                env=self._environment(),
                stdin=source,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_PIPE_BYTES,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.repository),
            "LC_ALL": "C",
            "GIT_DIR": str(self.repository),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": "",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            **self.environment,
        }


async def _drop_rest(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(_PIPE_BYTES):
        pass


async def _keep_tail(process: asyncio.subprocess.Process, kept: bytearray) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(_PIPE_BYTES):
        kept += chunk
        del kept[:-_KEPT_STDERR_BYTES]


async def _end(process: asyncio.subprocess.Process, errors: asyncio.Task[None]) -> None:
    """End the whole group, and close its pipes, which nobody may read to their end any more."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    errors.cancel()
    await asyncio.wait([errors])
    with suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await asyncio.gather(_drop_rest(process.stdout), _drop_rest(process.stderr))
            await process.wait()
