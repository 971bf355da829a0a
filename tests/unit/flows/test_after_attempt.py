"""The next attempt knows nothing of the Job of the attempt before it."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from flows.run.after_attempt import plan_next_attempt
from tasks.agent_job.runtime_spec import WholeRunRetry
from tasks.outcome.result_building import build_refusal
from tasks.ownership.whole_run_retry import NextAttempt
from tasks.run.agent_run import AgentRun
from tasks.run.ended_attempt import EndedAttempt
from tasks.run.run_controls import RunControls
from tasks.text.redaction import Redactor
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError

AT = datetime(2026, 11, 1, tzinfo=UTC)
NOT_CREATED = build_refusal(
    AgentRunError(ErrorCode.JOB_CREATE_FAILED, "It was not committed."),
    agent_id="ada",
    flow_run_id="f",
    task_id=None,
    namespace="agents",
    job=None,
    started_at=AT,
    ended_at=AT,
    redactor=Redactor(()),
)


def _ignore(_sentence: str) -> None:
    pass


def _keep(planned: NextAttempt) -> NextAttempt:
    return planned


async def test_next_attempt_is_not_creating_the_job_that_the_last_one_could_not_commit() -> None:
    controls = RunControls(at_work=cast("Any", "work"), creating=cast("Any", "spec"))
    rules = WholeRunRetry(codes=(ErrorCode.JOB_CREATE_FAILED,), max_attempts=2)
    run = SimpleNamespace(
        prepared=SimpleNamespace(runtime=SimpleNamespace(retry=rules)),
        outside=SimpleNamespace(
            controls=controls,
            lease=SimpleNamespace(held=True),
            storage=None,
            say=_ignore,
        ),
        storage_owner=None,
        flow_run_id="f",
        asked_budget_usd=None,
        for_next_attempt=_keep,
    )

    planned = await plan_next_attempt(
        EndedAttempt(run=cast("AgentRun", run), work=None), [NOT_CREATED]
    )

    assert isinstance(planned, NextAttempt)
    assert (controls.at_work, controls.creating) == (None, None)
