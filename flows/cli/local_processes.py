"""Processes of the local cluster and the demo, each of which ends with the one that started it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).parents[2]

# A server that was told to stop closes its database; one that hangs is killed.
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StartFailed(Exception):
    """A process that the demo needs did not come up; the text says which and what it printed."""


class OwnProcess:
    """A process in a session of its own, which is ended with all that it started there.

    Args:
        name: What people call it.
        command: Program and arguments.
        environment: Its whole environment.
        log_path: Where its output goes; standard output is a pipe where None.
        cwd: Where it works.
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
            # In a session of its own Ctrl-C does not reach it: it ends when and how we say.
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
        """Its standard output, as it comes."""
        assert self._process.stdout is not None, "its output goes to a file"
        return self._process.stdout

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
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
        """Send it and its children a signal; nothing happens when all are gone."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def end(self, seconds: float = _END_SECONDS) -> None:
        """Wait for its end and kill what is left after `seconds`; no child stays behind."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.ask_to_end(signal.SIGKILL)
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()


def _end_with_parent() -> None:
    # Where this process is killed before it can end its children. Linux alone has it.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_all(processes: Sequence[OwnProcess]) -> None:
    """End several at the same time."""
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
        StartFailed: This is no checkout, and only a checkout has the embedded cluster.
    """
    if not (CHECKOUT / "deployments" / "local").is_dir():
        raise StartFailed("The embedded cluster comes with a checkout of the project only.")
    return [sys.executable, "-m", "deployments.local", *arguments]


def with_checkout(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with which an interpreter finds the checkout from any folder."""
    paths = [str(CHECKOUT), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


def free_port() -> int:
    """Return a port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_file(path: Path, process: OwnProcess, seconds: float) -> None:
    """Wait until `process` has written `path`.

    Raises:
        StartFailed: It ended, or the time is up.
    """
    deadline = time.monotonic() + seconds
    while not path.exists():
        _wait_on(process, deadline)


def wait_for_url(url: str, process: OwnProcess, seconds: float) -> None:
    """Wait until `process` answers at `url`, an address of this machine.

    Raises:
        StartFailed: It ended, or the time is up.
    """
    deadline = time.monotonic() + seconds
    # A proxy of the environment would be asked for this machine's own addresses too.
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
        raise StartFailed(f"{process.name} did not come up in time.")
    time.sleep(_POLL_SECONDS)
