"""What a run prints while Prefect's server is away is in its log all the same."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.claude_code.events import parse_event_leniently
from tasks.claude_code.rendering import render_event
from tests.engine.conftest import LiveProcess
from tests.prefect_server import OwnPrefectServer

pytestmark = [pytest.mark.any_cluster, pytest.mark.long, pytest.mark.timeout(300)]

RECORDING = Path(__file__).parents[1] / "data" / "transcripts" / "tools.jsonl"


def _rendered_lines() -> list[str]:
    """What people see of the recording, line by line."""
    events = [parse_event_leniently(line) for line in RECORDING.read_bytes().splitlines()]
    return [
        line
        for event in events
        for rendered in render_event(event)
        for line in rendered.text.splitlines()
    ]


def test_every_line_is_in_the_log_once_though_the_server_was_killed_in_between(
    live_cli: Callable[..., LiveProcess],
    build_request: Callable[..., dict[str, Any]],
    own_prefect_server: OwnPrefectServer,
    replay_image: str,
) -> None:
    server = own_prefect_server
    there = {"PREFECT_API_URL": server.api_url, "PREFECT_HOME": str(server.home)}
    slow = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "1.5"}
    live = live_cli(build_request(replay_image, env=slow), **there)
    live.wait_for("Claude Code ready")

    server.end(signal.SIGKILL)
    try:
        live.wait_for("list the directory first")
    finally:
        server.start()
    code = live.wait(120)

    assert code == 0, live.output
    flow_run_id = json.loads(live.last_line)["flow_run_id"]
    logged = server.logs(flow_run_id).splitlines()
    expected = _rendered_lines()
    assert [line for line in logged if line in set(expected)] == expected
    assert any(line.startswith("[late: Prefect's API was away") for line in logged)
