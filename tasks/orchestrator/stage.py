"""A stage of a run is a Prefect task that ends in a named state instead of a traceback."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed

from tasks.cluster.cluster_errors import (
    ClusterError,
    ClusterUnavailable,
    ClusterUnreachable,
    TooManyRequests,
)
from tasks.outcome.state_names import state_name
from tasks.vocabulary.error_codes import ErrorCode
from tasks.vocabulary.errors import AgentRunError

P = ParamSpec("P")
T = TypeVar("T")

_RETRY_DELAY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class StageLimit:
    """How long a stage may take, and the code with which the run ends when it takes longer.

    It is around all bounds of single calls and waits inside the stage, which end it in better
    words; long stages have none, since Prefect's time-outs raise into clean-up.
    """

    seconds: float
    code: ErrorCode


class _Call:
    """The arguments of one call of a stage, as one value that Prefect does not walk through.

    It would copy dataclasses in them, look for states and futures, and take its time.
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs


class Stage(Generic[P, T]):
    """An async function that people see as a task run of its own.

    Never cached: a second attempt of the same flow run must act again, or reattaching would do
    nothing (a cached task is not executed at all).
    """

    def __init__(
        self,
        function: Callable[P, Awaitable[T]],
        name: str,
        *,
        limit: StageLimit | Callable[..., StageLimit] | None = None,
        retries: int = 0,
    ) -> None:
        async def report(call: _Call) -> T | State[AgentRunError]:
            try:
                return await function(*call.args, **call.kwargs)
            except AgentRunError as error:
                # A returned state, not a raised error: Prefect logs a traceback for the latter,
                # and what people should read is the sentence.
                return _failed(error)
            except ClusterError as error:
                # What a stage has no better answer to: the cluster did not do as it was asked.
                unclear = AgentRunError(ErrorCode.JOB_STATE_MISMATCH, error.message)
                unclear.__cause__ = error
                return _failed(unclear)

        self._name = name
        self._limit = limit
        self._run = task(
            name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            log_prints=False,
            retries=retries,
            retry_delay_seconds=_RETRY_DELAY_SECONDS,
            retry_condition_fn=_may_be_otherwise_soon,
        )(report)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the stage as a task of the current flow run.

        Raises:
            AgentRunError: The stage ended the run; its task run is Failed with the same sentence,
                or TimedOut.
        """
        call = _Call(args, kwargs)
        if self._limit is None:
            return _value_of(await cast("Any", self._run)(call))
        limit = self._limit if isinstance(self._limit, StageLimit) else self._limit(*args, **kwargs)
        run = self._run.with_options(timeout_seconds=limit.seconds)
        try:
            return _value_of(await cast("Any", run)(call))
        except TimeoutError as error:
            raise AgentRunError(
                limit.code,
                f"The stage '{self._name}' took longer than its limit of {limit.seconds:,.0f} s, "
                "although every call in it has a limit of its own; whatever it has made is left "
                "to the next run.",
            ) from error


def _value_of(outcome: Any) -> Any:
    if isinstance(outcome, State):
        raise cast("Any", outcome).data.result
    return outcome


def _failed(error: AgentRunError) -> State[AgentRunError]:
    return Failed(name=state_name(error.code, error.cause), message=error.message, data=error)


def _may_be_otherwise_soon(
    _task: Task[..., Any], _task_run: TaskRun, state: State[AgentRunError]
) -> bool:
    """Tell whether the cluster gave no answer, so that the stage may look at what is there."""
    cause = getattr(state.data, "__cause__", None)
    return isinstance(cause, ClusterUnavailable | ClusterUnreachable | TooManyRequests)


def stage(
    name: str, *, limit: StageLimit | Callable[..., StageLimit] | None = None, retries: int = 0
) -> Callable[[Callable[P, Awaitable[T]]], Stage[P, T]]:
    """Make a stage of an async function.

    Args:
        name: What the UI shows.
        limit: How long it may take; where that depends on its arguments, a function of these.
        retries: How often it is run again when the cluster gave no answer; it finds what its
            earlier tries have made.
    """

    def decorate(function: Callable[P, Awaitable[T]]) -> Stage[P, T]:
        return Stage(function, name, limit=limit, retries=retries)

    return decorate
