import itertools
from typing import get_args

import pytest

from tasks.agent_job.runtime_spec import KeepPolicy, Retention
from tasks.ownership.keep_policy import (
    CleanupVerdict,
    Delete,
    Leave,
    LowerTtl,
    decide_cleanup,
    describe_remains,
)


@pytest.mark.parametrize(
    ("keep", "succeeded", "expected"),
    [
        ("never", True, Delete("Background")),
        ("never", False, Delete("Background")),
        ("on_failure", True, LowerTtl(300)),
        ("on_failure", False, LowerTtl(86_400)),
        ("always", True, Leave("the keep policy is `always`")),
        ("always", False, Leave("the keep policy is `always`")),
    ],
)
def test_ended_job_is_treated_as_its_keep_policy_says(
    keep: KeepPolicy, succeeded: bool, expected: CleanupVerdict
) -> None:
    verdict = decide_cleanup(
        Retention(keep=keep), succeeded=succeeded, ended=True, agent_running=False
    )

    assert verdict == expected


def test_ttls_are_the_runtimes_own() -> None:
    retention = Retention(harvested_seconds=7, kept_failure_seconds=9)

    assert [
        decide_cleanup(retention, succeeded=succeeded, ended=True, agent_running=False)
        for succeeded in (True, False)
    ] == [LowerTtl(7), LowerTtl(9)]


@pytest.mark.parametrize(
    ("keep", "succeeded", "ended"),
    list(itertools.product(get_args(KeepPolicy), [True, False], [True, False])),
)
def test_job_whose_agent_runs_or_whose_end_nobody_saw_is_left(
    keep: KeepPolicy, succeeded: bool, ended: bool
) -> None:
    running = decide_cleanup(
        Retention(keep=keep), succeeded=succeeded, ended=ended, agent_running=True
    )
    unknown = decide_cleanup(
        Retention(keep=keep), succeeded=succeeded, ended=False, agent_running=False
    )

    assert running == Leave("the agent's container was last seen running")
    assert unknown == Leave("the agent's end was not observed")


STILL_RUNS = (
    "container mesh still runs although the agent has ended, so the Job would not finish and its "
    "TTL would never begin"
)


@pytest.mark.parametrize(
    ("keep", "succeeded", "expected"),
    [
        ("never", True, Delete("Background")),
        ("never", False, Delete("Background")),
        ("on_failure", True, Delete("Background", STILL_RUNS)),
        ("on_failure", False, LowerTtl(86_400)),
        ("always", True, Leave("the keep policy is `always`")),
        ("always", False, Leave("the keep policy is `always`")),
    ],
)
def test_job_that_never_finishes_is_deleted_where_its_ttl_was_to_do_that(
    keep: KeepPolicy, succeeded: bool, expected: CleanupVerdict
) -> None:
    verdict = decide_cleanup(
        Retention(keep=keep),
        succeeded=succeeded,
        ended=True,
        agent_running=False,
        still_running=("mesh",),
    )

    assert verdict == expected


def test_remains_of_a_kept_job_name_the_containers_and_when_they_go() -> None:
    assert describe_remains("job-1", ("mesh", "logs")) == (
        "Job job-1 does not finish, because containers mesh, logs still run although the agent has "
        "ended: Job, pod and Secret remain until the Job's deadline, or until a sweep deletes them "
        "once the Job's TTL, counted from the agent's end, has passed."
    )
