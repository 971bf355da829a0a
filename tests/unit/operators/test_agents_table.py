from dataclasses import replace
from datetime import date, timedelta

import pytest

from tasks.observation.container_states import ContainerRunning, ContainerSnapshot
from tasks.observation.snapshots import LeaseSnapshot
from tasks.operators.agents_table import (
    ROWS_LIMIT,
    as_text_rows,
    build_agents_table,
    table_key,
)
from tasks.ownership.agent_standing import AgentStanding, Spending, standing_note
from tasks.vocabulary.names import (
    ANNOTATION_PAUSED_AT,
    ANNOTATION_PAUSED_REASON,
    ANNOTATION_STANDING,
    AgentId,
)
from tests.unit.operators.test_agent_listing import AGENT, ENDED, JOB, LEASE, NOON, look, pod

STANDING = AgentStanding(
    "Max turns reached", NOON - timedelta(hours=2), date(2024, 5, 1), Spending(0.5), Spending(9, 1)
)
NOTE = standing_note(STANDING)
PAUSE = {ANNOTATION_PAUSED_AT: "2024-05-01T11:00:00Z", ANNOTATION_PAUSED_REASON: "Too\nexpensive."}
RELEASED = replace(LEASE, holder="", annotations=NOTE)
WORKING = ContainerSnapshot("agent", running=ContainerRunning(NOON - timedelta(seconds=60)))


def test_agent_is_shown_with_all_that_is_known() -> None:
    table = build_agents_table(look(ENDED, leases=(replace(RELEASED, annotations=NOTE | PAUSE),)))

    assert table.rows == (
        {
            "agent": "agent-1",
            "state": "idle",
            "last outcome": "Max turns reached",
            "ended": "2024-05-01 10:00 UTC",
            "cost today": "$0.5000",
            "cost this month": "$9.0000, 1 unknown",
            "paused": "paused since 2024-05-01 11:00 UTC: Too expensive.",
        },
    )
    assert table.description.startswith(
        "1 agent in namespace agents: 0 at work or waiting, 1 paused."
    )


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"jobs": (JOB,)}, "waiting for its pod since 2024-05-01 11:58 UTC"),
        ({"jobs": (JOB,), "pods": (pod(WORKING),)}, "working since 2024-05-01 11:59 UTC"),
        ({"jobs": (JOB,), "leases": ()}, "waiting for its pod, no owner since 2024-05-01 11:58"),
        ({"leases": (replace(LEASE, acquired_at=NOON),)}, "starting since 2024-05-01 12:00 UTC"),
        (
            {"leases": (replace(LEASE, acquired_at=NOON, annotations=NOTE),)},
            "starting since 2024-05-01 12:00 UTC",
        ),
        (
            {"leases": (replace(LEASE, acquired_at=NOON - timedelta(hours=3), annotations=NOTE),)},
            "idle",
        ),
        ({"leases": (RELEASED,)}, "idle"),
        ({"jobs": (ENDED,), "leases": (RELEASED,)}, "idle"),
    ],
)
def test_state_is_told_with_its_time(fields: dict[str, tuple[object, ...]], state: str) -> None:
    [row] = build_agents_table(look(**fields)).rows

    assert row["state"].startswith(state)


def test_agent_without_a_standing_has_no_costs() -> None:
    [row] = build_agents_table(look(leases=(replace(RELEASED, annotations={}),))).rows

    assert {row["last outcome"], row["ended"], row["cost today"], row["cost this month"]} == {"–"}


def test_busy_agents_come_first_then_paused_ones_then_the_latest() -> None:
    def lease(name: str, hours: int, **notes: str) -> LeaseSnapshot:
        ended = replace(STANDING, ended_at=NOON - timedelta(hours=hours))
        return replace(RELEASED, agent_id=AgentId(name), annotations=standing_note(ended) | notes)

    table = build_agents_table(
        look(
            JOB,
            leases=(
                lease("old", 9),
                lease("new", 1),
                lease("paused", 5, **PAUSE),
                replace(LEASE, annotations={}),
            ),
        )
    )

    assert [row["agent"] for row in table.rows] == [AGENT, "paused", "new", "old"]


def test_table_is_bounded_and_says_so() -> None:
    leases = tuple(
        replace(RELEASED, agent_id=AgentId(f"agent-{number}")) for number in range(ROWS_LIMIT + 5)
    )

    table = build_agents_table(look(leases=leases))

    assert len(table.rows) == ROWS_LIMIT
    assert table.description.endswith(" 5 more are left out.")


def test_empty_namespace_has_a_row_that_says_so() -> None:
    table = build_agents_table(look(leases=()))

    assert table.rows == ()
    assert [row["state"] for row in as_text_rows(table)] == ["no agent has run here"]


def test_key_names_the_namespace() -> None:
    assert table_key("team-a") == "agents-team-a"
    assert ANNOTATION_STANDING in NOTE
