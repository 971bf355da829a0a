"""The run script under every shell and awk it must work with, each seen alone on PATH."""

import os
import re
import resource
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tasks.transcript.line_grammar import (
    CheckBegunLine,
    CheckLine,
    ForeignLine,
    HeaderLine,
    StderrLine,
    StdoutLine,
    Trailer,
    TrailerLine,
    parse_line,
    parse_trailer_text,
)

SCRIPT = Path(__file__).parents[2] / "tasks" / "transcript" / "run_script.sh"
TOKEN = "0123abcd"
POD_UID = "11111111-2222-3333-4444-555555555555"
MARK = "RUN_SCRIPT_TEST"

# What the script and the commands of the tests use besides perl and an awk.
TOOLS = [
    "cat",
    "date",
    "env",
    "gzip",
    "head",
    "ls",
    "mkdir",
    "mkfifo",
    "mv",
    "rm",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "tail",
    "tar",
    "tee",
    "true",
    "wc",
]


@dataclass(frozen=True)
class ToolSet:
    """A shell, an awk (or none), perl or not, and who provides the other tools."""

    shell: str
    awk: str | None
    busybox_tools: bool = False
    perl: bool = False

    @property
    def name(self) -> str:
        return f"{self.shell}+{self.awk or 'no-awk'}{'+perl' if self.perl else ''}"

    @property
    def programs(self) -> list[str]:
        return [
            self.shell,
            *([self.awk] if self.awk is not None else []),
            *(["busybox"] if self.busybox_tools else []),
            *(["perl"] if self.perl else []),
        ]

    @property
    def numbers_lines(self) -> bool:
        return self.perl or self.awk is not None

    @property
    def keeps_nul(self) -> bool:
        """The other awks and the shells drop NUL, or what follows it."""
        return self.perl or self.awk in {None, "gawk"}

    def link_into(self, directory: Path) -> None:
        """Make `directory` a PATH on which nothing but this tool set is seen."""
        links = {tool: "busybox" if self.busybox_tools else tool for tool in TOOLS}
        links["sh"] = self.shell
        if self.awk is not None:
            links["awk"] = self.awk
        if self.perl:
            links["perl"] = "perl"
        for name, program in links.items():
            (directory / name).symlink_to(_found(program))


TOOL_SETS = [
    ToolSet("dash", "mawk"),
    ToolSet("dash", "mawk", perl=True),
    ToolSet("dash", "gawk"),
    ToolSet("dash", "original-awk"),
    ToolSet("dash", None),
    ToolSet("dash", None, perl=True),
    ToolSet("bash", "mawk"),
    ToolSet("bash", "gawk"),
    ToolSet("bash", None),
    ToolSet("busybox", "busybox", busybox_tools=True),
    ToolSet("busybox", None, busybox_tools=True),
]


@dataclass
class Printed:
    """What the script printed, taken apart by the grammar."""

    exit_code: int
    raw: bytes
    header: HeaderLine | None = None
    stdout: list[StdoutLine] = field(default_factory=list[StdoutLine])
    stderr: list[StderrLine] = field(default_factory=list[StderrLine])
    check_begun: list[CheckBegunLine] = field(default_factory=list[CheckBegunLine])
    check: list[CheckLine] = field(default_factory=list[CheckLine])
    foreign: list[bytes] = field(default_factory=list[bytes])
    trailers: list[Trailer] = field(default_factory=list[Trailer])
    script_stderr: bytes = b""

    @property
    def trailer(self) -> Trailer:
        assert len(self.trailers) == 1
        return self.trailers[0]

    @property
    def payloads(self) -> list[bytes]:
        """The agent's stdout lines; without an awk they came plain."""
        return [line.payload for line in self.stdout] or self.foreign


def take_apart(raw: bytes, exit_code: int, script_stderr: bytes = b"") -> Printed:
    assert raw.endswith(b"\n")
    printed = Printed(exit_code, raw, script_stderr=script_stderr)
    for line in raw[:-1].split(b"\n"):
        match parse_line(line, TOKEN):
            case HeaderLine() as header:
                printed.header = header
            case StdoutLine() as stdout:
                printed.stdout.append(stdout)
            case StderrLine() as stderr:
                printed.stderr.append(stderr)
            case CheckBegunLine() as begun:
                printed.check_begun.append(begun)
            case CheckLine() as line_of_check:
                printed.check.append(line_of_check)
            case TrailerLine(trailer):
                printed.trailers.append(trailer)
            case ForeignLine(payload, damaged):
                assert not damaged, payload
                printed.foreign.append(payload)
    return printed


def _found(program: str) -> str:
    found = shutil.which(program)
    assert found is not None, f"{program} is not installed"
    return found


class ScriptRun:
    """One pod's worth of directories, and the script started in them."""

    def __init__(self, tools: ToolSet, directory: Path) -> None:
        self.tools = tools
        self.input = directory / "input"
        self.work = directory / "work"
        self.path = directory / "bin"
        self.termination_log = directory / "termination-log"
        for path in (self.input, self.work, self.path):
            path.mkdir()
        tools.link_into(self.path)
        (self.input / "prompt").write_bytes(b"Say hello.\n")
        (self.input / "pod-uid").write_text(POD_UID)
        self.mark = uuid.uuid4().hex
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        *command: str,
        env: Mapping[str, str] | None = None,
        largest_file_bytes: int = resource.RLIM_INFINITY,
        before: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        def limit_files() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))

        settings = {
            "CLAUDE_JOBS_INPUT_DIR": str(self.input),
            "CLAUDE_JOBS_WORK_DIR": str(self.work),
            "CLAUDE_JOBS_TERMINATION_LOG": str(self.termination_log),
            "CLAUDE_JOBS_LINE_TOKEN": TOKEN,
            "CLAUDE_JOBS_POD_UID": POD_UID,
        }
        shell = [str(self.path / "sh")] if self.tools.shell != "busybox" else ["busybox", "sh"]
        if before:
            shell = [*before, *shell] if shell[1:] == [] else [*before, _found("busybox"), "sh"]
        process = subprocess.Popen(
            [*shell, str(SCRIPT), *command],
            executable=_found(before[0] if before else self.tools.shell),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=limit_files,
            env={"PATH": str(self.path), MARK: self.mark, **settings, **(env or {})},
        )
        self.processes.append(process)
        return process

    def run(
        self,
        *command: str,
        env: Mapping[str, str] | None = None,
        largest_file_bytes: int = resource.RLIM_INFINITY,
    ) -> Printed:
        return self.finish(self.start(*command, env=env, largest_file_bytes=largest_file_bytes))

    def finish(
        self, process: subprocess.Popen[bytes], head: bytes = b"", timeout: float = 25
    ) -> Printed:
        raw, script_stderr = process.communicate(timeout=timeout)
        return take_apart(head + raw, process.returncode, script_stderr)

    def termination_message(self) -> Trailer | None:
        text = self.termination_log.read_text()
        assert len(text.encode()) <= 4096
        return parse_trailer_text(text)

    def list_leftovers(self) -> list[str]:
        """Command lines of what this run started and what still lives."""
        return list(self._living().values())

    def kill_all_but(self, spared: int | None) -> None:
        """Kill what this run started, as an agent can that may signal all of its user's processes.

        All at once: they are stopped first, and what is forked meanwhile is killed too. The one
        that is spared waits, or what it starts to clear away would be among them.
        """
        if spared is not None:
            self._signal(spared, signal.SIGSTOP)
        while others := self._living().keys() - {spared}:
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for process in others:
                    self._signal(process, number)
        if spared is not None:
            self._signal(spared, signal.SIGCONT)

    @staticmethod
    def count_wake_ups(process: int) -> int:
        """How often the process gave up the processor by itself, as before each sleep."""
        status = Path(f"/proc/{process}/status").read_text()
        (count,) = re.findall(r"^voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)
        return int(count)

    def kill_agent(self) -> None:
        """Kill the agent alone."""
        self._signal(int((self.work / "run" / "agent_pid").read_text()), signal.SIGKILL)

    @staticmethod
    def _signal(process: int, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(process, number)

    def _living(self) -> dict[int, str]:
        wanted = f"{MARK}={self.mark}".encode()
        living: dict[int, str] = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    living[int(process.name)] = (process / "cmdline").read_bytes().decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return living

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()
