"""One Prefect server for all processes of a test session: the first who asks starts it.

It runs under the session's own process, which outlives the workers of pytest-xdist and ends it.
"""

import shutil
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from tests.prefect_server import PrefectServer, run_bare_prefect_server

_ASKED, _ASKED_AHEAD, _END = "address", "start", "end"


@dataclass(frozen=True)
class ServerAddress:
    """Where the server is, or why there is none."""

    api_url: str
    home: str
    failure: str = ""


class SharedServer:
    """Starts the server when one of the workers asks for it, at most once."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="claude-jobs-shared-"))
        self.socket = str(self._folder / "ask")
        self._listener = Listener(self.socket, "AF_UNIX", backlog=64)
        # One thread for its whole life: the server is ended with the thread that started it.
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the server, if there is one."""
        with Client(self.socket, "AF_UNIX") as connection:
            connection.send(_END)
        self._thread.join(60)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answer(self) -> None:
        found: ServerAddress | None = None
        with ExitStack() as server, self._listener:
            while True:
                with self._listener.accept() as connection:
                    asked = _receive(connection)
                    if asked is None:
                        continue
                    if asked == _END:
                        return
                    if found is None:
                        found = self._start(server)
                    if asked == _ASKED:
                        _send(connection, found)

    def _start(self, stack: ExitStack) -> ServerAddress:
        home = self._folder / "prefect"
        home.mkdir()
        try:
            server = stack.enter_context(run_bare_prefect_server(home))
        except (AssertionError, OSError) as error:
            return ServerAddress("", "", str(error))
        return ServerAddress(server.api_url, str(home))


def _receive(connection: "Connection[ServerAddress, str]") -> str | None:
    try:
        return connection.recv()
    except (EOFError, OSError):  # a worker that was killed asks for nothing any more
        return None


def _send(connection: "Connection[ServerAddress, str]", address: ServerAddress) -> None:
    with suppress(OSError):  # a worker that was killed does not wait any more
        connection.send(address)


def start_ahead(socket: str) -> None:
    """Have the server started, and do not wait for it."""
    with Client(socket, "AF_UNIX") as connection:
        connection.send(_ASKED_AHEAD)


def shared_prefect_server(socket: str) -> PrefectServer:
    """Return the server once it answers."""
    with Client(socket, "AF_UNIX") as connection:
        connection.send(_ASKED)
        address: ServerAddress = connection.recv()
    assert not address.failure, address.failure
    return PrefectServer(address.api_url, Path(address.home))
