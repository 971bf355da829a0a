"""Runs that end without being concluded: refused, or failed in an unforeseen way.

In each case the run ends with one of our codes, a report and an event.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from typing import Any, cast

from flows.run.inputs import load_agent_block
from flows.run.naming import name_refused_run
from flows.run.opening import run_logger
from tasks.cluster.cluster_errors import ClusterError, KubeconfigInvalid
from tasks.orchestrator.prefect_api import explain_prefect_failure
from tasks.outcome.report_page import outcome_name
from tasks.outcome.result_building import build_refusal
from tasks.outcome.run_result import AgentRunResult
from tasks.report import publish_refusal
from tasks.run.progress_page import publish_progress
from tasks.run.run_controls import RunControls
from tasks.text.quoting import quote
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.errors import AgentRunError, PrefectUnusable

_INNERMOST_FRAMES = 12
# To read the agent's id, under which a refusal is filed, if the request only names its block.
_BLOCK_SECONDS = 10.0


async def refuse(request: object, error: Exception, controls: RunControls) -> AgentRunResult:
    """Return and report the result of a run that was refused or failed unexpectedly.

    Args:
        request: The request as it was given, valid or not.
        error: What was raised.
        controls: They show how far the run had come.
    """
    work = controls.at_work
    agent_id, task_id = await _find_agent_id(request, controls), _text(_field(request, "task_id"))
    await name_refused_run(agent_id, task_id, controls)
    result = build_refusal(
        _to_ending(error, controls),
        agent_id=agent_id,
        flow_run_id=controls.flow_run_id or "",
        task_id=task_id,
        namespace=work.namespace if work is not None else _namespace(request),
        job=(work.job_name, work.job_uid) if work is not None else None,
        started_at=controls.started_at,
        ended_at=datetime.now(UTC),
        redactor=controls.redactor,
    )
    await publish_refusal(result)
    if work is not None:
        await publish_progress(work.run, work, outcome_name(result))
    return result


def _to_ending(error: Exception, controls: RunControls) -> AgentRunError:
    match error:
        case AgentRunError():
            return error
        case KubeconfigInvalid():
            return AgentRunError(ErrorCode.INPUT_INVALID, error.message)
        case ClusterError():
            return AgentRunError(ErrorCode.JOB_STATE_MISMATCH, error.message)
        case PrefectUnusable():
            return AgentRunError(ErrorCode.CLAUDE_FAILED, error.message, advice=error.advice)
        case _:
            unusable = explain_prefect_failure(error)
            if unusable is not None and controls.job_reference is None:
                return _to_ending(unusable, controls)
            run_logger().error(where_it_failed(error))
            return unexpected_failure(error, controls.job_reference)


async def _find_agent_id(request: object, controls: RunControls) -> str:
    """Return the agent's id; the block's name if it cannot be read, or nothing without a block."""
    if controls.agent_id is not None:
        return controls.agent_id
    agent = _field(request, "agent")
    if isinstance(agent, str):
        with suppress(Exception):
            async with asyncio.timeout(_BLOCK_SECONDS):
                return (await load_agent_block(agent)).agent_id
        return agent
    return _text(_field(agent, "agent_id")) or ""


def _namespace(request: object) -> str | None:
    return _text(_field(_field(request, "runtime"), "namespace"))


def _field(value: object, name: str) -> object:
    """Return a field of a request, valid or not; `None` if it has none."""
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    return getattr(value, name, None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def unexpected_failure(error: Exception, job_reference: str | None) -> AgentRunError:
    """Return the ending for an exception that has no code of its own.

    Without it, Prefect would set a state with the bare exception, but every run must end with one
    of our codes. An existing Job is not changed, because its agent may be working.

    Args:
        error: The exception.
        job_reference: `namespace/name` of the run's Job, if there is one.
    """
    told = quote(str(_root(error)))
    job = f"Job {job_reference} was not changed" if job_reference else "no Job was created"
    return AgentRunError(
        ErrorCode.CLAUDE_FAILED,
        f"The run's process failed with an unexpected {type(_root(error)).__name__}"
        f"{f' {told}' if told else ''}; {job}.",
        cause=Cause.UNKNOWN,
        advice="Run again: the next run takes over the Job or stores its result. If it fails in "
        "the same way, the run's log shows where in the code.",
    )


def where_it_failed(error: Exception) -> str:
    """Return the lines of code that led to the exception, innermost last, without any values.

    This is not a traceback, because messages of chained exceptions may quote a Secret.
    """
    return "\n".join([f"Unexpected {type(_root(error)).__name__}, raised at", *_places(error)])


def _places(error: Exception) -> Iterator[str]:
    for frame in extract_tb(_root(error).__traceback__)[-_INNERMOST_FRAMES:]:
        yield f"  {Path(frame.filename).name}:{frame.lineno} {frame.name}"


def _root(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
