"""What runs have used: the ledger, the budget of a day, and the report."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tasks.outcome.run_result import (
    AgentRunResult,
    KubernetesNames,
    Timings,
    TokenUsage,
)
from tasks.ownership.agent_standing import Spending
from tasks.usage.day_budget import (
    DayBudgetSpent,
    check_day_budget,
    next_midnight,
    sum_spending,
)
from tasks.usage.usage_config import parse_usage_config
from tasks.usage.usage_ledger import (
    UsageDay,
    UsageEntry,
    add_usage,
    day_of,
    join_all_usage,
)
from tasks.usage.usage_tables import (
    UsageRow,
    build_usage_csv,
    build_usage_report,
    build_usage_rows,
    build_usage_table,
)
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import InputInvalid
from tasks.vocabulary.names import AgentId

ADA = AgentId("ada")
DAY = date(2026, 11, 21)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def result(**fields: Any) -> AgentRunResult:
    timings = {
        "started_at": NOON,
        "agent_started_at": NOON,
        "agent_ended_at": NOON + timedelta(seconds=90),
        "ended_at": NOON + timedelta(seconds=95),
        **fields.pop("timings", {}),
    }
    names = KubernetesNames(namespace="agents", job_uid=fields.pop("job_uid", "uid-1"))
    known: dict[str, Any] = {"agent_id": "ada", "flow_run_id": "run-1", "attempt": 1}
    return AgentRunResult(
        **{**known, **fields}, message="", timings=Timings(**timings), kubernetes=names
    )


def entry(cost: float | None, outcome: str = "success", **fields: Any) -> UsageEntry:
    return UsageEntry(flow_run_id="run-1", outcome=outcome, cost_usd=cost, **fields)


def day(agent: str = "ada", at: date = DAY, *entries: UsageEntry) -> UsageDay:
    jobs = {str(n): e for n, e in enumerate(entries)}
    return UsageDay(agent_id=agent, namespace="agents", day=at, jobs=jobs)


def record(agent: str, namespace: str | None, **costs: float) -> UsageDay:
    jobs = {uid: entry(cost) for uid, cost in costs.items()}
    return UsageDay(agent_id=agent, namespace=namespace, day=DAY, jobs=jobs)


def test_result_is_recorded_for_the_day_of_its_agents_end() -> None:
    past_midnight = datetime(2026, 11, 22, 0, 0, 1, tzinfo=UTC)
    late = result(timings={"agent_ended_at": None, "ended_at": past_midnight})

    assert day_of(result(timings={"ended_at": past_midnight})) == DAY
    assert day_of(late) == date(2026, 11, 22)


def test_result_is_recorded_with_what_is_known() -> None:
    usage = TokenUsage(input_tokens=3, output_tokens=5)
    failed = result(
        error_code=ErrorCode.CLAUDE_MAX_TURNS,
        job_uid=None,
        timings={"agent_started_at": None},
        usage=usage,
    )

    recorded = add_usage(add_usage(None, result(cost_usd=0.5)), failed)

    assert recorded == UsageDay(
        agent_id="ada",
        namespace="agents",
        day=DAY,
        jobs={
            "uid-1": UsageEntry(
                flow_run_id="run-1", outcome="success", cost_usd=0.5, duration_seconds=90
            ),
            "run-1/1": UsageEntry(flow_run_id="run-1", outcome="claude_max_turns", usage=usage),
        },
    )


def test_job_that_is_concluded_twice_counts_once() -> None:
    once = add_usage(None, result(cost_usd=0.5))

    assert add_usage(once, result(cost_usd=0.5, flow_run_id="run-2")).jobs.keys() == {"uid-1"}


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        pytest.param(None, Spending(), id="nothing"),
        pytest.param(day("ada", DAY, entry(0.5), entry(0.25)), Spending(0.75), id="known"),
        pytest.param(day("ada", DAY, entry(0.5), entry(None)), Spending(0.5, 1), id="one_unknown"),
    ],
)
def test_spending_of_a_day(recorded: UsageDay | None, expected: Spending) -> None:
    assert sum_spending(recorded) == expected


def test_budget_that_is_not_spent_admits_a_run() -> None:
    check_day_budget(ADA, 1.0, Spending(0.99), NOON)


def test_spent_budget_is_told_with_limit_and_when_it_opens() -> None:
    with pytest.raises(DayBudgetSpent) as refused:
        check_day_budget(ADA, 1.0, Spending(1.0), NOON)

    error = refused.value
    assert error.code is ErrorCode.CLAUDE_MAX_BUDGET
    assert (error.spent_usd, error.limit_usd) == (1.0, 1.0)
    assert error.opens_at == datetime(2026, 11, 22, tzinfo=UTC)
    assert "spent $1.0000 of its daily budget of $1.0000 today (UTC)" in error.message
    assert error.advice is not None
    assert "after 2026-11-22 00:00 UTC" in error.advice


def test_day_ends_at_midnight_utc_wherever_the_clock_is() -> None:
    ahead = datetime.fromisoformat("2026-11-22T01:30:00+02:00")

    assert next_midnight(ahead) == datetime(2026, 11, 22, tzinfo=UTC)


def test_rows_are_sums_of_what_is_known_newest_day_first() -> None:
    some = TokenUsage(input_tokens=1_000, cache_read_input_tokens=7)
    days = [
        day("bob", DAY, entry(None, "timeout")),
        day("ada", DAY - timedelta(days=1), entry(0.1, duration_seconds=10.0)),
        day("ada", DAY, entry(0.5, usage=some), entry(None, "timeout", usage=some), entry(0.25)),
        day("idle", DAY),
    ]

    rows = build_usage_rows(days)

    assert [(row.day, row.agent_id) for row in rows] == [
        (DAY, "ada"),
        (DAY, "bob"),
        (DAY - timedelta(days=1), "ada"),
    ]
    assert rows[0] == UsageRow(
        day=DAY,
        agent_id="ada",
        namespace="agents",
        jobs=3,
        succeeded=2,
        outcomes=(("success", 2), ("timeout", 1)),
        input_tokens=2_000,
        output_tokens=None,
        cache_creation_input_tokens=None,
        cache_read_input_tokens=14,
        cost_usd=0.75,
        jobs_of_unknown_cost=1,
        duration_seconds=None,
    )


def test_table_tells_unknown_from_nothing() -> None:
    table, left_out = build_usage_table(
        build_usage_rows(
            [
                day("ada", DAY, entry(0.5, duration_seconds=70.0), entry(None, "timeout")),
                day("bob", DAY, entry(None, usage=TokenUsage(input_tokens=0))),
            ]
        )
    )

    ada, bob = table
    assert left_out == 0
    assert (ada["cost"], ada["failed"], ada["agent time"]) == (
        "$0.5000, 1 unknown",
        "1 timeout",
        "1 min 10 s",
    )
    assert (bob["cost"], bob["failed"], bob["input tokens"], bob["output tokens"]) == (
        "–",
        "-",
        "0",
        "–",
    )


def test_long_table_says_how_much_it_leaves_out() -> None:
    rows = build_usage_rows(day(f"agent-{n}", DAY, entry(0.1)) for n in range(501))

    table, left_out = build_usage_table(rows)

    assert (len(table), left_out) == (500, 1)


def test_csv_has_every_row_and_leaves_unknown_empty() -> None:
    rows = build_usage_rows([day('a,"b"', DAY, entry(None, "timeout"), entry(0.5))])

    header, line = build_usage_csv(rows).splitlines()

    assert header.startswith("day,agent_id,namespace,jobs,succeeded,outcomes,input_tokens,")
    assert line == '2026-11-21,"a,""b""",agents,2,1,success=1 timeout=1,,,,,0.5,1,'


def test_report_sums_up_and_names_its_problems() -> None:
    rows = build_usage_rows([day("ada", DAY, entry(0.5), entry(None)), day("bob", DAY, entry(1.0))])

    report = build_usage_report(rows, since=DAY, until=DAY, problems=["One file is broken."])

    assert report.model_copy(update={"csv_location": "here.csv"}).summary == (
        "2026-11-21 to 2026-11-21 (UTC): 3 Jobs of 2 agents, 3 succeeded, $1.5000. "
        "The cost of 1 Jobs is unknown and not included. CSV: here.csv. One file is broken."
    )
    assert build_usage_report([], since=DAY, until=DAY, problems=[]).summary.endswith("$0.0000.")


@pytest.mark.parametrize(
    ("records", "joined"),
    [
        pytest.param(
            [record("ada", None, a=1), record("bob", "agents", b=2)],
            [record("ada", None, a=1), record("bob", "agents", b=2)],
            id="different_agents",
        ),
        pytest.param(
            [record("ada", "agents", a=1), record("ada", "others", b=2)],
            [record("ada", "agents", a=1), record("ada", "others", b=2)],
            id="different_namespaces",
        ),
        pytest.param(
            [record("ada", None, a=1, b=2), record("ada", "agents", b=3, c=4)],
            [record("ada", "agents", a=1, b=3, c=4)],
            id="recorded_on_both_sides_of_an_upgrade",
        ),
        pytest.param(
            [
                record("ada", "agents", a=1),
                record("ada", None, a=9, b=2, c=9),
                record("ada", "others", c=3),
            ],
            [record("ada", "agents", a=1), record("ada", "others", c=3), record("ada", None, b=2)],
            id="whose_of_two_is_not_known",
        ),
        pytest.param(
            [record("ada", "agents", a=1), record("ada", "others", b=2), record("ada", None, a=9)],
            [record("ada", "agents", a=1), record("ada", "others", b=2)],
            id="all_of_it_recorded_since",
        ),
    ],
)
def test_records_of_earlier_versions_are_joined_without_counting_a_job_twice(
    records: list[UsageDay], joined: list[UsageDay]
) -> None:
    assert join_all_usage(records) == joined


def test_agent_that_an_earlier_version_recorded_too_is_counted_once() -> None:
    rows = build_usage_rows(
        [
            record("ada", None, a=1).model_copy(update={"day": DAY - timedelta(days=1)}),
            record("ada", "agents", b=1),
            record("ada", "others", c=1),
            record("bob", None, d=1),
        ]
    )

    assert build_usage_report(rows, since=DAY, until=DAY, problems=[]).agents == 3


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        pytest.param({"days": 0}, "days", id="no_day"),
        pytest.param({"days": 367}, "days", id="more_than_a_year"),
        pytest.param(
            {"runtime": "kit", "result_storage": "/results"},
            "set runtime or result_storage, not both",
            id="two_places",
        ),
    ],
)
def test_config_out_of_bounds_is_refused(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(InputInvalid, match=field):
        parse_usage_config(raw)


def test_config_has_defaults() -> None:
    assert parse_usage_config({}).days == 7
