"""One request, one result: ids and times aside it is the same JSON whatever the cluster is."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.main_job.conftest import CliRun

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(300)]

EXPECTED = Path(__file__).parents[1] / "data" / "results"
IDS = ("agent_id", "flow_run_id")
# Of the exact ids, which differ from run to run.
HASH = re.compile(r"(?<=<agent_id>)-[0-9a-f]{20}(?=/)")
# Which of them has arrived by the end is a matter of time.
EVENT = r"; Kubernetes Event \w+ “[^”]*”"
PHASE = r", pod phase (Running|Succeeded|Failed)"
CONDITION = r"; Job condition Failed, reason BackoffLimitExceeded “[^”]*”"
LATE = re.compile(f"{EVENT}|{PHASE}|{CONDITION}")
MODEL = ["Model", "claude-opus-5-5"]
POD = ["Pod", "<pod_name>, node <node_name>"]
TOLD: dict[str, dict[str, Any]] = {
    "tools": {
        "message": "Finished and answered.",
        "check_first": None,
        "observed": [["Exit code", "0"], ["Container", "reason Completed"], POD, MODEL],
    },
    "max_turns": {
        "message": "The agent reached its maximum number of turns before it was done: “Reached "
        "maximum number of turns (1)”.",
        "check_first": "in the transcript whether it was making progress or going in circles",
        "observed": [["Exit code", "1"], ["Container", "reason Error"], POD, MODEL],
    },
}


@pytest.mark.parametrize("recording", ["tools", pytest.param("max_turns", marks=pytest.mark.slice)])
def test_same_request_has_the_same_result_on_every_cluster(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
    recording: str,
) -> None:
    ended = run_cli(build_request(replay_image, env={"REPLAY_TRANSCRIPT": recording}))

    expected = json.loads((EXPECTED / f"{recording}.json").read_text())
    # Recorded before there were these, and with what was seen in the message.
    later: dict[str, Any] = {
        "warnings": [],
        "recurs_in_session": False,
        "output": None,
        "check": None,
        "work": None,
    }
    assert without_ids_and_times(ended.result) == {**later, **expected, **TOLD[recording]}


def without_ids_and_times(result: dict[str, Any]) -> dict[str, Any]:
    """Put a word for each id wherever it stands, and for each instant whether there is one."""
    names = {name: value for name, value in result["kubernetes"].items() if isinstance(value, str)}
    named = {**{name: result[name] for name in IDS}, **names}
    text = json.dumps(result, ensure_ascii=False)
    # Names of Jobs and pods begin with shorter ones.
    for name, value in sorted(named.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"<{name}>")
    found: dict[str, Any] = json.loads(HASH.sub("-<hash>", LATE.sub("", text)))
    timings = {name: instant is not None for name, instant in found["timings"].items()}
    return {**found, "timings": timings}
