"""A run whose Secret the cluster refuses withdraws its Job, and says truly what remains of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.agent_space import AgentSpace
from tests.faults.run_processes import request_for
from tests.faults.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Refusal:
    """What the cluster refuses.

    Attributes:
        quick: One of the few rows that run in every suite.
        remains: Why the Job stays; nothing where it is withdrawn.
    """

    name: str
    rules: tuple[dict[str, Any], ...]
    words: str
    remains: str = ""
    quick: bool = False


def refusing(verb: str, resource: str, **effect: Any) -> dict[str, Any]:
    """Every such call of a run is refused."""
    match = {"verb": verb, "resource": resource}
    return {"match": match, "times": None, "do": {"status": 403, **effect}}


UNANSWERED = {
    "match": {"verb": "create", "resource": "secrets"},
    "do": {"drop": True},
}
TABLE = (
    Refusal("the right to create Secrets", (refusing("create", "secrets"),), "403", quick=True),
    Refusal(
        "every right on Secrets",
        # After the guard, which looks for the Secrets of earlier Jobs.
        (refusing("create", "secrets"), refusing("get", "secrets")),
        "403",
    ),
    Refusal("a quota", (refusing("create", "secrets", message="exceeded quota: full"),), "403"),
    Refusal("a webhook", (refusing("create", "secrets", status=400, reason="Denied"),), "400"),
    Refusal("its content", (refusing("create", "secrets", status=422),), "422"),
    Refusal(
        "the Secret, and the deletion of the Job",
        (refusing("create", "secrets"), refusing("delete", "jobs")),
        "403",
        remains="403 Forbidden to delete jobs.batch",
        quick=True,
    ),
    Refusal(
        # The first request may still arrive, and only a Secret of ours would make sure of it.
        "the Secret, after a try whose answer was lost",
        (UNANSWERED, refusing("create", "secrets")),
        "403",
        remains="403 Forbidden to create secrets",
    ),
)


@pytest.fixture
def space(world: World) -> Iterator[AgentSpace]:
    space = AgentSpace(world)
    yield space
    world.calm()
    space.clear_away()


def assert_told_and_withdrawn(space: AgentSpace, storage: Path, row: Refusal) -> None:
    space.add_faults(*row.rules)
    run = space.world.host.start(request_for(space.agent_id, space.name, storage))

    outcome = run.wait(150)

    assert outcome["error_code"] == "k8s_prompt_secret_create_failed", run.log
    message = outcome["message"]
    assert "so the agent was not started" in message
    assert row.words in message
    assert "will be deleted" not in message
    if row.remains:
        assert "and its pod remain, because they could not be deleted" in message
        assert row.remains in message
        assert len(space.found_jobs) == 1
    else:
        assert "remain" not in message
        space.until(lambda: not space.found_jobs and not space.found_pods)
    assert space.run_secrets == []
    assert space.lease_holder == ""


@pytest.mark.slice
@pytest.mark.parametrize("row", [r for r in TABLE if r.quick], ids=lambda row: row.name)
def test_refused_secret_withdraws_its_job(space: AgentSpace, tmp_path: Path, row: Refusal) -> None:
    assert_told_and_withdrawn(space, tmp_path, row)


@pytest.mark.parametrize("row", [r for r in TABLE if not r.quick], ids=lambda row: row.name)
def test_each_refused_secret_withdraws_its_job(
    space: AgentSpace, tmp_path: Path, row: Refusal
) -> None:
    assert_told_and_withdrawn(space, tmp_path, row)
