"""Inputs from public reports, each met by a whole run: command, pod, run script, report."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.embedded_cluster import REPLAY_IMAGE
from tests.main_job.conftest import CliRun
from tests.prefect_server import PrefectServer
from tests.unit.outcome.test_public_cases import FOLDER, RIGHT, Right

pytestmark = [pytest.mark.any_cluster, pytest.mark.slice, pytest.mark.timeout(240)]


@pytest.fixture
def run_case(
    run_cli: Callable[..., CliRun],
    build_request: Callable[..., dict[str, Any]],
    replay_image: str,
) -> Callable[..., CliRun]:
    """Run an agent whose `claude` is the case's; keyword arguments are fields of the request."""

    if replay_image != REPLAY_IMAGE:
        pytest.skip("the images of a real cluster have no cases")

    def run(name: str, **fields: Any) -> CliRun:
        script = f". $CASES/{name}.sh"
        if (FOLDER / f"{name}.exit").exists():
            code = (FOLDER / f"{name}.exit").read_text().strip()
            told = (FOLDER / f"{name}.stderr").exists()
            stderr = f"cat $CASES/{name}.stderr >&2; " if told else ""
            script = f"cat >/dev/null; {stderr}cat $CASES/{name}.jsonl; exit {code}"
        return run_cli(build_request(replay_image, env={"CASE_SCRIPT": script}, **fields))

    return run


def name_has_stderr(name: str) -> bool:
    return (FOLDER / f"{name}.stderr").exists()


def texts(result: dict[str, Any]) -> str:
    """Everything that a run's result says to people."""
    told = [result["message"], result["check_first"], result["advice"], result["cluster_said"]]
    return json.dumps([*told, result["warnings"], result["observed"]], ensure_ascii=False)


@pytest.mark.parametrize("name", RIGHT)
def test_run_of_a_case_has_its_right_value(
    name: str, run_case: Callable[..., CliRun], prefect_server: PrefectServer
) -> None:
    right: Right = RIGHT[name]

    result = run_case(name).result

    assert result["error_code"] == right.code, result
    assert right.said in texts(result).replace('\\"', '"')
    assert right.not_said not in texts(result).lower()
    if right.summary is not None:
        assert result["summary"] == right.summary
    printed = (FOLDER / f"{name}.jsonl").read_bytes()
    proof = result["transcript"]
    assert proof["complete"], proof
    assert proof["lines"] == len(printed.splitlines())
    shown = "\n".join([texts(result), prefect_server.logs(result["flow_run_id"])])
    assert '"uuid"' not in shown
    assert '"session_id"' not in shown


def test_agent_that_stays_after_its_result_is_ended_and_its_result_counts(
    run_case: Callable[..., CliRun],
) -> None:
    limits = {"after_result_seconds": 2}

    result = run_case("hang_after_result", runtime={"limits": limits}).result

    assert result["error_code"] is None, result
    assert (result["summary"], result["cost_usd"]) == ("Hello.", 0.0421)
    assert result["session_id"]
    assert not result["timed_out"]
    assert "more time" not in texts(result)


def test_child_that_keeps_the_output_open_does_not_keep_the_run(
    run_case: Callable[..., CliRun],
) -> None:
    result = run_case("child_holds_stdout").result

    assert result["error_code"] is None, result
    assert result["summary"] == "Hello."
    assert result["transcript"]["complete"]


def test_line_of_70_megabytes_is_delivered_whole(run_case: Callable[..., CliRun]) -> None:
    result = run_case("line_70mb").result

    assert result["error_code"] is None, result
    proof = result["transcript"]
    assert (proof["complete"], proof["lines"]) == (True, 4), proof
    assert proof["stdout_bytes"] > 70_000_000


@pytest.fixture
def run_task_again(
    run_case: Callable[..., CliRun], home_claim: Callable[[str], str], agents_namespace: str
) -> Callable[[str], dict[str, Any]]:
    """Run the next run of one task, whose agent keeps its HOME."""
    request = {
        "agent": {"agent_id": f"agent-{uuid.uuid4().hex[:8]}"},
        "task_id": "T-1",
        "runtime": {"home_claim": home_claim(agents_namespace), "working_directory": None},
    }
    return lambda name: run_case(name, **request).result


def test_session_that_only_stderr_calls_unknown_is_replaced_once(
    run_task_again: Callable[[str], dict[str, Any]],
) -> None:
    first = run_task_again("ok")
    second = run_task_again("resume_unknown_stderr")

    assert first["session_id"]
    assert (second["error_code"], second["attempt"], second["resumed"]) == (None, 2, False)


def test_session_that_is_refused_each_time_is_resumed_twice_and_no_more(
    run_task_again: Callable[[str], dict[str, Any]],
) -> None:
    runs = [run_task_again("resume_poisoned") for _ in range(4)]

    assert [run["error_code"] is None for run in runs] == [True, False, False, True], runs
    assert [run["resumed"] for run in runs] == [False, True, True, False]
    assert [run["clear_session"] for run in runs] == [False, False, True, False]
    assert "fresh" in texts(runs[1])
