"""The Prefect event of a run that has ended: what automations match, and what they report."""

from dataclasses import dataclass

from tasks.outcome.report_page import outcome_name
from tasks.outcome.run_result import AgentRunResult
from tasks.vocabulary.error_codes import ErrorCode

SUCCEEDED_EVENT = "claude-jobs.run.succeeded"
FAILED_EVENT = "claude-jobs.run.failed"
CANCELLED_EVENT = "claude-jobs.run.cancelled"

# Of the work: no names that the agent chose.
_COUNTED_WORK = {"collected", "commits", "files_changed", "insertions", "deletions", "work_commit"}
_PUBLISHED = {"branch", "commit", "pull_request_url", "problem"}


@dataclass(frozen=True, slots=True)
class RunEvent:
    """The values of a Prefect event.

    Attributes:
        resource: The agent, with the ending as labels to match: `claude-jobs.code`,
            `claude-jobs.cause`, `claude-jobs.outcome`, and the number of `claude-jobs.warnings`;
            labels without a value are left out.
        payload: Values for messages: the sentence, the advice, what was seen, the cost, how much
            the agent changed.
    """

    name: str
    resource: dict[str, str]
    payload: dict[str, object]


def build_run_event(result: AgentRunResult) -> RunEvent:
    """Return the event of a run; one resource for each agent, so that its runs can be counted."""
    labels = {
        "prefect.resource.id": f"claude-jobs.agent.{result.agent_id}",
        "prefect.resource.name": result.agent_id,
        "claude-jobs.outcome": outcome_name(result),
        "claude-jobs.code": result.error_code,
        "claude-jobs.cause": result.cause,
        "claude-jobs.warnings": len(result.warnings) or None,
        "claude-jobs.task-id": result.task_id,
        "claude-jobs.namespace": result.kubernetes.namespace,
        "claude-jobs.model": result.model,
    }
    return RunEvent(
        name=_name(result.error_code),
        resource={key: str(value) for key, value in labels.items() if value},
        payload={
            "flow_run_id": result.flow_run_id,
            "message": result.message,
            "check_first": result.check_first,
            "advice": result.advice,
            "observed": dict(result.observed),
            "warnings": list(result.warnings),
            "cost_usd": result.cost_usd,
            "num_turns": result.num_turns,
            "exit_code": result.exit_code,
            "job": result.kubernetes.job_name,
            "transcript_complete": result.transcript.complete,
            "work": result.work.model_dump(include=_COUNTED_WORK) if result.work else None,
            "published": result.work.published.model_dump(include=_PUBLISHED)
            if result.work and result.work.published
            else None,
        },
    )


def _name(code: ErrorCode | None) -> str:
    if code is None:
        return SUCCEEDED_EVENT
    return CANCELLED_EVENT if code is ErrorCode.CANCELLED else FAILED_EVENT
