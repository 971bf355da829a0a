"""A stage of a run is a Prefect task that ends in a named state instead of a traceback."""

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from tasks.agent_job.error_codes import ErrorCode
from tasks.agent_job.errors import AgentRunError
from tasks.agent_job.redaction import Redactor
from tasks.agent_job.state_names import state_name
from tasks.cluster.errors import ClusterError


class KnowsSecrets(Protocol):
    """What a stage works on; it knows what must not be seen in a message."""

    redactor: Redactor


C = TypeVar("C", bound=KnowsSecrets)
P = ParamSpec("P")
T = TypeVar("T")


class Stage(Generic[C, P, T]):
    """An async function that people see as a task run of its own.

    Never cached: a second attempt of the same flow run must act again, or reattaching would do
    nothing (a cached task is not executed at all).
    """

    def __init__(self, function: Callable[Concatenate[C, P], Awaitable[T]], name: str) -> None:
        async def report(context: C, *args: P.args, **kwargs: P.kwargs) -> T | State[AgentRunError]:
            try:
                return await function(context, *args, **kwargs)
            except AgentRunError as error:
                # A returned state, not a raised error: Prefect logs a traceback for the latter,
                # and what people should read is the sentence.
                return _failed(error, context.redactor)
            except ClusterError as error:
                # What a stage has no better answer to: the cluster did not do as it was asked.
                unclear = AgentRunError(ErrorCode.JOB_STATE_MISMATCH, error.message)
                return _failed(unclear, context.redactor)

        self._run = task(name=name, cache_policy=NO_CACHE, persist_result=False, log_prints=False)(
            report
        )

    async def __call__(self, context: C, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the stage as a task of the current flow run.

        Raises:
            AgentRunError: The stage ended the run; its task run is Failed with the same sentence.
        """
        outcome = cast("Any", await self._run(context, *args, **kwargs))
        if isinstance(outcome, State):
            raise cast("Any", outcome).data.result
        return cast("T", outcome)


def _failed(error: AgentRunError, redactor: Redactor) -> State[AgentRunError]:
    message = redactor.text(error.message)
    return Failed(name=state_name(error.code, error.cause), message=message, data=error)


def stage(name: str) -> Callable[[Callable[Concatenate[C, P], Awaitable[T]]], Stage[C, P, T]]:
    """Make a stage of an async function; `name` is what the UI shows."""

    def decorate(function: Callable[Concatenate[C, P], Awaitable[T]]) -> Stage[C, P, T]:
        return Stage(function, name)

    return decorate
