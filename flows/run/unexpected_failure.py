"""What a run says of itself when its own process fails in a way that nobody foresaw."""

from collections.abc import Iterator
from pathlib import Path
from traceback import extract_tb
from typing import cast

from tasks.text.quoting import quote
from tasks.vocabulary.error_codes import Cause, ErrorCode
from tasks.vocabulary.errors import AgentRunError

_INNERMOST_FRAMES = 12


def unexpected_failure(error: Exception, job_reference: str | None) -> AgentRunError:
    """Return the ending for an error that no rule has a code for.

    A state of Prefect's own would carry the bare exception, and a run must end with one of our
    codes. A Job that was created is left: nothing here can tell whether its agent is at work.

    Args:
        error: What was raised.
        job_reference: `namespace/name` of the Job at work, if there is one.
    """
    told = quote(str(_root(error)))
    job = f"Job {job_reference} is left as it is" if job_reference else "no Job was created"
    return AgentRunError(
        ErrorCode.CLAUDE_FAILED,
        f"The run's own process failed with {type(_root(error)).__name__}"
        f"{f' {told}' if told else ''}, which it did not expect; {job}.",
        cause=Cause.UNKNOWN,
        advice="Run again: a Job that was left is taken over or read to its end. If it fails the "
        "same way, the run's log tells where in the code.",
    )


def where_it_failed(error: Exception) -> str:
    """Return the way through the code, innermost last, without any value.

    Not a traceback: the texts of chained errors may quote what a server echoed, such as a Secret.
    """
    return "\n".join([f"Unexpected {type(_root(error)).__name__}, raised at", *_places(error)])


def _places(error: Exception) -> Iterator[str]:
    for frame in extract_tb(_root(error).__traceback__)[-_INNERMOST_FRAMES:]:
        yield f"  {Path(frame.filename).name}:{frame.lineno} {frame.name}"


def _root(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
