"""What Prefect says of its own troubles does not get between the lines of a command."""

import asyncio
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults.prefect_gate import PrefectGate
from tests.main_job.conftest import COMMAND, plain
from tests.main_job.test_unusable_prefect import answering
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(150), pytest.mark.waits(40)]

# Prefect's formats on a console, its own handlers' complaints, and traces of any of it.
NOISE = re.compile(
    r"\d\d:\d\d:\d\d\.\d{3} \||--- (Error logging|Logging error)|Traceback|Service \S*Worker|"
    r"Unable to connect|EventsWorker|prefect\.(events|_internal|client)"
)


class WithoutEvents(PrefectGate):
    """A server that takes everything but events, as behind a proxy that lets no websocket in."""

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        with suppress(asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" in head.lower():
                client.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            server.write(head)
        await super()._forward(reader, server, client)


@pytest.fixture(params=[PrefectGate, WithoutEvents])
def gate(request: pytest.FixtureRequest, prefect_server: PrefectServer) -> Iterator[PrefectGate]:
    gate = request.param(prefect_server.api_url)
    yield gate
    gate.end()


@pytest.mark.slice
def test_run_says_nothing_of_prefects_own_troubles(
    gate: PrefectGate,
    start_cli: Callable[..., "subprocess.Popen[str]"],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
) -> None:
    """Its server is away for a while, and in one case takes no events at any time."""
    slow = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "1"}
    process = start_cli(build_request(replay_image, env=slow), PREFECT_API_URL=gate.api_url)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "Claude Code ready" in line:
            gate.shut()
            threading.Timer(8, gate.open).start()
    process.wait()

    output = plain("".join(lines))
    assert process.returncode == 0, output
    assert not NOISE.search(output), output
    assert "tool call Bash" in output


@pytest.fixture
def paused_agent(agents_namespace: str) -> None:
    """An agent whose last run the cluster does not know."""
    pause = [COMMAND, "pause", "quiet-agent", "--namespace", agents_namespace]
    subprocess.run(pause, check=True, capture_output=True)


# A command asks again, with pauses, what is answered with 5xx.
AGAIN = pytest.mark.slice


@pytest.mark.parametrize(
    "status", [pytest.param(500, marks=AGAIN), pytest.param(503, marks=AGAIN), 401]
)
@pytest.mark.parametrize("command", ["ls", "usage"])
@pytest.mark.usefixtures("paused_agent")
def test_command_says_in_its_own_words_that_prefect_fails(
    command: str, status: int, tmp_path: Path, agents_namespace: str
) -> None:
    arguments = {
        "ls": ["ls", "--namespace", agents_namespace],
        "usage": ["usage", "--runtime", "ours"],
    }
    with answering(status) as url:
        ended = subprocess.run(
            [COMMAND, *arguments[command]],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
                "PREFECT_API_URL": url,
                "PREFECT_HOME": str(tmp_path),
                "COLUMNS": "400",
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    output = plain(ended.stdout + ended.stderr)
    assert not NOISE.search(output), output
    assert output.count("The Prefect API in use (") == 1, output
