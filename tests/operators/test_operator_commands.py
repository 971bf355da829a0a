"""What operators see of agents and do about them, beside real runs."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import (
    LiveProcess,
    expire_lease,
    flow_run_of,
    holder_of,
    jobs_of,
    lease_of,
)
from tests.main_job.conftest import CliRun, Traces
from tests.operators.conftest import Operated
from tests.prefect_server import PrefectServer
from tests.waits import wait_until

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(240)]

SLOW = {"REPLAY_TRANSCRIPT": "tools", "REPLAY_LINE_DELAY_SECONDS": "2"}
STREAMING = "Claude Code ready"
BuildRequest = Callable[..., dict[str, Any]]
StartCli = Callable[..., LiveProcess]
RunCli = Callable[..., CliRun]
Operate = Callable[..., Operated]


def kill(live: LiveProcess) -> None:
    live.signal(signal.SIGKILL)
    live.wait()


@pytest.mark.slice
@pytest.mark.long
def test_run_at_work_is_listed_shown_and_read_along(
    live_cli: StartCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=SLOW, task_id="T-1")
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)

    [row] = [row for row in json.loads(operate("ls", "--json").stdout) if row["live"]]
    shown = json.loads(operate("show", agent_id, "--json").stdout)
    so_far = operate("logs", agent_id)
    followed = operate("logs", "-f", row["job_name"])

    assert (row["agent_id"], row["state"], row["task_id"]) == (agent_id, "working", "T-1")
    assert row["flow_run_id"] == shown["flow_run_id"]
    assert shown["result"] is None
    assert (shown["job"]["state"], shown["flow_run_state"]) == ("working", "Running")
    assert shown["lease"]["Held by"].startswith(row["flow_run_id"])
    assert so_far.exit_code == 0, so_far.text
    assert so_far.text.count(STREAMING) == 1
    assert followed.exit_code == 0, followed.text
    assert followed.text.count(STREAMING) == 1
    assert "Transcript: complete" in followed.text
    # Reading along takes nothing from the run.
    assert live.wait() == 0, live.output
    assert json.loads(live.last_line)["transcript"]["complete"] is True


@pytest.mark.slice
@pytest.mark.long
def test_ended_run_is_told_from_what_was_stored(
    run_cli: RunCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    prefect_server: PrefectServer,
    storage: Path,
) -> None:
    request = build_request(replay_image, runtime={"retention": {"keep": "never"}})
    agent_id = request["agent"]["agent_id"]
    run = run_cli(request)
    assert run.exit_code == 0, run.output
    flow_run_id, cost = run.result["flow_run_id"], run.result["cost_usd"]

    for name in (agent_id, flow_run_id):
        shown = operate("show", name, "--json")
        assert json.loads(shown.stdout)["result"] == run.result, shown.text
    page = operate("show", agent_id)
    printed = operate("logs", flow_run_id)
    whole = operate("logs", flow_run_id, "--full")
    raw = operate("logs", agent_id, "--json")

    assert f"${cost:.4f}" in page.text
    assert "Timeline" in page.text
    assert STREAMING in printed.text
    # Nothing in this transcript is long enough to be folded.
    assert whole.stdout == printed.stdout
    assert f"From the result storage: {storage}" in printed.text
    assert len(raw.stdout.splitlines()) == run.result["transcript"]["lines"]
    assert all(json.loads(line) for line in raw.stdout.splitlines())
    # Without the storage the published report tells it.
    storage.rename(storage.with_name("elsewhere"))
    assert "Timeline" in operate("show", agent_id).text
    missing = operate("logs", agent_id)
    assert missing.exit_code == 2
    assert "Neither the cluster nor the result storage has a transcript" in missing.text


@pytest.mark.long
def test_kept_failure_is_listed_with_its_outcome_and_cost(
    run_cli: RunCli, operate: Operate, build_request: BuildRequest, replay_image: str
) -> None:
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "max_turns"})
    run = run_cli(request)
    assert run.result["error_code"] == "claude_max_turns", run.output

    listed = json.loads(operate("ls", "--json").stdout)
    [row] = [row for row in listed if row["agent_id"] == request["agent"]["agent_id"]]
    table = operate("ls", "-o", "wide").text

    assert (row["state"], row["live"]) == ("finished: Max turns reached", False)
    assert (row["cost_usd"], row["last_line"]) == (run.result["cost_usd"], run.result["message"])
    assert f"${row['cost_usd']:.4f}" in table
    assert row["job_name"] in table


@pytest.mark.long
def test_stop_cancels_the_run_that_lives(
    live_cli: StartCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=SLOW)
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    flow_run_id = flow_run_of(traces, agents_namespace, agent_id)

    stopped = operate("stop", agent_id, "--json")

    assert stopped.exit_code == 0, stopped.text
    report = json.loads(stopped.stdout)
    assert (report["how"], report["flow_run_id"]) == ("cancelled", flow_run_id)
    assert report["flow_run_state"] == "Cancelled"
    assert len(report["jobs"]) == len(report["pods"]) == 1
    assert live.wait() == 130, live.output
    assert json.loads(live.last_line)["error_code"] == "cancelled"
    assert not jobs_of(traces, agents_namespace, agent_id)


@pytest.mark.slice
@pytest.mark.long
def test_stop_ends_the_job_whose_owner_is_gone(
    live_cli: StartCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    prefect_server: PrefectServer,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=SLOW)
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    flow_run_id = flow_run_of(traces, agents_namespace, agent_id)
    kill(live)
    expire_lease(traces, agents_namespace, agent_id)
    [row] = [row for row in json.loads(operate("ls", "--json").stdout) if row["live"]]
    assert row["state"] == "working, no owner"

    stopped = operate("stop", row["job_name"])
    again = operate("stop", agent_id)

    assert stopped.exit_code == 0, stopped.text
    assert f"Job {row['job_name']} is gone." in stopped.text
    assert f"Flow run {flow_run_id} is now marked as cancelled." in stopped.text
    assert prefect_server.flow_run(flow_run_id)["state"]["type"] == "CANCELLED"
    assert not jobs_of(traces, agents_namespace, agent_id)
    assert not holder_of(traces, agents_namespace, agent_id)
    assert again.exit_code == 0
    assert "there was nothing to stop" in again.text


@pytest.mark.slice
@pytest.mark.long
def test_attach_takes_up_the_job_of_a_killed_run_and_ends_its_flow_run(
    live_cli: StartCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    prefect_server: PrefectServer,
    traces: Traces,
) -> None:
    slow = {**SLOW, "REPLAY_LINE_DELAY_SECONDS": "5"}
    request = build_request(replay_image, env=slow)
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    flow_run_id = flow_run_of(traces, agents_namespace, agent_id)
    [job] = jobs_of(traces, agents_namespace, agent_id)
    refused = operate("attach", agent_id)
    assert refused.exit_code == 2
    assert f"has an owner: flow run {flow_run_id} is alive" in refused.text
    kill(live)
    expire_lease(traces, agents_namespace, agent_id)

    attached = operate("attach", agent_id, "--json")

    assert attached.exit_code == 0, attached.text
    result = json.loads(attached.stdout.rstrip("\n").rpartition("\n")[2])
    assert (result["flow_run_id"], result["error_code"]) == (flow_run_id, None)
    assert result["kubernetes"]["job_uid"] == job["metadata"]["uid"]
    assert result["transcript"]["complete"] is True
    assert result["reattached_from"] is None
    assert prefect_server.flow_run(flow_run_id)["state"]["type"] == "COMPLETED"
    ended = operate("attach", agent_id)
    assert ended.exit_code == 2
    assert "there is nothing to attach to" in ended.text


@pytest.mark.long
def test_attach_reads_the_result_of_an_agent_that_has_ended_alone(
    live_cli: StartCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image, env=SLOW)
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    flow_run_id = flow_run_of(traces, agents_namespace, agent_id)
    kill(live)

    def ended() -> bool:
        [job] = jobs_of(traces, agents_namespace, agent_id)
        return bool(job["status"].get("conditions"))

    wait_until(ended, 120)
    expire_lease(traces, agents_namespace, agent_id)

    attached = operate("attach", flow_run_id, "--json")

    assert attached.exit_code == 0, attached.text
    result = json.loads(attached.stdout.rstrip("\n").rpartition("\n")[2])
    assert (result["flow_run_id"], result["transcript"]["complete"]) == (flow_run_id, True)
    [job] = jobs_of(traces, agents_namespace, agent_id)
    assert "claude-jobs.dev/harvested-at" in job["metadata"]["annotations"], attached.text


@pytest.mark.slice
@pytest.mark.waits(39)
def test_paused_agent_is_blocked_until_it_is_resumed(
    run_cli: RunCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    request = build_request(replay_image)
    agent_id = request["agent"]["agent_id"]
    paused = operate("pause", agent_id, "--reason", "The budget of May is spent.")
    assert paused.exit_code == 0, paused.text

    blocked = run_cli(request)

    assert blocked.exit_code == 1, blocked.output
    assert blocked.result["error_code"] == "k8s_concurrent_run_blocked"
    assert f"Agent {agent_id} is paused since" in blocked.result["message"]
    assert "The budget of May is spent." in blocked.result["message"]
    assert blocked.result["advice"].startswith(
        f"Allow new runs with `claude-jobs resume {agent_id}`"
    )
    assert not jobs_of(traces, agents_namespace, agent_id)
    listed = json.loads(operate("ls", "--json").stdout)
    [row] = [row for row in listed if row["agent_id"] == agent_id]
    assert (row["state"], row["job_name"]) == ("Blocked", None)
    assert "The budget of May is spent." in row["paused"]
    assert "The budget of May is spent." in operate("ls", "-o", "wide").text
    resumed = operate("resume", agent_id)
    assert "may start again" in resumed.text
    run = run_cli(request)
    assert run.result["error_code"] is None, run.output


@pytest.mark.slice
@pytest.mark.waits(60)
def test_last_run_is_shown_although_an_older_one_has_a_job(
    run_cli: RunCli,
    live_cli: StartCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
) -> None:
    keeping = {"retention": {"keep": "always"}}
    request = build_request(replay_image, runtime=keeping)
    agent_id = request["agent"]["agent_id"]
    succeeded = run_cli(request)
    assert succeeded.exit_code == 0, succeeded.output
    assert json.loads(operate("show", agent_id, "--json").stdout)["result"] == succeeded.result

    live = live_cli({**request, "env": SLOW})
    live.wait_for(STREAMING)
    operate("stop", agent_id)
    assert live.wait() == 130, live.output
    cancelled = json.loads(live.last_line)

    shown = json.loads(operate("show", agent_id, "--json").stdout)
    assert (shown["result"], shown["job"]) == (cancelled, None)
    assert row_of(operate, agent_id)[:3] == [agent_id, "Cancelled", "no"]
    printed = operate("logs", agent_id, "--json").stdout
    assert len(printed.splitlines()) == cancelled["transcript"]["lines"]

    secret = {"secret": "not-there", "key": "prompt"}
    refused = run_cli({**request, "prompt": None, "prompt_secret": secret})

    shown = json.loads(operate("show", agent_id, "--json").stdout)
    assert shown["flow_run_id"] not in {succeeded.result["flow_run_id"], cancelled["flow_run_id"]}
    assert shown["flow_run_state"] == "Invalid input", refused.output
    assert "Invalid input" in operate("show", agent_id).text
    assert row_of(operate, agent_id) == [agent_id, "Invalid", "input", "no", "–"]
    # The older run is still there under its own names.
    [of_job] = [
        row
        for row in json.loads(operate("ls", "--all", "-o", "json").stdout)
        if row["agent_id"] == agent_id and row["job_name"] is not None
    ]
    assert of_job["flow_run_id"] == succeeded.result["flow_run_id"]
    older = operate("show", of_job["job_name"], "--json")
    assert json.loads(older.stdout)["result"] == succeeded.result


def row_of(operate: Operate, agent_id: str) -> list[str]:
    """The words of an agent's line, but for its age, on a screen of 80 columns."""
    listed = operate("ls", COLUMNS="80").text.splitlines()
    assert all(len(line) <= 80 for line in listed)
    [words] = [line.split() for line in listed if line.startswith(f"{agent_id} ")]
    return [*words[:-2], words[-1]]


@pytest.mark.long
def test_pause_leaves_the_agent_at_work_and_its_lease_to_its_run(
    live_cli: StartCli,
    operate: Operate,
    build_request: BuildRequest,
    replay_image: str,
    agents_namespace: str,
    traces: Traces,
) -> None:
    slow = {**SLOW, "REPLAY_LINE_DELAY_SECONDS": "3"}
    request = build_request(replay_image, env=slow)
    agent_id = request["agent"]["agent_id"]
    live = live_cli(request)
    live.wait_for(STREAMING)
    epoch = lease_of(traces, agents_namespace, agent_id)["spec"]["leaseTransitions"]

    assert operate("pause", agent_id).exit_code == 0

    assert live.wait(120) == 0, live.output
    lease = lease_of(traces, agents_namespace, agent_id)
    assert lease["spec"]["leaseTransitions"] == epoch
    assert not lease["spec"].get("holderIdentity")
    assert "claude-jobs.dev/paused-at" in lease["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        pytest.param(
            ["show", "nobody"],
            2,
            "has no agent, Job or flow run 'nobody'",
            id="show",
            marks=pytest.mark.slice,
        ),
        pytest.param(["attach", "nobody"], 2, "`claude-jobs ls` shows what there is", id="attach"),
        pytest.param(["pause", "???"], 2, "no ASCII letter or digit", id="pause"),
        pytest.param(["resume", "nobody"], 0, "Agent nobody was not paused", id="resume"),
        pytest.param(
            ["ls", "--kubeconfig", "/nowhere"], 2, "The kubeconfig /nowhere does not exist", id="ls"
        ),
    ],
)
def test_command_that_has_nothing_to_work_on_says_what_to_do(
    operate: Operate, arguments: list[str], exit_code: int, said: str
) -> None:
    found = operate(*arguments)

    assert (found.exit_code, "Traceback" in found.text) == (exit_code, False), found.text
    assert said in found.text


def test_cluster_that_does_not_answer_is_no_traceback(
    operate: Operate, kubeconfig: Callable[..., str]
) -> None:
    found = operate("pause", "agent", "--kubeconfig", kubeconfig(server="https://127.0.0.1:9"))

    assert found.exit_code == 1, found.text
    assert "127.0.0.1:9" in found.text
    assert "Traceback" not in found.text


@pytest.mark.long
def test_list_without_prefect_shows_the_cluster_and_says_what_is_left_out(
    run_cli: RunCli, operate: Operate, build_request: BuildRequest, replay_image: str
) -> None:
    request = build_request(replay_image, env={"REPLAY_TRANSCRIPT": "max_turns"})
    run_cli(request)

    found = operate("ls", "--json", PREFECT_API_URL="http://127.0.0.1:9/api")

    assert found.exit_code == 0, found.text
    rows = json.loads(found.stdout)
    [row] = [row for row in rows if row["agent_id"] == request["agent"]["agent_id"]]
    assert (row["state"], row["cost_usd"], row["last_line"]) == ("finished", None, None)
    assert "cannot be reached" in found.stderr


@pytest.mark.slice
@pytest.mark.waits(20)
def test_list_that_is_watched_prints_an_agent_that_changes(
    run_cli: RunCli,
    watch_list: Callable[[], LiveProcess],
    build_request: BuildRequest,
    replay_image: str,
) -> None:
    request = build_request(replay_image)
    agent_id = request["agent"]["agent_id"]
    watching = watch_list()
    wait_until(lambda: bool(watching.output.strip()), 60)

    assert run_cli(request).exit_code == 0

    def words() -> list[list[str]]:
        return [line.split() for line in watching.output.splitlines() if agent_id in line]

    wait_until(lambda: bool(words()) and words()[-1][1] == "Succeeded", 30)
    # It was listed as nothing more than what was known of it at each time.
    assert {line[1] for line in words()} <= {
        *("–", "Starting", "Waiting", "Working", "Ending", "No", "Finished", "Succeeded")
    }
    assert watching.output.count("AGENT") == 1
    watching.signal(signal.SIGINT)
    assert watching.wait() == 130, watching.output
