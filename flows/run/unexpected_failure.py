"""How a run reports an unexpected failure of its own process."""

from collections.abc import Iterator
from pathlib import Path
from traceback import extract_tb
from typing import cast

from tasks.text.quoting import quote
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.errors import AgentRunError

_INNERMOST_FRAMES = 12


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
