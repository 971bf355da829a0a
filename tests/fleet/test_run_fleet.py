"""A fleet on a real Prefect server and an embedded cluster: done, failed in part, cancelled."""

import gzip
import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fleet.conftest import ROOT, FleetProcess, Fleets, jobs_of, requests_of
from tests.fleet.failing_api import FailingApi
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

RECORDINGS = ROOT / "tests" / "data" / "transcripts"
SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "20"}
END_SECONDS = 400


def children_of(server: PrefectServer, flow_run_id: str) -> list[Any]:
    wanted = {"parent_flow_run_id": {"any_": [flow_run_id]}}
    found: list[Any] = []
    while True:
        page = server.post(
            "/flow_runs/filter", {"flow_runs": wanted, "offset": len(found), "limit": 200}
        )
        if not page:
            return found
        found += page


def watches_of(counts: dict[str, int]) -> int:
    return sum(count for name, count in counts.items() if name.startswith("watch "))


def wrong_transcripts(fleets: Fleets, members: list[dict[str, Any]]) -> list[str]:
    """Agents whose one stored transcript is not what was replayed for them, byte by byte."""
    return [
        agent_id
        for member in members
        if _stored_transcript(fleets.results, (agent_id := member["agent"]["agent_id"]))
        != (RECORDINGS / f"{member['env'].get('REPLAY_TRANSCRIPT', 'ok')}.jsonl").read_bytes()
    ]


def _stored_transcript(results: Path, agent_id: str) -> bytes:
    [path] = results.glob(f"{agent_id}-*/*/*/result.json")
    transcript = json.loads(path.read_text())["transcript"]
    assert (transcript["complete"], transcript["missing"]) == (True, [])
    return gzip.decompress((path.parent / "transcript.jsonl.gz").read_bytes())


def assert_nothing_left_open(told: dict[str, Any], fleets: Fleets) -> None:
    """Tasks, threads, connections and files; Prefect keeps few of its own for logs and events."""
    assert told["left"] == []
    cluster_port = urlsplit(fleets.kubernetes.url).port
    assert cluster_port not in told["ports"]
    assert len(told["ports"]) <= 6
    assert told["files"] <= 30


def newest_fleet(server: PrefectServer) -> Any:
    wanted = {"flows": {"name": {"any_": ["run-fleet"]}}, "sort": "START_TIME_DESC", "limit": 1}
    return server.post("/flow_runs/filter", wanted)[0]


@pytest.mark.slice
def test_fleet_runs_every_agent_and_tells_who_failed(fleets: Fleets) -> None:
    requests = [fleets.member() for _ in range(19)]
    failing = fleets.member(REPLAY_TRANSCRIPT="max_turns")
    before = watches_of(requests_of(fleets.kubernetes))

    told = fleets.start([failing, *requests], 10).end(END_SECONDS)

    assert (told["type"], told["name"]) == ("FAILED", "Runs failed")
    failed_agent = failing["agent"]["agent_id"]
    assert told["message"].startswith("19 of 20 runs succeeded")
    assert f"Failed: {failed_agent} (claude_max_turns)." in told["message"]
    assert_nothing_left_open(told, fleets)
    assert wrong_transcripts(fleets, [failing, *requests]) == []
    states = [run["state"]["name"] for run in children_of(fleets.server, told["flow_run_id"])]
    assert sorted(states) == [*["Completed"] * 19, "Max turns reached"]
    assert len(jobs_of(fleets.kubernetes, fleets.namespace)) == 20
    # One pair for all; it may have been cut once.
    assert 2 <= watches_of(requests_of(fleets.kubernetes)) - before <= 4
    artifacts = {one["key"]: one for one in fleets.server.artifacts(told["flow_run_id"])}
    assert artifacts["run-fleet"]["description"] == told["message"]
    assert failed_agent in artifacts["run-fleet"]["data"].partition("}")[0]
    assert "1 failed" in artifacts["run-fleet-progress"]["data"]


def test_fleet_that_asks_for_an_agent_twice_creates_nothing(fleets: Fleets) -> None:
    member = fleets.member()

    told = fleets.start([member, fleets.member(), member], 3).end(END_SECONDS)

    assert (told["type"], told["name"]) == ("FAILED", "Invalid input")
    assert f"Agent {member['agent']['agent_id']} occurs twice" in told["message"]
    assert children_of(fleets.server, told["flow_run_id"]) == []
    assert jobs_of(fleets.kubernetes, fleets.namespace) == []


def cancel(server: PrefectServer, flow_run_id: str) -> None:
    state = {"type": "CANCELLING", "name": "Cancelling"}
    server.post(f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})


def running_pods(fleets: Fleets) -> int:
    pods = fleets.kubernetes.ok("GET", f"/api/v1/namespaces/{fleets.namespace}/pods")["items"]
    return sum(pod["status"].get("phase") == "Running" for pod in pods)


def started(fleet: FleetProcess, fleets: Fleets, count: int) -> str:
    """Wait until so many agents are at work; returns the fleet's flow run."""

    def are_at_work() -> bool:
        assert fleet.process.poll() is None, fleet.process.communicate()
        return running_pods(fleets) == count

    wait_until(are_at_work, END_SECONDS, pause_seconds=0.5)
    return newest_fleet(fleets.server)["id"]


def test_cancelled_fleet_ends_every_agent_and_starts_no_more(fleets: Fleets) -> None:
    fleet = fleets.start([fleets.member(**SLOW) for _ in range(6)], 4)
    flow_run_id = started(fleet, fleets, 4)

    cancel(fleets.server, flow_run_id)
    told = fleet.end(END_SECONDS)

    assert told["type"] == "CANCELLED"
    assert "0 of 6 runs succeeded" in told["message"]
    assert "2 were not started" in told["message"]
    assert told["left"] == []
    children = children_of(fleets.server, flow_run_id)
    assert [run["state"]["type"] for run in children] == ["CANCELLED"] * 4
    assert running_pods(fleets) == 0


def test_cancelled_run_of_a_fleet_ends_alone(fleets: Fleets) -> None:
    fleet = fleets.start([fleets.member(**SLOW), fleets.member(**SLOW)], 2)
    flow_run_id = started(fleet, fleets, 2)
    one, other = children_of(fleets.server, flow_run_id)

    cancel(fleets.server, one["id"])
    wait_until(
        lambda: fleets.server.flow_run(one["id"])["state"]["type"] == "CANCELLED", END_SECONDS
    )

    assert fleets.server.flow_run(other["id"])["state"]["type"] == "RUNNING"
    assert running_pods(fleets) == 1
    cancel(fleets.server, flow_run_id)
    assert fleet.end(END_SECONDS)["type"] == "CANCELLED"


@pytest.mark.timeout(3000)
def test_two_hundred_runs_fifty_at_a_time_all_succeed(fleets: Fleets) -> None:
    before = watches_of(requests_of(fleets.kubernetes))
    tools = {"REPLAY_TRANSCRIPT": "tools"}
    members = [fleets.member(**(tools if number % 2 else {})) for number in range(200)]

    told = fleets.start(members, 50).end(2800)

    assert told["type"] == "COMPLETED", told
    assert told["message"].startswith("200 of 200 runs succeeded")
    assert_nothing_left_open(told, fleets)
    assert wrong_transcripts(fleets, members) == []
    # Every five minutes each watch is opened anew.
    assert watches_of(requests_of(fleets.kubernetes)) - before <= 40
    children = children_of(fleets.server, told["flow_run_id"])
    assert [run["state"]["type"] for run in children] == ["COMPLETED"] * 200


def test_fleet_whose_prefect_api_is_busy_loses_no_run(fleets: Fleets) -> None:
    members = [fleets.member() for _ in range(3)]
    # What concerns the fleet's own run, as its first state, goes through.
    failures = {
        "POST /api/task_runs/ ": (500, 503, 500),
        "POST /api/flow_runs/[^/]+/set_state ": (0, 500, 504, 500),
        "POST /api/artifacts/ ": (500,),
    }
    api = FailingApi(fleets.server.api_url, failures)

    told = fleets.start(members, 3, api.api_url).end(END_SECONDS)
    api.end()

    assert [api.failed[pattern] for pattern in failures] == [3, 3, 1]
    assert told["type"] == "COMPLETED", told
    assert wrong_transcripts(fleets, members) == []
    assert len(children_of(fleets.server, told["flow_run_id"])) == 3


def test_fleet_that_is_cancelled_by_its_runner_ends_every_agent(fleets: Fleets) -> None:
    fleet = fleets.start([fleets.member(**SLOW) for _ in range(4)], 3)
    flow_run_id = started(fleet, fleets, 3)

    # As runners and workers do.
    cancel(fleets.server, flow_run_id)
    fleet.process.send_signal(signal.SIGTERM)
    fleet.process.communicate(timeout=END_SECONDS)

    children = children_of(fleets.server, flow_run_id)
    assert [run["state"]["type"] for run in children] == ["CANCELLED"] * 3
    wait_until(lambda: running_pods(fleets) == 0, END_SECONDS)


def test_fleet_whose_process_is_told_to_stop_leaves_its_agents_at_work(fleets: Fleets) -> None:
    fleet = fleets.start([fleets.member(**SLOW) for _ in range(4)], 3)
    flow_run_id = started(fleet, fleets, 3)

    fleet.process.send_signal(signal.SIGTERM)
    fleet.process.communicate(timeout=END_SECONDS)

    jobs = jobs_of(fleets.kubernetes, fleets.namespace)
    assert len(jobs) == 3
    assert [job for job in jobs if "deletionTimestamp" in job["metadata"]] == []
    assert "CANCELLED" not in {
        run["state"]["type"] for run in children_of(fleets.server, flow_run_id)
    }
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{fleets.namespace}/leases"
    found = fleets.kubernetes.ok("GET", leases)["items"]
    assert [lease["spec"].get("holderIdentity") for lease in found] == ["", "", ""]
