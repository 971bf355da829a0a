"""A fleet's request, its report and its pages."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.fleet.fleet_request import (
    FleetMember,
    FleetRequest,
    MemberState,
    build_fleet_page,
    build_fleet_report,
    build_fleet_table,
    check_members,
)
from tasks.outcome.run_result import AgentRunResult, KubernetesNames, Timings
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE = {"agent": "ada", "runtime": "kit"}


def member(agent_id: str, state: MemberState, **fields: Any) -> FleetMember:
    return FleetMember(agent_id, "agents", state, **fields)


def result(code: ErrorCode | None) -> AgentRunResult:
    return AgentRunResult(
        agent_id="ada",
        flow_run_id="run-1",
        error_code=code,
        message="m" * 400,
        cost_usd=0.5,
        timings=Timings(started_at=NOW, ended_at=NOW),
        kubernetes=KubernetesNames(namespace="agents"),
    )


MIXED = [
    member("ada", MemberState.SUCCEEDED, cost_usd=0.5, flow_run_id="run-1"),
    member("bob", MemberState.FAILED, error_code="timeout", message="Its time was up."),
    member("cy", MemberState.CRASHED, message="It broke off."),
    member("dee", MemberState.NOT_STARTED),
]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({"requests": []}, id="nobody"),
        pytest.param({"requests": [ONE] * 1001}, id="too_many"),
        pytest.param({"requests": [ONE], "max_concurrent": 0}, id="none_at_a_time"),
        pytest.param({"requests": [ONE], "max_concurrent": 201}, id="too_many_at_a_time"),
        pytest.param({"requests": [{"agent": "ada"}]}, id="no_runtime"),
    ],
)
def test_request_out_of_bounds_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FleetRequest.model_validate(raw)


def test_agent_that_is_asked_for_twice_is_refused_by_name() -> None:
    place = ("cluster", "agents", "ada")
    check_members([place, ("cluster", "others", "ada"), ("other", "agents", "ada")])

    with pytest.raises(InputInvalid, match="Agent ada occurs twice for namespace agents"):
        check_members([place, ("cluster", "agents", "bob"), place])


@pytest.mark.parametrize(
    ("code", "state"),
    [
        pytest.param(None, MemberState.SUCCEEDED, id="success"),
        pytest.param(ErrorCode.TIMEOUT, MemberState.FAILED, id="failure"),
    ],
)
def test_member_ends_as_its_result_says(code: ErrorCode | None, state: MemberState) -> None:
    concluded = member("ada", MemberState.RUNNING)

    concluded.conclude(result(code))

    assert (concluded.state, concluded.error_code) == (state, code)
    assert (concluded.flow_run_id, concluded.cost_usd) == ("run-1", 0.5)
    assert len(concluded.message) == 300


def test_member_without_verdict_has_crashed() -> None:
    crashed = member("ada", MemberState.RUNNING)

    crashed.crash("It broke off.")

    assert (crashed.state, crashed.error_code) == (MemberState.CRASHED, None)


def test_report_names_who_did_not_succeed() -> None:
    report = build_fleet_report(MIXED)

    assert not report.all_succeeded
    assert (report.succeeded, report.failed, report.not_started) == (1, 2, 1)
    assert report.summary == (
        "1 of 4 runs succeeded, $0.5000. Failed: bob (timeout), cy (crashed). 1 were not started."
    )
    assert [failure["agent"] for failure in report.failures] == ["bob", "cy"]


def test_report_of_many_failures_names_some() -> None:
    report = build_fleet_report(
        [member(f"agent-{n}", MemberState.FAILED, error_code="timeout") for n in range(7)]
    )

    assert report.summary.endswith("agent-4 (timeout) and 2 more.")


def test_report_of_successes_is_short() -> None:
    report = build_fleet_report(MIXED[:1])

    assert report.all_succeeded
    assert report.summary == "1 of 1 runs succeeded, $0.5000."


def test_table_has_failures_first() -> None:
    rows = build_fleet_table(MIXED)

    assert [row["agent"] for row in rows] == ["bob", "cy", "dee", "ada"]
    assert rows[0] == {
        "agent": "bob",
        "namespace": "agents",
        "state": "failed",
        "code": "timeout",
        "cost": "–",
        "message": "Its time was up.",
        "flow run": "-",
    }
    assert (rows[3]["cost"], rows[3]["message"]) == ("$0.5000", "-")


def test_page_tells_counts_runs_at_work_and_failures() -> None:
    page = build_fleet_page([*MIXED, member("eve", MemberState.RUNNING, flow_run_id="run-5")], NOW)

    assert page.startswith("**5 runs**: 1 running, 1 succeeded, 1 failed, 1 crashed, 1 not started")
    assert "## At work\n- eve · run" in page
    assert "## Failed\n- bob · timeout · Its time was up" in page


def test_page_before_the_first_run_has_no_lists() -> None:
    assert "##" not in build_fleet_page([member("ada", MemberState.WAITING)], NOW)
