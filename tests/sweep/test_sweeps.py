"""Whole sweeps: every object ends as the table says, and nothing is done twice."""

import asyncio
import time
import uuid
from collections import Counter

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.sweep_orphans import Sweep, sweep_cluster
from tasks.cluster.connection import ClusterConnection
from tasks.sweep.sweep_config import SweepConfig, SweepPolicy
from tasks.sweep.sweep_facts import ObjectKind
from tasks.sweep.sweep_report import Outcome
from tasks.sweep.sweep_rules import Finding
from tasks.vocabulary.names import FlowRunId
from tests.sweep.orphanage import DAYS_8, Agent, Orphanage, lease
from tests.sweep.sweep_cases import CASES, NEWBORN, POLICY
from tests.waits import WaitRanOut

pytestmark = [pytest.mark.any_cluster, pytest.mark.timeout(240)]

# Between what was made before a pause of this length and what is made right before the sweep.
MINIMUM_AGE_SECONDS = 20
EAGER = SweepConfig(
    dry_run=False,
    minimum_age_seconds=0,
    max_actions=1000,
    policy=SweepPolicy.model_validate(POLICY),
)
LISTS = {"list secrets", "list jobs.batch", "list pods", "list leases.coordination.k8s.io"}
# Foreground deletion on a real cluster waits for the pods, and the collector for the Secrets.
COLLECTED_SECONDS = 120.0


async def _sweep(
    orphanage: Orphanage, connection: ClusterConnection, config: SweepConfig = EAGER
) -> Sweep:
    said: list[str] = []
    run = FlowRunId(str(uuid.uuid4()))
    return await sweep_cluster(config, connection, (orphanage.namespace,), run, said.append)


async def _fill(orphanage: Orphanage) -> None:
    await orphanage.take_in(agent for case in CASES for agent in case.agents(orphanage))
    # The API server tells the time in whole seconds: by its clock what was just made is of the
    # future, and a flow run that began later than now is a new one.
    await asyncio.sleep(1.1)


async def _expect(orphanage: Orphanage) -> None:
    """Wait until exactly what must be there is, and every flow run is as it must be."""
    deadline = time.monotonic() + COLLECTED_SECONDS
    while (present := await _present(orphanage)) != orphanage.expected():
        if time.monotonic() > deadline:
            raise WaitRanOut(orphanage.describe(present ^ orphanage.expected()))
        await asyncio.sleep(0.5)
    wrong_runs = [
        (agent.kind_of_case, state)
        for agent in orphanage.agents
        if agent.ends_run and (state := orphanage.state(agent)) != agent.ends_run
    ]
    assert wrong_runs == []


async def _present(orphanage: Orphanage) -> set[tuple[str, str]]:
    """All there is but Leases that a sweep took for agents that had none, and the cluster's own."""
    made = {
        (manifest["kind"], manifest["metadata"]["name"])
        for agent in orphanage.agents
        for manifest in agent.objects
    }
    return await orphanage.present() & made


def _done(sweep: Sweep) -> Counter[tuple[str, str]]:
    return Counter(
        (row.swept.kind.value, row.swept.name) for row in sweep.rows if row.outcome is Outcome.DONE
    )


@pytest.mark.slice
@pytest.mark.waits(36)
async def test_two_hundred_objects_end_as_the_table_says(
    orphanage: Orphanage, connection: ClusterConnection
) -> None:
    await _fill(orphanage)
    newborn = [agent for case in NEWBORN for agent in case.agents(orphanage)]
    halves = newborn[::2], newborn[1::2]
    await asyncio.sleep(MINIMUM_AGE_SECONDS + 2)
    await orphanage.take_in(halves[0])
    config = EAGER.model_copy(update={"minimum_age_seconds": MINIMUM_AGE_SECONDS})

    sweep, _ = await asyncio.gather(
        _sweep(orphanage, connection, config), orphanage.take_in(halves[1])
    )

    listed = [row for row in sweep.rows if row.swept.uid]
    assert len(listed) >= 200
    assert [row for row in sweep.rows if row.outcome is Outcome.FAILED] == []
    await _expect(orphanage)
    cases = {case.name: case.ends_run or case.state for case in (*CASES, *NEWBORN)}
    states = [(agent.kind_of_case, orphanage.state(agent)) for agent in orphanage.agents]
    assert [one for one in states if cases[one[0]] != one[1]] == []


async def test_two_sweeps_at_once_do_nothing_twice(
    orphanage: Orphanage, connection: ClusterConnection
) -> None:
    await _fill(orphanage)

    sweeps = await asyncio.gather(*(_sweep(orphanage, connection) for _ in range(2)))

    done = _done(sweeps[0]) + _done(sweeps[1])
    assert {one: count for one, count in done.items() if count > 1} == {}
    assert sum(done.values()) > 40
    failed = [row for sweep in sweeps for row in sweep.rows if row.outcome is Outcome.FAILED]
    assert failed == []
    await _expect(orphanage)


async def test_dry_run_only_lists(orphanage: Orphanage, connection: ClusterConnection) -> None:
    await _fill(orphanage)
    before = await orphanage.present()

    sweep = await _sweep(orphanage, connection, EAGER.model_copy(update={"dry_run": True}))

    assert sweep.requests == Counter(LISTS)
    assert await orphanage.present() == before
    found = Counter(row.verdict.finding for row in sweep.rows if row.outcome is Outcome.DRY_RUN)
    assert found[Finding.CANCELLED] == 14
    assert found[Finding.IDLE] == 8


@pytest.mark.slice
async def test_nothing_is_deleted_while_prefect_is_away(
    orphanage: Orphanage, connection: ClusterConnection
) -> None:
    await _fill(orphanage)
    before = await orphanage.present()

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        sweep = await _sweep(orphanage, connection)

    assert sweep.requests == Counter(LISTS)
    assert await orphanage.present() == before
    assert {row.outcome for row in sweep.rows} == {Outcome.NONE, Outcome.REPORTED}
    assert any(row.verdict.finding is Finding.UNREADABLE for row in sweep.rows)


async def test_sweep_does_no_more_than_it_may(
    orphanage: Orphanage, connection: ClusterConnection
) -> None:
    idle = [Agent("idle Lease") for _ in range(5)]
    for agent in idle:
        agent.objects = [lease(agent, age=DAYS_8, holder="")]
    await orphanage.take_in(idle)

    sweep = await _sweep(orphanage, connection, EAGER.model_copy(update={"max_actions": 3}))

    outcomes = Counter(row.outcome for row in sweep.rows)
    assert outcomes == {Outcome.DONE: 3, Outcome.OVER_LIMIT: 2}
    assert len(await _present(orphanage)) == 2


async def test_requests_grow_with_the_pages_alone(
    orphanage: Orphanage, connection: ClusterConnection
) -> None:
    dry = EAGER.model_copy(update={"dry_run": True})
    counts: list[int] = []
    for more in (20, 1000):
        new = [Agent("Lease") for _ in range(more)]
        for agent in new:
            agent.objects = [lease(agent, age=DAYS_8, holder="")]
        await orphanage.take_in(new)
        sweep = await _sweep(orphanage, connection, dry)
        found = [row for row in sweep.rows if row.swept.kind is ObjectKind.LEASE]
        assert len(found) == len(orphanage.agents)
        counts.append(sweep.requests.total())

    # One page of each kind; then two more pages of 500 Leases.
    assert counts == [4, 6]
