"""The stand-in for the model's API that the real Claude Code CLI talks to in tests."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

_SERVER = Path(__file__).parent / "data" / "stub_messages_api.py"
_ANSWER_SECONDS = 10


@dataclass(frozen=True)
class ModelApi:
    """A running stand-in; one per test, so that its requests are the test's own.

    Attributes:
        base_url: Where pods and local processes reach it, without a trailing slash.
    """

    base_url: str

    def switch(self, scenario: str) -> None:
        """Answer as `scenario` (`stub_messages_api.py --list`) from the next request on."""
        self._call("/__scenario", json.dumps({"name": scenario}).encode())

    def requests(self) -> list[dict[str, Any]]:
        """Return what was asked so far, oldest first, without keys and whole bodies."""
        return self._call("/__requests")

    def environment(self) -> dict[str, str]:
        """Return the environment that makes the CLI talk to this server and to nothing else."""
        return {
            "ANTHROPIC_BASE_URL": self.base_url,
            "ANTHROPIC_API_KEY": "sk-ant-test-0000000000000000",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_MAX_RETRIES": "2",  # the default, 10, takes three minutes to give up
        }

    def _call(self, path: str, body: bytes | None = None) -> Any:
        request = Request(self.base_url + path, data=body)
        with urlopen(request, timeout=_ANSWER_SECONDS) as answer:
            return json.load(answer)


@contextmanager
def serve_model_api(host: str, agent_folder: str) -> Generator[ModelApi]:
    """Serve the scenario `ok` on a free port of `host` until the context ends.

    Args:
        host: An address of this machine.
        agent_folder: The agent's working directory, where scripted file tools read and write.
    """
    # A process of its own: a hung handler or an unclosed socket of the server is not the test's.
    command = [sys.executable, str(_SERVER), "--host", host, "--cwd", agent_folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline().split()
            assert ready[:1] == ["READY"], f"the stand-in did not start on {host}"
            yield ModelApi(base_url=f"http://{host}:{ready[1]}")
        finally:
            server.kill()
