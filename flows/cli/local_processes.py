"""Processes of the local cluster and the demo, and the signals that end them.

Each process ends with the one that started it.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Annotated

import typer

CHECKOUT = Path(__file__).parents[2]

# A server closes its database when it is told to stop; if it hangs, it is killed.
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StartFailed(Exception):
    """A process of the demo did not start; the message has its name and output."""


class OwnProcess:
    """A process in its own session, which is ended together with its child processes.

    Args:
        name: Name for people.
        command: Program and arguments.
        environment: All environment variables.
        log_path: File for its output; if `None`, standard output is a pipe.
        cwd: Working folder.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        cwd: Path,
        log_path: Path | None = None,
    ) -> None:
        self.name = name
        self._log_path = log_path
        log = log_path.open("wb") if log_path else None
        try:
            # In its own session Ctrl-C does not reach it, so we decide when and how it ends.
            self._process = subprocess.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log or subprocess.PIPE,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        finally:
            if log:
                log.close()

    @property
    def output(self) -> IO[bytes]:
        """Its standard output, live."""
        assert self._process.stdout is not None, "its output goes to a file"
        return self._process.stdout

    def wait(self) -> int:
        """Wait until it ends, and return the exit code."""
        return self._process.wait()

    def check_alive(self) -> None:
        """Raise `StartFailed` with the end of its output if it has ended."""
        if self._process.poll() is None:
            return
        printed = self._log_path.read_text(errors="replace").strip() if self._log_path else ""
        raise StartFailed(
            f"{self.name} ended with exit code {self._process.returncode}:\n{printed[-2000:]}"
        )

    def ask_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to it and its child processes; does nothing if all have ended."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def end(self, seconds: float = _END_SECONDS) -> None:
        """Wait until it ends, and after `seconds` kill it and all child processes."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass  # it is killed below
        finally:
            self.ask_to_end(signal.SIGKILL)
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()


def _end_with_parent() -> None:
    # In case this process is killed before it can end its children. Linux only.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_all(processes: Sequence[OwnProcess]) -> None:
    """End several processes at the same time."""
    for process in processes:
        process.ask_to_end()
    for process in processes:
        process.end()


def program(name: str) -> Path:
    """Return the path of a command that is installed with this interpreter."""
    return Path(sys.executable).with_name(name)


def local_cluster_command(arguments: Sequence[str | Path]) -> list[str | Path]:
    """Return the command that runs an embedded cluster.

    Raises:
        StartFailed: This is not a checkout; only a checkout contains the embedded cluster.
    """
    if not (CHECKOUT / "deployments" / "local").is_dir():
        raise StartFailed("The embedded cluster is only available in a checkout of the project.")
    return [sys.executable, "-m", "deployments.local", *arguments]


def with_checkout(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python finds the checkout from any folder."""
    paths = [str(CHECKOUT), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_file(path: Path, process: OwnProcess, seconds: float) -> None:
    """Wait until `process` has written `path`.

    Raises:
        StartFailed: It ended, or did not do so in time.
    """
    deadline = time.monotonic() + seconds
    while not path.exists():
        _wait_on(process, deadline)


def wait_for_url(url: str, process: OwnProcess, seconds: float) -> None:
    """Wait until `process` answers at `url`, an address on this machine.

    Raises:
        StartFailed: It ended, or did not do so in time.
    """
    deadline = time.monotonic() + seconds
    # Without a proxy, which would otherwise be used even for this machine's addresses.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=2):
                return
        except OSError:
            _wait_on(process, deadline)


def _wait_on(process: OwnProcess, deadline: float) -> None:
    process.check_alive()
    if time.monotonic() > deadline:
        raise StartFailed(f"{process.name} did not start in time.")
    time.sleep(_POLL_SECONDS)


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP came; no `Exception`, so that nobody takes it for a failure.

    Attributes:
        exit_code: 128 and the signal's number, as shells report it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Generator[None]:
    """Turn the first signal that asks to end into `Interrupted`; the clean-up is not disturbed."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def local_cluster(
    context: typer.Context,
    kubeconfig: Annotated[
        Path, typer.Option(help="Written when the cluster is ready, deleted when it ends.")
    ] = Path("local-cluster.kubeconfig"),
) -> None:
    """Run a Kubernetes API server with one node on this machine, until Ctrl-C or SIGTERM.

    For trying out and for tests: containers are ordinary processes, there is no sandbox. More
    options, such as --port and --bin, are passed on; `python -m deployments.local --help` lists
    them.
    """
    try:
        command = local_cluster_command(["--kubeconfig", kubeconfig, *context.args])
    except StartFailed as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    # In the place of this process, so that signals reach it as they are.
    os.execve(sys.executable, [str(word) for word in command], with_checkout(os.environ))
